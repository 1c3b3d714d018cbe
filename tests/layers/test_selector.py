"""The selector: what rows weigh, and the logarithm that a reward multiplies."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.layers import Selector
from tests.models import oracle


def test_p_equals_the_numpy_version_and_gives_its_input_no_gradient():
    selector = Selector((5, 4))
    v = tf.constant(np.random.default_rng(0).normal(size=(7, 3)), "float32")
    with tf.GradientTape() as tape:
        tape.watch(v)
        p = selector(v)
    hidden, second, last = selector.network.layers
    h = np.maximum(oracle.dense(second, np.maximum(oracle.dense(hidden, oracle.array(v)), 0)), 0)
    np.testing.assert_allclose(p, oracle.sigmoid(oracle.dense(last, h))[:, 0], atol=1e-6)
    gradients = tape.gradient(p, [v, *(w.value for w in selector.learns)])
    assert gradients[0] is None and all(g is not None for g in gradients[1:])


def test_without_selection_every_row_counts_in_full_and_nothing_learns():
    selector = Selector((4,), mode="none")
    np.testing.assert_array_equal(selector(tf.zeros((3, 2))), np.ones(3))
    assert selector.learns == [] and len(selector.trainable_variables) == 4


def test_a_weight_has_a_clipped_logarithm():
    weight, log_p = Selector().choose(tf.constant([0.0, 0.5, 1.0]), None)
    np.testing.assert_allclose(weight, [0, 0.5, 1])
    np.testing.assert_allclose(log_p, [np.log(1e-6), np.log(0.5), np.log1p(-1e-6)], atol=1e-6)


def test_rows_are_drawn_with_their_probability():
    selector, seed = Selector(mode="bernoulli"), keras.random.SeedGenerator(0)
    p = tf.constant(np.repeat([0.0, 0.2, 0.9, 1.0], 4000), "float32")
    taken, log_p = (oracle.array(v) for v in selector.choose(p, seed))
    assert set(np.unique(taken)) == {0.0, 1.0}
    np.testing.assert_allclose(taken.reshape(4, -1).mean(1), [0, 0.2, 0.9, 1], atol=0.03)
    clipped = np.clip(oracle.array(p), 1e-6, 1 - 1e-6)
    np.testing.assert_allclose(
        log_p, np.where(taken == 1, np.log(clipped), np.log(1 - clipped)), rtol=1e-3, atol=1e-6
    )
    assert not (selector.choose(p, seed)[0].numpy() == taken).all()


def test_another_mode_is_refused():
    with pytest.raises(InputError, match="`selector_mode` must be one of log_weight, bernoulli, none"):
        Selector(mode="log")
