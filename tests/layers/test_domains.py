"""Partitioned normalization and star-shaped layers: by hand, and what one domain's rows do to another."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.layers import PartitionedNormalization, StarDense

DOMAINS = ("a", "b")


def built(width=1, **arguments):
    layer = PartitionedNormalization(DOMAINS, **arguments)
    layer.build((None, width))
    return layer


def values(layer, domain):
    """What belongs to one domain."""
    return [v.numpy().tolist() for v in layer.variables if v.name.startswith(f"{domain}_")]


def test_normalization_by_hand():
    layer = built(epsilon=0.0)
    for variable, value in (
        (layer.gamma, 2.0),
        (layer.gammas["a"], 3.0),
        (layer.beta, 10.0),
        (layer.betas["a"], 1.0),
    ):
        variable.assign([value])
    # Rows -1 and 3: mean 1, deviation 2, so -1 and 1; times 2 * 3, plus 10 + 1.
    out = layer(tf.constant([[-1.0], [3.0]]), domain="a", training=True)
    np.testing.assert_allclose(out, [[5.0], [17.0]], rtol=1e-6)
    assert float(layer.means["a"][0]) == 1.0 and float(layer.variances["a"][0]) == 4.0
    # Another row is measured by what was seen: (5 - 1) / 2 = 2.
    np.testing.assert_allclose(layer(tf.constant([[5.0]]), domain="a"), [[23.0]], rtol=1e-6)


def test_each_domain_has_its_own_statistics():
    layer = built(3)
    rng = np.random.default_rng(0)
    a, b = (
        rng.normal(5, 2, size=(64, 3)).astype("float32"),
        rng.normal(-3, 0.5, size=(64, 3)).astype("float32"),
    )
    for domain, rows in (("a", a), ("b", b)):
        out = np.asarray(layer(rows, domain=domain, training=True))
        np.testing.assert_allclose(out.mean(0), 0, atol=1e-4)  # a shared mean would leave +-1 here
        np.testing.assert_allclose(out.std(0), 1, atol=1e-2)
        np.testing.assert_allclose(layer.means[domain], rows.mean(0), rtol=1e-4)


def test_rows_of_one_domain_leave_the_other_as_it_is():
    layer = built(3)
    rows = tf.random.normal((8, 3))
    for _ in range(2):
        layer(rows, domain="b", training=True)
    before = values(layer, "b")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(rows + 4.0, domain="a", training=True) ** 2)
    gradients = dict(zip([v.name for v in layer.trainable_variables],
                         tape.gradient(loss, [v.value for v in layer.trainable_variables])))  # fmt: skip
    assert values(layer, "b") == before and values(layer, "a")[2] != [0.0, 0.0, 0.0]
    assert gradients["b_gamma"] is None and gradients["b_beta"] is None
    assert np.abs(gradients["a_gamma"]).max() > 0 and np.abs(gradients["gamma"]).max() > 0


def test_a_score_does_not_depend_on_the_batch():
    layer = built(3)
    rows = tf.random.normal((8, 3))
    layer(rows, domain="a", training=True)
    whole = layer(rows, domain="a")
    np.testing.assert_array_equal(layer(rows[2:3], domain="a"), whole[2:3])
    assert values(layer, "a")[4] == 1.0  # scoring is not counted


def test_averages_start_as_plain_means_and_then_move():
    layer = built(momentum=0.75)
    seen = [2.0, 4.0, 9.0, 1.0, 5.0, 7.0]
    expected = 0.0
    for i, value in enumerate(seen, 1):
        layer(tf.constant([[value - 1], [value + 1]]), domain="a", training=True)
        expected += max(0.25, 1 / i) * (value - expected)
        assert float(layer.means["a"][0]) == pytest.approx(expected, rel=1e-6)
        if i == 3:
            assert expected == pytest.approx(5.0)
    assert float(layer.variances["a"][0]) == pytest.approx(1.0)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_are_normalized_by_what_was_seen_before(rows, graph):
    layer = built()
    layer(tf.constant([[-1.0], [3.0]]), domain="a", training=True)
    before = values(layer, "a")

    def step(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            out = layer(z, domain="a", training=True)
        return out, tape.gradient(out, z)

    if graph:
        step = tf.function(step, input_signature=[tf.TensorSpec([None, 1])])
    z = tf.fill((rows, 1), 5.0)
    out, gradient = step(z)
    np.testing.assert_allclose(out, layer(z, domain="a"), rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert values(layer, "a") == before


def test_columns_that_never_vary_become_zero():
    layer = built(2)
    z = tf.constant([[1.0, 7.0], [1.0, 9.0]])
    np.testing.assert_array_equal(layer(z, domain="a", training=True)[:, 0], 0)
    np.testing.assert_array_equal(layer(z, domain="a")[:, 0], 0)


def test_half_precision_keeps_statistics_in_float32():
    layer = PartitionedNormalization(DOMAINS, dtype="mixed_bfloat16")
    out = layer(tf.random.normal((8, 3)) + 100.0, domain="a", training=True)
    assert out.dtype == "bfloat16" and {v.dtype for v in layer.variables} == {"float32"}
    assert StarDense(2, DOMAINS, dtype="mixed_bfloat16")(out, domain="a").dtype == "bfloat16"


# Star-shaped layers -------------------------------------------------------------------------------------------------


def test_star_by_hand():
    layer = StarDense(1, DOMAINS, "relu")
    layer.build((None, 2))
    layer.kernel.assign([[2.0], [5.0]])
    layer.kernels["b"].assign([[3.0], [-1.0]])
    layer.bias.assign([0.5])
    layer.biases["b"].assign([1.0])
    x = tf.constant([[1.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(layer(x, domain="b"), [[2.5], [0.0]])  # 6 - 5 + 1.5;  relu(-5 + 1.5)
    np.testing.assert_allclose(layer(x, domain="a"), [[7.5], [5.5]])  # ones and zeros: the shared layer alone


def test_at_first_the_domains_are_one_dense_layer():
    star, dense = StarDense(4, DOMAINS), keras.layers.Dense(4)
    x = tf.random.normal((6, 3))
    star(x, domain="a"), dense(x)
    dense.set_weights([star.kernel.numpy(), star.bias.numpy()])
    for domain in DOMAINS:
        np.testing.assert_allclose(star(x, domain=domain), dense(x), atol=1e-6)
    assert np.std(star.kernel) > 0.1  # and the product has the scale of one kernel, not its square


def test_rows_of_one_domain_teach_the_shared_part_and_their_own():
    layer = StarDense(4, DOMAINS)
    layer.build((None, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.random.normal((6, 3)), domain="a") ** 2)
    gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
    taught = {v.name for v, g in zip(layer.trainable_variables, gradients) if g is not None}
    assert taught == {"kernel", "bias", "a_kernel", "a_bias"}


def test_each_domain_may_start_elsewhere():
    layer = StarDense(1, DOMAINS, starts=(-1.5, 2.0))
    np.testing.assert_allclose(layer(tf.zeros((1, 3)), domain="b"), [[2.0]])
    np.testing.assert_allclose(layer(tf.zeros((1, 3)), domain="a"), [[-1.5]])


def test_configurations():
    for layer in (
        PartitionedNormalization(DOMAINS, 0.9, 1e-5),
        StarDense(4, DOMAINS, "relu", (0.0, 1.0)),
    ):
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
