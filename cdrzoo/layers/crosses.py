"""Explicit crosses of features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from cdrzoo.errors import InputError, check_choice
from cdrzoo.xla import fused


@keras.saving.register_keras_serializable(package="cdrzoo")
class BiInteraction(keras.layers.Layer):
    """Bi-interaction pooling: the element-wise products of all pairs of fields, added up.

        f = sum_{i<j} (c_i m_i) * (c_j m_j) = 1/2 ((sum_i c_i m_i)^2 - sum_i (c_i m_i)^2)

    Args:
        weighted: whether the c_i are learnt; otherwise they are 1, as in NFM.
        start: where learnt c_i start; default 1. `"size"`: where f is as large as the m_i are while they are
            rows of tables that just start; from 1, products of such small vectors are next to nothing.

    Call arguments:
        fields: m, `[B, F, d]`.

    Returns:
        `[B, d]`.

    Reference: He & Chua, Neural Factorization Machines (SIGIR 2017), equation 4; with weights Kong et al., DADIN, 2023,
    equations 7 and 8, whose bars are brackets: eq. 7 may be negative.
    """

    def __init__(self, weighted: bool = True, start: float | str = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.weighted = weighted
        self.start = start

    def build(self, input_shape):
        if self.weighted:
            fields, start = input_shape[1], self.start
            if start == "size":
                # A row of a table is uniform in [-0.05, 0.05], of deviation s; c^2 s^2 sqrt(number of pairs) = s.
                start = (0.05 / math.sqrt(3.0) * math.sqrt(max(1, fields * (fields - 1) / 2))) ** -0.5
            self.c = self.add_weight(
                name="c", shape=(fields, 1), initializer=keras.initializers.Constant(start)
            )

    def call(self, fields):
        if self.weighted:
            fields = self.c * fields
        return _sum_of_pairs(fields)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[2])

    def get_config(self):
        return {**super().get_config(), "weighted": self.weighted, "start": self.start}


@ops.custom_gradient
def _sum_of_pairs(fields: Any) -> Any:
    """The element-wise products of all pairs of fields, added up, in time linear in their number.

    The gradient of e_i is dL/df * (sum_j e_j - e_i): one pass, where differentiation of the formula takes six.
    """
    total = ops.sum(fields, axis=1)

    def grad(*args, upstream=None):
        upstream = args[0] if upstream is None else upstream
        return ops.expand_dims(upstream, 1) * (ops.expand_dims(total, 1) - fields)

    return 0.5 * (ops.square(total) - ops.sum(ops.square(fields), axis=1)), grad


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


def first_and_second(count: int, apart: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The fields of each pair i + apart <= j of so many, in the order (0, 1), (0, 2), ..; int64, which a GPU keeps."""
    first, second = np.triu_indices(count, apart)
    return first.astype("int64"), second.astype("int64")


def added_to_fields(pairs: Any, of: np.ndarray, count: int) -> Any:
    """What pairs `[P, ..]` bring to the fields that they are `of`, added up: `[count, ..]`."""
    ones = ops.cast(of == np.arange(count)[:, None], pairs.dtype)
    added = ops.matmul(ones, ops.reshape(pairs, (len(of), -1)))
    return ops.reshape(added, (count, *ops.shape(pairs)[1:]))


def _pairs(left: Any, right: Any, apart: int = 1) -> Any:
    """left_i * right_j for all pairs i + apart <= j of fields, `[F, B, d]` -> `[P, B, d]`; left may lack the last.

    With the fields first, a pair is two long rows of memory. What all pairs of a field bring to its gradient is added
    up by a product with a matrix of ones: TensorFlow's gradient of `take` transposes and adds row by row.
    """
    first, second = first_and_second(right.shape[0], apart)

    @ops.custom_gradient
    def multiplied(left, right):
        one, other = ops.take(left, first, axis=0), ops.take(right, second, axis=0)

        def grad(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            return (
                added_to_fields(upstream * other, first, left.shape[0]),
                added_to_fields(upstream * one, second, right.shape[0]),
            )

        return one * other, grad

    return multiplied(left, right)


@keras.saving.register_keras_serializable(package="cdrzoo")
class CIN(keras.layers.Layer):
    """Compressed interaction network: crosses of whole fields, one degree higher with every layer.

        X^k_h = sum_{i, j} W^{k,h}_ij (X^0_i * X^{k-1}_j),   p^k_h = sum_d X^k_{h,d},   out = [p^1 | .. | p^T]

    with X^0 the fields. There is no activation, which the paper finds best, and all maps of a layer go to the output
    and to the next layer.

    Args:
        units: H_k, the maps of each layer.

    Call arguments:
        fields: `[B, F, d]`.

    Returns:
        `[B, sum(units)]`.

    Reference: Lian et al., xDeepFM (KDD 2018), section 3.2, eqs. 6 and 7.
    """

    def __init__(self, units: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        self.units = tuple(units)

    def build(self, input_shape):
        fields = input_shape[1]
        # Row i * H_{k-1} + j of a kernel belongs to field i and map j.
        self.kernels = [
            self.add_weight(name=f"kernel_{k}", shape=(fields * before, maps), initializer="glorot_uniform")
            for k, (before, maps) in enumerate(zip((fields, *self.units), self.units))
        ]

    def call(self, fields):
        first = maps = ops.transpose(fields, (0, 2, 1))  # the columns cross each by itself: [B, d, F]
        *inner, last = self.kernels
        pooled = []
        for k, kernel in enumerate(inner):
            if k:
                products = ops.expand_dims(first, 3) * ops.expand_dims(maps, 2)
                maps = ops.matmul(ops.reshape(products, (-1, first.shape[1], kernel.shape[0])), kernel)
            else:
                maps = self._squared(fields, kernel)
            pooled.append(ops.sum(maps, axis=1))
        # Nothing reads the maps of the last layer, so that the sum over d goes first, and the kernel meets one product
        # of each pair and not d: p^T_h = sum_{i, j} W_ij <X^0_i, X^{T-1}_j>.
        products = ops.matmul(fields, maps)
        pooled.append(ops.matmul(ops.reshape(products, (-1, last.shape[0])), last))
        return ops.concatenate(pooled, axis=-1)

    @staticmethod
    def _squared(fields, kernel):
        """X^1, `[B, d, H]`. Both factors are the fields: a pair is multiplied once, and its two weights are added."""
        _, count, d = fields.shape
        by_field = ops.transpose(fields, (1, 0, 2))
        first, second = first_and_second(count, apart=0)
        products = ops.reshape(_pairs(by_field, by_field, apart=0), (len(first), -1))
        weights = ops.reshape(kernel, (count, count, -1))
        weights = ops.reshape(weights + ops.transpose(weights, (1, 0, 2)), (count * count, -1))
        halves = ops.cast(np.where(first == second, 0.5, 1.0)[:, None], kernel.dtype)
        weights = ops.take(weights, first * count + second, axis=0) * halves
        maps = ops.matmul(ops.transpose(weights), products)
        return ops.transpose(ops.reshape(maps, (kernel.shape[1], -1, d)), (1, 2, 0))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], sum(self.units))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@ops.custom_gradient
def _with_matrices(rows: Any, matrices: Any) -> Any:
    """(v_i W_ij) * v_j of all pairs, for fields side by side, `[B, F d]` and `[d, P d]` -> `[B, P d]`.

    A field at a time, the matrices of all its pairs side by side: few large products and no small ones. The gradient
    adds up what reaches a field as it goes on, where that of slices would make a whole row of each.
    """
    d = matrices.shape[0]
    count = rows.shape[1] // d
    ends = np.cumsum([(count - 1 - i) * d for i in range(count - 1)])[:-1].tolist()

    def cut(pairs):
        return ops.split(pairs, ends, axis=1) if ends else [pairs]

    fields = ops.split(rows, count, axis=1)
    of_field = cut(matrices)
    lefts = [ops.matmul(one, weights) for one, weights in zip(fields, of_field)]

    def others(i):
        return rows[:, (i + 1) * d :]

    def grad(*args, upstream=None):
        parts = cut(args[0] if upstream is None else upstream)
        to_fields, to_matrices, later = [], [], None
        for i, (part, left) in enumerate(zip(parts, lefts)):
            to_left, to_others = part * others(i), part * left
            to_field = ops.matmul(to_left, ops.transpose(of_field[i]))
            to_matrices.append(ops.matmul(ops.transpose(fields[i]), to_left))
            to_fields.append(to_field if later is None else to_field + later[:, :d])
            later = to_others if later is None else to_others + later[:, d:]
        return ops.concatenate([*to_fields, later], axis=1), ops.concatenate(to_matrices, axis=1)

    return ops.concatenate([left * others(i) for i, left in enumerate(lefts)], axis=1), grad


BILINEAR = ("all", "each", "interaction")
"""What has a matrix of its own in `BilinearInteraction`: nothing, each field, each pair of fields."""


@keras.saving.register_keras_serializable(package="cdrzoo")
class BilinearInteraction(keras.layers.Layer):
    """Products of all pairs of fields, the first of which went through a matrix.

        p_ij = (v_i W) * v_j,  i < j

    Args:
        form: `"all"` (one W), `"each"` (W_i for each field but the last, which is never the first of a pair) or
            `"interaction"` (W_ij for each pair); default `"interaction"`.

    Call arguments:
        fields: v, `[B, F, d]`.

    Returns:
        `[B, F (F - 1) / 2, d]`; pairs in the order (0, 1), (0, 2), ..

    Raises:
        InputError: for another form.

    Reference: Huang et al., FiBiNET (RecSys 2019), section 3, "Bilinear-Interaction Layer".
    """

    def __init__(self, form: str = "interaction", **kwargs):
        super().__init__(**kwargs)
        check_choice("The form of a bilinear interaction", form, BILINEAR)
        self.form = form

    def build(self, input_shape):
        _, fields, width = input_shape
        count = {"all": 1, "each": fields - 1, "interaction": fields * (fields - 1) // 2}[self.form]
        # Every matrix starts as a dense layer's does: the number of matrices is no fan.
        limit = (3 / width) ** 0.5
        start = keras.initializers.RandomUniform(-limit, limit)
        self.kernel = self.add_weight(name="kernel", shape=(count, width, width), initializer=start)

    def call(self, fields, training=False):
        return fused(self._products, fields, layer=self, training=training)

    def _products(self, fields):
        if self.form == "interaction":
            return self._by_pair(fields)
        if self.form == "each":
            left = ops.einsum("bfd,fde->bfe", fields[:, :-1], self.kernel)
        else:
            left = ops.matmul(fields, self.kernel[0])
        by_field = (ops.transpose(each, (1, 0, 2)) for each in (left, fields))
        return ops.transpose(_pairs(*by_field), (1, 0, 2))

    def _by_pair(self, fields):
        _, count, d = fields.shape
        matrices = ops.reshape(ops.transpose(self.kernel, (1, 0, 2)), (d, -1))
        pairs = _with_matrices(ops.reshape(fields, (-1, count * d)), matrices)
        return ops.reshape(pairs, (-1, count * (count - 1) // 2, d))

    def compute_output_shape(self, input_shape):
        batch, fields, width = input_shape
        return (batch, fields * (fields - 1) // 2, width)

    def get_config(self):
        return {**super().get_config(), "form": self.form}


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
        check_choice("The form of a cross", form, CROSSES)
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
