"""Explicit crosses of fields."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="cdrzoo")
class BiInteraction(keras.layers.Layer):
    """Bi-interaction pooling: the element-wise products of all pairs of fields, added up.

        f = sum_{i<j} (c_i m_i) * (c_j m_j) = 1/2 ((sum_i c_i m_i)^2 - sum_i (c_i m_i)^2)

    Args:
        weighted: whether the c_i are learnt (they start at 1); otherwise they are 1, as in NFM.

    Call arguments:
        fields: m, `[B, F, d]`.

    Returns:
        `[B, d]`.

    Reference: He & Chua, Neural Factorization Machines (SIGIR 2017), equation 4; with weights Kong et al., DADIN, 2023,
    equations 7 and 8, whose bars are brackets: eq. 7 may be negative.
    """

    def __init__(self, weighted: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.weighted = weighted

    def build(self, input_shape):
        if self.weighted:
            self.c = self.add_weight(name="c", shape=(input_shape[1], 1), initializer="ones")

    def call(self, fields):
        if self.weighted:
            fields = self.c * fields
        return 0.5 * (ops.square(ops.sum(fields, axis=1)) - ops.sum(ops.square(fields), axis=1))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[2])

    def get_config(self):
        return {**super().get_config(), "weighted": self.weighted}
