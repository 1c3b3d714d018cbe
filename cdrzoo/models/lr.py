"""LR: logistic regression over ids, histories and numbers."""

from __future__ import annotations

import keras
from keras import ops

from cdrzoo.layers import FeatureEmbedding, FieldVectors
from cdrzoo.models.base import CrossDomainModel


@keras.saving.register_keras_serializable(package="cdrzoo")
class LR(CrossDomainModel):
    """Logistic regression: one weight an id, the mean of the weights for histories, one weight a number.

    z = w_0 + sum_i w[x_i] + sum_j w_j x_j,  y = sigmoid(z)  (y = z for ratings)

    With several domains, features of one name share their weights as their tables do, and each domain has its own w_0.

    Args:
        schema: the schema; widths of tables do not matter, each id has one weight.

    Call arguments and returns: see `CrossDomainModel`.

    Reference: Richardson et al., Predicting Clicks (WWW 2007).
    """

    def __init__(self, schema, **kwargs):
        super().__init__(schema, **kwargs)
        self.embedding = FeatureEmbedding(self.schema.with_width(1))
        self.fields = {d.name: FieldVectors(self.schema.with_width(1), d.name) for d in self.schema.domains}
        self.bias = self.add_weight(shape=(len(self.schema.domains),), initializer="zeros", name="bias")
        self.numbers = {
            d.name: keras.layers.Dense(1, use_bias=False, name=f"weights_{d.name}")
            for d in self.schema.domains
            if any(f.kind == "number" for f in d.features)
        }

    def call(self, x, training=False):
        embedded = self.embedding(x)
        logits = {}
        for index, domain in enumerate(self.schema.domains):
            if domain.name not in x:
                continue
            fields = self.fields[domain.name](x[domain.name], embedded[domain.name])
            numbers = [fields.pop(f.name) for f in domain.features if f.kind == "number"]
            logit = self.bias[index] + ops.sum(ops.concatenate(list(fields.values()), axis=-1), axis=-1, keepdims=True)
            if numbers:
                logit += self.numbers[domain.name](ops.concatenate(numbers, axis=-1))
            logits[domain.name] = logit
        return self.scores(logits)
