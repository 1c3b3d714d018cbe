"""Gradient reversal and domain alignment: gradients, thresholds, what stops and what goes on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.layers import DomainAlignment, GradientReversal

RNG = np.random.default_rng(0)
C = RNG.normal(size=(4, 3)).astype("float32")


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("graph", [False, True])
def test_reversal_turns_the_gradient_bit_for_bit(strength, graph):
    layer = GradientReversal(strength)
    layer.build()

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = layer(x)
            loss = tf.reduce_sum(C * out)
        return out, tape.gradient(loss, x)

    x = tf.constant(RNG.normal(size=C.shape).astype("float32"))
    out, got = (tf.function(gradient) if graph else gradient)(x)
    np.testing.assert_array_equal(out, x)
    np.testing.assert_array_equal(got, -np.float32(strength) * C)


def test_two_reversals_give_the_square_of_the_strength():
    one, two, x = GradientReversal(0.5), GradientReversal(0.5), tf.Variable(C)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(C * one(two(x)))
    np.testing.assert_array_equal(tape.gradient(loss, x), 0.25 * C)


def test_the_strength_can_be_assigned_between_steps_of_fit_and_is_saved(tmp_path):
    """The loss |1 - w| has the gradient -1, so descent at rate 0.1 moves w by +0.1; reversed by -0.1 strength."""
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    reversal = GradientReversal(2.0)
    inputs = keras.Input((1,))
    model = keras.Model(inputs, reversal(dense(inputs)))
    model.compile(keras.optimizers.SGD(0.1), loss="mean_absolute_error")
    x = np.ones((4, 1), "float32")
    model.fit(x, x, verbose=0)
    assert float(dense.kernel[0, 0]) == pytest.approx(-0.2)
    reversal.strength.assign(0.5)
    model.fit(x, x, verbose=0)
    assert float(dense.kernel[0, 0]) == pytest.approx(-0.25)
    assert not reversal.trainable_variables
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert float(again.layers[-1].strength) == 0.5


def test_warmup_follows_the_schedule():
    layer, x = GradientReversal(2.0, warmup=4), tf.Variable(C)
    for t in range(1, 7):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(C * layer(x, training=True))
        strength = 2.0 * (2 / (1 + np.exp(-10 * min(t / 4, 1))) - 1)
        np.testing.assert_allclose(tape.gradient(loss, x), -strength * C, rtol=1e-5)
    layer(x)
    assert int(layer.step) == 6


def test_half_precision():
    layer = GradientReversal(0.5, dtype="mixed_bfloat16")
    with tf.GradientTape() as tape:
        x = tf.Variable(tf.cast(C, "bfloat16"))
        loss = tf.reduce_sum(layer(x))
    assert tape.gradient(loss, x).dtype == "bfloat16"
    assert layer.strength.dtype == "float32"


# Alignment ----------------------------------------------------------------------------------------------------------

N, WIDTH = 12, 5
TARGET = np.repeat([1.0, 0.0], N // 2).astype("float32")[:, None]


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, WIDTH)).astype("float32"), rng.uniform(0.05, 0.95, (N, 1)).astype("float32")


def made(seed=1, **arguments):
    layer = DomainAlignment(**arguments)
    layer.build((None, WIDTH))
    rng = np.random.default_rng(seed)
    for v in layer.trainable_variables:
        v.assign(rng.normal(size=v.shape))
    return layer


def cross_entropy(d, z):
    return np.maximum(z, 0) - z * d + np.log1p(np.exp(-np.abs(z)))


def errors(layer, h, p):
    """Per row and classifier, in float64 (eqs. 12-14)."""
    out = {}
    for name, weight in (("domain", 1.0), ("class1", p), ("class0", 1 - p)):
        kernel, bias = (np.asarray(v, "float64") for v in layer.classifiers[name].weights)
        out[name] = cross_entropy(TARGET, (weight * h).astype("float64") @ kernel + bias)
    return out


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_losses_to_the_letter(threshold):
    h, p = rows()
    layer = made(stable=False, threshold=threshold)
    got, e = layer(h, p, TARGET), errors(layer, h, p)
    positive = (p >= threshold)[:, 0]
    assert 0 < positive.sum() < N
    assert float(got["domain_loss"]) == pytest.approx(e["domain"].mean(), rel=1e-5)
    assert float(got["class1_loss"]) == pytest.approx(e["class1"][positive].mean(), rel=1e-5)
    assert float(got["class0_loss"]) == pytest.approx(e["class0"][~positive].mean(), rel=1e-5)


def test_balanced_losses_count_each_domain_half():
    h, p = rows()
    target = (np.arange(N) < 3).astype("float32")[:, None]  # three rows of the target, nine of sources
    layer = made()
    kernel, bias = (np.asarray(v, "float64") for v in layer.classifiers["domain"].weights)
    e = cross_entropy(target, h.astype("float64") @ kernel + bias)[:, 0]
    assert float(layer(h, p, target)["domain_loss"]) == pytest.approx(
        (e[:3].mean() + e[3:].mean()) / 2, rel=1e-5
    )
    zero = made()
    for v in zero.trainable_variables:
        v.assign(tf.zeros_like(v))
    losses = zero(h, p, target)
    assert float(losses["domain_loss"]) == pytest.approx(
        np.log(2), rel=1e-5
    )  # chance, whatever the numbers of rows


def test_with_equal_numbers_of_rows_the_balanced_global_loss_is_the_papers():
    h, p = rows()
    one, two = made(stable=True)(h, p, TARGET), made(stable=False)(h, p, TARGET)
    assert float(one["domain_loss"]) == pytest.approx(float(two["domain_loss"]), rel=1e-5)


def gradients(layer, h, p, name):
    h, p = tf.Variable(h), tf.Variable(p)
    with tf.GradientTape() as tape:
        loss = layer(h, p, TARGET, label=tf.round(p))[name]
    return tape.gradient(loss, [h, p, *[v.value for v in layer.trainable_variables]])


@pytest.mark.parametrize("name", ["domain_loss", "class0_loss", "class1_loss"])
def test_h_gets_the_reversed_gradient_and_classifiers_the_straight_one(name):
    """Against the same layer without a reversal, and against -lambda times its gradient."""
    h, p = rows()
    layer = made(stable=False, strength=0.7)
    reversed_h, to_p, *to_classifiers = gradients(layer, h, p, name)
    layer.reversal.call = lambda x, training=False: x
    straight_h, _, *straight = gradients(layer, h, p, name)
    np.testing.assert_allclose(reversed_h, -0.7 * np.asarray(straight_h), rtol=1e-5, atol=1e-8)
    assert np.abs(straight_h).max() > 0
    assert to_p is None  # the predictor never learns from these losses
    for got, expected in zip(to_classifiers, straight):
        assert (got is None) == (expected is None)
        if got is not None:
            np.testing.assert_array_equal(got, expected)


def test_the_reversal_rests_while_a_classifier_does_no_better_than_chance():
    h, p = rows()
    h[:, 0] = 2 * TARGET[:, 0] - 1
    for sign, rests in ((3.0, False), (-3.0, True)):
        layer = made()
        kernel, bias = layer.classifiers["domain"].weights
        kernel.assign(np.eye(WIDTH, 1) * sign)
        bias.assign([0.0])
        to_h, _, *to_classifiers = gradients(layer, h, p, "domain_loss")
        assert (np.abs(to_h).max() == 0) == rests
        assert max(np.abs(g).max() for g in to_classifiers if g is not None) > 0


@pytest.mark.parametrize("stable", [False, True])
def test_a_class_without_rows_gives_zero_and_finite_gradients(stable):
    h, p = rows()
    low = p * 0.4
    layer = made(stable=stable)
    losses = layer(h, low, TARGET)
    assert float(losses["class1_loss"]) == 0 and float(losses["class0_loss"]) > 0
    for g in gradients(layer, h, low, "class1_loss"):
        assert g is None or (np.asarray(g) == 0).all()


def test_a_class_of_one_domain_has_nothing_to_tell_apart():
    h, _ = rows()
    p = np.where(TARGET > 0, 0.9, 0.1).astype("float32")
    losses = made()(h, p, TARGET)
    assert float(losses["class1_loss"]) == float(losses["class0_loss"]) == 0
    assert float(losses["domain_loss"]) > 0


def test_classes_by_label():
    h, p = rows()
    label = (np.arange(N) % 2).astype("float32")[:, None]
    layer = made(threshold="label", stable=False)
    e = errors(layer, h, p)
    got = layer(h, p, TARGET, label=label)
    assert float(got["class1_loss"]) == pytest.approx(e["class1"][label[:, 0] > 0].mean(), rel=1e-5)


def test_the_base_rate_is_a_running_mean_from_the_first_step_on():
    h, p = rows()
    layer = made(threshold="base_rate")
    assert layer.moments.aggregation == "mean"  # of replicas, as Dice's statistics
    layer(h, 0.02 * p, TARGET, training=True)
    assert float(layer.base_rate) == pytest.approx(0.02 * p.mean(), rel=1e-4)
    losses = layer(h, 0.02 * p, TARGET)  # evaluation reads it and leaves it
    assert float(losses["class1_loss"]) > 0 and float(losses["class0_loss"]) > 0
    layer(h, p, TARGET, training=True)
    expected = (0.99 * 0.01 * 0.02 * p.mean() + 0.01 * p.mean()) / (0.99 * 0.01 + 0.01)
    assert float(layer.base_rate) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("arguments", [{}, {"stable": False}, {"threshold": "base_rate"}])
def test_rows_count_by_their_weight(arguments):
    h, p = rows()
    layers = [made(**arguments) for _ in range(4)]
    weight = (np.arange(N) % 3).astype("float32")[:, None]
    plain = layers[0](h, p, TARGET, training=True)
    for factor in (0.01, 7.0):  # alike for all: nothing changes
        for name, value in layers[1](h, p, TARGET, weight=np.full((N, 1), factor), training=True).items():
            assert float(value) == pytest.approx(float(plain[name]), rel=1e-5), name
    got = layers[2](h, p, TARGET, weight=weight, training=True)
    # A row of weight 2 counts as two rows, one of weight 0 is not there.
    copies = weight[:, 0].astype(int)
    many = [np.repeat(column, copies, axis=0) for column in (h, p, TARGET)]
    expected = layers[3](*many, training=True)
    for name, value in expected.items():
        assert float(got[name]) == pytest.approx(float(value), rel=1e-5), name
        assert float(value) != pytest.approx(float(plain[name]), rel=1e-3), name
    nothing = layers[2](h, p, TARGET, weight=0 * weight, training=True)
    assert all(float(value) == 0 for value in nothing.values())
    if arguments.get("threshold") == "base_rate":
        assert float(layers[2].base_rate) == pytest.approx(many[1].mean(), rel=1e-4)


def test_domain_accuracy_is_balanced():
    h, p = rows()
    layer = made()
    kernel, bias = layer.classifiers["domain"].weights
    kernel.assign(tf.zeros_like(kernel))
    bias.assign([1.0])  # says "target" always
    assert float(
        layer(h, p, (np.arange(N) < 2).astype("float32")[:, None])["domain_accuracy"]
    ) == pytest.approx(0.5)


def test_half_precision_of_the_alignment():
    h, p = rows()
    layer = made(dtype="mixed_bfloat16", threshold="base_rate")
    losses = layer(tf.cast(h, "bfloat16"), p, TARGET, training=True)
    exact = made()(h, p, TARGET)
    for name in ("domain_loss", "class0_loss", "class1_loss"):
        assert losses[name].dtype == tf.float32 and np.isfinite(losses[name])
    assert float(losses["domain_loss"]) == pytest.approx(float(exact["domain_loss"]), rel=0.05)
    assert {v.dtype for v in layer.trainable_variables} == {"float32"}


def test_configuration_and_mistakes():
    layer = DomainAlignment(False, True, "label", 0.3, 10, False)
    again = DomainAlignment.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert list(again.classifiers) == ["class1", "class0"]
    with pytest.raises(InputError, match="base_rate"):
        DomainAlignment(threshold="median")
    with pytest.raises(InputError, match="at least 0"):
        GradientReversal(-1.0)


def test_classifiers_may_have_hidden_layers():
    h, p = rows()
    layer = made(stable=False, units=(4, 3))
    for name, weight in (("domain", 1.0), ("class1", p), ("class0", 1 - p)):
        z = (weight * h).astype("float64")
        for dense in layer.hidden[name].dense:
            z = np.maximum(z @ np.asarray(dense.kernel, "float64") + np.asarray(dense.bias, "float64"), 0)
        kernel, bias = (np.asarray(v, "float64") for v in layer.classifiers[name].weights)
        e = cross_entropy(TARGET, z @ kernel + bias)
        chosen = {"domain": p < 2, "class1": p >= 0.5, "class0": p < 0.5}[name]
        assert float(layer(h, p, TARGET)[f"{name}_loss"]) == pytest.approx(e[chosen].mean(), rel=1e-5)
    assert layer.domain_logit(h).shape == (N, 1)
    assert DomainAlignment.from_config(layer.get_config()).get_config() == layer.get_config()


def test_the_terms_of_a_batch_are_those_of_its_rows_one_domain_after_the_other():
    layer = DomainAlignment()
    h = {"films": C, "books": 2 * C[:3]}
    p = {"films": np.float32([[0.9], [0.1], [0.7], [0.2]]), "books": np.float32([[0.6], [0.3], [0.8]])}
    y = {"films": np.float32([[1], [0], [0], [1]]), "books": np.float32([[1], [0], [1]])}
    weight = {"books": np.float32([1.0, 2.0, 0.5])}
    layer.build((None, 3))
    found = layer.by_domain("books", h, y, p, weight)
    expected = layer(
        np.concatenate([h["films"], h["books"]]),
        np.concatenate([p["films"], p["books"]]),
        np.float32([[0]] * 4 + [[1]] * 3),
        weight=np.float32([[1]] * 4 + [[1], [2], [0.5]]),
        training=True,
    )
    assert set(found) == set(expected) == set(layer.term_weights(1.0, 1.0, 0.5))
    for name, value in found.items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-6) and float(value) > 0
    assert layer.by_domain("books", h, y, p, weight, training=False) == {}
    assert layer.by_domain("books", {"books": h["books"]}, {"books": y["books"]}, {"books": p["books"]}) == {}


def test_the_weights_of_the_terms_are_those_of_equation_22():
    weights = DomainAlignment.term_weights(0.7, 1.5, 0.2)
    assert weights == pytest.approx(
        {"domain_loss": 0.7, "domain_accuracy": 0.0, "class0_loss": 0.3, "class1_loss": 1.2}
    )
