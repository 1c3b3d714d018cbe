"""Layers: one role a file."""

from __future__ import annotations

from cdrzoo.layers.activations import Dice
from cdrzoo.layers.adversarial import DomainAlignment, GradientReversal
from cdrzoo.layers.cross_attention import CrossAttention, DomainAwareCrossAttention
from cdrzoo.layers.crosses import (
    CIN,
    BiInteraction,
    BilinearInteraction,
    CrossNet,
    CrossProducts,
    PairAttention,
    fm_term,
)
from cdrzoo.layers.embedding import FeatureEmbedding
from cdrzoo.layers.experts import CGC, PLE, mixture
from cdrzoo.layers.fields import (
    FieldStack,
    FieldVectors,
    FirstOrder,
    RowVectors,
    SlotConcat,
    compared_feature,
    events,
    field_roles,
    field_widths,
    history_field,
)
from cdrzoo.layers.gates import GLU, FieldImportance, SqueezeExcitation, scale_fields
from cdrzoo.layers.interests import FieldPooling, InterestAttention, ItemAttention
from cdrzoo.layers.pooling import TargetAttention, masked_mean, masked_softmax, weighted_sum
from cdrzoo.layers.towers import MLP, first_output, head

__all__ = [
    "CGC",
    "CIN",
    "GLU",
    "MLP",
    "PLE",
    "BiInteraction",
    "BilinearInteraction",
    "CrossAttention",
    "CrossNet",
    "CrossProducts",
    "Dice",
    "DomainAlignment",
    "DomainAwareCrossAttention",
    "FeatureEmbedding",
    "FieldImportance",
    "FieldPooling",
    "FieldStack",
    "FieldVectors",
    "FirstOrder",
    "GradientReversal",
    "InterestAttention",
    "ItemAttention",
    "PairAttention",
    "RowVectors",
    "SlotConcat",
    "SqueezeExcitation",
    "TargetAttention",
    "compared_feature",
    "events",
    "field_roles",
    "field_widths",
    "first_output",
    "fm_term",
    "head",
    "history_field",
    "masked_mean",
    "masked_softmax",
    "mixture",
    "scale_fields",
    "weighted_sum",
]
