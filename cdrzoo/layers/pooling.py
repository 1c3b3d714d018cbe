"""From a sequence of embeddings to one vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from cdrzoo import pieces
from cdrzoo.errors import InputError
from cdrzoo.layers.activations import Dice
from cdrzoo.layers.activations import activation as make_activation
from cdrzoo.xla import fused


def masked_mean(values: Any, mask: Any) -> Any:
    """Mean over the valid steps; zeros where no step is valid.

    Args:
        values: `[batch, n, width]`.
        mask: bool `[batch, n]`.

    Returns:
        `[batch, width]`.
    """
    return weighted_sum(shares(mask, values.dtype), values)


@pieces.once
def shares(mask: Any, dtype: Any) -> Any:
    """What each step counts in `masked_mean`, `[batch, n]`."""
    weights = ops.cast(mask, dtype)
    return weights / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1)


def masked_softmax(scores: Any, mask: Any) -> Any:
    """Softmax over the last axis and its valid steps; weights are 0 on the others, and where no step is valid.

    Args:
        scores: `[..., n]`.
        mask: bool, broadcast to `scores`.

    Returns:
        The shape of `scores`.
    """
    low = -6e4 if keras.backend.standardize_dtype(scores.dtype) == "float16" else -1e9
    weights = ops.softmax(ops.where(mask, scores, ops.cast(low, scores.dtype)), axis=-1)
    return weights * ops.cast(mask, scores.dtype)


def weighted_sum(weights: Any, values: Any) -> Any:
    """Sum over the steps: weights `[batch, n]`, values `[batch, n, width]` -> `[batch, width]`."""
    return ops.squeeze(ops.matmul(ops.expand_dims(weights, 1), values), 1)


def weighted_sums(weights: Any, *values: Any) -> Any:
    """The `weighted_sum` of each, side by side: `[batch, sum of the widths]`."""
    return ops.concatenate([weighted_sum(weights, each) for each in values], axis=-1)


def one_batch(vectors: Sequence[Any]) -> list[Any]:
    """Tensors `[B, ...]`, of which some may have one row for all rows of the others, as many rows each.

    So all that is one user's is computed once for his candidates, up to where it meets what is theirs.
    """
    many = [vector for vector in vectors if vector.shape[0] != 1]
    if not many or len(many) == len(vectors):
        return list(vectors)
    rows = ops.shape(many[0])[0]
    return [v if v.shape[0] != 1 else ops.broadcast_to(v, (rows, *v.shape[1:])) for v in vectors]


def joined(vectors: Sequence[Any]) -> Any:
    """Vectors side by side, of one batch (`one_batch`): `[B, sum of the widths]`."""
    rank = len(vectors[0].shape)
    rows = [
        ops.reshape(each, (-1, each.shape[1] * each.shape[2])) if len(each.shape) > rank else each
        for each in pieces.fields(vectors)
    ]
    return rows[0] if len(rows) == 1 else ops.concatenate(one_batch(rows), axis=-1)


def one_above_another(vectors: Sequence[Any]) -> Any:
    """Vectors `[B, width]` of one batch (`one_batch`) as fields: `[B, F, width]`."""
    fields = pieces.fields(vectors)
    if len(fields) == len(vectors):
        return ops.stack(one_batch(vectors), axis=1)
    fields = one_batch([each if len(each.shape) > 2 else ops.expand_dims(each, 1) for each in fields])
    return fields[0] if len(fields) == 1 else ops.concatenate(fields, axis=1)


@keras.saving.register_keras_serializable(package="cdrzoo")
class TargetAttention(keras.layers.Layer):
    """DIN's local activation unit: pools a history by each step's relevance for the candidate.

        a_j = MLP([q, k_j, q - k_j, q * k_j]),   out = sum_j a_j k_j

    The first layer is computed as q (Wq + Wd) + k_j (Wk - Wd + diag(q) Wp), whose first term and bracket cost
    once a row and not once a step.

    Where the mask is False the weight is exactly 0, whatever stands there, and Dice does not see it. A row
    without a valid step gives zeros.

    Args:
        units: widths of the hidden layers.
        activation: of the hidden layers: `"dice"` or a Keras activation.
        softmax: whether to normalise the weights over the valid steps. DIN does not.

    Call arguments:
        query: the candidate, `[batch, Dq]`.
        keys: the history, `[batch, n, Dk]`, Dk >= Dq: its first Dq columns are matched with the query; further
            ones (a position, a behaviour type) enter as they are.
        mask: bool `[batch, n]`. Default: every step is valid.
        return_weights: whether to return the weights too.

    Returns:
        `[batch, Dk]`, or with `return_weights` a tuple of it and the weights `[batch, n]`.

    Reference: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", 2018, section 4.3,
    equation 3, and figure 2.
    """

    def __init__(
        self, units: Sequence[int] = (80, 40), activation: Any = "dice", softmax: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.activation = activation
        self.softmax = softmax
        self.hidden = [keras.layers.Dense(width, dtype=self.dtype_policy) for width in self.units[1:]]
        self.activations = [make_activation(activation, dtype=self.dtype_policy) for _ in self.units]
        self.score = keras.layers.Dense(1, dtype=self.dtype_policy)

    def build(self, query_shape, keys_shape):
        width, extra = query_shape[-1], keys_shape[-1] - query_shape[-1]
        if extra < 0:
            raise InputError(
                f"The keys must be at least as wide as the query. Received: keys of width {keys_shape[-1]}, a query of "
                f"width {width}. Concatenate the same features, in the same order, on both sides."
            )
        # Rows of the kernel: q, k, q - k, q * k, and the keys' further columns.
        self.kernel = self.add_weight(
            name="kernel", shape=(4 * width + extra, self.units[0]), initializer="glorot_uniform"
        )
        self.bias = self.add_weight(name="bias", shape=(self.units[0],), initializer="zeros")
        shape = (*keys_shape[:-1], self.units[0])
        for index, layer in enumerate(self.activations):
            layer.build(shape)
            if index < len(self.hidden):
                self.hidden[index].build(shape)
                shape = (*shape[:-1], self.units[index + 1])
        self.score.build(shape)

    def call(self, query, keys, mask=None, training=False, return_weights=False):
        if mask is None:
            mask = ops.ones(ops.shape(keys)[:2], dtype="bool")
        size = math.prod(length or 0 for length in (*keys.shape[:2], max(self.units)))

        def attend(query, keys, mask):
            weights = self._weights(query, keys, mask, training)
            return weighted_sum(weights, keys), weights

        out, weights = fused(attend, query, keys, mask, layer=self, training=training, elements=size)
        return (out, weights) if return_weights else out

    def _weights(self, query, keys, mask, training):
        width = query.shape[-1]
        wq, wk, wd, wp, further = ops.split(self.kernel, [width, 2 * width, 3 * width, 4 * width], axis=0)
        row = ops.matmul(query, wq + wd) + self.bias
        h = ops.matmul(keys[..., :width], wk - wd + ops.expand_dims(query, 2) * wp) + ops.expand_dims(row, 1)
        if keys.shape[-1] > width:
            h = h + ops.matmul(keys[..., width:], further)
        steps = ops.shape(h)[:2]
        if not training:  # plain products: a dense layer works on shapes where it meets steps
            h = ops.reshape(h, (-1, self.units[0]))
        for index, layer in enumerate(self.activations):
            h = layer(h, mask=mask, training=training) if isinstance(layer, Dice) else layer(h)
            if index < len(self.hidden):
                h = self.hidden[index](h)
        scores = ops.reshape(self.score(h), steps)
        if self.softmax:
            return masked_softmax(scores, mask)
        return ops.where(mask, scores, ops.zeros_like(scores))

    def compute_output_shape(self, query_shape, keys_shape):
        return (query_shape[0], keys_shape[-1])

    def compute_output_spec(self, query, keys, mask=None, training=False, return_weights=False):
        out = keras.KerasTensor(self.compute_output_shape(query.shape, keys.shape), self.compute_dtype)
        return (out, keras.KerasTensor(keys.shape[:2], self.compute_dtype)) if return_weights else out

    def compute_mask(self, inputs, previous_mask):
        return None  # the steps end here; their mask must not reach the loss

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "softmax": self.softmax,
        }
