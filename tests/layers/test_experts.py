"""Mixtures of experts: by hand, against NumPy, and who learns from whom."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.layers import CGC, MLP, PLE

X = tf.constant(np.random.default_rng(0).normal(size=(7, 3)).astype("float32"))
TASKS = ("a", "b", "c")


def array(value):
    return np.asarray(value.numpy(), "float64")


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def expert(mlp, x):
    for layer in mlp.dense:
        x = np.maximum(x @ array(layer.kernel) + array(layer.bias), 0)
    return x


def mixed(weights, outputs):
    return sum(weights[:, i : i + 1] * out for i, out in enumerate(outputs))


def randomised(layer, **call):
    layer(X, **call)
    rng = np.random.default_rng(1)
    for v in layer.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.5)
    return layer


def test_gate_and_experts_by_hand():
    cgc = CGC(("a",), (1,), specific=1, shared=1)
    x = tf.constant([[2.0]])
    cgc({"a": x}, x)
    cgc.specific_experts[0].dense[0].set_weights([np.array([[3.0]]), np.array([1.0])])  # relu(7)
    cgc.shared_experts[0].dense[0].set_weights([np.array([[1.0]]), np.array([1.0])])  # relu(3)
    cgc.gates[0].set_weights([np.array([[np.log(3.0) / 2, 0.0]])])  # softmax(log 3, 0) = 3/4, 1/4
    out, shared, alone = cgc({"a": x}, x)
    np.testing.assert_allclose(out["a"], [[6.0]], rtol=1e-6)
    np.testing.assert_allclose(cgc.weights_of("a", x), [[0.75, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(alone["a"], [[3.0]])
    assert shared is None


def test_ple_equals_the_numpy_version():
    ple = randomised(PLE(TASKS, (5, 4), levels=3, specific=2, shared=2), task="a")
    of_tasks, of_all = dict.fromkeys(TASKS, array(X)), array(X)
    for level, cgc in enumerate(ple.extractors):
        own = {
            k: [expert(e, of_tasks[k]) for e in cgc.specific_experts[2 * i : 2 * i + 2]]
            for i, k in enumerate(TASKS)
        }
        every = [expert(e, of_all) for e in cgc.shared_experts]
        logits = {k: of_tasks[k] @ array(cgc.gates[i].kernel) for i, k in enumerate(TASKS)}
        below, of_tasks = of_all, {k: mixed(softmax(logits[k]), own[k] + every) for k in TASKS}
        if level < 2:
            weights = softmax(below @ array(cgc.gate_of_all.kernel))
            of_all = mixed(weights, own["a"] + own["b"] + own["c"] + every)
    for task in TASKS:
        out, alone = ple(X, task=task)
        np.testing.assert_allclose(out, of_tasks[task], atol=1e-5)
        np.testing.assert_allclose(alone, mixed(softmax(logits[task][:, 2:]), every), atol=1e-5)


def test_gates_sum_to_one():
    cgc = randomised(PLE(TASKS, (4,), specific=3, shared=2), task="a").extractors[0]
    weights = np.asarray(cgc.weights_of("b", X))
    assert weights.shape == (7, 5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


@pytest.mark.filterwarnings("ignore:You are using a softmax")
def test_one_expert_in_total_is_a_shared_bottom():
    ple = randomised(PLE(TASKS, (5, 4), specific=0, shared=1), task="a")
    bottom = ple.extractors[0].shared_experts[0]
    for task in TASKS:
        np.testing.assert_allclose(ple(X, task=task)[0], bottom(X), atol=1e-6)


def test_without_experts_of_their_own_the_tasks_differ_by_their_gates_alone():
    ple = randomised(PLE(TASKS, (4,), specific=0, shared=3), task="a")
    assert np.abs(ple(X, task="a")[0] - ple(X, task="b")[0]).max() > 1e-3
    cgc = ple.extractors[0]
    cgc.gates[1].kernel.assign(cgc.gates[0].kernel)
    np.testing.assert_array_equal(ple(X, task="a")[0], ple(X, task="b")[0])


def touched(levels):
    """The variables that rows of task a give a gradient to."""
    ple = randomised(PLE(("a", "b"), (4,), levels=levels), task="a")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ple(X, task="a")[0] ** 2)
    gradients = tape.gradient(loss, [v.value for v in ple.trainable_variables])
    owners = {id(v): None for v in ple.trainable_variables}
    return ple, {i for i, g in zip(owners, gradients) if g is not None and np.abs(g).max() > 0}


def test_rows_of_one_task_do_not_teach_the_experts_of_another():
    ple, moved = touched(levels=1)
    own, other = ple.extractors[0].specific_experts
    assert all(
        id(v) in moved for v in (*own.trainable_variables, *ple.extractors[0].shared_experts[0].variables)
    )
    assert not any(
        id(v) in moved for v in (*other.trainable_variables, *ple.extractors[0].gates[1].variables)
    )


def test_with_two_levels_the_shared_gate_reaches_the_others_below():
    ple, moved = touched(levels=2)
    assert any(id(v) in moved for v in ple.extractors[0].specific_experts[1].trainable_variables)
    assert not any(id(v) in moved for v in ple.extractors[1].specific_experts[1].trainable_variables)


def test_rows_of_several_tasks_run_through_the_experts_once():
    ple = randomised(PLE(TASKS, (5, 4), levels=2), task="a")
    outs, alone = ple({"a": X, "b": X})
    for task in ("a", "b"):
        out, shared = ple(X, task=task)
        np.testing.assert_allclose(outs[task], out, rtol=1e-6)
        np.testing.assert_allclose(alone[task], shared, rtol=1e-6)
    graph = tf.function(lambda x: ple({"a": x, "b": x})).get_concrete_function(X).graph
    products = sum(op.type == "MatMul" for op in graph.get_operations())
    assert products == (4 * 2 + 3) + (3 * 2 + 2)  # experts of two layers, and gates, of each level


def test_linear_experts_keep_their_sign():
    ple = randomised(PLE(TASKS, (5, 4), final_activation="linear"), task="a")
    assert float(tf.reduce_min(ple(X, task="a")[0])) < 0


def test_mixed_precision_gates_are_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    ple = PLE(TASKS, (4,), levels=2)
    out, alone = ple(tf.cast(X, "bfloat16"), task="a")
    assert out.dtype == alone.dtype == "bfloat16"
    assert ple.extractors[0].weights_of("a", tf.cast(X, "bfloat16")).dtype == "float32"


def test_mistakes():
    with pytest.raises(InputError, match="0 for each task and 0 for all"):
        CGC(TASKS, (4,), specific=0, shared=0)
    with pytest.raises(InputError, match="`levels` must be at least 1. Received: 0"):
        PLE(TASKS, (4,), levels=0)


def test_configuration_makes_the_same_layer(tmp_path):
    ple = PLE(TASKS, (5, 4), levels=2, specific=2, shared=1, dropout=0.1, final_activation="linear")
    again = PLE.from_config(ple.get_config())
    assert again.get_config() == ple.get_config()
    assert isinstance(again.extractors[1].specific_experts[5], MLP)
