"""YouTube-DNN: averaged histories and powers of numbers in a wide tower, as a model of clicks."""

from __future__ import annotations

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.layers import MLP, RowVectors
from cdrzoo.layers.pooling import joined
from cdrzoo.layers.towers import head
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class YouTubeDNN(CrossDomainModel):
    """YouTube's ranking network as a model of clicks; on one domain or, with a one-hot of the domain, on several.

        z = w MLP([e_1 | .. | e_n | q^2 | sqrt(q)]) + b,   y = sigmoid(z)

    e_i: the vector of a field, of a history the mean of its items' embeddings; q: the quantile of a number; w, b: the
    last layer. The encoder has standardised numbers x, so that q = Phi(x), exact for a normal distribution; a
    cyclic number has none. With no numbers this is `DNN` with a wider tower. The paper ranks by expected watch time;
    without watch times, its weighted logistic regression is a plain one. Its retrieval network (a softmax over the
    catalogue) is another model.

    Args:
        schema: the schema; with one domain `DNN-single`, with several `DNN-multi` (`RowVectors`).
        units: hidden layers; default `(1024, 512, 256)` (section 4.3, table 1).
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Covington, Adams and Sargin, Deep Neural Networks for YouTube Recommendations (RecSys 2016), section 4;
    as a baseline of clicks Luo et al., Domain-Aware Cross-Attention for Cross-Domain Recommendation (ICASSP 2024),
    section 4.2.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.YouTubeDNN(prepared.schema, units=(64, 32))
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (1024, 512, 256),
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.dropout = dropout
        self.rows = RowVectors(self.schema)
        numbers = (f for d in self.schema.domains for f in d.features if f.table is None and not f.period)
        self.numbers = sorted({f.name for f in numbers})
        self.mlp = MLP(units, dropout=dropout)
        self.head = head(self.schema.target_domain, *self.schema.sources)

    def call(self, x, training=False):
        logits = {}
        for name, row in self.rows(x).items():
            row = joined([row, *self._powers(x[name], row)])
            logits[name] = self.head(self.mlp(row, training=training))
        return self.scores(logits)

    def _powers(self, features, row):
        """q^2 and sqrt(q) of every number, `[B, 1]` each; zeros where the row's domain does not list it."""
        columns = []
        for name in self.numbers:
            if name in features:
                number = ops.cast(features[name], row.dtype)
                number = number[:, :1] if len(number.shape) == 2 else ops.expand_dims(number, -1)
                q = 0.5 * (1.0 + ops.erf(number / 2**0.5))
            else:
                q = ops.zeros_like(row[:, :1])
            columns += [ops.square(q), ops.sqrt(q)]
        return columns
