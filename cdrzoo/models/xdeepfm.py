"""xDeepFM: a compressed interaction network and an MLP over the same vectors."""

from __future__ import annotations

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.layers import CIN, MLP, FeatureEmbedding, FieldStack, FirstOrder
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class XDeepFM(CrossDomainModel):
    """eXtreme deep factorization machine: explicit crosses of whole fields beside implicit ones.

        z = w_linear a + w_dnn MLP([e_1 | .. | e_F]) + w_cin CIN(E) + b,   y = sigmoid(z)

    a: the row's ids and numbers; e_i: the vector of field i of F, the rows of E; w: the last layer, b: the bias. What
    the fields are, and what several domains share: see `FieldStack`.

    Args:
        schema: the schema; all tables of one width.
        units: hidden layers; default `(400, 400)`, the paper's.
        cin_units: maps of the layers of `CIN`; default `(100, 100, 100)` (the paper takes 200 a layer on Criteo).
        dropout: share of each hidden layer that is dropped in training; default 0.5, the paper's.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Lian, Zhou, Zhang, Chen, Xie and Sun, xDeepFM: Combining Explicit and Implicit Feature Interactions for
    Recommender Systems (KDD 2018), section 3.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.XDeepFM(prepared.schema, units=(64, 32), cin_units=(8, 8))
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (400, 400),
        cin_units: Units = (100, 100, 100),
        dropout: float = 0.5,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.cin_units = cin_units
        self.dropout = dropout
        self.linear = FirstOrder(self.schema)
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = FieldStack(self.schema)
        self.cin = CIN(cin_units)
        self.mlp = MLP(units, dropout=dropout)
        self.head = keras.layers.Dense(
            1, use_bias=False, dtype="float32", name="head"
        )  # b is the linear part's

    def call(self, x, training=False):
        linear, fields = self.linear(x), self.fields(x, self.embedding(x))
        logits = {}
        for name, e in fields.items():
            deep = self.mlp(ops.reshape(e, (-1, e.shape[1] * e.shape[2])), training=training)
            logits[name] = linear[name] + self.head(ops.concatenate([self.cin(e), deep], axis=-1))
        return self.scores(logits)
