"""Learning by a reward that comes later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from cdrzoo.errors import InputError, check_choice, check_share

MOMENTUM = 0.99
"""Of the running mean and variance of the reward."""


class DelayedReinforce:
    """REINFORCE over windows of steps, with a discounted reward and without keeping what a window has seen.

        G = sum_k R_k g_k,   R_k = r_k + gamma r_{k+1} + gamma^2 r_{k+2} + ...

    g_k: the gradient of step k's log probabilities; r_k: step k's reward. Exchanging the two sums gives the same G by
    an eligibility trace, which needs one vector instead of all g_k:

        e_k = gamma e_{k-1} + g_k,   G <- G + r_k e_k

    At the end of a window of n steps `update` hands -G / n to an optimizer and starts anew.

    A plain object: who owns it tracks `state`, so that a run that is saved inside a window goes on in it.

    Args:
        gamma: discount, in [0, 1]; default 0.8.
        every: n; default 1000.
        norm: of the reward: `"none"` (default), `"ema"` (minus a running mean, over a running deviation) or `"std"`
            (the latter alone).
        clip: the reward is cut to this magnitude; default 1.

    Raises:
        InputError: for another gamma, window or norm.

    Reference: Williams, Simple Statistical Gradient-Following Algorithms (Machine Learning, 1992); the windows and the
    discount are those of Zhang et al., A Collaborative Transfer Learning Framework for Cross-domain Recommendation (KDD
    2023), section 2.4.2.
    """

    def __init__(self, gamma: float = 0.8, every: int = 1000, norm: str = "none", clip: float = 1.0):
        check_choice("`reward_norm`", norm, ("none", "ema", "std"))
        check_share("`gamma`", gamma)
        if every < 1:
            raise InputError(f"`sync_every` must be at least 1 step. Received: {every}.")
        self.gamma, self.every, self.norm, self.clip = gamma, every, norm, clip

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the state for the variables that learn."""

        def zeros(name, shape=(), dtype="float32"):
            return keras.Variable("zeros", shape, dtype=dtype, trainable=False, autocast=False, name=name)

        self.variables = list(variables)
        self.trace = [zeros(f"trace_{i}", v.shape) for i, v in enumerate(variables)]
        self.gain = [zeros(f"gain_{i}", v.shape) for i, v in enumerate(variables)]
        self.mean, self.variance = zeros("reward_mean"), zeros("reward_variance")
        self.step = zeros("step", dtype="int32")

    @property
    def state(self) -> list[keras.Variable]:
        """What is to be saved."""
        return [*self.trace, *self.gain, self.mean, self.variance, self.step]

    def observe(self, gradients: Sequence[Any], reward: Any) -> None:
        """One step of a window: g_k, one a variable, and r_k."""
        self.step.assign_add(1)
        if not self.variables:
            return
        reward = self.normalised(reward)
        for trace, gain, gradient in zip(self.trace, self.gain, gradients):
            trace.assign(self.gamma * trace + gradient)
            gain.assign_add(reward * trace)

    def normalised(self, reward: Any) -> Any:
        """The reward as it counts; the running moments take it up."""
        if self.norm != "none":
            delta = reward - self.mean  # from the mean before this step
            self.mean.assign_add((1 - MOMENTUM) * delta)
            self.variance.assign(MOMENTUM * (self.variance + (1 - MOMENTUM) * ops.square(delta)))
            deviation = ops.sqrt(self.variance) + 1e-8
            reward = (delta if self.norm == "ema" else reward) / deviation
        return ops.clip(reward, -self.clip, self.clip)

    def window_ends(self) -> Any:
        """Whether the last step was the last of its window: a bool scalar."""
        return ops.equal(self.step % self.every, 0)

    def update(self, optimizer: keras.optimizers.Optimizer) -> None:
        """The end of a window: ascends along G / n."""
        if not self.variables:
            return
        optimizer.apply_gradients(zip([-gain / self.every for gain in self.gain], self.variables))
        for state in (*self.trace, *self.gain):
            state.assign(ops.zeros_like(state))
