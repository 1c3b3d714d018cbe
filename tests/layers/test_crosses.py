"""Explicit crosses: pairs written out, and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.layers import (
    CIN,
    BiInteraction,
    BilinearInteraction,
    CrossProducts,
    PairAttention,
    pair_attention,
)
from cdrzoo.layers.crosses import fm_term
from cdrzoo.schema import Domain, Feature, Schema, Table

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("fields", [2, 4, 5])
@pytest.mark.parametrize("weighted", [True, False])
def test_bi_interaction_is_the_sum_over_all_pairs(fields, weighted):
    m = RNG.normal(size=(3, fields, 4)).astype("float32")
    layer = BiInteraction(weighted)
    layer.build(m.shape)
    c = np.ones((fields, 1))
    if weighted:
        np.testing.assert_array_equal(layer.c, c)
        c = RNG.normal(size=(fields, 1))
        layer.c.assign(c)
    v = c * m.astype("float64")
    expected = sum(v[:, i] * v[:, j] for i, j in itertools.combinations(range(fields), 2))
    got = layer(m)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert (np.asarray(got) < 0).any()  # the printed bars are brackets


def test_one_field_has_no_pair():
    np.testing.assert_allclose(BiInteraction()(RNG.normal(size=(3, 1, 4)).astype("float32")), 0, atol=1e-6)


@pytest.mark.parametrize("fields", [2, 3, 5])
def test_bi_interaction_may_start_as_large_as_what_it_multiplies(fields):
    rows = RNG.uniform(-0.05, 0.05, (4000, fields, 8)).astype("float32")  # of a table that just starts
    layer = BiInteraction(start="size")
    assert np.std(layer(rows)) == pytest.approx(rows.std(), rel=0.05)
    again = BiInteraction.from_config(layer.get_config())
    again.build(rows.shape)
    np.testing.assert_array_equal(again.c, layer.c)


def test_bi_interaction_configuration():
    assert BiInteraction.from_config(BiInteraction(False).get_config()).weighted is False
    again = BiInteraction.from_config(BiInteraction(start=2.0).get_config())
    again.build((None, 3, 4))
    np.testing.assert_array_equal(again.c, np.full((3, 1), 2.0))


E = np.array([[[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]]], "float32")
"""Three fields of width 2. Products of pairs: (3, -2), (0, 8), (0, -4)."""


def test_the_term_of_a_factorization_machine():
    np.testing.assert_allclose(fm_term(E), [[5.0]])
    m = RNG.normal(size=(3, 5, 4)).astype("float32")
    expected = [sum(a @ b for a, b in itertools.combinations(row, 2)) for row in m.astype("float64")]
    np.testing.assert_allclose(fm_term(m)[:, 0], expected, rtol=1e-4)
    np.testing.assert_allclose(fm_term(m[:, ::-1]), fm_term(m), rtol=1e-4)  # fields have no order
    np.testing.assert_allclose(fm_term(m[:, :1]), 0, atol=1e-6)


def test_pair_attention_by_hand():
    layer = PairAttention(1)
    layer.build(E.shape)
    layer.kernel.assign([[1.0], [0.0]])
    layer.bias.assign([-2.0])
    layer.score.assign([[np.log(2.0)]])
    out, weights = layer(E)
    # a' = log 2 relu((1, -2, -2)): weights 2 : 1 : 1
    np.testing.assert_allclose(weights, [[0.5, 0.25, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(out, [[1.5, -1 + 2 - 1]], atol=1e-6)


def test_pairs_of_absent_fields_take_no_attention():
    layer = PairAttention()
    fields = np.concatenate([E, E, E])
    fields[1, 1] = 0
    fields[2, 1:] = 0
    out, weights = layer(fields)
    np.testing.assert_allclose(weights[1], [0, 1, 0])
    np.testing.assert_allclose(out[1], [0, 8], rtol=1e-6)
    np.testing.assert_array_equal(weights[2], [0, 0, 0])
    np.testing.assert_array_equal(out[2], [0, 0])


def test_cin_by_hand():
    layer = CIN((1, 1))
    layer.build(E.shape)
    first, second = np.zeros((9, 1)), np.zeros((3, 1))
    first[0 * 3 + 1], first[2 * 3 + 2] = 2, 1  # 2 e_0 * e_1 + e_2 * e_2 = (6, -4) + (0, 16)
    second[1] = 1  # e_1 * X^1 = (18, -12)
    layer.set_weights([first, second])
    np.testing.assert_allclose(layer(E), [[18.0, 6.0]])


def test_all_maps_of_a_layer_go_to_the_output_and_to_the_next():
    layer = CIN((4, 3))
    assert layer(RNG.normal(size=(2, 5, 6)).astype("float32")).shape == (2, 7)
    assert [tuple(kernel.shape) for kernel in layer.kernels] == [(25, 4), (20, 3)]


@pytest.mark.parametrize("form", ["all", "each", "interaction"])
def test_bilinear_products_by_hand(form):
    layer = BilinearInteraction(form)
    layer.build(E.shape)
    swap, double, minus = [[0, 1], [1, 0]], [[2, 0], [0, 2]], [[-1, 0], [0, -1]]
    matrices = {"all": [swap], "each": [swap, double], "interaction": [swap, double, minus]}[form]
    layer.kernel.assign(matrices)
    expected = {
        "all": [[2 * 3, 1 * -1], [0, 1 * 4], [0, 3 * 4]],
        "each": [[2 * 3, 1 * -1], [0, 1 * 4], [0, -2 * 4]],
        "interaction": [[2 * 3, 1 * -1], [0, 4 * 4], [0, 1 * 4]],
    }[form]
    np.testing.assert_allclose(layer(E), [expected])


def test_bilinear_products_by_the_identity_are_plain():
    layer = BilinearInteraction("all")
    layer.build(E.shape)
    layer.kernel.assign([np.eye(2)])
    np.testing.assert_allclose(layer(E), [[[3, -2], [0, 8], [0, -4]]])


def plain(layer, e):
    """What the layers compute, by slices and sums alone, so that TensorFlow differentiates the formula."""
    pairs = list(itertools.combinations(range(e.shape[1]), 2))
    if isinstance(layer, CIN):
        maps, out = e, []
        for kernel, units in zip(layer.kernels, layer.units):
            products = tf.einsum("bid,bjd->bijd", e, maps)
            weights = tf.reshape(kernel, (e.shape[1], maps.shape[1], units))
            maps = tf.einsum("bijd,ijh->bhd", products, weights)
            out.append(tf.reduce_sum(maps, -1))
        return tf.concat(out, -1)
    if isinstance(layer, BilinearInteraction):
        of = {"all": lambda n, i: 0, "each": lambda n, i: i, "interaction": lambda n, i: n}[layer.form]
        kernel = tf.convert_to_tensor(layer.kernel)
        return tf.stack([(e[:, i] @ kernel[of(n, i)]) * e[:, j] for n, (i, j) in enumerate(pairs)], 1)
    p = tf.stack([e[:, i] * e[:, j] for i, j in pairs], 1)
    if isinstance(layer, BiInteraction):
        return tf.reduce_sum(p, 1)
    kernel, bias, score = (tf.convert_to_tensor(v) for v in (layer.kernel, layer.bias, layer.score))
    a = tf.nn.softmax(tf.nn.relu(p @ kernel + bias) @ score, axis=1)
    return tf.reduce_sum(a * p, 1)


@pytest.mark.parametrize(
    "layer",
    [
        CIN((5,)),
        CIN((5, 4, 3)),
        *(BilinearInteraction(form) for form in ("all", "each", "interaction")),
        BiInteraction(False),
        PairAttention(5),
    ],
    ids=lambda layer: (
        f"{type(layer).__name__}_{getattr(layer, 'form', '')}{len(getattr(layer, 'kernels', ''))}"
    ),
)
@pytest.mark.parametrize("fields", [2, 5])
def test_gradients_are_those_of_the_formula(layer, fields):
    layer = type(layer).from_config(layer.get_config())
    e = tf.constant(RNG.normal(size=(3, fields, 4)), tf.float32)
    layer(e)
    results = []
    for compute in (
        lambda e: layer(e)[0] if isinstance(layer, PairAttention) else layer(e),
        lambda e: plain(layer, e),
    ):
        with tf.GradientTape() as tape:
            tape.watch(e)
            out = compute(e)
            loss = tf.reduce_sum(tf.square(out) + tf.sin(out))
        results.append([out, *tape.gradient(loss, [e, *(v.value for v in layer.trainable_variables)])])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_pairs_are_scored_block_by_block_as_all_at_once(monkeypatch):
    layer = PairAttention(5)
    e = tf.constant(RNG.normal(size=(12, 4, 3)), tf.float32)
    layer(e)

    def results(rows):
        monkeypatch.setattr(pair_attention, "IN_CACHE", rows)
        with tf.GradientTape() as tape:
            tape.watch(e)
            pooled, weights = layer(e)
            loss = tf.reduce_sum(tf.square(pooled)) + tf.reduce_sum(tf.sin(weights))
        return [
            pooled,
            weights,
            *tape.gradient(loss, [e, *(v.value for v in layer.trainable_variables)]),
        ]

    whole = results(12)
    for rows, blocks in ((6, 2), (5, 3), (7, 2), (4, 3)):
        found = results(rows)
        assert pair_attention.blocks_of(e) == blocks
        for one, other in zip(found, whole, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(pair_attention, "IN_CACHE", 128)
    # A prime: one row at a time would be slow.
    assert pair_attention.blocks_of(tf.zeros((131, 4, 3))) == 1


def test_another_bilinear_form_is_refused():
    with pytest.raises(InputError, match="one of all, each, interaction. Received: 'every'"):
        BilinearInteraction("every")


def shop():
    return Schema(
        target="shop",
        tables=(Table("item", rows=7), Table("star", rows=4)),
        domains=(
            Domain(
                "shop",
                (
                    Feature("item", "id", "item", table="item"),
                    Feature("seen", "ids", "history", table="item", length=3, of="shop"),
                    Feature("stars", "ids", "history", table="star", length=3, of="shop", field="rating"),
                ),
            ),
        ),
    )


def test_cross_products_number_the_pairs_of_an_event_and_the_candidate():
    layer = CrossProducts(shop(), 60)
    assert layer.prime == 59
    assert [f.name for f in layer.crossed.target_domain.features] == ["item", "seen", "stars", "seen_x_item"]
    assert layer.crossed.table("item_x_item").rows == 60
    x = {"item": np.array([4, 4, 0]), "seen": np.array([[2, 6, 0], [0, 0, 0], [3, 1, 0]])}
    out = layer({"shop": x})["shop"]
    # 1 + 7 a + b; ids 0 are padding
    np.testing.assert_array_equal(out["seen_x_item"], [[19, 47, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(out["seen"], x["seen"])


def test_pairs_share_rows_only_where_there_are_more_pairs_than_rows():
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(1, 7), np.arange(1, 7)))
    x = {"shop": {"item": b, "seen": np.stack([a, 0 * a, 0 * a], axis=1)}}
    many = np.asarray(CrossProducts(shop(), 60)(x)["shop"]["seen_x_item"])[:, 0]
    few = np.asarray(CrossProducts(shop(), 14)(x)["shop"]["seen_x_item"])[:, 0]
    assert len(set(many)) == 36 and many.min() > 0 and many.max() < 60
    assert set(few) == set(range(1, 14))


@pytest.mark.parametrize("buckets", [2, 10.0, True])
def test_buckets_are_a_whole_number(buckets):
    with pytest.raises(InputError, match="`buckets` must be a whole number of at least 3"):
        CrossProducts(shop(), buckets)


@pytest.mark.parametrize(
    "layer", [PairAttention(3), CIN((4, 3)), BilinearInteraction("each"), CrossProducts(shop(), 50)]
)
def test_configurations_round_trip(layer):
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
