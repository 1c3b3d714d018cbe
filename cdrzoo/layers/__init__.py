"""Layers that models are built from, one role a file. Each is usable on `keras.Input` by itself."""

from __future__ import annotations

from cdrzoo.layers.activations import Dice
from cdrzoo.layers.adversarial import DomainAlignment, GradientReversal
from cdrzoo.layers.alignment import HFA, FieldImportance
from cdrzoo.layers.companion import CompanionTower
from cdrzoo.layers.cross_attention import CrossAttention, DomainAwareCrossAttention, DomainView
from cdrzoo.layers.cross_products import CrossProducts
from cdrzoo.layers.crosses import CIN, BiInteraction, BilinearInteraction, CrossNet
from cdrzoo.layers.domains import PartitionedNormalization, StarDense
from cdrzoo.layers.embedding import FeatureEmbedding
from cdrzoo.layers.entities import EntityVectors
from cdrzoo.layers.experts import CGC, PLE
from cdrzoo.layers.fields import (
    FieldStack,
    FieldVectors,
    RoleVectors,
    RowVectors,
    SlotConcat,
)
from cdrzoo.layers.gates import GLU, SqueezeExcitation
from cdrzoo.layers.interests import (
    FieldPooling,
    InterestAttention,
    ItemAttention,
    MeanInterest,
)
from cdrzoo.layers.linear import FirstOrder
from cdrzoo.layers.mappings import (
    Factorization,
    MetricFactors,
    PersonalBridge,
    UserMapping,
)
from cdrzoo.layers.pair_attention import PairAttention
from cdrzoo.layers.pooling import TargetAttention
from cdrzoo.layers.selector import Selector
from cdrzoo.layers.tokens import SemanticAlignment
from cdrzoo.layers.towers import MLP


def __dir__() -> list[str]:
    return __all__


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
]
