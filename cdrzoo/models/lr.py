"""LR: logistic regression over ids, histories and numbers."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import FirstOrder
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike


@keras.saving.register_keras_serializable(package="cdrzoo")
class LR(CrossDomainModel):
    """Logistic regression: one weight for each value of a feature, their mean for several values, one for a number.

        z = w_0 + sum_i w_i[x_i] + sum_j w_j x_j,   y = sigmoid(z)   (y = z for ratings)

    x_i: the ids of a row, x_j its numbers, w their weights, w_0 the bias. Which features share weights, and what
    domains share: see `FirstOrder`.

    Args:
        schema: the schema; widths of tables do not matter.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: not looked at.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Richardson, Dominowska and Ragno, Predicting Clicks: Estimating the Click-Through Rate for New Ads (WWW
    2007).

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.LR(prepared.schema)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(self, schema: SchemaLike, **kwargs: Unpack[ModelOptions]):
        super().__init__(schema, **kwargs)
        self.linear = FirstOrder(self.schema)

    def call(self, x, training=False):
        return self.scores(self.linear(x))
