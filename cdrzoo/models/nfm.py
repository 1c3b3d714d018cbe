"""NFM: an MLP over the sum of the products of all pairs of fields."""

from __future__ import annotations

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo import replicas
from cdrzoo.errors import check_dropout
from cdrzoo.layers import BiInteraction, FeatureEmbedding, FieldStack, FirstOrder
from cdrzoo.layers.sampling import Dropout
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class NFM(CrossDomainModel):
    """Neural factorization machine.

        f = sum_{i<j} e_i * e_j,   h_0 = drop(BN(f)),   h_l = drop(relu(BN(h_{l-1} W_l + b_l)))
        z = w_0 + sum_i w_i x_i + h^T h_L,   y = sigmoid(z)

    e_i: the vector of a field; W_l, b_l: the L hidden layers, h: the last one; x_i: the row's ids (1) and numbers, w_i:
    their weights, w_0: the bias. Without hidden layers, normalisation and dropout, and with h = 1, it is a
    factorization machine. What the fields are, and what several domains share: see `FieldStack`; a batch's rows of all
    its domains are normalised together, as inference does with the moving averages, so that no score depends on other
    rows.

    Args:
        schema: the schema; all tables of one width.
        units: hidden layers; default `(64,)` (the authors' code); `()`: none (NFM-0).
        batch_norm: whether there is BN (section 3.3); default true, as in the authors' code.
        dropout: share of f and of each hidden layer that is dropped in training; default 0.2 (the authors' code drops
            half of f and 0.2 of the hidden layer).

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout and the statistics of the batch are on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: He and Chua, Neural Factorization Machines for Sparse Predictive Analytics (SIGIR 2017), section 3,
    equations 2 to 7.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.NFM(prepared.schema)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    may_be_empty = ("units",)

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (64,),
        batch_norm: bool = True,
        dropout: float = 0.2,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.linear = FirstOrder(self.schema)
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = FieldStack(self.schema)
        self.interaction = BiInteraction(weighted=False)
        self.dense = [keras.layers.Dense(width) for width in units]
        # 0.9 is the authors': Keras's 0.99 has not forgotten its start when a short training ends.
        self.norms = [
            keras.layers.BatchNormalization(momentum=0.9, synchronized=replicas.count() > 1)
            if batch_norm
            else keras.layers.Identity()
            for _ in range(len(units) + 1)
        ]
        check_dropout(dropout)
        self.drop = Dropout(dropout)
        self.head = keras.layers.Dense(1, use_bias=False, dtype="float32", name="head")  # w_0 is the bias

    def call(self, x, training=False):
        linear, fields = self.linear(x), self.fields(x, self.embedding(x))
        pooled = [self.interaction(e) for e in fields.values()]
        first, *norms = self.norms
        h = self.drop(first(ops.concatenate(pooled, axis=0), training=training), training=training)
        for dense, norm in zip(self.dense, norms):
            h = self.drop(ops.relu(norm(dense(h), training=training)), training=training)
        deep = self.head(h)
        logits, start = {}, 0
        for name, rows in zip(fields, pooled):
            end = start + ops.shape(rows)[0]
            logits[name] = linear[name] + deep[start:end]
            start = end
        return self.scores(logits)
