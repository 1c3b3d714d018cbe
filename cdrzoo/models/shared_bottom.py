"""Shared-Bottom: one network under a tower for each domain."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import MLP, RowVectors
from cdrzoo.layers.towers import towers
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class SharedBottom(CrossDomainModel):
    """Hard parameter sharing: the rows of all domains pass one network, then the tower of their own domain.

        h = MLP(x),   z = w_d Tower_d(h) + b_d,   y = sigmoid(z)

    d: the row's domain; w_d, b_d: its last layer. x is the row of DNN (`SlotConcat`: fields of one name are one slot,
    what a domain does not list is zeros).

    Args:
        schema: the schema.
        units: hidden layers of the bottom; default `(256, 128)`: with a tower, the network of `DNN`.
        tower_units: hidden layers of a tower; default `(32,)`; `()`: none.
        pooling: of histories, `"mean"` (default) or `"attention"` (DIN's, of each domain).
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings. Each of several labels has
        a tower of its own; those behind the first are called DOMAIN.LABEL.

    Logged: `<domain>_loss`.

    Reference: Caruana, Multitask Learning (Machine Learning 28, 1997); Ruder, An Overview of Multi-Task Learning in
    Deep Neural Networks (2017), section 3.1.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.SharedBottom(prepared.schema, tower_units=(16,))
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    several_labels = True

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (256, 128),
        tower_units: Units = (32,),
        pooling: str = "mean",
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.tower_units = tower_units
        self.pooling = pooling
        self.dropout = dropout
        self.rows = RowVectors(self.schema, pooling)
        self.bottom = MLP(units, dropout=dropout, name="bottom")
        self.towers, self.heads = towers(self.schema.domains, tower_units, dropout)

    def call(self, x, training=False):
        rows = self.rows(x, training=training)
        logits = {}
        for name, row in rows.items():
            h = self.bottom(row, training=training)
            for key in self.schema.domain(name).outputs:
                logits[key] = self.heads[key](self.towers[key](h, training=training))
        return self.scores(logits)
