"""FiBiNET: fields weighed by their importance, and bilinear products of their pairs."""

from __future__ import annotations

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.errors import SchemaError
from cdrzoo.layers import (
    MLP,
    BilinearInteraction,
    FeatureEmbedding,
    FieldStack,
    FirstOrder,
    SqueezeExcitation,
)
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class FiBiNET(CrossDomainModel):
    """Feature importance and bilinear feature interaction network.

        V = SENET(E),   p_ij = (e_i W_ij) * e_j,   q_ij = (v_i W'_ij) * v_j
        z = w_0 + sum_i w_i x_i + w MLP([p | q]),   y = sigmoid(z)

    e_i: the vector of a field, a row of E; v_i: the same weighed by its importance (`SqueezeExcitation`); W, W':
    matrices of a pair (`BilinearInteraction`); x_i: the row's ids (1) and numbers, w_i: their weights, w_0: the bias;
    w: the last layer. What the fields are, and what several domains share: see `FieldStack`.

    Args:
        schema: the schema; all tables of one width.
        units: hidden layers; default `(400, 400, 400)`, the paper's.
        bilinear: what has a W of its own, see `BilinearInteraction`; default `"interaction"`.
        reduction: r of `SqueezeExcitation`; default 3, the paper's.
        dropout: share of each hidden layer that is dropped in training; default 0.5, the paper's.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Huang, Zhang and Zhang, FiBiNET: Combining Feature Importance and Bilinear Feature Interaction for
    Click-Through Rate Prediction (RecSys 2019), section 3.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.FiBiNET(prepared.schema, units=(64, 32))
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (400, 400, 400),
        bilinear: str = "interaction",
        reduction: int = 3,
        dropout: float = 0.5,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.bilinear = bilinear
        self.reduction = reduction
        self.dropout = dropout
        self.linear = FirstOrder(self.schema)
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = FieldStack(self.schema)
        if len(self.fields.slots) < 2 and not self.schema.sources:  # else the domain is a field
            raise SchemaError(
                f"FiBiNET multiplies pairs of fields, but domain {self.schema.target!r} has one feature alone. Add one."
            )
        self.senet = SqueezeExcitation(reduction)
        self.products = BilinearInteraction(bilinear)
        self.weighed_products = BilinearInteraction(bilinear)
        self.mlp = MLP(units, dropout=dropout)
        self.head = keras.layers.Dense(1, use_bias=False, dtype="float32", name="head")  # w_0 is the bias

    def call(self, x, training=False):
        linear, fields = self.linear(x), self.fields(x, self.embedding(x))
        logits = {}
        for name, e in fields.items():
            c = ops.concatenate([self.products(e), self.weighed_products(self.senet(e))], axis=1)
            deep = self.mlp(ops.reshape(c, (-1, c.shape[1] * c.shape[2])), training=training)
            logits[name] = linear[name] + self.head(deep)
        return self.scores(logits)
