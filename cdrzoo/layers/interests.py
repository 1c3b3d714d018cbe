"""A user's interests: fields summed to one width, attention over the items of a history, and over interests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from cdrzoo.errors import SchemaError
from cdrzoo.layers.embedding import known
from cdrzoo.layers.fields import (
    events,
    history_field,
    number_places,
    number_vector,
    one_width,
    places_end,
)
from cdrzoo.layers.pooling import masked_mean, masked_softmax, one_batch, weighted_sum
from cdrzoo.schema import Feature, Schema
from cdrzoo.xla import fused


@keras.saving.register_keras_serializable(package="cdrzoo")
class FieldPooling(keras.layers.Layer):
    """Field pooling: the embeddings of the features of one field, added up.

        p = x_uid + x_age + x_city + ...                                     (eq. 1)

    The fields of a row are `item` (what is judged), `user` (profile, and the context the user is in) and
    `history_<domain>` (the steps, whose item, category, ... are added up). A number is its value times a vector of its
    own. Several ids that are no history (the words of a title) count as their mean. Features of one name are one slot
    in every domain that lists them, so their number's vector is shared.

    Args:
        schema: the schema; all tables of one width.
        separate_columns: `True`: each column of a history is a field of its own, by its name; default `False`.

    Call arguments:
        ids: the row as it came, `{feature: tensor}`; says which steps are padding.
        embedded: the same features after `FeatureEmbedding`.
        domain: whose rows these are.

    Returns:
        `(fields, masks)`: `{field: [B, width]}`, of a history `[B, n, width]`, and `{history field: bool [B, n]}`. A
        field of which the row lists nothing is absent.

    Raises:
        SchemaError: when tables have different widths, or a domain lists no feature of role item.

    Reference: Kong et al., DADIN, 2023, section 3.2.1.
    """

    def __init__(self, schema, separate_columns: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.separate_columns = separate_columns
        self.width = one_width(self.schema, "added up")
        for domain in self.schema.domains:
            if not domain.with_role("item"):
                raise SchemaError(
                    f"A row needs a candidate, but domain {domain.name!r} lists no feature of role item."
                )
        order = (self.schema.target_domain, *self.schema.sources)
        listed = [f for of in order for d in order for f in d.histories(of.name)]
        self.histories = list(dict.fromkeys(map(self._field, listed)))
        features = (f for d in self.schema.domains for f in d.features)
        self.numbers = number_places(sorted(features, key=lambda f: f.name))

    def _field(self, f: Feature) -> str:
        if f.role == "history":
            return f.name if self.separate_columns else history_field(f.of)
        return "item" if f.role == "item" else "user"

    def build(self, ids_shape=None, embedded_shape=None):
        if self.numbers:
            self.number_vectors = self.add_weight(
                name="number_vectors", shape=(places_end(self.numbers), self.width), initializer="uniform"
            )

    def call(self, ids: Mapping[str, Any], embedded: Mapping[str, Any], domain: str | None = None):
        row = self.schema.domain(domain)
        parts: dict[str, list[Any]] = {}
        for f in row.features:
            vector = embedded[f.name]
            if f.table is None:
                vector = number_vector(vector, self.number_vectors[self.numbers[f.name]])
            elif f.kind == "ids" and f.role != "history":
                vector = masked_mean(vector, known(ids[f.name]))
            parts.setdefault(self._field(f), []).append(vector)
        fields = {field: sum(vectors[1:], start=vectors[0]) for field, vectors in parts.items()}
        columns: dict[str, list[Feature]] = {}
        for f in row.histories():
            columns.setdefault(self._field(f), []).append(f)
        return fields, {field: events(histories, ids) for field, histories in columns.items()}

    def compute_output_shape(self, ids_shape, embedded_shape=None, domain=None):
        fields: dict[str, Any] = {}
        masks: dict[str, Any] = {}
        listing = (d for d in self.schema.domains if {f.name for f in d.tensors} == set(ids_shape))
        row = self.schema.domain(domain) if domain else next(listing, self.schema.target_domain)
        for f in row.features:
            fields[self._field(f)] = (ids_shape[f.name][0], self.width)
            if f.role == "history":
                masks[self._field(f)] = ids_shape[f.name]
                fields[self._field(f)] = (*ids_shape[f.name], self.width)
        return fields, masks

    def compute_output_spec(self, ids, embedded, domain=None):
        shapes = {name: value.shape for name, value in ids.items()}
        fields, masks = self.compute_output_shape(shapes, domain=domain)
        return (
            {name: keras.KerasTensor(shape, self.compute_dtype) for name, shape in fields.items()},
            {name: keras.KerasTensor(shape, "bool") for name, shape in masks.items()},
        )

    def get_config(self):
        arguments = {"schema": self.schema.to_dict(), "separate_columns": self.separate_columns}
        return {**super().get_config(), **arguments}


@keras.saving.register_keras_serializable(package="cdrzoo")
class ItemAttention(keras.layers.Layer):
    """Pools a history by each item's relevance for the candidate and the user.

        beta~_t = h^T relu(W [r_t | q | p | r_t * q]),   beta = softmax(beta~),   a = sum_t beta_t r_t     (eqs. 2, 3)

    computed as relu(r_t (W_r + diag(q) W_rq) + (q W_q + p W_p)), whose bracket costs once a row. Steps that the mask
    leaves out weigh exactly 0; a row without a valid step gives zeros.

    The product compares column by column. Where the items of a history are not described as the candidate is (those of
    another domain), a matrix of low rank brings them to it first: (r_t M) * q, M = H_a H_b. What is pooled is r_t.

    Args:
        units: rows of W. Default: the width of the candidate.
        rank: of the transfer matrix M; default: there is none.
        matched: without M: how many leading columns of r and q are compared; default all.

    Call arguments:
        query: q, `[B, Dq]`.
        profile: p, `[B, Dp]`.
        keys: r, `[B, n, Dr]`.
        mask: bool `[B, n]`.
        training: whether this is a training step.

    Returns:
        The pooled history `[B, Dr]` and the weights, float32 `[B, n]`.

    Reference: Kong et al., DADIN, 2023, section 3.2.2; Ouyang et al., MiNet (CIKM 2020), section 2.5.
    """

    def __init__(
        self, units: int | None = None, rank: int | None = None, matched: int | None = None, **kwargs
    ):
        super().__init__(**kwargs)
        self.units = units
        self.rank = rank
        self.matched = matched

    def build(self, query_shape, profile_shape=None, keys_shape=None):
        q = query_shape[-1]
        p, r = (q if shape is None else shape[-1] for shape in (profile_shape, keys_shape))
        self.product = q if self.rank else self.matched or q
        units = self.units or q
        self.rows = (r, r + q, r + q + p)  # of the kernel: r, q, p, r * q
        shape = (self.rows[-1] + self.product, units)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.score = self.add_weight(name="score", shape=(units, 1), initializer="glorot_uniform")
        if self.rank:
            self.transfer_in = self.add_weight(
                name="transfer_in", shape=(r, self.rank), initializer="glorot_uniform"
            )
            self.transfer_out = self.add_weight(
                name="transfer_out", shape=(self.rank, q), initializer="glorot_uniform"
            )

    def call(self, query, profile, keys, mask, training=False):
        size = math.prod(length or 0 for length in (*keys.shape[:2], self.kernel.shape[1]))

        def attend(query, profile, keys, mask):
            w_r, w_q, w_p, w_rq = ops.split(self.kernel, self.rows, axis=0)
            row = ops.expand_dims(ops.matmul(query, w_q) + ops.matmul(profile, w_p), 1)
            product = ops.expand_dims(query[:, : self.product], 2) * w_rq
            if self.rank:
                product = ops.matmul(self.transfer_in, ops.matmul(self.transfer_out, product))
            if product.shape[1] == keys.shape[2]:
                of_step = ops.matmul(keys, w_r + product)
            else:
                of_step = ops.matmul(keys, w_r) + ops.matmul(keys[..., : self.product], product)
            hidden = ops.relu(of_step + row)
            # In float32: a softmax in 16 bits is too coarse.
            scores = ops.cast(ops.squeeze(ops.matmul(hidden, self.score), -1), "float32")
            weights = masked_softmax(scores, mask)
            return weighted_sum(ops.cast(weights, keys.dtype), keys), weights

        return fused(attend, query, profile, keys, mask, layer=self, training=training, elements=size)

    def compute_output_shape(self, query_shape, profile_shape, keys_shape):
        return (keys_shape[0], keys_shape[2]), keys_shape[:2]

    def compute_output_spec(self, query, profile, keys, mask, training=False):
        out, weights = self.compute_output_shape(query.shape, profile.shape, keys.shape)
        return keras.KerasTensor(out, self.compute_dtype), keras.KerasTensor(weights, "float32")

    def compute_mask(self, inputs, previous_mask):
        return None  # the steps end here

    def get_config(self):
        arguments = {"units": self.units, "rank": self.rank, "matched": self.matched}
        return {**super().get_config(), **arguments}


@keras.saving.register_keras_serializable(package="cdrzoo")
class MeanInterest(keras.layers.Layer):
    """Pools a history by its mean: `ItemAttention` whose weights are equal, for ablations.

    Call arguments: those of `ItemAttention`; candidate and user are not looked at.

    Returns:
        The mean of the valid steps, `[B, Dr]`, and the weights, float32 `[B, n]`: 1 over their number.
    """

    def build(self, query_shape, profile_shape=None, keys_shape=None):
        self.built = True

    def call(self, query, profile, keys, mask, training=False):
        valid = ops.cast(mask, "float32")
        weights = valid / ops.maximum(ops.sum(valid, axis=1, keepdims=True), 1.0)
        return masked_mean(keys, mask), weights

    def compute_output_shape(self, query_shape, profile_shape, keys_shape):
        return (keys_shape[0], keys_shape[2]), keys_shape[:2]

    def compute_mask(self, inputs, previous_mask):
        return None  # the steps end here


@keras.saving.register_keras_serializable(package="cdrzoo")
class InterestAttention(keras.layers.Layer):
    """How much each of a user's interests weighs beside the candidate.

        c = [m_1 | m_2 | ... | m_F],   v_i = exp(g_i^T relu(V_i c) + b_i),   i = 2 .. F                     (eq. 6)

    m_1 is the candidate, whose weight is 1. The printed bias stands outside the exponential, where it can make v
    negative, against the text ("mapping it to R+"); in MiNet, whose block this is, it stands inside. Exponents are cut
    at 10.

    Args:
        bias_outside: the printed form: exp(g^T relu(V c)) + b.
        units: rows of V. Default: the width of the candidate.
        starts: where the b_i start; default 0.

    Call arguments:
        fields: m, `[B, F, d]`, or a list of F vectors of widths of their own, `[B, d_i]`.

    Returns:
        v, `[B, F - 1]`.

    Reference: Kong et al., DADIN, 2023, section 3.2.3; Ouyang et al., MiNet (CIKM 2020), section 2.6.
    """

    def __init__(
        self,
        bias_outside: bool = False,
        units: int | None = None,
        starts: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.bias_outside = bias_outside
        self.units = units
        self.starts = None if starts is None else tuple(starts)

    def build(self, input_shape):
        if isinstance(input_shape[0], (list, tuple)):
            widths = [shape[-1] for shape in input_shape]
        else:
            widths = [input_shape[2]] * input_shape[1]
        fields, units = len(widths), self.units or widths[0]
        options: dict[str, Any] = {"use_bias": False, "dtype": self.dtype_policy}
        self.hidden = [keras.layers.Dense(units, "relu", name=f"v_{i}", **options) for i in range(1, fields)]
        self.score = [keras.layers.Dense(1, name=f"g_{i}", **options) for i in range(1, fields)]
        for hidden, score in zip(self.hidden, self.score):
            hidden.build((None, sum(widths)))
            score.build((None, units))
        starts = keras.initializers.Constant(0.0 if self.starts is None else list(self.starts))
        self.bias = self.add_weight(name="bias", shape=(fields - 1,), initializer=starts)

    def call(self, fields, training=False):
        if isinstance(fields, (list, tuple)):
            row = ops.concatenate(fields, axis=-1)
        else:
            row = ops.reshape(fields, (-1, fields.shape[1] * fields.shape[2]))

        def weigh(c):
            exponent = ops.concatenate([g(v(c)) for v, g in zip(self.hidden, self.score)], axis=-1)
            if self.bias_outside:
                return ops.exp(ops.minimum(exponent, 10.0)) + self.bias
            return ops.exp(ops.minimum(exponent + self.bias, 10.0))

        return fused(weigh, row, layer=self, training=training)

    def compute_output_shape(self, input_shape):
        if isinstance(input_shape[0], (list, tuple)):
            return (input_shape[0][0], len(input_shape) - 1)
        return (input_shape[0], input_shape[1] - 1)

    def get_config(self):
        starts = None if self.starts is None else list(self.starts)
        arguments = {"bias_outside": self.bias_outside, "units": self.units, "starts": starts}
        return {**super().get_config(), **arguments}


@keras.saving.register_keras_serializable(package="cdrzoo")
class DomainMark(keras.layers.Layer):
    """A learnt vector of the row's domain as a further field: what shares all else may then differ by domain.

    Args:
        domains: their names.

    Call arguments:
        fields: m, `[B, F, d]`.
        domain: whose rows these are; default: the first one.

    Returns:
        `[B, F + 1, d]`.
    """

    def __init__(self, domains: Sequence[str], **kwargs):
        super().__init__(**kwargs)
        self.domains = list(domains)

    def build(self, input_shape):
        shape = (len(self.domains), input_shape[-1])
        self.marks = self.add_weight(name="marks", shape=shape, initializer="uniform")

    def call(self, fields, domain: str | None = None):
        mark = self.marks[self.domains.index(domain) if domain else 0]
        return ops.concatenate([fields, ops.zeros_like(fields[:, :1]) + mark], axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] + 1, input_shape[2])

    def get_config(self):
        return {**super().get_config(), "domains": self.domains}


def pooled_interests(
    fields: Mapping[str, Any], masks: Mapping[str, Any], pools: Mapping[str, Any], training: bool = False
) -> tuple[Any, dict[str, Any]]:
    """The candidate, the user and the pooled histories of a row; zeros for what it does not list.

    Args:
        fields, masks: what `FieldPooling` gives.
        pools: `{history field: ItemAttention or MeanInterest}`, in order.
        training: whether this is a training step.

    Returns:
        `[B, 2 + number of histories, d]`, and the weights of the steps, `{history field: float32 [B, n]}`.
    """
    item = fields["item"]
    nothing, weights = ops.zeros_like(item), {}
    user, histories = fields.get("user", nothing), []
    for name, pool in pools.items():
        vector = nothing
        if name in fields:
            vector, weights[name] = pool(item, user, fields[name], masks[name], training=training)
        histories.append(vector)
    return ops.stack(one_batch([item, user, *histories]), axis=1), weights


def history_steps(histories: Sequence[Feature], ids: Mapping[str, Any], embedded: Mapping[str, Any]) -> Any:
    """The steps of histories that run in step, their columns side by side.

    Args:
        histories: the histories of one domain, in the order that is wanted.
        ids: the row as it came, `{feature: tensor}`.
        embedded: the same features after `FeatureEmbedding`.

    Returns:
        The steps `[B, n, width]` and, as a step counts if any of its columns is known, their mask, bool `[B, n]`.
    """
    return ops.concatenate([embedded[f.name] for f in histories], axis=-1), events(histories, ids)


def own_partners_first(pairs: Sequence[tuple[str, str | None]]) -> tuple[list[str], list[str]]:
    """The histories, those with a feature of the candidate to be compared with first; and these features, in order."""
    partners: dict[str, str] = {}
    for history, partner in pairs:
        if partner is not None:
            partners.setdefault(partner, history)
    names = list(partners.values())
    return [*names, *(name for name, _ in pairs if name not in names)], list(partners)
