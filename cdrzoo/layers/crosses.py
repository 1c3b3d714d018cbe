"""Explicit crosses of features."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cdrzoo.errors import InputError


@keras.saving.register_keras_serializable(package="cdrzoo")
class BiInteraction(keras.layers.Layer):
    """Bi-interaction pooling: the element-wise products of all pairs of fields, added up.

        f = sum_{i<j} (c_i m_i) * (c_j m_j) = 1/2 ((sum_i c_i m_i)^2 - sum_i (c_i m_i)^2)

    Args:
        weighted: whether the c_i are learnt (they start at 1); otherwise they are 1, as in NFM.

    Call arguments:
        fields: m, `[B, F, d]`.

    Returns:
        `[B, d]`.

    Reference: He & Chua, Neural Factorization Machines (SIGIR 2017), equation 4; with weights Kong et al., DADIN, 2023,
    equations 7 and 8, whose bars are brackets: eq. 7 may be negative.
    """

    def __init__(self, weighted: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.weighted = weighted

    def build(self, input_shape):
        if self.weighted:
            self.c = self.add_weight(name="c", shape=(input_shape[1], 1), initializer="ones")

    def call(self, fields):
        if self.weighted:
            fields = self.c * fields
        return _sum_of_pairs(fields)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[2])

    def get_config(self):
        return {**super().get_config(), "weighted": self.weighted}


def _sum_of_pairs(fields: Any) -> Any:
    """The element-wise products of all pairs of fields, added up, in time linear in their number."""
    return 0.5 * (ops.square(ops.sum(fields, axis=1)) - ops.sum(ops.square(fields), axis=1))


def fm_term(fields: Any) -> Any:
    """The second-order term of a factorization machine: sum_{i<j} <e_i, e_j>.

    Several values of one field come here as their mean: there are no pairs within a field.

    Args:
        fields: e, `[B, F, d]`.

    Returns:
        float32 `[B, 1]`.

    Reference: Rendle, Factorization Machines (ICDM 2010), lemma 3.1.
    """
    return ops.sum(_sum_of_pairs(ops.cast(fields, "float32")), axis=-1, keepdims=True)


CROSSES = ("dcn", "literal", "dcn_v2")
"""The forms of `CrossNet`."""


@keras.saving.register_keras_serializable(package="cdrzoo")
class CrossNet(keras.layers.Layer):
    """A stack of crosses of a vector with itself; every layer adds one degree.

        "dcn":      x_{l+1} = x_0 (x_l . w_l) + b_l + x_l
        "literal":  x_{l+1} = x_l (x_0 . w_l) + b_l + x_0
        "dcn_v2":   x_{l+1} = x_0 * (x_l W_l + b_l) + x_l

    `"literal"` is the formula as MKT prints it. It equals `"dcn"` for one layer; from the second on it loses the path
    of lower degree: with b = 0 and s_l = x_0 . w_l two layers give (1 + s_0)(1 + s_1) x_0 as `"dcn"`, and
    (1 + s_1 + s_0 s_1) x_0 as printed. `"dcn_v2"` is `tensorflow_recommenders.layers.dcn.Cross`; it needs the package
    tensorflow-recommenders 0.7.3, which is imported when it is asked for.

    Args:
        layers: number of crosses; default 2.
        form: one of the three; default `"dcn"`.

    Call arguments:
        x: `[batch, width]`.

    Returns:
        `[batch, width]`.

    Raises:
        InputError: for another form, or when `"dcn_v2"` is asked for and its package is absent or unfit.

    Reference: Wang et al., Deep & Cross Network for Ad Click Predictions (ADKDD 2017), eq. 3; Wang et al., DCN V2
    (WWW 2021), eq. 1; Guan et al., Effective Two-Stage Knowledge Transfer for Multi-Entity Cross-Domain Recommendation
    (2024), eq. 4.
    """

    def __init__(self, layers: int = 2, form: str = "dcn", **kwargs):
        super().__init__(**kwargs)
        if form not in CROSSES:
            raise InputError(f"The form of a cross must be one of {', '.join(CROSSES)}. Received: {form!r}.")
        self.layers = layers
        self.form = form
        self.crosses: list[Any] = []
        if form == "dcn_v2":
            cross = _matrix_cross()
            self.crosses = [cross(dtype=self.dtype_policy) for _ in range(layers)]

    def build(self, input_shape):
        width = input_shape[-1]
        if self.form == "dcn_v2":
            for cross in self.crosses:  # the package's layers make their variables in their first call
                cross(ops.zeros((1, width), self.compute_dtype))
            return
        kernel = {"shape": (width, 1), "initializer": "glorot_uniform"}
        bias = {"shape": (width,), "initializer": "zeros"}
        self.kernels = [self.add_weight(name=f"kernel_{i}", **kernel) for i in range(self.layers)]
        self.biases = [self.add_weight(name=f"bias_{i}", **bias) for i in range(self.layers)]

    def call(self, x):
        first = x
        if self.form == "dcn_v2":
            for cross in self.crosses:
                x = cross(first, x)
            return x
        for kernel, bias in zip(self.kernels, self.biases):
            if self.form == "literal":
                x = x * ops.matmul(first, kernel) + bias + first
            else:
                x = first * ops.matmul(x, kernel) + bias + x
        return x

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "layers": self.layers, "form": self.form}


def _matrix_cross() -> type:
    """The layer class of tensorflow-recommenders, which no other part of the package needs."""
    fix = "Install it with `pip install tensorflow-recommenders==0.7.3`, or choose the form 'dcn'."
    try:
        from tensorflow_recommenders.layers.feature_interaction.dcn import Cross
    except ImportError as error:  # absent, or a version that refuses Keras 3
        raise InputError(
            f"The cross 'dcn_v2' comes from tensorflow-recommenders 0.7.3: {error}. {fix}"
        ) from error
    if not issubclass(Cross, keras.layers.Layer):
        raise InputError(
            "The cross 'dcn_v2' needs a process in which `tf.keras` is Keras 3, but TF_USE_LEGACY_KERAS is set and "
            "tensorflow-recommenders made its layer with Keras 2. Unset it, or choose the form 'dcn'."
        )
    return Cross
