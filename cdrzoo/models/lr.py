"""LR: logistic regression over ids, histories and numbers."""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from cdrzoo.layers import FeatureEmbedding, FieldVectors, first_output
from cdrzoo.models.base import CrossDomainModel
from cdrzoo.schema import Schema


@keras.saving.register_keras_serializable(package="cdrzoo")
class LR(CrossDomainModel):
    """Logistic regression: one weight for each value of a feature, their mean for several values, one for a number.

    z = w_0 + sum_i w_i[x_i] + sum_j w_j x_j,  y = sigmoid(z)  (y = z for ratings)

    Features of one table do not share weights: having seen an item is not the same as being offered it. With several
    domains, features of one name share theirs where they look up one table, and each domain has its own w_0.

    Args:
        schema: the schema; widths of tables do not matter.

    Call arguments and returns: see `CrossDomainModel`.

    Reference: Richardson et al., Predicting Clicks (WWW 2007).
    """

    def __init__(self, schema, **kwargs):
        super().__init__(schema, **kwargs)
        one_hot = one_table_a_feature(self.schema)
        self.embedding = FeatureEmbedding(one_hot)
        self.fields = {d.name: FieldVectors(one_hot, d.name) for d in one_hot.domains}
        self.bias = self.add_weight(
            shape=(len(one_hot.domains),),
            initializer=keras.initializers.Constant([first_output(d) for d in one_hot.domains]),
            autocast=False,
            name="bias",
        )
        numbers = {f.name for d in one_hot.domains for f in d.features if f.kind == "number"}
        self.numbers = {
            name: self.add_weight(shape=(), initializer="zeros", autocast=False, name=name)
            for name in sorted(numbers)
        }

    def call(self, x, training=False):
        embedded = self.embedding(x)
        logits = {}
        for index, domain in enumerate(self.schema.domains):
            if domain.name in x:
                fields = self.fields[domain.name](x[domain.name], embedded[domain.name])
                terms = [ops.cast(v, "float32") * self.numbers.get(name, 1.0) for name, v in fields.items()]
                logits[domain.name] = (
                    ops.sum(ops.concatenate(terms, -1), -1, keepdims=True) + self.bias[index]
                )
        return self.scores(logits)


def one_table_a_feature(schema: Schema) -> Schema:
    """The schema with a table of width 1 for each feature."""

    def named(feature):
        return (
            feature
            if feature.table is None
            else dataclasses.replace(feature, table=f"{feature.name}_{feature.table}")
        )

    domains = [dataclasses.replace(d, features=tuple(map(named, d.features))) for d in schema.domains]
    tables = {named(f).table: schema.table(f.table) for d in schema.domains for f in d.features if f.table}
    return Schema(
        tuple(domains),
        schema.target,
        tuple(dataclasses.replace(table, name=name, width=1) for name, table in tables.items()),
    )
