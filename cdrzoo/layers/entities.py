"""What entities of different kinds have in common and what each has alone, read off the schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from cdrzoo.layers.embedding import FeatureEmbedding
from cdrzoo.layers.fields import FieldVectors, field_widths, history_field
from cdrzoo.layers.pooling import TargetAttention, joined
from cdrzoo.schema import Schema

GROUPS = ("user", "sequence", "shared", "specific")
"""The parts of an entity's vector v = [v_u | v_seq | v_shared | v_spec]."""


@keras.saving.register_keras_serializable(package="cdrzoo")
class EntityVectors(keras.layers.Layer):
    """Rows of entities of different kinds, group by group.

        v = [v_u | v_seq | v_shared | v_spec],   v_u = [e_1 | ... | e_n]

    What the rows of all domains of the schema list is shared: with role user it is the user's profile (v_u), histories
    are the sequences (v_seq), the rest is v_shared. Whatever some domain lacks, of any role, is specific (v_spec) to
    each of those that have it; where its table is named by several they still share the embedding. Features of one name
    are one slot, also with tables of their own. Domains whose rows compare a history with the same features of the
    candidate share its attention, whose activation is ReLU: Dice's statistics would be those of a mixture.

    Args:
        schema: the schema.
        domains: names of the domains whose rows are read; default: all.
        pooling: of histories, `"attention"` (default) or `"mean"`.

    Call arguments:
        x: `{domain: {feature: tensor}}` of any of these domains.
        training: whether dropout and batch statistics are on.

    Returns:
        `{domain: {group: [B, width]}}`, a group being `user`, `sequence`, `shared` or `specific`; empty ones are left
        out.

    Reference: Guan et al., Effective Two-Stage Knowledge Transfer for Multi-Entity Cross-Domain Recommendation (2024),
    section 3.2.1, eqs. 1 and 2.

    Example:
        >>> from cdrzoo.data import synthetic
        >>> from cdrzoo.layers import EntityVectors
        >>> prepared = synthetic.prepare()
        >>> rows = EntityVectors(prepared.schema, pooling="mean")
        >>> x, _ = next(iter(prepared.train(32)))
        >>> sorted(rows(x)["films"])
        ['sequence', 'shared', 'specific', 'user']
    """

    def __init__(self, schema, domains: Sequence[str] | None = None, pooling: str = "attention", **kwargs):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.domains = tuple(domains or (domain.name for domain in self.schema.domains))
        self.pooling = pooling
        groups = entity_groups(self.schema)
        self.groups = {domain: groups[domain] for domain in self.domains}
        self.embedding = FeatureEmbedding(self.schema, self.domains)
        self.fields = {d: FieldVectors(self.schema, d, pooling, name=f"{d}_fields") for d in self.domains}
        shared: dict[Any, TargetAttention] = {}
        for fields in self.fields.values():
            for of, attention in fields.attentions.items():
                key = of, fields.compared(of)
                if key not in shared:
                    shared[key] = TargetAttention(attention.units, activation="relu", name=f"attention_{of}")
                fields.attentions[of] = shared[key]

    def build(self, input_shape=None):
        self.built = True  # its layers make their variables; without this Keras would run all of it once more

    def call(self, x: Mapping[str, Any], training: bool = False) -> dict[str, dict[str, Any]]:
        embedded = self.embedding(x)
        rows = {}
        for name, features in x.items():
            fields = self.fields[name](features, embedded[name], training=training)
            rows[name] = {g: side_by_side(fields, names) for g, names in self.groups[name].items() if names}
        return rows

    def widths(self, domain: str, group: str) -> list[int]:
        """The width of each field of a group."""
        widths = field_widths(self.schema, self.schema.domain(domain))
        return [widths[field] for field in self.groups[domain][group]]

    def compute_output_shape(self, input_shape):
        return {
            d: {g: (next(iter(rows.values()))[0], sum(self.widths(d, g))) for g, f in self.groups[d].items() if f}
            for d, rows in input_shape.items()
        }  # fmt: skip

    def get_config(self):
        arguments = {"domains": list(self.domains), "pooling": self.pooling}
        return {**super().get_config(), "schema": self.schema.to_dict(), **arguments}


def entity_groups(schema: Schema) -> dict[str, dict[str, tuple[str, ...]]]:
    """The fields of every domain's rows by group, `{domain: {group: fields}}`; what is shared stands in one order.

    A field is shared if the rows of all domains have it, a history with the same features in the same order.
    """
    features: dict[str, dict[str, tuple[str, ...]]] = {}
    for domain in schema.domains:
        features[domain.name] = {}
        for f in domain.features:
            name = history_field(f.of) if f.role == "history" else f.name
            listed = domain.histories(f.of) if f.role == "history" else (f,)
            features[domain.name][name] = tuple(each.name for each in listed)
    roles = {
        (f.name if f.role != "history" else history_field(f.of)): f.role
        for f in schema.target_domain.features
    }
    shared = [
        field
        for field, listed in features[schema.target].items()
        if all(other.get(field) == listed for other in features.values())
    ]
    of_role = {"user": ("user",), "sequence": ("history",), "shared": ("item", "context")}
    common = {group: tuple(f for f in shared if roles[f] in held) for group, held in of_role.items()}
    return {
        name: {**common, "specific": tuple(field for field in listed if field not in shared)}
        for name, listed in features.items()
    }


def side_by_side(vectors: Mapping[str, Any], names: Sequence[str] = GROUPS) -> Any:
    """Those of the named vectors that there are, as one: `[B, sum of the widths]`."""
    present = [vectors[name] for name in names if vectors.get(name) is not None]
    return joined(present)
