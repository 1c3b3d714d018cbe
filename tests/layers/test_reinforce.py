"""REINFORCE over windows, against a buffer of the whole window in NumPy."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.layers.reinforce import DelayedReinforce, ascent

SHAPES = ((3, 2), (2,))


def make(**options):
    variables = [keras.Variable(np.zeros(shape), dtype="float32") for shape in SHAPES]
    made = DelayedReinforce(**{"clip": 100.0, **options})
    made.build(variables)
    return made, variables


def steps(made, count, seed=0):
    """Steps of random gradients and rewards, as `(gradients, rewards)`."""
    rng = np.random.default_rng(seed)
    g = [[rng.normal(size=shape) for shape in SHAPES] for _ in range(count)]
    r = rng.normal(size=count)
    for gradients, reward in zip(g, r):
        made.observe([tf.constant(each, "float32") for each in gradients], tf.constant(reward, "float32"))
        made.end_step(keras.optimizers.SGD(0.5))
    return g, r


@pytest.mark.parametrize("gamma", [0.8, 0.0, 1.0])
@pytest.mark.parametrize("norm", ["none", "window"])
def test_the_traces_sum_what_a_buffer_would(gamma, norm):
    """Two windows of three steps and one update of both, along sum_k (R_k - b) g_k / 6."""
    made, variables = make(gamma=gamma, norm=norm, every=3, updates_every=2)
    g, r = steps(made, 6)
    returns = np.array(
        [sum(gamma ** (j - k - 1) * r[j] for j in range(k + 1, 3 * (k // 3) + 3)) for k in range(6)]
    )
    baseline = returns.mean() if norm == "window" else 0.0
    for index, variable in enumerate(variables):
        ascent = sum((returns[k] - baseline) * g[k][index] for k in range(6)) / 6
        np.testing.assert_allclose(variable, 0.5 * ascent, rtol=1e-4, atol=1e-6)
    assert not any(np.any(v) for v in made.state if v.name != "step")


@pytest.mark.parametrize(("norm", "gain"), [("none", 4.0), ("window", -2.0)])
def test_by_hand(norm, gain):
    """Gradients 1 and 2, rewards 3 and 4, gamma 1/2: r_1 came before, so R = (4, 0), b = 2, G = 2 * 1 - 2 * 2 = -2."""
    made = DelayedReinforce(gamma=0.5, every=2, norm=norm, clip=10.0)
    theta, ends = keras.Variable(0.0), []
    made.build([theta])
    for gradient, reward in ((1.0, 3.0), (2.0, 4.0)):
        made.observe([tf.constant(gradient)], tf.constant(reward))
        made.end_step(keras.optimizers.SGD(0.1), lambda: ends.append(int(made.step)))
    assert ends == [2]
    assert float(theta) == pytest.approx(0.1 * gain / 2)


def test_a_level_of_the_reward_teaches_nothing_with_the_baseline():
    """Each step's gradient is the same: what is left is a preference among steps, and there is none."""
    for norm, still in (("window", True), ("none", False)):
        made = DelayedReinforce(every=4, norm=norm)
        theta = keras.Variable(0.0)
        made.build([theta])
        for reward in (0.0, -0.1, -0.2, -0.1):
            made.observe([tf.constant(1.0)], tf.constant(reward))
            made.end_step(keras.optimizers.SGD(1.0))
        assert (abs(float(theta)) < 1e-7) == still


def test_credit_goes_to_the_step_before_the_reward():
    """Arms of a bandit at random, of which one pays a step later: its probability grows, whatever the level."""
    rng = np.random.default_rng(0)
    made = DelayedReinforce(every=5, updates_every=4)
    theta, optimizer, paid = keras.Variable(0.0), ascent("adam", 0.3), 0.0
    made.build([theta])
    for _ in range(400):
        p = 1 / (1 + np.exp(-float(theta)))
        taken = float(rng.random() < p)
        made.observe([tf.constant(taken - p, "float32")], tf.constant(paid - 0.5, "float32"))
        made.end_step(optimizer)
        paid = taken
    assert p > 0.8


def test_too_few_steps_are_said():
    made, _ = make(every=2, updates_every=2)
    steps(made, 3)
    with pytest.warns(
        UserWarning, match="learns every 4 steps .* training has taken 3: it has learnt nothing"
    ):
        made.warn_if_idle()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps(made, 1)
        made.warn_if_idle()


@pytest.mark.parametrize("norm", ["none", "ema", "std"])
def test_rewards_are_normalised_and_cut(norm):
    made, _ = make(norm=norm, clip=1.5)
    mean = variance = 0.0
    for r in (0.0, 0.3, -0.2, 0.25, 4.0, -9.0):
        delta = r - mean
        mean += 0.01 * delta
        variance = 0.99 * (variance + 0.01 * delta**2)
        deviation = np.sqrt(variance) + 1e-8
        expected = {"none": r, "ema": delta / deviation, "std": r / deviation}[norm]
        assert float(made.normalised(tf.constant(r))) == pytest.approx(
            np.clip(expected, -1.5, 1.5), rel=1e-4, abs=1e-6
        )


def test_where_nothing_learns_the_steps_are_counted_all_the_same():
    made, ends = DelayedReinforce(every=2, norm="none"), []
    made.build([])
    for _ in range(2):
        made.observe([], tf.constant(1.0))
        made.end_step(keras.optimizers.SGD(0.1), lambda: ends.append(int(made.step)))
    assert ends == [2] and [v.name for v in made.state] == ["reward_mean", "reward_variance", "step"]


@pytest.mark.parametrize("norm", ["ema", "window"])
def test_the_state_is_all_that_a_window_needs(norm):
    one, _ = make(norm=norm)
    steps(one, 3)
    other, _ = make(norm=norm)
    for v, value in zip(other.state, [v.numpy() for v in one.state]):
        v.assign(value)
    for made in (one, other):
        steps(made, 2, seed=1)
    for v, w in zip(one.state, other.state):
        np.testing.assert_array_equal(v, w)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -0.1}, r"`gamma` must lie in \[0, 1\]. Received: -0.1"),
        ({"every": 0}, "`sync_every` must be at least 1 step. Received: 0"),
        ({"updates_every": 0}, "`selector_every` must be at least 1 window. Received: 0"),
        ({"norm": "l2"}, "`reward_norm` must be one of window, none, ema, std. Received: 'l2'"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(InputError, match=message):
        DelayedReinforce(**options)
