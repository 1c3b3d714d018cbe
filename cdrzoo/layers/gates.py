"""Gates: how much of a vector passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="cdrzoo")
class GLU(keras.layers.Layer):
    """Gated linear unit: a linear map whose outputs pass as far as a gate that reads the same input lets them.

        GLU(x) = (x W + b) * sigmoid(x V + c)

    Args:
        units: width of the output.

    Call arguments:
        x: `[..., width]`.

    Returns:
        `[..., units]`.

    Reference: Dauphin et al., Language Modeling with Gated Convolutional Networks (ICML 2017), section 2.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.value = keras.layers.Dense(units, dtype=self.dtype_policy)
        self.gate = keras.layers.Dense(units, activation="sigmoid", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.value.build(input_shape)
        self.gate.build(input_shape)

    def call(self, x):
        return self.value(x) * self.gate(x)

    def activity(self, x):
        """How far each output is open, in (0, 1): `[..., units]`."""
        return self.gate(x)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="cdrzoo")
class SqueezeExcitation(keras.layers.Layer):
    """SENET: each field times a weight that is read off the means of all fields.

        s_i = mean_d e_{i,d},   A = relu(W_2 relu(W_1 s)),   v_i = A_i e_i

    without biases. A weight may be 0: the row does without that field.

    Args:
        reduction: r; W_1 leaves max(1, F / r) of F means; default 3.

    Call arguments:
        fields: e, `[B, F, d]`.

    Returns:
        v, `[B, F, d]`.

    Reference: Huang et al., FiBiNET (RecSys 2019), section 3, "SENET Layer".
    """

    def __init__(self, reduction: int = 3, **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def build(self, input_shape):
        fields = input_shape[1]
        squeezed = max(1, fields // self.reduction)
        self.squeeze = self.add_weight(name="squeeze", shape=(fields, squeezed), initializer="glorot_uniform")
        self.excite = self.add_weight(name="excite", shape=(squeezed, fields), initializer="glorot_uniform")

    def call(self, fields):
        weights = ops.relu(ops.matmul(ops.mean(fields, axis=-1), self.squeeze))
        return fields * ops.expand_dims(ops.relu(ops.matmul(weights, self.excite)), -1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "reduction": self.reduction}


def scale_fields(v: Any, p: Any, widths: Sequence[int]) -> Any:
    """Every field multiplied by its weight.

    Args:
        v: the fields' vectors side by side, `[batch, sum(widths)]`.
        p: `[batch, len(widths)]`.
        widths: width of each field.

    Returns:
        The shape of `v`.
    """
    # A product with ones, and not `take`: a GPU would leave the integers of that one to its host.
    columns = np.repeat(np.eye(len(widths), dtype="float32"), widths, axis=1)
    return v * ops.cast(ops.matmul(p, ops.cast(columns, p.dtype)), v.dtype)
