"""From looked-up features to one vector a field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from cdrzoo.errors import SchemaError
from cdrzoo.layers.embedding import FeatureEmbedding
from cdrzoo.layers.pooling import TargetAttention, masked_mean
from cdrzoo.schema import PADDING, Domain, Feature, Schema


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
            raise ValueError(f"`pooling` must be 'mean' or 'attention'. Received: {pooling!r}.")
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.domain = domain
        self.pooling = pooling
        self.attention_units = tuple(attention_units)
        row = self.schema.domain(domain)
        self.roles = field_roles(row)
        self._histories = {f.of: row.histories(f.of) for f in row.histories()}
        self._partners = {f.name: self._partner(row, f) for f in row.histories()}
        self.attentions = {
            of: TargetAttention(self.attention_units, name=f"attention_{of}")
            for of, histories in self._histories.items()
            if pooling == "attention" and any(self._partners[f.name] for f in histories)
        }

    def _partner(self, row: Domain, history: Feature) -> str | None:
        """The candidate's feature that the history is compared with."""
        listed = {f.name for f in self.schema.domain(history.of).features if f.column == history.field}
        width = self.schema.table(history.table).width
        candidates = [
            f for f in row.with_role("item") if f.kind == "id" and self.schema.table(f.table).width == width
        ]
        # Two features of the candidate may look up one table: the one that the history lists goes first.
        best = min(candidates, key=lambda f: (f.table != history.table, f.name not in listed), default=None)
        return best.name if best and (best.table == history.table or best.name in listed) else None

    def compared(self, of: str) -> tuple[tuple[str, str | None], ...]:
        """What the attention over the histories of `of` compares: pairs of a history and the candidate's feature."""
        return tuple((f.name, self._partners[f.name]) for f in self._histories[of])

    @property
    def widths(self) -> dict[str, int]:
        """Width of every field."""
        return field_widths(self.schema, self.schema.domain(self.domain))

    def build(self, input_shape=None):
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
                mask = ops.not_equal(ids[feature.name], PADDING)
                fields[feature.name] = masked_mean(embedded[feature.name], mask)
            else:
                fields[feature.name] = embedded[feature.name]
        return fields

    def _pool(self, of: str, ids, embedded, training: bool):
        histories = sorted(
            self._histories[of], key=lambda f: self._partners[f.name] is None
        )  # matched ones first
        # An event is a step if any of its columns is known; a history's columns run in step.
        mask = ops.any(ops.stack([ops.not_equal(ids[f.name], PADDING) for f in histories], axis=0), axis=0)
        if of not in self.attentions:
            return ops.concatenate([masked_mean(embedded[f.name], mask) for f in histories], axis=-1)
        keys = ops.concatenate([embedded[f.name] for f in histories], axis=-1)
        query = ops.concatenate(
            [embedded[p] for p in (self._partners[f.name] for f in histories) if p], axis=-1
        )
        return self.attentions[of](query, keys, mask=mask, training=training)

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
            zero = ops.zeros_like(next(iter(given.values()))[:, :1])
            slots = [
                given[f] if f in given else ops.tile(zero, (1, width)) for f, width in self.widths.items()
            ]
            if len(domains) > 1:
                slots += [zero + float(name == domain) for domain in domains]
            rows[name] = ops.concatenate(slots, axis=-1)
        return rows

    def get_config(self):
        return {**super().get_config(), "schema": self.schema.to_dict()}


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

    def call(self, x: Mapping[str, Mapping[str, Any]], training: bool = False) -> dict[str, Any]:
        embedded = self.embedding(x)
        return self.concat(
            {name: self.fields[name](x[name], embedded[name], training=training) for name in x}
        )

    def get_config(self):
        arguments = {"pooling": self.pooling, "attention_units": list(self.attention_units)}
        return {**super().get_config(), "schema": self.schema.to_dict(), **arguments}


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
        width = 1 if f.kind == "number" else schema.table(f.table).width
        name = history_field(f.of) if f.role == "history" else f.name
        widths[name] = width + (widths.get(name, 0) if f.role == "history" else 0)
    return widths
