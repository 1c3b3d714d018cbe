"""Which rows of a source are worth learning from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from cdrzoo import replicas
from cdrzoo.errors import check_choice
from cdrzoo.losses import weighted_mean

MODES = ("log_weight", "bernoulli", "none", "closed")
FIXED = {"none": 1.0, "closed": 0.0}
"""Modes in which every row has the same p, whatever it is."""


@keras.saving.register_keras_serializable(package="cdrzoo")
class Selector(keras.layers.Layer):
    """What each row counts in a loss, read off the row: p = sigmoid(MLP(v)).

    It reads a constant and its weight in the loss is one (`choose`), because the loss itself would drive p to 0: it
    learns from a reward (`DelayedReinforce`). It starts with p = 1/2 for every row, and so without a preference.

    Args:
        units: hidden layers of the MLP, with ReLU; default `(64, 32)`.
        mode: `"log_weight"` (a row weighs p; default), `"bernoulli"` (a row is taken with probability p), `"none"`
            (p = 1) or `"closed"` (p = 0).

    Call arguments:
        v: the rows, `[B, width]`.

    Returns:
        p, float32 `[B]`, in (0, 1).

    Raises:
        InputError: for another mode.

    Reference: Zhang et al., A Collaborative Transfer Learning Framework for Cross-domain Recommendation (KDD 2023),
    section 2.4.2, eqs. 8 and 9.

    Example:
        >>> import keras
        >>> from cdrzoo.layers import Selector
        >>> Selector(units=(4,))(keras.random.normal((5, 3))).shape
        TensorShape([5])
    """

    def __init__(self, units: Sequence[int] = (64, 32), mode: str = "log_weight", **kwargs):
        super().__init__(**kwargs)
        check_choice("`selector_mode`", mode, MODES)
        self.units = tuple(units)
        self.mode = mode
        self.network = keras.Sequential(
            [keras.layers.Dense(n, activation="relu") for n in units]
            + [keras.layers.Dense(1, activation="sigmoid", kernel_initializer="zeros", dtype="float32")]
        )

    def build(self, input_shape):
        self.network.build(input_shape)

    def call(self, v):
        if self.mode in FIXED:
            return FIXED[self.mode] * ops.ones_like(ops.cast(v[:, 0], "float32"))
        return self.network(ops.stop_gradient(v))[:, 0]  # eq. 8

    @property
    def learns(self) -> list[keras.Variable]:
        """The variables that a reward teaches; none where p is fixed."""
        return [] if self.mode in FIXED else self.trainable_variables

    def weigh(
        self, rows: Mapping[str, Any], given: Mapping[str, Any], seed: Any
    ) -> tuple[Any, Any, list[Any]]:
        """What the rows of several sources weigh, and what a reward for it teaches.

        Args:
            rows: `{source: [B, width]}`.
            given: what a row counts without the selector, `{source: float32 [B]}`.
            seed: as for `choose`.

        Returns:
            The mean p; the weights by source, constants; of each of `learns` the gradient g of the sum over sources of
            mean_i log p_i.
        """
        variables = [v.value for v in self.learns]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            p = {s: self(v) for s, v in rows.items()}  # eq. 8
            chosen = {s: self.choose(each, seed) for s, each in p.items()}
            log_p = sum([weighted_mean(log_p, given[s]) for s, (_, log_p) in chosen.items()])
        weights = {s: ops.stop_gradient(weight) * given[s] for s, (weight, _) in chosen.items()}
        mean = sum([weighted_mean(each, given[s]) for s, each in p.items()]) / len(p)
        return mean, weights, tape.gradient(log_p, variables)

    def choose(self, p: Any, seed: Any) -> tuple[Any, Any]:
        """What the rows weigh, and the logarithm whose gradient the reward multiplies (eq. 9), `[B]` each.

        Args:
            p: what `call` has given.
            seed: a `keras.random.SeedGenerator`, for `"bernoulli"`.

        Returns:
            `(p, log p)`; of rows that are drawn `(a, log P(a))`, a being 1 or 0.
        """
        clipped = ops.clip(p, 1e-6, 1 - 1e-6)
        if self.mode != "bernoulli":
            return p, ops.log(clipped)
        drawn = replicas.drawn(ops.shape(p), lambda shape: keras.random.uniform(shape, seed=seed))
        taken = ops.cast(drawn < p, "float32")
        return taken, taken * ops.log(clipped) + (1 - taken) * ops.log(1 - clipped)

    def compute_output_shape(self, input_shape):
        return (input_shape[0],)

    def get_config(self):
        return {**super().get_config(), "units": list(self.units), "mode": self.mode}
