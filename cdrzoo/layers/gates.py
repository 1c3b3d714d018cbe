"""Gates: how much of a vector passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from cdrzoo.layers.crosses import CrossNet


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
class FieldImportance(keras.layers.Layer):
    """The importance of each field of a row, read off explicit and implicit crosses of the fields.

        p = 2 sigmoid(FC([Cross(v) | ReLU(v W + b)]))

    so that a field is weakened (p < 1) or amplified (p > 1). The implicit part is as wide as v.

    Args:
        fields: how many fields get an importance.
        cross: the form of the explicit crosses, see `CrossNet`; default `"dcn"`.
        cross_layers: their number; default 2.

    Call arguments:
        v: the fields' vectors side by side, `[batch, width]`.

    Returns:
        float32 `[batch, fields]`, each in (0, 2).

    Reference: Guan et al., Effective Two-Stage Knowledge Transfer for Multi-Entity Cross-Domain Recommendation (2024),
    eqs. 3-6.
    """

    def __init__(self, fields: int, cross: str = "dcn", cross_layers: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.fields = fields
        self.cross = cross
        self.cross_layers = cross_layers
        self.explicit = CrossNet(cross_layers, cross, dtype=self.dtype_policy)
        self.fc = keras.layers.Dense(fields, dtype=self.dtype_policy)

    def build(self, input_shape):
        width = input_shape[-1]
        self.implicit = keras.layers.Dense(width, activation="relu", dtype=self.dtype_policy)
        self.implicit.build(input_shape)
        self.explicit.build(input_shape)
        self.fc.build((*input_shape[:-1], 2 * width))

    def call(self, v):
        crosses = ops.concatenate([self.explicit(v), self.implicit(v)], axis=-1)
        return 2.0 * ops.sigmoid(ops.cast(self.fc(crosses), "float32"))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.fields)

    def compute_output_spec(self, v):
        return keras.KerasTensor(self.compute_output_shape(v.shape), "float32")

    def get_config(self):
        arguments = {"fields": self.fields, "cross": self.cross, "cross_layers": self.cross_layers}
        return {**super().get_config(), **arguments}


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
    columns = np.repeat(np.arange(len(widths)), widths).astype("int32")
    return v * ops.cast(ops.take(p, columns, axis=-1), v.dtype)
