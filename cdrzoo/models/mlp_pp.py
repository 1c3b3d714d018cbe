"""MLP++: a network for each domain, whose rows look up the same users."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import FeatureEmbedding, FieldVectors
from cdrzoo.layers.pooling import joined
from cdrzoo.layers.towers import towers
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class MLPPlusPlus(CrossDomainModel):
    """Two networks that share the users' embeddings and nothing else.

        z_d = w_d MLP_d([e_1 | ... | e_n]) + b_d,   y_d = sigmoid(z_d),   L = sum_d L_d

    d: a domain; e_i: the vector of a field; w_d, b_d: the last layer; L_d: the mean cross-entropy of a domain's rows.
    In the paper a row is a user and an item. Here it is all that its domain lists, a history being the mean of its
    steps, so that no model of a comparison sees more than another; and tables that features of several domains name are
    shared, as the users' is. Any number of domains; each has its tower. It is CoNet without cross connections, and is
    trained on the same paired batches.

    Args:
        schema: the schema; to transfer anything, the domains must share a table, that of the users to begin with.
        units: hidden layers of each tower; default `(256, 128, 32)`, as `DNN` has them (the paper: 32, 16, 8 behind an
            embedding of 32 for the user and the item each).
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Hu, Zhang and Yang, CoNet: Collaborative Cross Networks for Cross-Domain Recommendation (CIKM 2018),
    sections 3.1 and 4.1.3.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.MLPPlusPlus(prepared.schema, units=(64, 32))
        >>> x, y = next(iter(prepared.train(64, paired=True)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (256, 128, 32),
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.check_shared_users("MLP++")
        self.units = units
        self.dropout = dropout
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = {d.name: FieldVectors(self.schema, d.name) for d in self.schema.domains}
        self.towers, self.heads = towers(self.schema.domains, units, dropout)

    def call(self, x, training=False):
        embedded = self.embedding(x)
        logits = {}
        for name in x:
            fields = self.fields[name](x[name], embedded[name], training=training)
            row = joined(list(fields.values()))
            logits[name] = self.heads[name](self.towers[name](row, training=training))
        return self.scores(logits)
