"""What the representations of two domains have to do with each other, as a loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from cdrzoo.errors import SchemaError
from cdrzoo.layers.embedding import FeatureEmbedding, known, note_rows, rows_seen
from cdrzoo.layers.pairs import cosine
from cdrzoo.layers.pooling import masked_mean
from cdrzoo.layers.tokens import key_features, without_lost_tokens
from cdrzoo.losses import weighted_mean
from cdrzoo.schema import PADDING, UNKNOWN, Domain, Schema


class RepresentationEnhancement:
    """Keeps the embeddings of one id in two domains apart, and a user's behaviours in the two domains together.

        L = mean cos(id^s, id^t) - mean cos(seq^s, seq^t)

    id: an embedding of a user or an item whose table both domains look up; seq: the mean of the items that a row lists
    of a domain. ^s: in the source's table, ^t: in the target's. Each mean is over the rows of all domains, by weight.

    An id counts from the step on in which both domains have shown it: a vocabulary also knows users of one domain
    alone, whose row in the other's table nothing else trains. Before, one of the two rows is a random start, and there
    is nothing to keep the other apart from.

    A plain object: who owns it tracks `state`, so that what has been seen is saved.

    Args:
        schema: the schema.
        sources: names of the domains that are compared with the target; default: all sources. Of none, the
            loss is 0.

    Raises:
        SchemaError: when there is nothing to compare, or two sequences have tables of different widths.

    Reference: Zhang et al., A Collaborative Transfer Learning Framework for Cross-domain Recommendation (KDD 2023),
    section 2.5, eqs. 10-12.
    """

    def __init__(self, schema: Schema, sources: Sequence[str] | None = None):
        self.schema = schema = without_lost_tokens(schema)  # what is left out has no table
        if sources is None:
            sources = [source.name for source in schema.sources]
        self.pairs = {s: ren_pairs(schema, s) for s in sources}
        if sources and not any(pair["id"] or pair["sequence"] for pair in self.pairs.values()):
            raise SchemaError(
                "REN has nothing to compare: neither key of the target, `user` or `item`, shares its table with a "
                "source, and no row lists histories of both domains. Add one, or set ren_weight=0."
            )

    def build(self) -> None:
        """Makes the state: for every domain, which rows of the tables of ids it has trained."""
        compared = {table for pairs in self.pairs.values() for _, table, _ in pairs["id"]}

        def rows(domain, table):
            return keras.Variable(
                "zeros", (self.schema.table(table).rows,), dtype="bool", trainable=False, name=f"{domain}_{table}_seen"
            )  # fmt: skip

        self.seen = {
            d.name: {
                table: rows(d.name, table) for table in sorted(compared & {f.table for f in key_features(d)})
            }
            for d in self.schema.domains
        }

    @property
    def state(self) -> list[keras.Variable]:
        """What is to be saved."""
        return [seen for tables in self.seen.values() for seen in tables.values()]

    def observe(self, x: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
        """Remembers which users and items the domains have trained; rows of weight 0 train none."""
        for domain, seen in self.seen.items():
            for f in key_features(self.schema.domain(domain)):
                if f.table in seen:
                    note_rows(seen[f.table], ops.where(weights[domain] > 0, x[domain][f.name], PADDING))

    def __call__(
        self,
        x,
        weights,
        sources: Mapping[str, FeatureEmbedding],
        target: FeatureEmbedding,
        *others: FeatureEmbedding,
    ) -> list[Any]:
        """L, a scalar for each of several tables of the target; a mean without rows is 0.

        Args:
            x: the rows of all domains, `{domain: {feature: tensor}}`.
            weights: what each row counts, `{domain: float32 [B]}`.
            sources: the tables of each source.
            target: those of the target.
            others: further ones of the target, for which the sources' embeddings are constants.
        """
        tables = (target, *others)
        ids: list[list] = [[] for _ in tables]  # (cosine, weight)
        sequences: list[list] = [[] for _ in tables]
        for source, pairs in self.pairs.items():
            own = sources[source]
            for table, listed in _grouped((table, (row, name)) for row, table, name in pairs["id"]):
                keys = ops.concatenate([x[row][name] for row, name in listed])
                seen = [rows_seen(self.seen[d][table], keys) for d in (source, self.schema.target)]
                both = ops.logical_and(ops.greater(keys, UNKNOWN), ops.logical_and(*seen))
                counts = ops.concatenate([weights[row] for row, _ in listed]) * ops.cast(both, "float32")
                _compare(
                    ids, own.lookup(table, keys), [e.lookup(table, keys) for e in tables], counts
                )  # eq. 10
            histories = (  # of one length, or they are no one tensor
                ((one, two, x[row][a].shape[1], x[row][b].shape[1]), (x[row][a], x[row][b], weights[row]))
                for row, (one, a), (two, b) in pairs["sequence"]
            )
            for (one, two, *_), listed in _grouped(histories):
                lefts, rights, counts = (ops.concatenate(each) for each in zip(*listed))
                steps, others_steps = known(lefts), known(rights)
                both = ops.logical_and(ops.any(steps, -1), ops.any(others_steps, -1))
                means = [masked_mean(e.lookup(two, rights), others_steps) for e in tables]
                left = masked_mean(own.lookup(one, lefts), steps)
                _compare(sequences, left, means, counts * ops.cast(both, "float32"))  # eq. 11
        return [_mean(one) - _mean(other) for one, other in zip(ids, sequences)]  # eq. 12


def ren_pairs(schema: Schema, source: str) -> dict[str, list]:
    """What REN can compare between the target and `source`, read off the schema.

    Returns:
        `id`: `(domain of the row, table, feature)` for the keys of users and items whose table both domains look up.
        `sequence`: `(domain of the row, (table, feature) of the source's history, (table, feature) of the target's)`,
        one for each domain whose rows list histories of both; each is the history of the item's id.
    """
    target = schema.target_domain
    both = {f.table for f in key_features(target)} & {f.table for f in key_features(schema.domain(source))}
    pairs: dict[str, list] = {"id": [], "sequence": []}
    for row in (target, schema.domain(source)):
        pairs["id"] += [(row.name, f.table, f.name) for f in key_features(row) if f.table in both]
        one, two = (_item_history(schema, row, of) for of in (source, target.name))
        if one and two:
            if schema.table(one[0]).width != schema.table(two[0]).width:
                raise SchemaError(
                    f"REN compares {one[1]!r} and {two[1]!r}, whose tables are {schema.table(one[0]).width} and "
                    f"{schema.table(two[0]).width} wide. Give the two tables one width, or set ren_weight=0."
                )
            pairs["sequence"].append((row.name, one, two))
    return pairs


def _item_history(schema: Schema, row: Domain, of: str) -> tuple[str, str] | None:
    """`(table, feature)` of the items of domain `of` that `row` lists, if `of` itself looks up their table."""
    tables = {f.table for f in schema.domain(of).features}
    listed = [f for f in row.histories(of) if f.field == schema.domain(of).item and f.table in tables]
    return (listed[0].table, listed[0].name) if listed else None


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> Any:
    """`(key, values)` of pairs of a key and a value: what looks up one table does so at once."""
    groups: dict[Any, list] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups.items()


def _compare(found: Sequence[list], left: Any, rights: Sequence[Any], counts: Any) -> None:
    """Adds the cosines of a source's vectors and those of several tables, and what each counts."""
    for number, (cosines, right) in enumerate(zip(found, rights)):
        cosines.append((cosine(ops.stop_gradient(left) if number else left, right), counts))


def _mean(parts: Sequence[tuple[Any, Any]]) -> Any:
    if not parts:
        return ops.zeros(())
    return weighted_mean(*(ops.concatenate(part) for part in zip(*parts)))
