"""Layers: one role a file."""

from __future__ import annotations

from cdrzoo.layers.activations import Dice
from cdrzoo.layers.adversarial import DomainAlignment, GradientReversal
from cdrzoo.layers.alignment import HFA, FieldImportance
from cdrzoo.layers.companion import CompanionTower
from cdrzoo.layers.cross_attention import CrossAttention, DomainAwareCrossAttention, DomainView
from cdrzoo.layers.crosses import (
    CIN,
    BiInteraction,
    BilinearInteraction,
    CrossNet,
    CrossProducts,
    PairAttention,
    fm_term,
)
from cdrzoo.layers.domains import PartitionedNormalization, StarDense
from cdrzoo.layers.embedding import FeatureEmbedding, note_rows, rows_seen
from cdrzoo.layers.entities import EntityVectors
from cdrzoo.layers.experts import CGC, PLE, mixture
from cdrzoo.layers.fields import (
    FieldStack,
    FieldVectors,
    RoleVectors,
    RowVectors,
    SlotConcat,
    compared_feature,
    events,
    field_roles,
    field_widths,
    history_field,
)
from cdrzoo.layers.gates import GLU, SqueezeExcitation, scale_fields
from cdrzoo.layers.interests import (
    FieldPooling,
    InterestAttention,
    ItemAttention,
    MeanInterest,
    history_steps,
)
from cdrzoo.layers.linear import FirstOrder
from cdrzoo.layers.mappings import (
    Factorization,
    MetricFactors,
    PersonalBridge,
    UserMapping,
    bridged,
    check_first_stage,
    hinge,
    in_ball,
    item_history,
    squared_distance,
)
from cdrzoo.layers.pairs import cosine, crossed, step, user_keys
from cdrzoo.layers.pooling import TargetAttention, masked_mean, masked_softmax, weighted_sum
from cdrzoo.layers.selector import Selector
from cdrzoo.layers.tokens import SemanticAlignment
from cdrzoo.layers.towers import MLP, first_output, head, towers

__all__ = [
    "BiInteraction",
    "BilinearInteraction",
    "CGC",
    "CIN",
    "CompanionTower",
    "CrossAttention",
    "CrossNet",
    "CrossProducts",
    "Dice",
    "DomainAlignment",
    "DomainAwareCrossAttention",
    "DomainView",
    "EntityVectors",
    "Factorization",
    "FeatureEmbedding",
    "FieldImportance",
    "FieldPooling",
    "FieldStack",
    "FieldVectors",
    "FirstOrder",
    "GLU",
    "GradientReversal",
    "HFA",
    "InterestAttention",
    "ItemAttention",
    "MLP",
    "MeanInterest",
    "MetricFactors",
    "PLE",
    "PairAttention",
    "PartitionedNormalization",
    "PersonalBridge",
    "RoleVectors",
    "RowVectors",
    "Selector",
    "SemanticAlignment",
    "SlotConcat",
    "SqueezeExcitation",
    "StarDense",
    "TargetAttention",
    "UserMapping",
    "bridged",
    "check_first_stage",
    "compared_feature",
    "cosine",
    "crossed",
    "events",
    "field_roles",
    "field_widths",
    "first_output",
    "fm_term",
    "head",
    "hinge",
    "history_field",
    "history_steps",
    "in_ball",
    "item_history",
    "masked_mean",
    "masked_softmax",
    "mixture",
    "note_rows",
    "rows_seen",
    "scale_fields",
    "squared_distance",
    "step",
    "towers",
    "user_keys",
    "weighted_sum",
]
