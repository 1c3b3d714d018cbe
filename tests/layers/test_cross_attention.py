"""Cross-attention against NumPy, and what must hold whatever the weights are."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.layers import CrossAttention, DomainAwareCrossAttention, DomainView
from cdrzoo.layers.cross_attention import MODES

RNG = np.random.default_rng(3)
X = RNG.normal(size=(4, 5, 3)).astype("float32")
DOMAIN = RNG.normal(size=(4, 2)).astype("float32")
ITEM = RNG.normal(size=(4, 6)).astype("float32")
MASK = np.arange(5)[None] < np.array([5, 3, 1, 0])[:, None]


def oracle(layer, x, domain, item, mask):
    """(e_z, alpha, beta) in float64, row by row and step by step, from the equations of the docstrings."""
    d, e_z, weights = layer.width, np.zeros((len(x), layer.width)), np.zeros((2, *mask.shape))
    for r in range(len(x)):
        steps = [s.astype("float64") for s in x[r][mask[r]]]
        n = len(steps)
        for part, (step, vector) in enumerate(((layer.domain_step, domain[r]), (layer.item_step, item[r]))):
            wq, wk, wv = (
                None if w is None else ops.convert_to_numpy(w).astype("float64")
                for w in (step.query_kernel, step.key_kernel, step.value_kernel)
            )
            if n == 0:
                continue
            if step.mode == "query":
                scores = np.array([vector @ wq @ (s @ wk) / np.sqrt(d) for s in steps])
                a = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
                steps = [n * a_i * (s @ wv) for a_i, s in zip(a, steps)]
            elif step.mode == "gate":
                a = np.array([1 / (1 + np.exp(-(s @ wq) @ (vector @ wk) / np.sqrt(d))) for s in steps])
                steps = [a_i * (s @ wv) for a_i, s in zip(a, steps)]
            elif step.mode == "literal":
                a = np.ones(n)
                steps = [vector @ wv for _ in steps]
            else:
                a = np.full(n, 1 / n)
                steps = [s @ wv for s in steps]
            weights[part][r][mask[r]] = a
        e_z[r] = np.mean(steps, axis=0) if n else 0.0
    return e_z, *weights


def attention(mode="domain_query", **arguments):
    layer = DomainAwareCrossAttention(4, mode, **arguments)
    layer(X, DOMAIN, ITEM, mask=MASK)
    for weight in layer.weights:  # large enough for the softmax to matter
        weight.assign(RNG.normal(size=weight.shape))
    return layer


@pytest.mark.parametrize("domain_attention", [True, False])
@pytest.mark.parametrize("item_attention", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_equals_numpy(mode, domain_attention, item_attention):
    layer = attention(mode, domain_attention=domain_attention, item_attention=item_attention)
    got = layer(X, DOMAIN, ITEM, mask=MASK, return_weights=True)
    for one, other in zip(got, oracle(layer, X, DOMAIN, ITEM, MASK)):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_the_two_steps_by_hand():
    layer = DomainAwareCrossAttention(1)
    x, mask = np.array([[[0.0], [np.log(3.0)]]], "float32"), np.array([[True, True]])
    layer(x, np.ones((1, 1), "float32"), np.ones((1, 1), "float32"), mask=mask)
    for weight in layer.weights:
        weight.assign([[1.0]])
    # alpha = softmax(0, log 3) = (1/4, 3/4); e_1 = 2 (0, 3/4 log 3); beta = softmax(e_1); e_z = beta . e_1
    e_1 = 1.5 * np.log(3.0)
    beta = np.exp(e_1) / (1 + np.exp(e_1))
    out, alpha, got = layer(x, np.ones((1, 1)), np.ones((1, 1)), mask=mask, return_weights=True)
    np.testing.assert_allclose(alpha, [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(got, [[1 - beta, beta]], rtol=1e-6)
    np.testing.assert_allclose(out, [[beta * e_1]], rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_padding_does_not_matter(mode):
    layer = attention(mode)
    garbled = np.where(MASK[..., None], X, 1e4).astype("float32")
    one = layer(X, DOMAIN, ITEM, mask=MASK, return_weights=True)
    other = layer(garbled, DOMAIN, ITEM, mask=MASK, return_weights=True)
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a, b)
    for weights in one[1:]:
        assert not np.any(weights.numpy()[~MASK])
    np.testing.assert_array_equal(one[0][3], np.zeros(4))  # no behaviour at all


def test_softmax_weights_sum_to_one_where_there_is_a_step():
    _, alpha, beta = attention()(X, DOMAIN, ITEM, mask=MASK, return_weights=True)
    for weights in (alpha, beta):
        np.testing.assert_allclose(np.sum(weights, axis=1), [1, 1, 1, 0], atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_row_without_a_step_has_finite_gradients(mode):
    layer, x = attention(mode), tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, DOMAIN, ITEM, mask=np.zeros_like(MASK)) ** 2)
    for gradient in tape.gradient(loss, [x, *[w.value for w in layer.trainable_weights]]):
        assert np.all(np.isfinite(gradient)) and not np.any(gradient)


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_the_steps_does_not_matter(mode):
    layer, order = attention(mode), RNG.permutation(5)
    np.testing.assert_allclose(
        layer(X[:, order], DOMAIN, ITEM, mask=MASK[:, order]),
        layer(X, DOMAIN, ITEM, mask=MASK),
        rtol=1e-5,
        atol=1e-6,
    )


def test_without_a_query_step_one_is_the_value_projection():
    layer = attention()
    layer.domain_step.query_kernel.assign(np.zeros((2, 4)))
    out, alpha = layer.domain_step(X, DOMAIN, mask=MASK)
    lengths = MASK.sum(1, keepdims=True)
    np.testing.assert_allclose(alpha, MASK / np.maximum(lengths, 1), rtol=1e-6)
    value = X @ layer.domain_step.value_kernel.numpy()
    np.testing.assert_allclose(out.numpy()[MASK], value[MASK], rtol=1e-5)


def test_one_step_is_projected_twice():
    layer = attention()
    out, alpha, beta = layer(X[:, :1], DOMAIN, ITEM, mask=np.ones((4, 1), bool), return_weights=True)
    np.testing.assert_array_equal(alpha, np.ones((4, 1)))
    np.testing.assert_array_equal(beta, np.ones((4, 1)))
    expected = X[:, 0] @ layer.domain_step.value_kernel.numpy() @ layer.item_step.value_kernel.numpy()
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_the_printed_form_ignores_the_behaviours():
    layer, x = attention("literal"), tf.constant(X)
    step_1, step_2 = layer.domain_step, layer.item_step
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = layer(x, DOMAIN, ITEM, mask=MASK)
    np.testing.assert_allclose(out[:3], (ITEM @ step_2.value_kernel.numpy())[:3], rtol=1e-5)
    dead = [x, *(w.value for w in (step_1.query_kernel, step_1.key_kernel, step_1.value_kernel))]
    dead += [step_2.query_kernel.value, step_2.key_kernel.value]
    for gradient in tape.gradient(out, dead):
        assert not np.any(gradient)  # not small: exactly 0


@pytest.mark.parametrize("mode", ["domain_query", "gate"])
def test_behaviours_domain_and_item_all_matter(mode):
    layer, inputs = attention(mode), [tf.constant(v) for v in (X, DOMAIN, ITEM)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        out = layer(*inputs, mask=MASK)
    gradients = tape.gradient(out, [*inputs, *[w.value for w in layer.trainable_weights]])
    assert all(np.any(gradient) for gradient in gradients)


def test_mixed_precision():
    layer = attention()
    keras.config.set_dtype_policy("mixed_float16")
    half = DomainAwareCrossAttention(4)
    out, alpha, _ = half(X, DOMAIN, ITEM, mask=MASK, return_weights=True)
    assert out.dtype == tf.float16 and alpha.dtype == tf.float32 and half.weights[0].dtype == "float32"
    for one, other in zip(half.weights, layer.weights):
        one.assign(other)
    np.testing.assert_allclose(
        half(X, DOMAIN, ITEM, mask=MASK), layer(X, DOMAIN, ITEM, mask=MASK), rtol=0.02, atol=0.05
    )


def test_configuration_and_wrong_arguments():
    layer = attention("gate", item_attention=False)
    again = DomainAwareCrossAttention.from_config(layer.get_config())
    again(X, DOMAIN, ITEM, mask=MASK)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(X, DOMAIN, ITEM, mask=MASK), layer(X, DOMAIN, ITEM, mask=MASK))
    step = CrossAttention(3, "gate")
    assert CrossAttention.from_config(step.get_config()).get_config() == step.get_config()
    with pytest.raises(InputError, match="domain_query, gate, literal"):
        DomainAwareCrossAttention(4, "self")
    with pytest.raises(InputError, match="query, gate, literal, mean"):
        CrossAttention(4, "softmax")


def test_a_view_is_its_vector_and_an_attention_over_each_sequence():
    view = DomainView({"seen": 3, "rated": 2}, 4)
    steps, masks = {"seen": X, "rated": X[..., :2]}, {"seen": MASK, "rated": MASK[:, ::-1]}
    domain, seen = view(steps, masks, DOMAIN, ITEM)
    expected = np.concatenate([np.tile(view.vector.numpy(), (4, 1)), DOMAIN], -1)
    np.testing.assert_array_equal(domain, expected)
    for name, found in seen.items():
        for one, other in zip(
            found, oracle(view.attention(name), steps[name], expected, ITEM, masks[name]), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
    again = DomainView.from_config(view.get_config())
    again(steps, masks, DOMAIN, ITEM)
    again.set_weights(view.get_weights())
    np.testing.assert_array_equal(again(steps, masks, DOMAIN, ITEM)[1]["seen"][0], seen["seen"][0])


def test_a_view_without_context_and_one_that_shares_its_attention():
    view = DomainView({"seen": 3, "bought": 3}, 4, share=True)
    domain, seen = view({"seen": X, "bought": X}, {"seen": MASK, "bought": MASK}, DOMAIN[:, :0], ITEM)
    assert domain.shape == (4, 4) and view.attention("seen") is view.attention("bought")
    np.testing.assert_array_equal(seen["seen"][0], seen["bought"][0])
    with pytest.raises(SchemaError, match="needs sequences of one width"):
        DomainView({"seen": 3, "rated": 2}, 4, share=True)


def test_the_printed_form_warns():
    with pytest.warns(UserWarning, match="does not depend on what the user did"):
        DomainAwareCrossAttention(4, "literal")
