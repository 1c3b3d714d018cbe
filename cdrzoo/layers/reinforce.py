"""Learning by a reward that comes later."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from cdrzoo import optimizers, replicas
from cdrzoo.errors import InputError, check_choice, check_share

MOMENTUM = 0.99
"""Of the running mean and variance of the reward."""


class DelayedReinforce:
    """REINFORCE over windows of steps, with a discounted reward and without keeping what a window has seen.

        G = sum_k (R_k - b) g_k,   R_k = r_{k+1} + gamma r_{k+2} + gamma^2 r_{k+3} + ...

    g_k: the gradient of step k's log probabilities; r_k: the reward that is measured in step k, before its update, so
    that r_{k+1} is the first to tell what step k did. R_k ends with its window. Exchanging the two sums gives the same
    G by an eligibility trace, which needs one vector instead of all g_k:

        G <- G + r_k e_k,   e_{k+1} = gamma e_k + g_k   (e starts each window at 0)

    b is the mean of the R_k that G holds (`norm="window"`) or 0. Without it what G says first is whether the rewards
    are above 0: everything gets likelier, or nothing. It takes a trace of ones and the sum of the g_k.

    After `updates_every` windows, n steps in all, -G / n goes to an optimizer, and the sums start anew.

    A plain object: who owns it tracks `state`, so that a run that is saved inside a window goes on in it. Replicas of a
    `tf.distribute.Strategy` observe the mean of their gradients, and one reward.

    Args:
        gamma: discount, in [0, 1]; default 0.8.
        every: steps of a window; default 1000.
        updates_every: windows between two updates; default 1.
        norm: of the reward: `"window"` (default; the baseline b), `"none"`, `"ema"` (minus a running mean, over a
            running deviation) or `"std"` (the latter alone).
        clip: the reward is cut to this magnitude; default 1.

    Raises:
        InputError: for another gamma, window or norm.

    Reference: Williams, Simple Statistical Gradient-Following Algorithms (Machine Learning, 1992); the windows and the
    discount are those of Zhang et al., A Collaborative Transfer Learning Framework for Cross-domain Recommendation (KDD
    2023), section 2.4.2.
    """

    def __init__(
        self,
        gamma: float = 0.8,
        every: int = 1000,
        updates_every: int = 1,
        norm: str = "window",
        clip: float = 1.0,
    ):
        check_choice("`reward_norm`", norm, ("window", "none", "ema", "std"))
        check_share("`gamma`", gamma)
        for name, count, unit in (("sync_every", every, "step"), ("selector_every", updates_every, "window")):
            if count < 1:
                raise InputError(f"`{name}` must be at least 1 {unit}. Received: {count}.")
        self.gamma, self.every, self.updates_every = gamma, every, updates_every
        self.norm, self.clip = norm, clip

    @property
    def steps(self) -> int:
        """Steps between two updates."""
        return self.every * self.updates_every

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the state for the variables that learn."""

        def zeros(name, shape=(), dtype="float32"):
            return keras.Variable("zeros", shape, dtype=dtype, trainable=False, autocast=False, name=name)

        self.variables = list(variables)
        self.trace = [zeros(f"trace_{i}", v.shape) for i, v in enumerate(variables)]
        self.gain = [zeros(f"gain_{i}", v.shape) for i, v in enumerate(variables)]
        self.mean, self.variance = zeros("reward_mean"), zeros("reward_variance")
        self.step = zeros("step", dtype="int32")
        centred = variables if self.norm == "window" else []
        self.total = [zeros(f"total_{i}", v.shape) for i, v in enumerate(centred)]
        self.ones, self.returns = (zeros(name) for name in ("trace_of_ones", "returns"))

    @property
    def state(self) -> list[keras.Variable]:
        """What is to be saved."""
        baseline = [*self.total, self.ones, self.returns] if self.total else []
        return [*self.trace, *self.gain, self.mean, self.variance, self.step, *baseline]

    def observe(self, gradients: Sequence[Any], reward: Any) -> None:
        """One step of a window: g_k, one a variable, and r_k."""
        self.step.assign_add(1)
        if not self.variables:
            return
        if replicas.count() > 1:
            gradients = [gradient / replicas.count() for gradient in replicas.summed(list(gradients))]
        reward = self.normalised(reward)
        for trace, gain, gradient in zip(self.trace, self.gain, gradients):
            before = tf.convert_to_tensor(trace.value)
            gain.value.assign_add(reward * before)
            trace.assign(self.gamma * before + gradient)
        if self.norm == "window":
            self.returns.assign_add(reward * self.ones)
            self.ones.assign(self.gamma * self.ones + 1)
            for total, gradient in zip(self.total, gradients):
                total.value.assign_add(gradient)

    def normalised(self, reward: Any) -> Any:
        """The reward as it counts; the running moments take it up."""
        if self.norm in ("ema", "std"):
            delta = reward - self.mean  # from the mean before this step
            self.mean.assign_add((1 - MOMENTUM) * delta)
            self.variance.assign(MOMENTUM * (self.variance + (1 - MOMENTUM) * ops.square(delta)))
            deviation = ops.sqrt(self.variance) + 1e-8
            reward = (delta if self.norm == "ema" else reward) / deviation
        return ops.clip(reward, -self.clip, self.clip)

    def warn_if_idle(self) -> None:
        """A `UserWarning` where so far there were too few steps for an update."""
        taken = int(tf.convert_to_tensor(self.step.value))
        if self.variables and taken < self.steps:
            warnings.warn(
                f"The selector learns every {self.steps} steps (sync_every * selector_every), and training has taken "
                f"{taken}: it has learnt nothing. Choose a smaller `sync_every`, such as 5.",
                stacklevel=3,
            )

    def window_ends(self) -> Any:
        """Whether the last step was the last of its window: a bool scalar."""
        return ops.equal(self.step % self.every, 0)

    def end_step(
        self, optimizer: keras.optimizers.Optimizer, at_window_end: Callable[[], None] = lambda: None
    ) -> None:
        """What is due after a step: at the end of the last window the update, and of each `at_window_end`.

        Both run outside the replicas, where an assignment changes a variable's copies on all of them.
        """

        def end_window():
            _clear([*self.trace, self.ones])  # what comes later is no credit of what lies before
            if self.variables:
                due = ops.equal(self.step % self.steps, 0)
                tf.cond(due, lambda: self._update(optimizer), lambda: None)
            at_window_end()

        tf.distribute.get_replica_context().merge_call(
            lambda _: tf.cond(self.window_ends(), end_window, lambda: None)
        )

    def _update(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Ascends along G / n."""
        baseline = self.returns / self.steps
        totals = self.total or [0.0] * len(self.gain)
        descent = [(baseline * total - gain) / self.steps for gain, total in zip(self.gain, totals)]
        optimizer.apply_gradients(zip(descent, self.variables))
        _clear([*self.gain, *self.total, self.returns])


def ascent(name: str, rate: float) -> keras.optimizers.Optimizer:
    """What follows a reward: `"adam"`, or `"sgd"` for plain gradient ascent, with this learning rate."""
    known = {"adam": optimizers.Adam, "sgd": optimizers.SGD}
    check_choice("`selector_optimizer`", name, tuple(known))
    return known[name](rate, name=name)


def _clear(state: Sequence[keras.Variable]) -> None:
    for each in state:
        each.assign(ops.zeros_like(each))
