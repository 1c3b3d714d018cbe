"""Cross products of ids: a history together with the candidate."""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from cdrzoo.errors import InputError, shown
from cdrzoo.layers.fields import compared_feature
from cdrzoo.schema import Feature, Schema, Table


@keras.saving.register_keras_serializable(package="cdrzoo")
class CrossProducts(keras.layers.Layer):
    """Cross-product transformations: each event of a history together with the candidate, as one id.

        phi_(a, b) = 1 if the history lists a and the candidate is b

    which is the paper's AND(user_installed_app, impression_app). Crossed is every history with the feature of the
    candidate that it is compared with (`compared_feature`). A pair is a row of a table of at most `buckets` rows, which
    pairs share (by the remainder of their number) where there are more of them.

    Args:
        schema: the schema.
        buckets: rows of the table of each pair of tables; default 100,000.

    Attributes:
        crossed: the schema with these features, several `ids` each, called `<history>_x_<feature>`.

    Call arguments:
        x: `{domain: {feature: tensor}}` of any of the domains.

    Returns:
        The same with the further features.

    Reference: Cheng et al., Wide & Deep Learning for Recommender Systems (DLRS 2016), section 3.1, eq. 1.
    """

    def __init__(self, schema, buckets: int = 100_000, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        if isinstance(buckets, bool) or not isinstance(buckets, int) or buckets < 3:
            raise InputError(f"`buckets` must be a whole number of at least 3. Received: {shown(buckets)}.")
        self.buckets = buckets
        # Row 0 is padding. Numbers of pairs run through the rows of a prime number of buckets evenly.
        self.prime = next(
            n for n in range(buckets - 1, 1, -1) if all(n % m for m in range(2, int(n**0.5) + 1))
        )
        self._crosses: dict[str, list[tuple[str, Feature, Feature]]] = {}
        domains, tables = [], list(self.schema.tables)
        for domain in self.schema.domains:
            pairs = [
                (f"{history.name}_x_{partner}", history, domain.feature(partner))
                for history in domain.histories()
                if (partner := compared_feature(self.schema, domain, history))
            ]
            more = [
                Feature(name, "ids", "context", "int64", f"{one.table}_x_{two.table}", one.length)
                for name, one, two in pairs
            ]
            tables += [Table(f.table, width=1, rows=self.prime + 1) for f in more]
            domains.append(dataclasses.replace(domain, features=(*domain.features, *more)))
            self._crosses[domain.name] = pairs
        self.crossed = Schema(tuple(domains), self.schema.target, tuple(tables))

    def call(self, x):
        out = {}
        for name, rows in x.items():
            out[name] = dict(rows)
            for cross, history, candidate in self._crosses[self.schema.domain(name).name]:
                a = ops.cast(rows[history.name], "int64")
                b = ops.expand_dims(ops.cast(rows[candidate.name], "int64"), 1)
                table = self.schema.table(candidate.table)
                factor = table.first_rows or table.rows  # a pair keeps its bucket when the table grows
                row = 1 + ops.mod(a * factor + b, self.prime)
                both = ops.logical_and(a > 0, b > 0)
                out[name][cross] = ops.where(both, row, ops.zeros_like(row))
        return out

    def compute_output_shape(self, input_shape):
        return {
            name: {**rows, **{cross: rows[history.name] for cross, history, _ in self._crosses[name]}}
            for name, rows in input_shape.items()
        }

    def get_config(self):
        return {**super().get_config(), "schema": self.schema.to_dict(), "buckets": self.buckets}
