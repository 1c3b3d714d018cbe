"""DeepFM: factorization machine and MLP over the same vectors."""

from __future__ import annotations

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.layers import MLP, FeatureEmbedding, FieldStack, FirstOrder
from cdrzoo.layers.crosses import fm_term
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class DeepFM(CrossDomainModel):
    """Factorization machine beside an MLP, both reading the same embeddings.

        z = w_0 + sum_i w_i x_i + sum_{i<j} <e_i, e_j> + w MLP([e_1 | .. | e_F]),   y = sigmoid(z)

    x_i: the row's ids (1) and numbers, w_i: their weights, w_0: the bias; e_i: the vector of field i of F; w: the last
    layer. What the fields are, and what several domains share: see `FieldStack`.

    Args:
        schema: the schema; all tables of one width.
        units: hidden layers; default `(400, 400, 400)` (section 3.1).
        dropout: share of each hidden layer that is dropped in training; default 0.5 (section 3.1).

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Guo, Tang, Ye, Li and He, DeepFM: A Factorization-Machine based Neural Network for CTR Prediction (IJCAI
    2017), section 2.1, equations 1 to 4.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.DeepFM(prepared.schema, units=(64, 32))
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (400, 400, 400),
        dropout: float = 0.5,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.dropout = dropout
        self.linear = FirstOrder(self.schema)
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = FieldStack(self.schema)
        self.mlp = MLP(units, dropout=dropout)
        self.head = keras.layers.Dense(1, use_bias=False, dtype="float32", name="head")  # w_0 is the bias

    def call(self, x, training=False):
        linear, fields = self.linear(x), self.fields(x, self.embedding(x))
        logits = {}
        for name, e in fields.items():
            deep = self.mlp(ops.reshape(e, (-1, e.shape[1] * e.shape[2])), training=training)
            logits[name] = linear[name] + fm_term(e) + self.head(deep)
        return self.scores(logits)
