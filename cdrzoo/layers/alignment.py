"""Fields that one kind of entity has and others lack, brought to a common width."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from cdrzoo.layers.crosses import CrossNet
from cdrzoo.layers.gates import scale_fields


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
        crosses = ops.concatenate([self.explicit(v), self.implicit(v)], axis=-1)  # eqs. 3-5
        return 2.0 * ops.sigmoid(ops.cast(self.fc(crosses), "float32"))  # eq. 6

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.fields)

    def compute_output_spec(self, v):
        return keras.KerasTensor(self.compute_output_shape(v.shape), "float32")

    def get_config(self):
        arguments = {"fields": self.fields, "cross": self.cross, "cross_layers": self.cross_layers}
        return {**super().get_config(), **arguments}


@keras.saving.register_keras_serializable(package="cdrzoo")
class HFA(keras.layers.Layer):
    """Heterogeneous feature alignment: the fields that an entity has alone, weighed and brought to a common width.

        a = ReLU(FC(flatten(V * p)))        V: one row a field, p: `FieldImportance`                  (eqs. 3-8)

    Args:
        widths: width of each field.
        units: width of a.
        importance: `False` leaves p out (p = 1; the ablation without HFA).
        cross, cross_layers: of the explicit crosses, see `FieldImportance`.

    Call arguments:
        specific: the fields side by side, `[B, sum(widths)]`.
        crossed: what the importance is read off; default `specific`.

    Returns:
        `[B, units]`.

    Reference: Guan et al., Effective Two-Stage Knowledge Transfer for Multi-Entity Cross-Domain Recommendation (2024),
    section 3.2.2.

    Example:
        >>> import keras
        >>> from cdrzoo.layers import HFA
        >>> HFA(widths=(4, 1), units=6)(keras.random.normal((3, 5))).shape
        TensorShape([3, 6])
    """

    def __init__(
        self, widths: Sequence[int], units: int, importance=True, cross="dcn", cross_layers=2, **kwargs
    ):
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.units = units
        self.importance = importance
        self.cross = cross
        self.cross_layers = cross_layers
        policy = self.dtype_policy
        self.gate = (
            FieldImportance(len(self.widths), cross, cross_layers, dtype=policy) if importance else None
        )
        self.fc = keras.layers.Dense(units, activation="relu", dtype=policy)

    def build(self, specific_shape, crossed_shape=None):
        if self.importance:
            self.gate.build(specific_shape if crossed_shape is None else crossed_shape)
        self.fc.build(specific_shape)

    def call(self, specific, crossed=None):
        p = self.weights_of(specific, crossed)
        return self.fc(scale_fields(specific, p, self.widths))  # eqs. 7, 8

    def weights_of(self, specific, crossed=None):
        """p: float32 `[B, number of fields]`, each in (0, 2)."""
        if not self.importance:
            return ops.ones((ops.shape(specific)[0], len(self.widths)), "float32")
        return self.gate(specific if crossed is None else crossed)

    def compute_output_shape(self, specific_shape, crossed_shape=None):
        return (specific_shape[0], self.units)

    def get_config(self):
        arguments = {"widths": list(self.widths), "units": self.units, "importance": self.importance}
        return {**super().get_config(), **arguments, "cross": self.cross, "cross_layers": self.cross_layers}
