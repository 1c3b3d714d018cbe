"""The linear part of a model: a weight for every value."""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from cdrzoo.layers.embedding import FeatureEmbedding
from cdrzoo.layers.fields import FieldVectors, batch_size
from cdrzoo.layers.pooling import joined
from cdrzoo.layers.towers import check_one_task, first_output
from cdrzoo.schema import Feature, Schema


@keras.saving.register_keras_serializable(package="cdrzoo")
class FirstOrder(keras.layers.Layer):
    """The linear part of a model: a weight for a value of a feature, their mean for several, one a column of a number.

        z = w_0 + sum_i w_i[x_i] + sum_j w_j x_j

    Features of one table do not share weights: having seen an item is not the same as being offered it. With several
    domains, features of one name share theirs where they look up one table, and each domain has its own w_0, which
    starts at `first_output`. All others start at 0, so that a value never seen weighs nothing. Computes in float32.

    Args:
        schema: the schema; widths of tables do not matter.

    Call arguments:
        x: `{domain: {feature: tensor}}` of any of the schema's domains.

    Returns:
        `{domain: float32 [B, 1]}`.
    """

    def __init__(self, schema, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        check_one_task(*self.schema.domains)
        one_hot = _one_table_a_feature(self.schema)
        self.embedding = FeatureEmbedding(one_hot, initializer="zeros", dtype=self.dtype_policy)
        self.fields = {
            d.name: FieldVectors(one_hot, d.name, dtype=self.dtype_policy) for d in one_hot.domains
        }

    def build(self, input_shape=None):
        self.bias = self.add_weight(
            name="bias",
            shape=(len(self.schema.domains),),
            initializer=keras.initializers.Constant([first_output(d) for d in self.schema.domains]),
        )
        numbers = {f.name: f.values for d in self.schema.domains for f in d.features if f.table is None}
        self.numbers = {
            name: self.add_weight(name=name, shape=(columns,) if columns else (), initializer="zeros")
            for name, columns in sorted(numbers.items())
        }

    def call(self, x):
        embedded = self.embedding(x)
        sums = {}
        for index, domain in enumerate(self.schema.domains):
            if domain.name in x:
                fields = self.fields[domain.name](x[domain.name], embedded[domain.name])
                terms = [w * self.numbers[name] if name in self.numbers else w for name, w in fields.items()]
                sums[domain.name] = ops.sum(joined(terms), axis=-1, keepdims=True) + self.bias[index]
        return sums

    def compute_output_shape(self, input_shape):
        return {name: (batch_size(rows), 1) for name, rows in input_shape.items()}

    def get_config(self):
        return {**super().get_config(), "schema": self.schema.to_dict()}


def _one_table_a_feature(schema: Schema) -> Schema:
    """The schema with a table of width 1 for each feature."""

    def named(feature: Feature) -> Feature:
        if feature.table is None:
            return feature
        return dataclasses.replace(feature, table=f"{feature.name}_{feature.table}")

    domains = [dataclasses.replace(d, features=tuple(map(named, d.features))) for d in schema.domains]
    tables = {named(f).table: schema.table(f.table) for d in schema.domains for f in d.features if f.table}
    return Schema(
        tuple(domains),
        schema.target,
        tuple(dataclasses.replace(table, name=name, width=1) for name, table in tables.items()),
    )
