"""Dice against its formula, and its gradient against automatic differentiation of the formula."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.layers import Dice


def formula(s, alpha, mask=None):
    """Section 5.3 in float64, statistics over the steps of the mask."""
    kept = s.reshape(-1, s.shape[-1]) if mask is None else s[mask]
    p = 1 / (1 + np.exp(-(s - kept.mean(0)) / np.sqrt(kept.var(0) + 1e-8)))
    return p * s + (1 - p) * alpha * s


def autodiff(s, alpha, mask, upstream):
    """Gradients of the formula by automatic differentiation, through the statistics, in float64."""
    s, alpha = tf.Variable(s.astype("float64")), tf.Variable(alpha.astype("float64"))
    with tf.GradientTape() as tape:
        kept = tf.boolean_mask(s, mask)
        mean = tf.reduce_mean(kept, 0)
        variance = tf.reduce_mean(tf.square(kept - mean), 0)
        p = tf.sigmoid((s - mean) / tf.sqrt(variance + 1e-8))
        loss = tf.reduce_sum((p * s + (1 - p) * alpha * s) * upstream.astype("float64"))
    return [g.numpy() for g in tape.gradient(loss, [s, alpha])]


def layer(channels, alpha=None):
    dice = Dice()
    dice.build((None, channels))
    if alpha is not None:
        dice.alpha.assign(alpha)
    return dice


def test_hand_numbers():
    # One channel with -1 and 3: mean 1, deviation 2, so p is sigmoid(-1) and sigmoid(1).
    s = np.array([[-1.0], [3.0]], "float32")
    y = np.asarray(layer(1, [0.5])(s, training=True))
    low, high = 1 / (1 + np.e), np.e / (1 + np.e)
    np.testing.assert_allclose(y[:, 0], [-low - 0.5 * high, 3 * high + 0.5 * 3 * low], rtol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_forward_and_gradient_equal_automatic_differentiation_of_the_formula(masked):
    rng = np.random.default_rng(0)
    s = rng.normal(1.0, 2.0, size=(6, 5, 4)).astype("float32")
    alpha, upstream = rng.normal(size=4).astype("float32"), rng.normal(size=s.shape).astype("float32")
    mask = rng.random((6, 5)) < 0.6 if masked else np.ones((6, 5), bool)
    dice, x = layer(4, alpha), tf.Variable(s)
    with tf.GradientTape() as tape:
        y = dice(x, mask=mask if masked else None, training=True)
        loss = tf.reduce_sum(y * upstream)
    np.testing.assert_allclose(y, formula(s.astype("float64"), alpha, mask), rtol=1e-5, atol=1e-5)
    got = tape.gradient(loss, [x, dice.alpha.value])
    for a, b in zip(got, autodiff(s, alpha, mask, upstream)):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_what_is_masked_does_not_touch_the_rest():
    rng = np.random.default_rng(1)
    s, mask = rng.normal(size=(8, 3, 2)).astype("float32"), rng.random((8, 3)) < 0.5
    other = np.where(mask[..., None], s, 1e6).astype("float32")
    one, two = layer(2), layer(2)
    a, b = one(s, mask=mask, training=True), two(other, mask=mask, training=True)
    np.testing.assert_array_equal(np.asarray(a)[mask], np.asarray(b)[mask])
    np.testing.assert_array_equal(one.moving_mean, two.moving_mean)


def test_moving_statistics_serve_at_inference():
    rng = np.random.default_rng(2)
    dice = Dice(momentum=0.5)
    s = rng.normal(3.0, 2.0, size=(4000, 2)).astype("float32")
    for _ in range(20):
        dice(s, training=True)
    np.testing.assert_allclose(dice.moving_mean, s.mean(0), rtol=1e-3)
    np.testing.assert_allclose(dice.moving_variance, s.var(0), rtol=1e-3)
    np.testing.assert_allclose(
        dice(s[:5], training=False), formula(s.astype("float64"), 0.0)[:5], rtol=1e-3, atol=1e-3
    )
    before = np.asarray(dice.moving_mean).copy()
    dice(s[:3], training=False)
    np.testing.assert_array_equal(dice.moving_mean, before)


def test_moving_statistics_start_as_plain_means():
    dice = Dice(momentum=0.75)  # 4 batches
    means = [2.0, 4.0, 9.0, 1.0, 8.0, 0.0]
    expected = [2.0, 3.0, 5.0, 4.0, 0.75 * 4.0 + 0.25 * 8.0, 0.75 * 5.0]
    for mean, wanted in zip(means, expected):
        dice(np.array([[mean - 1.0], [mean + 1.0]], "float32"), training=True)
        np.testing.assert_allclose(dice.moving_mean, [wanted], rtol=1e-6)
        np.testing.assert_allclose(dice.moving_variance, [1.0], rtol=1e-6)


def test_nothing_valid_is_finite_and_teaches_nothing():
    dice, s = layer(2), tf.Variable(np.ones((3, 4, 2), "float32"))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(dice(s, mask=np.zeros((3, 4), bool), training=True))
    assert np.isfinite(tape.gradient(loss, s)).all()
    np.testing.assert_array_equal(dice.moving_mean, np.zeros(2))
    np.testing.assert_array_equal(dice.moving_variance, np.ones(2))


def test_statistics_are_float32_under_mixed_precision():
    rng = np.random.default_rng(3)
    s = rng.normal(100.0, 1.0, size=(5000, 1)).astype("float32")
    dice = Dice(dtype="mixed_bfloat16")
    y = dice(keras.ops.cast(s, "bfloat16"), training=True)
    assert y.dtype == "bfloat16"
    rounded = np.asarray(keras.ops.cast(keras.ops.cast(s, "bfloat16"), "float32"))
    np.testing.assert_allclose(dice.moving_mean, rounded.mean(0), rtol=1e-5)


def test_configuration_round_trip():
    again = Dice.from_config(Dice(momentum=0.7, name="d").get_config())
    assert (again.momentum, again.name) == (0.7, "d")
