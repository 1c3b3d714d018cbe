"""From looked-up features to one vector a field."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from cdrzoo import pieces
from cdrzoo.errors import InputError, SchemaError, shown
from cdrzoo.layers.embedding import FeatureEmbedding, known
from cdrzoo.layers.pooling import (
    TargetAttention,
    joined,
    masked_mean,
    one_above_another,
    shares,
    weighted_sum,
    weighted_sums,
)
from cdrzoo.schema import Domain, Feature, Schema
from cdrzoo.xla import fused


@keras.saving.register_keras_serializable(package="cdrzoo")
class FieldVectors(keras.layers.Layer):
    """One vector for each field of a domain's row.

    An id or a number is its own field. Several ids that are no history are averaged. The histories of one domain (its
    items, their categories, the ratings given) run in step and are one field, called `history_<domain>`, pooled by
    their mean or by the attention of DIN, whose query is the row's candidate.

    Which feature of the candidate a history is compared with is read off the schema: the item feature that looks up
    the same table (of several, the one that the history lists), else the item feature of the same name and width. A
    history with neither (the ratings given) enters the attention as a plain part of the key. If none of a domain's
    histories has a partner, they are averaged.

    Args:
        schema: the schema.
        domain: name of the domain whose rows are read.
        pooling: `"mean"` or `"attention"`.
        attention_units: hidden layers of the attention, default `(80, 40)`.

    Call arguments:
        ids: the row as it came, `{feature: tensor}`; says which steps are padding.
        embedded: the same features after `FeatureEmbedding`.

    Returns:
        `{field: [B, width]}` in the schema's order.

    Reference: Zhou et al., Deep Interest Network (KDD 2018), section 4.3.
    """

    def __init__(self, schema, domain: str, pooling: str = "mean", attention_units=(80, 40), **kwargs):
        super().__init__(**kwargs)
        if pooling not in ("mean", "attention"):
            raise InputError(f"`pooling` must be 'mean' or 'attention'. Received: {shown(pooling)}.")
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.domain = domain
        self.pooling = pooling
        self.attention_units = tuple(attention_units)
        row = self.schema.domain(domain)
        self.roles = field_roles(row)
        self._histories = {f.of: row.histories(f.of) for f in row.histories()}
        self._partners = {f.name: compared_feature(self.schema, row, f) for f in row.histories()}
        self.attentions = {
            of: TargetAttention(self.attention_units, name=f"attention_{of}")
            for of, histories in self._histories.items()
            if pooling == "attention" and any(self._partners[f.name] for f in histories)
        }

    def compared(self, of: str) -> tuple[tuple[str, str | None], ...]:
        """What the attention over the histories of `of` compares: pairs of a history and the candidate's feature."""
        return tuple((f.name, self._partners[f.name]) for f in self._histories[of])

    @property
    def widths(self) -> dict[str, int]:
        """Width of every field."""
        return field_widths(self.schema, self.schema.domain(self.domain))

    def build(self, ids_shape=None, embedded_shape=None):
        for of, attention in self.attentions.items():
            histories = self._histories[of]
            width = {f.name: self.schema.table(f.table).width for f in histories}
            matched = sum(width[f.name] for f in histories if self._partners[f.name])
            if not attention.built:  # domains may share it
                attention.build((None, matched), (None, histories[0].length, sum(width.values())))

    def call(
        self, ids: Mapping[str, Any], embedded: Mapping[str, Any], training: bool = False
    ) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for feature in self.schema.domain(self.domain).features:
            if feature.role == "history":
                name = history_field(feature.of)
                if name not in fields:
                    fields[name] = self._pool(feature.of, ids, embedded, training)
            elif feature.kind == "ids":
                mask = known(ids[feature.name])
                fields[feature.name] = masked_mean(embedded[feature.name], mask)
            else:
                fields[feature.name] = embedded[feature.name]
        return fields

    def _pool(self, of: str, ids, embedded, training: bool):
        histories = sorted(
            self._histories[of], key=lambda f: self._partners[f.name] is None
        )  # matched ones first
        mask = events(histories, ids)
        if of not in self.attentions:
            weights = shares(mask, embedded[histories[0].name].dtype)
            return fused(weighted_sums, weights, *(embedded[f.name] for f in histories), training=training)
        keys = ops.concatenate([embedded[f.name] for f in histories], axis=-1)
        query = ops.concatenate(
            [embedded[p] for p in (self._partners[f.name] for f in histories) if p], axis=-1
        )
        return self.attentions[of](query, keys, mask=mask, training=training)

    def compute_output_shape(self, ids_shape, embedded_shape=None):
        return {field: (batch_size(ids_shape), width) for field, width in self.widths.items()}

    def get_config(self):
        return {
            **super().get_config(),
            "schema": self.schema.to_dict(),
            "domain": self.domain,
            "pooling": self.pooling,
            "attention_units": list(self.attention_units),
        }


@keras.saving.register_keras_serializable(package="cdrzoo")
class SlotConcat(keras.layers.Layer):
    """Rows of domains with different features, brought to one width so that one network can read them.

    A field that several domains list is one slot. A slot that a row's domain does not list is zeros. With more than
    one domain the row also carries the one-hot of its domain.

    Args:
        schema: the schema.

    Call arguments:
        fields: `{domain: {field: [B, width]}}` of any of the schema's domains.

    Returns:
        `{domain: [B, sum of the widths of all slots (+ number of domains)]}`.
    """

    def __init__(self, schema, **kwargs):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.widths: dict[str, int] = {}
        for domain in (self.schema.target_domain, *self.schema.sources):
            for field, width in field_widths(self.schema, domain).items():
                if self.widths.setdefault(field, width) != width:
                    raise SchemaError(
                        f"Field {field!r} is {self.widths[field]} wide in one domain and {width} in {domain.name!r}; "
                        "one network cannot read both. List the same histories in both domains, or rename the feature."
                    )

    def call(self, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        domains = [domain.name for domain in self.schema.domains]
        rows = {}
        for name, given in fields.items():
            like = next(iter(given.values()))
            vectors = in_slots(given, self.widths, like)
            if len(domains) > 1:
                zero = ops.zeros_like(like[:, :1])
                vectors += [zero + float(name == domain) for domain in domains]
            rows[name] = joined(vectors)
        return rows

    @property
    def width(self) -> int:
        """Width of a row."""
        domains = len(self.schema.domains)
        return sum(self.widths.values()) + (domains if domains > 1 else 0)

    def compute_output_shape(self, input_shape):
        return {name: (batch_size(rows), self.width) for name, rows in input_shape.items()}

    def get_config(self):
        return {**super().get_config(), "schema": self.schema.to_dict()}


@keras.saving.register_keras_serializable(package="cdrzoo")
class RoleVectors(keras.layers.Layer):
    """The features of one role of a row, a vector each, side by side; in the same columns for every domain.

    Several ids of a feature are averaged. A feature that several domains list is one slot, and zeros in the rows of a
    domain that does not list it.

    Args:
        schema: the schema.
        domains: names of the domains whose rows are read.
        role: `"item"`, `"user"` or `"context"`.

    Call arguments:
        ids: the row as it came, `{feature: tensor}`; says which of several ids are padding.
        embedded: the same features after `FeatureEmbedding`.

    Returns:
        `[B, sum of the widths of all slots]`.
    """

    def __init__(self, schema, domains: Sequence[str], role: str, **kwargs):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.domains = list(domains)
        self.role = role
        self.slots = slots(self.schema, self.domains, role)
        self.widths = {name: feature_width(self.schema, f) for name, f in self.slots.items()}

    def build(self, ids_shape=None, embedded_shape=None):
        self.built = True

    def call(self, ids: Mapping[str, Any], embedded: Mapping[str, Any]) -> Any:
        given = {}
        for name, slot in self.slots.items():
            if name in embedded:
                vector = embedded[name]
                several = slot.kind == "ids"
                given[name] = masked_mean(vector, known(ids[name])) if several else vector
        first = next(iter(embedded.values()))
        like = first[:, 0] if len(first.shape) == 3 else first
        return ops.concatenate(in_slots(given, self.widths, like) or [like[:, :0]], axis=-1)

    def compute_output_shape(self, ids_shape, embedded_shape=None):
        return (batch_size(ids_shape), sum(self.widths.values()))

    def get_config(self):
        arguments = {"schema": self.schema.to_dict(), "domains": self.domains, "role": self.role}
        return {**super().get_config(), **arguments}


@keras.saving.register_keras_serializable(package="cdrzoo")
class RowVectors(keras.layers.Layer):
    """Every row as one vector, for networks that read all fields of all domains alike.

    `FeatureEmbedding`, then one vector a field (`FieldVectors`), then the slots of all domains side by side
    (`SlotConcat`).

    Args:
        schema: the schema.
        pooling, attention_units: of histories, see `FieldVectors`.

    Call arguments:
        x: `{domain: {feature: tensor}}` of any of the schema's domains.
        training: whether dropout and batch statistics are on.

    Returns:
        `{domain: [B, width]}`, of one width for all domains.
    """

    def __init__(self, schema, pooling: str = "mean", attention_units=(80, 40), **kwargs):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.pooling = pooling
        self.attention_units = tuple(attention_units)
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = {
            d.name: FieldVectors(self.schema, d.name, pooling, attention_units) for d in self.schema.domains
        }
        self.concat = SlotConcat(self.schema)

    def build(self, input_shape=None):
        self.built = True  # its layers make their variables; without this Keras would run all of it once more

    def call(self, x: Mapping[str, Mapping[str, Any]], training: bool = False) -> dict[str, Any]:
        embedded = self.embedding(x)
        return self.concat(
            {name: self.fields[name](x[name], embedded[name], training=training) for name in x}
        )

    def compute_output_shape(self, input_shape):
        return self.concat.compute_output_shape(input_shape)

    def get_config(self):
        arguments = {"pooling": self.pooling, "attention_units": list(self.attention_units)}
        return {**super().get_config(), "schema": self.schema.to_dict(), **arguments}


@keras.saving.register_keras_serializable(package="cdrzoo")
class FieldStack(keras.layers.Layer):
    """Every feature of a row as one vector, all of one width: what products of fields are made from.

        e_i = x_i v_i

    v_i is the row of the table that an id looks up (x_i = 1), the mean of such rows for several ids or for the events
    of a history, and for each column of a number (x_i its value) a vector of its own. A feature that several domains
    list is one field. A field is zeros where the row has nothing there: the id is missing, the history empty, the
    feature one that the row's domain does not list. With more than one domain, the domain itself is the last field.

    Args:
        schema: the schema; all tables of one width.

    Call arguments:
        ids: the rows as they came, `{domain: {feature: tensor}}`; says which steps are padding.
        embedded: the same after `FeatureEmbedding`.

    Returns:
        `{domain: [B, F, width]}`; fields in the target's order, then those that only sources list.

    Raises:
        SchemaError: when tables have different widths.

    Reference: Rendle, Factorization Machines (ICDM 2010), section III; Guo et al., DeepFM (IJCAI 2017), section 2.1.
    """

    def __init__(self, schema, **kwargs):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.width = one_width(self.schema, "multiplied with each other")
        domains = (self.schema.target_domain, *self.schema.sources)
        self.slots = {f.name: f for domain in domains for f in domain.features}
        self.numbers = number_places(self.slots.values())

    def build(self, ids_shape=None, embedded_shape=None):
        if self.numbers:
            self.number_vectors = self.add_weight(
                name="number_vectors", shape=(places_end(self.numbers), self.width), initializer="uniform"
            )
        if len(self.schema.domains) > 1:
            self.domain_vectors = self.add_weight(
                name="domain_vectors", shape=(len(self.schema.domains), self.width), initializer="uniform"
            )

    def call(self, ids: Mapping[str, Any], embedded: Mapping[str, Any]) -> dict[str, Any]:
        stacks = {}
        for index, domain in enumerate(self.schema.domains):
            if domain.name not in ids:
                continue
            rows = embedded[domain.name]
            weights = {
                f.of: shares(events(domain.histories(f.of), ids[domain.name]), rows[f.name].dtype)
                for f in domain.histories()
            }
            given = {f.name: self._vector(f, ids[domain.name], rows, weights) for f in domain.features}
            zeros = ops.zeros_like(next(iter(given.values())))
            fields = [given.get(name, zeros) for name in self.slots]
            if len(self.schema.domains) > 1:
                fields.append(zeros + self.domain_vectors[index])
            stacks[domain.name] = one_above_another(fields)
        return stacks

    def _vector(self, feature: Feature, ids, embedded, weights):
        vector = embedded[feature.name]
        if feature.table is None:
            return number_vector(vector, self.number_vectors[self.numbers[feature.name]])
        if feature.role == "history":
            return weighted_sum(weights[feature.of], vector)
        return masked_mean(vector, known(ids[feature.name])) if feature.kind == "ids" else vector

    def compute_output_shape(self, ids_shape, embedded_shape=None):
        domains = len(self.schema.domains)
        fields = len(self.slots) + (domains > 1)
        return {name: (batch_size(rows), fields, self.width) for name, rows in ids_shape.items()}

    def get_config(self):
        return {**super().get_config(), "schema": self.schema.to_dict()}


def compared_feature(schema: Schema, row: Domain, history: Feature) -> str | None:
    """The feature of the candidate that a history in its row is compared with, if there is one."""
    listed = {f.name for f in schema.domain(history.of).features if f.column == history.field}
    width = schema.table(history.table).width
    candidates = [f for f in row.with_role("item") if f.kind == "id" and schema.table(f.table).width == width]
    # Two features of the candidate may look up one table: the one that the history lists goes first.
    best = min(candidates, key=lambda f: (f.table != history.table, f.name not in listed), default=None)
    return best.name if best and (best.table == history.table or best.name in listed) else None


def events(histories: Sequence[Feature], ids: Mapping[str, Any]) -> Any:
    """Which steps of sequences that run in step are events, bool `[B, n]`: those of which any column is known."""
    if len({f.events for f in histories}) > 1:
        names = ", ".join(f.name for f in histories)
        raise SchemaError(
            f"The histories {names} list different events (`where`) and do not run in step. This model reads a "
            "domain's events as one sequence: give them one `where`, or take DACDR, which reads each by itself."
        )
    return _any_known(*(ids[f.name] for f in histories))


@pieces.once
def _any_known(*ids: Any) -> Any:
    return functools.reduce(ops.logical_or, map(known, ids))


def one_width(schema: Schema, why: str) -> int:
    """The width that all tables share; a `SchemaError` where they differ. `why`: what is done to the fields."""
    widths = {table.name: table.width for table in schema.tables}
    if len(set(widths.values())) != 1:
        said = ", ".join(f"{name} {width}" for name, width in widths.items()) or "none"
        raise SchemaError(
            f"Fields are {why}, so all tables need one width. Received: {said}. Set one `width`, for example with "
            "`schema.with_width(16)`."
        )
    return next(iter(widths.values()))


def slots(schema: Schema, domains: Sequence[str], role: str) -> dict[str, Feature]:
    """The features of a role that any of the domains lists, each name once, in order of appearance."""
    found: dict[str, Feature] = {}
    for domain in domains:
        for feature in schema.domain(domain).with_role(role):
            found.setdefault(feature.name, feature)
    return found


def in_slots(given: Mapping[str, Any], widths: Mapping[str, int], like: Any) -> list[Any]:
    """The given vectors `[B, width]`, one for every slot of `widths`; zeros, as many rows as `like` has, for others."""
    zero = ops.zeros_like(like[:, :1])
    return [given[slot] if slot in given else ops.tile(zero, (1, width)) for slot, width in widths.items()]


def history_field(of: str) -> str:
    """Name of the field that holds the histories of domain `of`."""
    return f"history_{of}"


def field_roles(domain: Domain) -> dict[str, str]:
    """`{field: role}` of a domain's rows, in order."""
    return {history_field(f.of) if f.role == "history" else f.name: f.role for f in domain.features}


def field_widths(schema: Schema, domain: Domain) -> dict[str, int]:
    """`{field: width of its vector}` of a domain's rows, in order."""
    widths: dict[str, int] = {}
    for f in domain.features:
        width = feature_width(schema, f)
        name = history_field(f.of) if f.role == "history" else f.name
        widths[name] = width + (widths.get(name, 0) if f.role == "history" else 0)
    return widths


def feature_width(schema: Schema, feature: Feature) -> int:
    """Width of a feature's vector: that of its table; of a number its columns."""
    return schema.table(feature.table).width if feature.table else feature.values or 1


def number_places(features: Iterable[Feature]) -> dict[str, slice]:
    """Where the columns of each number lie, all side by side; each name once, in order of appearance."""
    places: dict[str, slice] = {}
    for f in features:
        if f.table is None and f.name not in places:
            places[f.name] = slice(stop := places_end(places), stop + (f.values or 1))
    return places


def places_end(places: Mapping[str, slice]) -> int:
    """How many columns all numbers have."""
    return list(places.values())[-1].stop if places else 0


def number_vector(value: Any, vectors: Any) -> Any:
    """A number `[B, columns]` as one vector, `sum_c x_c v_c`; `vectors`: `[columns, width]`."""
    if value.shape[-1] == 1:
        return value * vectors[0]
    return ops.matmul(value, ops.cast(vectors, value.dtype))


def batch_size(shapes: Mapping[str, Any]) -> int | None:
    """The number of rows of `{name: [B, ...]}`."""
    return next(iter(shapes.values()))[0]
