"""Cross-attention between a sequence and one vector: a domain's features, then a candidate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import keras
from keras import ops

from cdrzoo.errors import SchemaError, check_choice
from cdrzoo.layers.pooling import joined, masked_mean, masked_softmax

MODES = ("domain_query", "gate", "literal")


@keras.saving.register_keras_serializable(package="cdrzoo")
class CrossAttention(keras.layers.Layer):
    """One step of attention between a sequence X and a single vector c; it re-weights the sequence and keeps its steps.

    With n the number of valid steps and d the width of the projections:

        query:    a_i = softmax_i(c W^Q . x_i W^K / sqrt(d)),   out_i = n a_i x_i W^V
        gate:     a_i = sigmoid(x_i W^Q . c W^K / sqrt(d)),     out_i = a_i x_i W^V
        literal:  a_i = softmax over the one key c W^K = 1,     out_i = a_i c W^V
        mean:     a_i = 1 / n,                                  out_i = n a_i x_i W^V = x_i W^V

    The mean of `out` over the valid steps is the usual weighted sum of values. The factor n keeps the size of a step:
    with it, equal weights leave the values as they are, whatever the length of the sequence.

    Args:
        width: d, of the projections.
        mode: `"query"`, `"gate"`, `"literal"` or `"mean"`.

    Call arguments:
        sequence: X, `[batch, n, Dx]`.
        vector: c, `[batch, Dc]`.
        mask: bool `[batch, n]`.

    Returns:
        `(out, a)`: `[batch, n, width]` and float32 `[batch, n]`, which is 0 where the mask is False.

    Reference: Luo et al., Domain-Aware Cross-Attention for Cross-Domain Recommendation (ICASSP 2024), eqs. 1 and 2.
    """

    def __init__(self, width: int, mode: str = "query", **kwargs):
        super().__init__(**kwargs)
        check_choice("`mode`", mode, ("query", "gate", "literal", "mean"))
        self.width = width
        self.mode = mode

    def build(self, sequence_shape, vector_shape):
        x, c = sequence_shape[-1], vector_shape[-1]
        widths = {"query": (c, x, x), "gate": (x, c, x), "literal": (x, c, c), "mean": (None, None, x)}[
            self.mode
        ]
        self.query_kernel, self.key_kernel, self.value_kernel = (
            None
            if rows is None
            else self.add_weight(name=name, shape=(rows, self.width), initializer="glorot_uniform")
            for name, rows in zip(("query_kernel", "key_kernel", "value_kernel"), widths)
        )

    def call(self, sequence, vector, mask):
        valid = ops.cast(mask, "float32")
        steps = ops.sum(valid, axis=1, keepdims=True)
        if self.mode == "mean":
            weights = valid / ops.maximum(steps, 1.0)
            return ops.matmul(sequence, self.value_kernel), weights
        if self.mode == "query":
            query, keys = ops.matmul(vector, self.query_kernel), ops.matmul(sequence, self.key_kernel)
            weights = masked_softmax(self._match(keys, query), mask)
            scale = steps * weights
        else:
            queries, key = ops.matmul(sequence, self.query_kernel), ops.matmul(vector, self.key_kernel)
            match = self._match(queries, key)
            if self.mode == "gate":
                weights = scale = ops.sigmoid(match) * valid
            else:
                # Written out: `ops.softmax` warns at every call about exactly this, an axis of size 1.
                one_key = ops.exp(match - ops.max(match[..., None], axis=-1))
                weights = scale = one_key / ops.sum(one_key[..., None], axis=-1) * valid
                sequence = ops.expand_dims(vector, 1)
        return ops.cast(scale[..., None], self.compute_dtype) * ops.matmul(
            sequence, self.value_kernel
        ), weights

    def _match(self, steps, one):
        """Scaled products of every step with one vector, float32 `[batch, n]`: a softmax in 16 bits is too coarse."""
        products = ops.squeeze(ops.matmul(steps, ops.expand_dims(one, -1)), -1)
        return ops.cast(products, "float32") / math.sqrt(self.width)

    def compute_output_shape(self, sequence_shape, vector_shape):
        return (*sequence_shape[:-1], self.width), sequence_shape[:-1]

    def compute_output_spec(self, sequence, vector, mask):
        out, weights = self.compute_output_shape(sequence.shape, vector.shape)
        return keras.KerasTensor(out, self.compute_dtype), keras.KerasTensor(weights, "float32")

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def get_config(self):
        return {**super().get_config(), "width": self.width, "mode": self.mode}


@keras.saving.register_keras_serializable(package="cdrzoo")
class DomainAwareCrossAttention(keras.layers.Layer):
    """Two steps of cross-attention: coarse, by the target domain's features, then fine, by the candidate.

        e_1 = CrossAttention_1(X, e_d),   e_z = mean over the valid steps of CrossAttention_2(e_1, e_v)

    The default `domain_query` asks with the domain and then with the item:

        alpha_i = softmax_i(e_d W_1^Q . x_i W_1^K / sqrt(d)),      e_1[i] = n alpha_i x_i W_1^V
        beta_i  = softmax_i(e_v W_2^Q . e_1[i] W_2^K / sqrt(d)),   e_z = sum_i beta_i e_1[i] W_2^V

    A sequence without a valid step gives zeros; what stands in masked steps does not matter.

    Args:
        width: d, of both steps' projections and of the output.
        mode: `"domain_query"`, `"gate"` (the behaviours ask, as printed, but a sigmoid takes the place of the softmax)
            or `"literal"` (as printed: whatever the user did, e_z = e_v W_2^V; it warns).
        domain_attention: `False` gives step 1 equal weights: e_1 = X W_1^V.
        item_attention: `False` gives step 2 equal weights: e_z = mean(e_1 W_2^V).

    Call arguments:
        sequence: X, `[batch, n, Dx]`.
        domain: e_d, `[batch, Dd]`.
        item: e_v, `[batch, Dv]`.
        mask: bool `[batch, n]`.
        return_weights: whether to return the weights too.

    Returns:
        e_z, `[batch, width]`; with `return_weights` a tuple of it, alpha and beta, float32 `[batch, n]`.

    Reference: Luo et al., Domain-Aware Cross-Attention for Cross-Domain Recommendation (ICASSP 2024), section 3.2.
    """

    def __init__(
        self, width: int, mode: str = "domain_query", domain_attention=True, item_attention=True, **kwargs
    ):
        super().__init__(**kwargs)
        check_choice("`mode`", mode, MODES)
        if mode == "literal":
            warnings.warn(
                "Attention in the mode 'literal' computes equations 3 and 4 as printed: a softmax over one key is 1, "
                "so the score does not depend on what the user did in the source. It is there for the record; train "
                "'domain_query'.",
                stacklevel=2,
            )
        self.width = width
        self.mode = mode
        self.domain_attention = domain_attention
        self.item_attention = item_attention
        step = "query" if mode == "domain_query" else mode
        self.domain_step, self.item_step = (
            CrossAttention(width, step if on else "mean", dtype=self.dtype_policy, name=f"{name}_step")
            for name, on in (("domain", domain_attention), ("item", item_attention))
        )

    def build(self, sequence_shape, domain_shape, item_shape, mask_shape=None):
        self.domain_step.build(sequence_shape, domain_shape)
        self.item_step.build((*sequence_shape[:-1], self.width), item_shape)

    def call(self, sequence, domain, item, mask, return_weights=False):
        weighed, alpha = self.domain_step(sequence, domain, mask=mask)
        weighed, beta = self.item_step(weighed, item, mask=mask)
        out = masked_mean(weighed, mask)
        return (out, alpha, beta) if return_weights else out

    def compute_output_shape(self, sequence_shape, domain_shape, item_shape):
        return (sequence_shape[0], self.width)

    def compute_output_spec(self, sequence, domain, item, mask, return_weights=False):
        shape = self.compute_output_shape(sequence.shape, domain.shape, item.shape)
        out = keras.KerasTensor(shape, self.compute_dtype)
        alpha, beta = (keras.KerasTensor(sequence.shape[:-1], "float32") for _ in range(2))
        return (out, alpha, beta) if return_weights else out

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def get_config(self):
        arguments = {
            "width": self.width,
            "mode": self.mode,
            "domain_attention": self.domain_attention,
            "item_attention": self.item_attention,
        }
        return {**super().get_config(), **arguments}


@keras.saving.register_keras_serializable(package="cdrzoo")
class DomainView(keras.layers.Layer):
    """How one target sees what its users did elsewhere: a vector of its own, and an attention over each sequence.

        e_d = [the target's vector | context],   e_z = DomainAwareCrossAttention_z(X_z, e_d, e_v)

    Args:
        sequences: `{sequence: width of its steps}`.
        width, mode, domain_attention, item_attention: of `DomainAwareCrossAttention`; `width` is the vector's, too.
        share: `True`: one attention for all sequences, which are then of one width; default: each has its own.

    Call arguments:
        steps: X_z, `{sequence: [B, n, Dx]}`.
        masks: `{sequence: bool [B, n]}`.
        context: the features of the row's context, `[B, Dc]`; Dc may be 0.
        item: e_v, `[B, Dv]`.

    Returns:
        e_d, `[B, width + Dc]`, and `{sequence: (e_z, alpha, beta)}`: `[B, width]`, float32 `[B, n]` and `[B, n]`.

    Raises:
        SchemaError: with `share`, for sequences of several widths.

    Reference: Luo et al., Domain-Aware Cross-Attention for Cross-Domain Recommendation (ICASSP 2024), section 3.2.
    """

    def __init__(
        self,
        sequences: Mapping[str, int],
        width: int,
        mode: str = "domain_query",
        domain_attention: bool = True,
        item_attention: bool = True,
        share: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if share and len(set(sequences.values())) > 1:
            raise SchemaError(
                "`share_attention` needs sequences of one width. Give their tables one, or leave it out."
            )
        self.sequences = dict(sequences)
        self.width = width
        self.mode = mode
        self.domain_attention = domain_attention
        self.item_attention = item_attention
        self.share = share
        self.vector = self.add_weight(name="vector", shape=(width,), initializer="uniform")
        self.attentions = {
            name: DomainAwareCrossAttention(
                width,
                mode,
                domain_attention,
                item_attention,
                dtype=self.dtype_policy,
                name=f"{name}_attention",
            )
            for name in (["shared"] if share else self.sequences)
        }

    def build(self, steps_shape, masks_shape, context_shape, item_shape):
        domain_shape = (item_shape[0], self.width + context_shape[-1])
        for name in self.sequences:
            if not self.attention(name).built:  # sequences may share it
                self.attention(name).build(steps_shape[name], domain_shape, item_shape)

    def attention(self, sequence: str) -> DomainAwareCrossAttention:
        """The attention over one sequence."""
        return self.attentions["shared" if self.share else sequence]

    def call(self, steps, masks, context, item):
        vector = ops.zeros_like(item[:, :1]) + ops.cast(self.vector, self.compute_dtype)
        domain = joined([vector, context])
        seen = {
            name: self.attention(name)(steps[name], domain, item, mask=masks[name], return_weights=True)
            for name in self.sequences
        }
        return domain, seen

    def compute_output_shape(self, steps_shape, masks_shape, context_shape, item_shape):
        seen = {}
        for name in self.sequences:
            weights = tuple(masks_shape[name])
            seen[name] = ((item_shape[0], self.width), weights, weights)
        return (item_shape[0], self.width + context_shape[-1]), seen

    def get_config(self):
        names = ("sequences", "width", "mode", "domain_attention", "item_attention", "share")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
