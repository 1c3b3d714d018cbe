"""DNN: embeddings, averaged histories and an MLP; on one domain or on several."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import MLP, RowVectors
from cdrzoo.layers.towers import further_heads, head, headed
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class DNN(CrossDomainModel):
    """Embedding and MLP, the base model of the field.

        z = w MLP([e_1 | ... | e_n]) + b,   y = sigmoid(z)

    e_i: the vector of a field, of a history the mean of its items' embeddings; w, b: the last layer. With a schema of
    several domains this is `DNN-multi`: one network reads the rows of all of them, with a one-hot of the domain;
    features that a domain does not list are zeros (`SlotConcat`).

    Args:
        schema: the schema.
        units: hidden layers; default `(256, 128, 32)` (Zhang et al., section 3.1.3).
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings. Each of several labels has
        a last layer of its own; those behind the first are called DOMAIN.LABEL.

    Logged: `<domain>_loss`.

    Reference: Covington, Adams and Sargin, Deep Neural Networks for YouTube Recommendations (RecSys 2016), section 4,
    as a model of clicks; Zhang, Zhang, Zhang, Wang and Wang, A Collaborative Transfer Learning Framework for
    Cross-domain Recommendation (KDD 2023), section 3.1.2.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.DNN(prepared.schema, units=(64, 32))
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    several_labels = True

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (256, 128, 32),
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.dropout = dropout
        self.rows = RowVectors(self.schema)
        self.mlp = MLP(units, dropout=dropout)
        self.head = head(self.schema.target_domain, *self.schema.sources)
        self.further_heads = further_heads(self.schema.domains)  # of several labels

    def call(self, x, training=False):
        rows = self.rows(x, training=training)
        hidden = {name: self.mlp(row, training=training) for name, row in rows.items()}
        return self.scores(headed(self.schema.domains, hidden, self.head, self.further_heads))
