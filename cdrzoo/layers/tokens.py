"""Semantic tokens of a row, and the alignment of a source's tokens with the target's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from cdrzoo.errors import SchemaError
from cdrzoo.layers.embedding import FeatureEmbedding
from cdrzoo.layers.fields import FieldVectors, field_roles, field_widths
from cdrzoo.schema import Domain, Feature, Schema

TOKENS = {"user": ("user", "history"), "item": ("item",), "context": ("context",)}
"""The semantic tokens, and the roles of the fields each holds: behaviour belongs to the user."""


def split_tokens(fields: Mapping[str, Any], roles: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a row as semantic tokens, `{token: [B, width]}`; a token without a field is left out."""
    tokens = {}
    for token, held in TOKENS.items():
        parts = [vector for name, vector in fields.items() if roles[name] in held]
        if parts:
            tokens[token] = ops.concatenate(parts, axis=-1)
    return tokens


def token_widths(schema: Schema, domain: str) -> dict[str, int]:
    """`{token: width}` of a domain's rows; a token without a field is left out."""
    roles, widths = field_roles(schema.domain(domain)), field_widths(schema, schema.domain(domain))
    tokens = {token: sum(widths[f] for f in roles if roles[f] in held) for token, held in TOKENS.items()}
    return {token: width for token, width in tokens.items() if width}


def without_lost_tokens(schema: Schema) -> Schema:
    """The schema without features of sources whose token the target lacks: there is nothing to align them with."""
    held = {role for token in token_widths(schema, schema.target) for role in TOKENS[token]}
    read = {d.name: [f for f in d.features if f.role in held] for d in schema.sources}
    empty = [name for name, features in read.items() if not features]
    if empty:
        raise SchemaError(
            f"CCTL aligns users with users, items with items and contexts with contexts, but {empty[0]!r} lists "
            f"nothing of what {schema.target!r} has. Add a feature of one of its roles: {', '.join(sorted(held))}."
        )
    return schema.reading(read)


def side_features(schema: Schema, source: str) -> list[Feature]:
    """Features of a source that can look up the target's tables: both domains read the table, and it holds no ids.

    Ids are users, items and the items of histories: what CCTL (section 2.5) doubles. A table of each domain's own is
    left out, and so are all where nothing else would be left of the source.
    """
    schema = without_lost_tokens(schema)
    rows = [schema.domain(source), schema.target_domain]
    listed = [f for row in rows for f in row.histories() if f.field == schema.domain(f.of).item]
    ids = {f.table for f in (*listed, *key_features(rows[0]), *key_features(rows[1]))}
    both = {
        f.table for f in schema.target_domain.features if f.table and not schema.table(f.table).per_domain
    } - ids
    found = [f for f in rows[0].features if f.table in both]
    return found if len(found) < len(rows[0].features) else []


def key_features(domain: Domain) -> list[Feature]:
    """The features that identify a row's user and item."""
    return [f for f in domain.features if f.kind == "id" and f.column in (domain.user, domain.item)]


@keras.saving.register_keras_serializable(package="cdrzoo")
class SemanticAlignment(keras.layers.Layer):
    """Rows of a source as a network of the target reads them, token by token.

        E = [e_user | e_item | e_context],   SAN(E) = [FC(relu(FC(e_user))) | FC(relu(FC(e_item))) | ...]

    e: a token, the fields of its roles side by side, in the source's own tables, or looked up already. Each FC is as
    wide as the target's token. A token that the source lacks is zeros. Features whose token the target lacks get no
    table.

    Args:
        schema: the schema.
        source: name of the domain whose rows are read.
        pooling: of histories, `"attention"` (default) or `"mean"`.
        align: `False` is the identity: the fields have the same names and widths in both domains.
        shared: names of features that come looked up; default: none.

    Call arguments:
        features: rows of the source, `{feature: tensor}`.
        looked_up: the `shared` features of these rows, `{feature: tensor}`, as `FeatureEmbedding` returns them.
        training: whether dropout and batch statistics are on.

    Returns:
        `[B, sum of the widths of the target's tokens]`.

    Raises:
        SchemaError: when the two domains have no token in common, or fields differ although `align` is off.

    Reference: Zhang et al., A Collaborative Transfer Learning Framework for Cross-domain Recommendation (KDD 2023),
    section 2.4.1, eqs. 6 and 7.
    """

    def __init__(
        self,
        schema,
        source: str,
        pooling: str = "attention",
        align: bool = True,
        shared: Sequence[str] = (),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.source = source
        self.pooling = pooling
        self.align = align
        self.shared = tuple(shared)
        read = without_lost_tokens(self.schema)
        target = self.schema.target_domain
        if not align and field_widths(self.schema, self.schema.domain(source)) != field_widths(
            self.schema, target
        ):
            raise SchemaError(
                f"align=False reads the rows of {source!r} as rows of {target.name!r}; the fields differ. "
                "List features of the same names and widths, or leave `align` on."
            )
        own = [f for f in read.domain(source).features if f.name not in self.shared]
        self.embedding = FeatureEmbedding(read.reading({source: own}), [source], name=f"{source}_embedding")
        self.fields = FieldVectors(read, source, pooling=pooling, name=f"{source}_fields")
        self.widths = token_widths(self.schema, target.name)
        self.maps = {
            token: keras.Sequential(
                [keras.layers.Dense(width, activation="relu"), keras.layers.Dense(width)],
                name=f"{source}_{token}_san",
            )
            for token, width in self.widths.items()
            if align and token in token_widths(self.schema, source)
        }

    def build(self, features_shape=None, looked_up_shape=None):
        self.built = True  # its layers make their variables; without this Keras would run all of it once more

    def call(self, features, looked_up=None, training=False):
        embedded = {**self.embedding({self.source: features})[self.source], **(looked_up or {})}
        fields = self.fields(features, embedded, training=training)
        if not self.align:  # the same fields, in the target's order
            roles = field_roles(self.schema.target_domain)
            tokens = split_tokens({name: fields[name] for name in roles}, roles)
            return ops.concatenate(list(tokens.values()), axis=-1)
        tokens = split_tokens(fields, field_roles(self.schema.domain(self.source)))  # eq. 6
        zero = ops.zeros_like(next(iter(tokens.values()))[:, :1])
        aligned = [
            self.maps[token](tokens[token]) if token in tokens else ops.tile(zero, (1, width))  # eq. 7
            for token, width in self.widths.items()
        ]
        return ops.concatenate(aligned, axis=-1)

    def compute_output_shape(self, features_shape, looked_up_shape=None):
        return (next(iter(features_shape.values()))[0], sum(self.widths.values()))

    def get_config(self):
        arguments = {
            "source": self.source,
            "pooling": self.pooling,
            "align": self.align,
            "shared": self.shared,
        }
        return {**super().get_config(), "schema": self.schema.to_dict(), **arguments}
