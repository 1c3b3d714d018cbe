"""Wide & Deep: a linear model with cross products of ids, and an MLP over embeddings, trained jointly."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import MLP, CrossProducts, FirstOrder, RowVectors
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class WideDeep(CrossDomainModel):
    """Wide & Deep learning: memorisation by a linear model, generalisation by an MLP, one loss.

        z = w_wide [x, phi(x)] + w_deep MLP([e_1 | .. | e_n]) + b,   y = sigmoid(z)

    x: the row's ids and numbers; phi(x): its cross products, each event of a history with the candidate
    (`CrossProducts`), whose weights enter as their mean, as all weights of several values do; e_i: the vector of a
    field; w_wide, which starts at 0, w_deep and b: the last layer. The paper trains the wide part by FTRL with L1 and
    the deep part by AdaGrad; here one optimizer trains both. With a schema of several domains one network reads the
    rows of all of them (`RowVectors`).

    Args:
        schema: the schema.
        units: hidden layers; default `(1024, 512, 256)` (figure 4).
        buckets: rows of the table of each kind of cross product; default 100,000.
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Cheng, Koc, Harmsen et al., Wide & Deep Learning for Recommender Systems (DLRS 2016), section 3,
    equations 1 to 3.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.WideDeep(prepared.schema, units=(64, 32), buckets=1_000)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (1024, 512, 256),
        buckets: int = 100000,
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.buckets = buckets
        self.dropout = dropout
        self.cross = CrossProducts(self.schema, buckets)
        self.wide = FirstOrder(self.cross.crossed)
        self.rows = RowVectors(self.schema)
        self.mlp = MLP(units, dropout=dropout)
        self.head = keras.layers.Dense(
            1, use_bias=False, dtype="float32", name="head"
        )  # b is in the wide part

    def call(self, x, training=False):
        wide, rows = self.wide(self.cross(x)), self.rows(x)
        return self.scores(
            {name: wide[name] + self.head(self.mlp(row, training=training)) for name, row in rows.items()}
        )
