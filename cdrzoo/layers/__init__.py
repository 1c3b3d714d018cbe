"""Layers: one role a file."""

from __future__ import annotations

from cdrzoo.layers.activations import Dice
from cdrzoo.layers.embedding import FeatureEmbedding
from cdrzoo.layers.fields import FieldVectors, SlotConcat, field_roles, field_widths, history_field
from cdrzoo.layers.pooling import TargetAttention, masked_mean, masked_softmax, weighted_sum
from cdrzoo.layers.towers import MLP

__all__ = [
    "MLP",
    "Dice",
    "FeatureEmbedding",
    "FieldVectors",
    "SlotConcat",
    "TargetAttention",
    "field_roles",
    "field_widths",
    "history_field",
    "masked_mean",
    "masked_softmax",
    "weighted_sum",
]
