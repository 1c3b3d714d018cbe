"""FM: factorization machine."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import FeatureEmbedding, FieldStack, FirstOrder
from cdrzoo.layers.crosses import fm_term
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike


@keras.saving.register_keras_serializable(package="cdrzoo")
class FM(CrossDomainModel):
    """Factorization machine: a weight for each value, and for each pair of values the product of their vectors.

        z = w_0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j,   y = sigmoid(z)   (y = z for ratings)

    x_i: 1 for an id, a number's value; w_i: its weight, v_i: its vector; w_0: the bias. A field of several values (a
    history) enters the pairs as the mean of their vectors, so that its values make no pairs among themselves. With a
    schema of several domains one machine reads the rows of all of them and the domain is one more field (`FieldStack`).

    Args:
        schema: the schema; all tables of one width.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: not looked at.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Rendle, Factorization Machines (ICDM 2010), section III, equation 1 and lemma 3.1.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.FM(prepared.schema)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(self, schema: SchemaLike, **kwargs: Unpack[ModelOptions]):
        super().__init__(schema, **kwargs)
        self.linear = FirstOrder(self.schema)
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = FieldStack(self.schema)

    def call(self, x, training=False):
        linear, fields = self.linear(x), self.fields(x, self.embedding(x))
        return self.scores({name: linear[name] + fm_term(fields[name]) for name in x})
