"""Crosses, gates and the importance of fields: closed forms and hand numbers."""

from __future__ import annotations

import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.layers import GLU, CrossNet, FieldImportance, SqueezeExcitation
from cdrzoo.layers.gates import scale_fields

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4)).astype("float32")


def cross(form, layers, biased=False):
    net = CrossNet(layers, form)
    net(X)
    for kernel in net.kernels:
        kernel.assign(RNG.normal(size=kernel.shape))
    for bias in net.biases:
        bias.assign(RNG.normal(size=bias.shape) if biased else np.zeros(bias.shape))
    scores = [X.astype("float64") @ np.asarray(kernel) for kernel in net.kernels]
    return net, scores


def test_two_crosses_in_closed_form():
    net, (s0, s1) = cross("dcn", 2)
    np.testing.assert_allclose(net(X), (1 + s0) * (1 + s1) * X, atol=1e-5)
    net, (s0, s1) = cross("literal", 2)
    np.testing.assert_allclose(net(X), (1 + s1 + s0 * s1) * X, atol=1e-5)


def test_crosses_with_biases_step_by_step():
    for form in ("dcn", "literal"):
        net, scores = cross(form, 3, biased=True)
        x0 = x = X.astype("float64")
        for kernel, bias in zip(net.kernels, net.biases):
            w, b = np.asarray(kernel, "float64"), np.asarray(bias, "float64")
            x = x0 * (x @ w) + b + x if form == "dcn" else x * (x0 @ w) + b + x0
        np.testing.assert_allclose(net(X), x, rtol=1e-4, atol=1e-4)


def test_the_two_forms_agree_for_one_layer_and_not_for_two():
    for layers, equal in ((1, True), (2, False)):
        dcn, _ = cross("dcn", layers, biased=True)
        literal = CrossNet(layers, "literal")
        literal(X)
        literal.set_weights(dcn.get_weights())
        assert np.allclose(dcn(X), literal(X), atol=1e-6) == equal


@pytest.mark.parametrize("form", ["dcn", "literal"])
def test_without_weights_a_cross_is_the_identity(form):
    net = CrossNet(2, form)
    net(X)
    net.set_weights([np.zeros(w.shape) for w in net.get_weights()])
    np.testing.assert_array_equal(net(X), X)


def test_another_form_is_refused():
    with pytest.raises(InputError, match=r"one of dcn, literal, dcn_v2. Received: 'dcnv2'"):
        CrossNet(2, "dcnv2")


def test_the_matrix_cross_says_what_it_needs(monkeypatch):
    for name in ("tensorflow_recommenders", "tensorflow_recommenders.layers.feature_interaction.dcn"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(InputError, match=r"pip install tensorflow-recommenders==0.7.3"):
        CrossNet(2, "dcn_v2")


def test_the_matrix_cross_refuses_a_layer_of_keras_2(monkeypatch):
    name = ""
    for part in ("tensorflow_recommenders", ".layers", ".feature_interaction", ".dcn"):
        name += part
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
    module.Cross = type("Cross", (), {})
    with pytest.raises(InputError, match="TF_USE_LEGACY_KERAS"):
        CrossNet(2, "dcn_v2")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_matrix_cross_is_that_of_tensorflow_recommenders(policy, tmp_path):
    pytest.importorskip("tensorflow_recommenders", reason="tensorflow-recommenders is not installed")
    keras.config.set_dtype_policy(policy)
    net = CrossNet(2, "dcn_v2")
    got = net(tf.cast(X, net.compute_dtype))
    assert [tuple(v.shape) for v in net.trainable_variables] == [(4, 4), (4,), (4, 4), (4,)]
    x = X.astype("float64")
    for kernel, bias in zip(net.trainable_variables[::2], net.trainable_variables[1::2]):
        x = X * (x @ np.asarray(kernel) + np.asarray(bias)) + x
    np.testing.assert_allclose(tf.cast(got, "float32"), x, atol=1e-5 if policy == "float32" else 0.1)
    # Every row of W equal to w, and no bias: the cross of a vector.
    if policy == "float32":
        vector, _ = cross("dcn", 2)
        for i, kernel in enumerate(vector.kernels):
            net.trainable_variables[2 * i].assign(np.repeat(np.asarray(kernel), 4, axis=1))
        np.testing.assert_allclose(net(X), vector(X), atol=1e-5)


def test_glu_by_hand():
    glu = GLU(2)
    glu.build((None, 1))
    glu.value.set_weights([np.array([[3.0, -2.0]]), np.array([1.0, 0.0])])
    glu.gate.set_weights([np.array([[0.0, 1.0]]), np.array([0.0, np.log(3.0) - 2.0])])
    # x = 2: (7, -4) * (sigmoid(0), sigmoid(log 3)) = (3.5, -3)
    np.testing.assert_allclose(glu(np.array([[2.0]], "float32")), [[3.5, -3.0]], rtol=1e-6)
    np.testing.assert_allclose(glu.activity(np.array([[2.0]], "float32")), [[0.5, 0.75]], rtol=1e-6)


def test_glu_closed_and_open():
    glu = GLU(3)
    glu.build((None, 4))
    assert glu.count_params() == 2 * (4 * 3 + 3)
    glu.gate.kernel.assign(np.zeros((4, 3)))
    glu.gate.bias.assign([-200.0] * 3)
    np.testing.assert_array_equal(glu(X), np.zeros((6, 3)))
    glu.gate.bias.assign([200.0] * 3)
    np.testing.assert_array_equal(glu(X), glu.value(X))


def test_importance_is_between_0_and_2_and_1_without_an_opinion():
    gate = FieldImportance(3, cross_layers=1)
    p = np.asarray(gate(X))
    assert p.shape == (6, 3) and ((p > 0) & (p < 2)).all()
    gate.fc.set_weights([np.zeros((8, 3)), np.zeros(3)])
    np.testing.assert_array_equal(gate(X), np.ones((6, 3)))


def test_importance_by_hand():
    gate = FieldImportance(1, cross_layers=1)
    gate.build((None, 2))
    gate.explicit.set_weights([np.array([[1.0], [0.0]]), np.array([0.0, 1.0])])
    gate.implicit.set_weights([np.array([[1.0, -1.0], [0.0, 0.0]]), np.array([0.0, 0.5])])
    gate.fc.set_weights([np.array([[0.1], [0.2], [0.3], [0.4]]), np.array([-1.0])])
    # v = (2, 3): cross (2 * 2 + 2, 3 * 2 + 1 + 3) = (6, 10), relu (2, -1.5) = (2, 0); 0.6 + 2 + 0.6 + 0 - 1 = 2.2
    expected = 2 / (1 + np.exp(-2.2))
    np.testing.assert_allclose(gate(np.array([[2.0, 3.0]], "float32")), [[expected]], rtol=1e-6)


def test_every_column_of_a_field_gets_its_weight():
    v = tf.constant([[1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_array_equal(scale_fields(v, tf.constant([[2.0, 0.5]]), (1, 3)), [[2.0, 1.0, 1.5, 2.0]])


def test_squeeze_and_excitation_by_hand():
    layer = SqueezeExcitation(reduction=2)
    e = tf.constant([[[1.0, 3.0], [-4.0, 0.0], [5.0, 5.0]]])  # means 2, -2, 5; one squeezed unit
    layer.build(e.shape)
    layer.squeeze.assign([[1.0], [0.5], [0.0]])
    layer.excite.assign([[3.0, -1.0, 0.5]])
    # relu(2 - 1) = 1; weights relu(3, -1, 0.5) = (3, 0, 0.5)
    np.testing.assert_allclose(layer(e), [[[3, 9], [0, 0], [2.5, 2.5]]])
    np.testing.assert_array_equal(layer(-e), tf.zeros_like(e))  # relu(-1) = 0
    assert SqueezeExcitation.from_config(layer.get_config()).reduction == 2


@pytest.mark.parametrize(("fields", "squeezed"), [(2, 1), (3, 1), (7, 2), (12, 4)])
def test_what_is_left_of_the_means(fields, squeezed):
    layer = SqueezeExcitation()
    layer.build((None, fields, 4))
    assert layer.squeeze.shape == (fields, squeezed) and layer.excite.shape == (squeezed, fields)
    assert len(layer.weights) == 2  # no bias
