"""Parts of a step that XLA compiles where there is a GPU: numbers, gradients and states are those of the plain ones."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo import replicas, xla
from cdrzoo.layers import MLP, BilinearInteraction, InterestAttention
from cdrzoo.layers.adversarial import DomainAlignment
from cdrzoo.layers.pooling import weighted_sum, weighted_sums
from cdrzoo.models import DIN
from cdrzoo.optimizers import Adam
from cdrzoo.xla import fused
from tests.models.conformance import data
from tests.models.toys import toy_schema

RNG = np.random.default_rng(0)
ROWS = 12


def normal(*shape):
    return tf.constant(RNG.normal(size=shape).astype("float32"))


def share():
    return tf.constant(RNG.random((ROWS, 1)).astype("float32"))


def alignment():
    h, half = normal(ROWS, 4), tf.constant([[0.0]] * 6 + [[1.0]] * 6)
    return DomainAlignment(threshold="base_rate", units=(3,), warmup=5), (h, share(), half)


CASES = {
    "towers": lambda: (MLP((5, 3)), (normal(ROWS, 4),)),
    "towers with Dice": lambda: (MLP((5, 3), "dice"), (normal(ROWS, 4),)),
    "bilinear products": lambda: (BilinearInteraction(), (normal(ROWS, 4, 3),)),
    "interest attention": lambda: (InterestAttention(), (normal(ROWS, 3, 4),)),
    "alignment": alignment,
}


def stepped(layer, tensors, gpu, monkeypatch):
    """What two steps give: outputs and gradients of the last one, the layer's variables, and the graph."""
    monkeypatch.setattr(replicas, "on_gpu", lambda: gpu)

    @tf.function
    def step(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            out = layer(*tensors, training=True)
            loss = tf.add_n([tf.reduce_sum(tf.square(each)) for each in tf.nest.flatten(out)])
        return out, tape.gradient(loss, [tensors[0], *(v.value for v in layer.trainable_variables)])

    start = [v.numpy() for v in layer.variables]
    step(*tensors)
    given = step(*tensors), [v.numpy() for v in layer.variables]
    for variable, value in zip(layer.variables, start):
        variable.assign(value)
    return given, str(step.get_concrete_function(*tensors).graph.as_graph_def())


@pytest.mark.parametrize("case", CASES)
def test_a_compiled_part_is_the_plain_one(case, monkeypatch):
    keras.utils.set_random_seed(1)
    layer, tensors = CASES[case]()
    layer(*tensors)
    for v in layer.trainable_variables:
        v.assign(normal(*v.shape))
    plain, graph = stepped(layer, tensors, False, monkeypatch)
    assert "XlaMustCompile" not in graph
    compiled, graph = stepped(layer, tensors, True, monkeypatch)
    assert "XlaMustCompile" in graph
    for one, other in zip(tf.nest.flatten(compiled), tf.nest.flatten(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_means_side_by_side_are_those_of_each(monkeypatch):
    monkeypatch.setattr(replicas, "on_gpu", lambda: True)
    weights, one, other = share()[:, :1] * tf.ones((ROWS, 5)), normal(ROWS, 5, 2), normal(ROWS, 5, 3)
    both = tf.function(lambda *tensors: fused(weighted_sums, *tensors, training=True))(weights, one, other)
    expected = np.concatenate([weighted_sum(weights, each) for each in (one, other)], axis=1)
    np.testing.assert_allclose(both, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frozen", [False, True])
def test_layers_that_share_what_is_compiled_keep_their_weights(frozen, monkeypatch):
    """One of which a part is frozen shares nothing with one that learns: it may change other variables."""
    monkeypatch.setattr(replicas, "on_gpu", lambda: True)
    x, layers = normal(ROWS, 4), [MLP((3,), "dice") for _ in range(2)]
    for layer in layers:
        layer(x)
        layer.activations[0].moving_mean.assign(normal(3))
    layers[0].dense[0].trainable = not frozen
    kernels = [layer.dense[0].kernel.numpy() for layer in layers]
    plain = [tf.function(lambda x, layer=layer: layer(x, training=True))(x) for layer in layers]
    assert np.abs(plain[0] - plain[1]).max() > 0.1
    found = tf.function(lambda x: [layer(x, training=True) for layer in layers])(x)
    for one, other in zip(found, plain):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for layer, kernel in zip(layers, kernels):
        np.testing.assert_array_equal(layer.dense[0].kernel, kernel)
        assert np.asarray(layer.activations[0].batches) == 2


def test_a_compiled_tower_drops_other_units_in_each_step(monkeypatch):
    monkeypatch.setattr(replicas, "on_gpu", lambda: True)
    x, layer = tf.ones((ROWS, 4)), MLP((100,), "linear", dropout=0.5)
    layer(x)
    step = tf.function(lambda x: layer(x, training=True))
    one, other = (step(x).numpy() == 0 for _ in range(2))
    assert 0.4 < one.mean() < 0.6 and 0.4 < (one != other).mean() < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_trains_compiled_in_16_bits_and_several_steps_a_call(policy, monkeypatch):
    """With weights of float32, which the loss scaling of float16 leaves alone where a step overflows."""
    losses = []
    for gpu in (False, True):
        monkeypatch.setattr(replicas, "on_gpu", lambda gpu=gpu: gpu)
        keras.utils.set_random_seed(2)
        keras.config.set_dtype_policy(policy)
        try:
            model = DIN(toy_schema(), units=(8,), attention_units=(4,))
            model.compile(Adam(), steps_per_execution=2)
            losses.append(model.fit(data(model, 4), verbose=0, shuffle=False).history["loss"])
        finally:
            keras.config.set_dtype_policy("float32")
        assert {v.dtype for v in model.trainable_variables} == {"float32"}
    np.testing.assert_allclose(*losses, rtol=2e-2)


def test_what_is_not_compiled(monkeypatch):
    """An unknown number of rows, what is not training, and a device without the need."""
    layer = MLP((3,))
    layer(normal(ROWS, 4))

    def compiled(rows, training):
        step = tf.function(lambda x: layer(x, training=training))
        spec = tf.TensorSpec([rows, 4], tf.float32)
        return "XlaMustCompile" in str(step.get_concrete_function(spec).graph.as_graph_def())

    assert not compiled(ROWS, True)
    monkeypatch.setattr(replicas, "on_gpu", lambda: True)
    assert compiled(ROWS, True) and not compiled(None, True) and not compiled(ROWS, False)
    with xla.off():
        assert not compiled(ROWS, True)
    assert compiled(ROWS, True)
