"""LR: logistic regression over ids, histories and numbers."""

from __future__ import annotations

import keras

from cdrzoo.layers import FirstOrder
from cdrzoo.models.base import CrossDomainModel


@keras.saving.register_keras_serializable(package="cdrzoo")
class LR(CrossDomainModel):
    """Logistic regression: one weight for each value of a feature, their mean for several values, one for a number.

    z = w_0 + sum_i w_i[x_i] + sum_j w_j x_j,  y = sigmoid(z)  (y = z for ratings)

    Which features share weights, and what domains share: see `FirstOrder`.

    Args:
        schema: the schema; widths of tables do not matter.

    Call arguments and returns: see `CrossDomainModel`.

    Reference: Richardson et al., Predicting Clicks (WWW 2007).
    """

    def __init__(self, schema, **kwargs):
        super().__init__(schema, **kwargs)
        self.linear = FirstOrder(self.schema)

    def call(self, x, training=False):
        return self.scores(self.linear(x))
