"""AFM's attention to the pairs of fields."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from cdrzoo import replicas
from cdrzoo.layers.crosses import added_to_fields, first_and_second
from cdrzoo.layers.pooling import masked_softmax

IN_CACHE = 128
"""Rows of a batch at most whose pairs of fields are scored at a time."""


def blocks_of(fields: Any) -> int:
    """How many blocks of equal size a batch has; 1 where none fits, or its size is not known."""
    rows = fields.shape[0] or 1
    return next((rows // size for size in range(IN_CACHE, IN_CACHE // 4, -1) if rows % size == 0), 1)


@ops.custom_gradient
def _scores_of_pairs(fields: Any, kernel: Any, bias: Any, score: Any) -> Any:
    """h^T relu(W (e_i * e_j) + b) of all pairs i < j: fields `[B, F, d]` -> `[B, F (F - 1) / 2]`.

    A block of rows at a time, whose pairs stay in the processor's cache. Of these nothing is held: the gradient makes
    them again, which takes less time than to fetch them from memory.
    """
    count, d = fields.shape[1:]
    first, second = first_and_second(count)
    blocks = 1 if replicas.on_gpu() else blocks_of(fields)

    def each(function, *of_rows):
        of_blocks = [ops.reshape(x, (blocks, -1, *x.shape[1:])) for x in of_rows]
        return ops.map(lambda given: function(*given), of_blocks) if blocks > 1 else function(*of_rows)

    def pairs(rows):
        by_field = ops.transpose(rows, (1, 0, 2))
        one, other = (ops.take(by_field, which, axis=0) for which in (first, second))
        products = ops.reshape(one * other, (-1, d))
        return one, other, products, ops.relu(ops.matmul(products, kernel) + bias)

    def scored(rows):
        *_, hidden = pairs(rows)
        return ops.transpose(ops.reshape(ops.matmul(hidden, score), (len(first), -1)))

    def gradients(rows, upstream):
        one, other, products, hidden = pairs(rows)
        upstream = ops.reshape(ops.transpose(upstream), (-1, 1))
        of_hidden = ops.where(hidden > 0, ops.matmul(upstream, ops.transpose(score)), 0.0)
        of_products = ops.reshape(ops.matmul(of_hidden, ops.transpose(kernel)), ops.shape(one))
        by_field = added_to_fields(of_products * other, first, count)
        by_field += added_to_fields(of_products * one, second, count)
        of_rows = ops.transpose(by_field, (1, 0, 2))
        of_kernel = ops.matmul(ops.transpose(products), of_hidden)
        return of_rows, of_kernel, ops.sum(of_hidden, axis=0), ops.matmul(ops.transpose(hidden), upstream)

    def grad(*args, upstream=None):
        of_rows, *of_weights = each(gradients, fields, args[0] if upstream is None else upstream)
        if blocks > 1:
            of_rows, of_weights = ops.reshape(of_rows, fields.shape), [ops.sum(x, axis=0) for x in of_weights]
        return of_rows, *of_weights

    scores = each(scored, fields)
    return ops.reshape(scores, (-1, len(first))), grad


@ops.custom_gradient
def _weighted_pairs(fields: Any, weights: Any) -> Any:
    """sum_{i<j} a_ij e_i * e_j: fields `[B, F, d]`, weights of pairs `[B, F (F - 1) / 2]` -> `[B, d]`.

    As 1/2 sum_i e_i * (A e)_i with the symmetric matrix A of the weights: no product of a pair is held.
    """
    count = fields.shape[1]
    first, second = first_and_second(count)
    place = np.full((count, count), len(first))  # on the diagonal the zero behind the weights
    place[first, second] = place[second, first] = np.arange(len(first))
    padded = ops.concatenate([weights, ops.zeros_like(weights[:, :1])], axis=1)
    matrix = ops.reshape(ops.take(padded, place.reshape(-1), axis=1), (-1, count, count))
    others = ops.matmul(matrix, fields)

    def grad(*args, upstream=None):
        upstream = ops.expand_dims(args[0] if upstream is None else upstream, 1)
        products = ops.matmul(upstream * fields, ops.transpose(fields, (0, 2, 1)))
        of_pairs = ops.take(ops.reshape(products, (-1, count * count)), first * count + second, axis=1)
        return upstream * others, of_pairs

    return 0.5 * ops.sum(fields * others, axis=1), grad


@keras.saving.register_keras_serializable(package="cdrzoo")
class PairAttention(keras.layers.Layer):
    """Attention-based pooling of the element-wise products of all pairs of fields.

        p_ij = e_i * e_j,   a'_ij = h^T relu(W p_ij + b),   a = softmax(a'),   out = sum_{i<j} a_ij p_ij

    The softmax is over the pairs of fields that the row has: a field that is zeros (a missing id, an empty history) is
    one of the features whose x_i is 0, which the paper's sums leave out. A row without a pair gives zeros.

    Args:
        units: rows of W. Default: the width of the fields.

    Call arguments:
        fields: e, `[B, F, d]`.

    Returns:
        The pooled pairs `[B, d]` and the weights, float32 `[B, F (F - 1) / 2]`.

    Reference: Xiao et al., Attentional Factorization Machines (IJCAI 2017), eqs. 4 and 5.
    """

    def __init__(self, units: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        width = input_shape[-1]
        units = self.units or width
        self.kernel = self.add_weight(name="kernel", shape=(width, units), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(units,), initializer="zeros")
        self.score = self.add_weight(name="score", shape=(units, 1), initializer="glorot_uniform")

    def call(self, fields):
        present = ops.any(ops.not_equal(fields, 0), axis=-1)
        first, second = first_and_second(fields.shape[1])
        mask = ops.logical_and(ops.take(present, first, axis=1), ops.take(present, second, axis=1))
        variables = (ops.copy(each) for each in (self.kernel, self.bias, self.score))
        scores = ops.cast(_scores_of_pairs(fields, *variables), "float32")
        weights = masked_softmax(scores, mask)
        return _weighted_pairs(fields, ops.cast(weights, fields.dtype)), weights

    def compute_output_shape(self, input_shape):
        batch, fields, width = input_shape
        return (batch, width), (batch, fields * (fields - 1) // 2)

    def compute_output_spec(self, fields):
        pooled, weights = self.compute_output_shape(fields.shape)
        return keras.KerasTensor(pooled, self.compute_dtype), keras.KerasTensor(weights, "float32")

    def get_config(self):
        return {**super().get_config(), "units": self.units}
