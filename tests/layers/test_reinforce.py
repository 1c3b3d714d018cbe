"""REINFORCE over windows, against a buffer of the whole window in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.layers.reinforce import DelayedReinforce

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
    return g, r


@pytest.mark.parametrize("gamma", [0.8, 0.0, 1.0])
def test_the_trace_sums_what_a_buffer_would(gamma):
    made, _ = make(gamma=gamma)
    g, r = steps(made, 6)
    returns = [sum(gamma ** (j - k) * r[j] for j in range(k, 6)) for k in range(6)]
    for index, gain in enumerate(made.gain):
        expected = sum(returns[k] * g[k][index] for k in range(6))
        np.testing.assert_allclose(gain, expected, rtol=1e-4, atol=1e-5)


def test_by_hand():
    """Two steps of gradients 1 and 2 with rewards 3 and 4, gamma 1/2: R = (3 + 4 / 2, 4), G = 5 * 1 + 4 * 2 = 13."""
    made = DelayedReinforce(gamma=0.5, every=2, clip=10.0)
    theta = keras.Variable(0.0)
    made.build([theta])
    ends = []
    for gradient, reward in ((1.0, 3.0), (2.0, 4.0)):
        made.observe([tf.constant(gradient)], tf.constant(reward))
        ends.append(bool(made.window_ends()))
    optimizer = keras.optimizers.SGD(0.1)
    made.update(optimizer)
    assert ends == [False, True]
    assert float(theta) == pytest.approx(0.1 * 13 / 2)
    assert not any(np.any(v) for v in (*made.trace, *made.gain))
    assert int(made.step) == 2  # windows go on from there


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
    made = DelayedReinforce(every=2)
    made.build([])
    for _ in range(2):
        made.observe([], tf.constant(1.0))
    made.update(keras.optimizers.SGD(0.1))
    assert bool(made.window_ends()) and [v.name for v in made.state] == [
        "reward_mean",
        "reward_variance",
        "step",
    ]


def test_the_state_is_all_that_a_window_needs():
    one, _ = make(norm="ema")
    steps(one, 3)
    other, _ = make(norm="ema")
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
        ({"norm": "l2"}, "`reward_norm` must be one of none, ema, std. Received: 'l2'"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(InputError, match=message):
        DelayedReinforce(**options)
