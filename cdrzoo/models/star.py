"""STAR: one network of all domains times one of each, behind a normalization of each."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.errors import check_dropout
from cdrzoo.layers import MLP, PartitionedNormalization, RowVectors, StarDense
from cdrzoo.layers.sampling import Dropout
from cdrzoo.layers.towers import first_output
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class STAR(CrossDomainModel):
    """Star Topology Adaptive Recommender.

        h_0 = PN_p(x)                                                       `PartitionedNormalization`
        h_l = relu(h_{l-1} (W_l * W_l,p) + b_l + b_l,p)                     `StarDense`; the last one linear: s_m
        s_a = w MLP(x) + b                                                  the auxiliary network
        y   = sigmoid(s_m + s_a)

    p: the row's domain; *: the product element by element; W_l, b_l: the layers of all domains; W_l,p, b_l,p: those of
    one; w, b: a last layer. x is the row of DNN (`SlotConcat`: fields of one name are one slot, what a domain does not
    list is zeros), with the one-hot of the domain beside them. So the auxiliary network reads the domain: the first
    matrix of its MLP times the one-hot is the domain's embedding.

    Args:
        schema: the schema.
        units: hidden layers; default `(256, 128, 32)`, those of `DNN`.
        aux_units: hidden layers of the auxiliary network; default `(32,)`; `()`: none.
        pooling: of histories, `"mean"` (default) or `"attention"` (DIN's, of each domain).
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout and the statistics of the batch are on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Sheng, Zhao, Zhou et al., One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR
    Prediction (CIKM 2021), section 3.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.STAR(prepared.schema, units=(64, 32))
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (256, 128, 32),
        aux_units: Units = (32,),
        pooling: str = "mean",
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.aux_units = aux_units
        self.pooling = pooling
        self.dropout = dropout
        domains = [d.name for d in self.schema.domains]
        starts = [first_output(d) for d in self.schema.domains]
        self.rows = RowVectors(self.schema, pooling)
        self.normalization = PartitionedNormalization(domains, name="normalization")
        self.star = [StarDense(width, domains, "relu", name=f"star_{i}") for i, width in enumerate(units)]
        check_dropout(dropout)
        self.dropouts = [Dropout(dropout) for _ in units]
        self.output_layer = StarDense(1, domains, starts=starts, dtype="float32", name="output_layer")
        self.auxiliary = MLP(aux_units, dropout=dropout, name="auxiliary")
        self.auxiliary_output = keras.layers.Dense(1, dtype="float32", name="auxiliary_output")

    def call(self, x, training=False):
        rows = self.rows(x, training=training)
        logits = {}
        for name, row in rows.items():
            h = self.normalization(row, domain=name, training=training)
            for layer, drop in zip(self.star, self.dropouts):
                h = drop(layer(h, domain=name), training=training)
            auxiliary = self.auxiliary_output(self.auxiliary(row, training=training))
            logits[name] = self.output_layer(h, domain=name) + auxiliary
        return self.scores(logits)
