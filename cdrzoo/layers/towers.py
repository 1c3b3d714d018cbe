"""Towers: stacks of dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from cdrzoo.layers.activations import activation as make_activation


@keras.saving.register_keras_serializable(package="cdrzoo")
class MLP(keras.layers.Layer):
    """Hidden layers: h <- dropout(activation(h W + b)) for each width. A head is a `Dense(1)` of the model.

    Args:
        units: widths of the layers.
        activation: `"dice"` or a Keras activation.
        dropout: share of each layer's outputs that training drops.
        final_activation: of the last layer, where it differs from the others (`"linear"` for none).

    Call arguments:
        x: `[..., width]`.

    Returns:
        `[..., units[-1]]`.
    """

    def __init__(
        self,
        units: Sequence[int],
        activation: Any = "relu",
        dropout: float = 0.0,
        final_activation: Any = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.activation = activation
        self.dropout = dropout
        self.final_activation = final_activation
        names = [activation] * len(self.units)
        if final_activation is not None and names:
            names[-1] = final_activation
        # Flat lists: Keras before 3.15 leaves the layers of nested lists out of what it saves.
        self.dense = [keras.layers.Dense(width, dtype=self.dtype_policy) for width in self.units]
        self.activations = [make_activation(name, dtype=self.dtype_policy) for name in names]
        self.dropouts = [keras.layers.Dropout(dropout, dtype=self.dtype_policy) for _ in self.units]

    def build(self, input_shape):
        for width, dense, activate in zip(self.units, self.dense, self.activations):
            dense.build(input_shape)
            input_shape = (*input_shape[:-1], width)
            activate.build(input_shape)

    def call(self, x):
        for dense, activate, drop in zip(self.dense, self.activations, self.dropouts):
            x = drop(activate(dense(x)))
        return x

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "dropout": self.dropout,
            "final_activation": self.final_activation,
        }
