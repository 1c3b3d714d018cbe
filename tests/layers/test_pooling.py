"""Pooling of sequences: hand numbers, the paper's formula in NumPy, and what masks promise."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.layers import TargetAttention
from cdrzoo.layers.pooling import masked_mean, masked_softmax

RNG = np.random.default_rng(0)


def test_masked_mean_by_hand():
    values = np.array(
        [[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]], "float32"
    )
    mask = np.array([[True, True, False], [False, False, False]])
    np.testing.assert_allclose(masked_mean(tf.constant(values), mask), [[2.0, 4.0], [0.0, 0.0]])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_masked_softmax_by_hand(dtype):
    scores = tf.constant([[0.0, np.log(3.0), 50.0], [1.0, 2.0, 3.0]], dtype)
    mask = np.array([[True, True, False], [False, False, False]])
    got = tf.cast(masked_softmax(scores, mask), "float32")
    np.testing.assert_allclose(got, [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]], atol=4e-3)


def setting(extra=0, rows=4, steps=5, width=3):
    query = RNG.normal(size=(rows, width)).astype("float32")
    keys = RNG.normal(size=(rows, steps, width + extra)).astype("float32")
    mask = RNG.random((rows, steps)) < 0.6
    mask[0], mask[1] = True, False
    return query, keys, mask


def randomised(layer, query, keys):
    layer(query, keys)
    for v in layer.trainable_variables:
        v.assign(RNG.normal(size=v.shape).astype("float32"))
    return layer


def formula(layer, query, keys, mask):
    """a_j = MLP([q, k, q - k, q * k, further columns]) with the kernel as one matrix, in float64; inference."""
    query, keys = query.astype("float64"), keys.astype("float64")
    width, out, weights = query.shape[1], np.zeros((len(query), keys.shape[2])), np.zeros(mask.shape)
    for i, (q, row) in enumerate(zip(query, keys)):
        for j, key in enumerate(row):
            if not mask[i, j]:
                continue
            k = key[:width]
            h = np.concatenate([q, k, q - k, q * k, key[width:]]) @ np.asarray(layer.kernel) + np.asarray(
                layer.bias
            )
            for index in range(len(layer.units)):
                h = np.maximum(h, 0)
                dense = [*layer.hidden, layer.score][index]
                h = h @ np.asarray(dense.kernel) + np.asarray(dense.bias)
            weights[i, j] = h[0]
        if layer.softmax and mask[i].any():
            e = np.exp(weights[i] - weights[i][mask[i]].max()) * mask[i]
            weights[i] = e / e.sum()
        out[i] = weights[i] @ row
    return out, weights


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("extra", [0, 2])
def test_equals_the_paper_s_concatenation(softmax, extra):
    query, keys, mask = setting(extra)
    layer = randomised(TargetAttention((4, 3), activation="relu", softmax=softmax), query, keys)
    out, weights = layer(query, keys, mask=mask, return_weights=True)
    expected, expected_weights = formula(layer, query, keys, mask)
    np.testing.assert_allclose(weights, expected_weights, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(weights)[~mask], 0)
    np.testing.assert_array_equal(np.asarray(out)[1], 0)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_what_stands_in_padded_steps_does_not_matter(softmax, training):
    query, keys, mask = setting()
    layer = randomised(TargetAttention((6, 4), softmax=softmax), query, keys)
    results = []
    for fill in (0.0, 1e4):
        q, k = tf.Variable(query), tf.Variable(np.where(mask[..., None], keys, fill).astype("float32"))
        with tf.GradientTape() as tape:
            out = layer(q, k, mask=mask, training=training)
            loss = tf.reduce_sum(tf.square(out))
        gradients = tape.gradient(loss, [q, k, *[v.value for v in layer.trainable_variables]])
        assert all(np.isfinite(g).all() for g in gradients)
        assert not np.asarray(gradients[1])[~mask].any()
        results.append([out, gradients[0], *gradients[2:]])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_an_all_padding_batch_is_zero_and_finite():
    query, keys, _ = setting()
    for softmax in (False, True):
        layer = TargetAttention((6, 4), softmax=softmax)
        q, k = tf.Variable(query), tf.Variable(keys)
        with tf.GradientTape() as tape:
            out = layer(q, k, mask=np.zeros(keys.shape[:2], bool), training=True)
            loss = tf.reduce_sum(out + tf.square(out))
        np.testing.assert_array_equal(out, np.zeros((len(query), keys.shape[2])))
        assert all(
            np.isfinite(g).all()
            for g in tape.gradient(loss, [q, k, *[v.value for v in layer.trainable_variables]])
        )


def test_without_a_mask_every_step_counts():
    query, keys, _ = setting()
    layer = TargetAttention((4,))
    np.testing.assert_array_equal(layer(query, keys), layer(query, keys, mask=np.ones(keys.shape[:2], bool)))


@pytest.mark.slow
def test_compiled_training_equals_plain_training():
    # Large enough for XLA, which only a graph with fixed shapes uses.
    query = RNG.normal(size=(512, 8)).astype("float32")
    keys = RNG.normal(size=(512, 40, 8)).astype("float32")
    mask = RNG.random((512, 40)) < 0.7
    results = []
    for graph in (False, True):
        keras.utils.set_random_seed(1)
        layer = TargetAttention((64, 16))
        layer.build(query.shape, keys.shape)

        def step(q, k, m, layer=layer):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(layer(q, k, mask=m, training=True)))
            return loss, tape.gradient(loss, [v.value for v in layer.trainable_variables])

        if graph:
            step = tf.function(step)
            text = str(
                step.get_concrete_function(*map(tf.constant, (query, keys, mask))).graph.as_graph_def()
            )
            assert "_XlaMustCompile" in text
        loss, gradients = step(*map(tf.constant, (query, keys, mask)))
        results.append([loss, *gradients, *layer.non_trainable_variables])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_layers_of_one_configuration_are_compiled_once_and_keep_their_own_weights():
    query = tf.constant(RNG.normal(size=(512, 8)), tf.float32)
    keys = tf.constant(RNG.normal(size=(512, 40, 8)), tf.float32)
    mask = tf.ones((512, 40), tf.bool)
    layers = [TargetAttention((64, 16)) for _ in range(2)]
    before = []
    for layer in layers:
        layer.build(query.shape, keys.shape)
        before.append([np.asarray(v) for v in layer.variables])

    def step():
        with tf.GradientTape() as tape:
            outs = [layer(query, keys, mask=mask, training=True) for layer in layers]
            loss = tf.add_n([tf.reduce_mean(tf.square(out)) for out in outs])
        return outs, tape.gradient(loss, [v.value for layer in layers for v in layer.trainable_variables])

    traced = tf.function(step)
    nodes = traced.get_concrete_function().graph.as_graph_def().node
    called = [n.attr["f"].func.name for n in nodes if n.attr["_XlaMustCompile"].b]
    assert len(called) == 4 and len(set(called)) == 2  # forward and backward, of each layer
    got = traced(), [[np.asarray(v) for v in layer.non_trainable_variables] for layer in layers]
    for layer, values in zip(layers, before):
        layer.set_weights(values)
    plain = step(), [[np.asarray(v) for v in layer.non_trainable_variables] for layer in layers]
    for one, other in zip(tf.nest.flatten(got), tf.nest.flatten(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_narrow_keys_are_refused():
    with pytest.raises(InputError, match="as wide as the query"):
        TargetAttention()(np.zeros((2, 4), "float32"), np.zeros((2, 3, 3), "float32"))


def test_configuration_round_trip_and_half_precision():
    layer = TargetAttention((7, 5), activation="relu", softmax=True, dtype="mixed_bfloat16")
    again = TargetAttention.from_config(layer.get_config())
    assert (again.units, again.activation, again.softmax) == ((7, 5), "relu", True)
    query, keys, mask = setting()
    out = again(query, keys, mask=mask, training=True)
    assert out.dtype == "bfloat16"
    assert np.isfinite(tf.cast(out, "float32")).all()
