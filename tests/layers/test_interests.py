"""Field pooling, item attention and interest attention: the paper's formulas in float64, and what masks promise."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import SchemaError
from cdrzoo.layers import (
    FeatureEmbedding,
    FieldPooling,
    InterestAttention,
    ItemAttention,
    MeanInterest,
    interests,
)
from cdrzoo.layers.interests import history_steps
from cdrzoo.schema import Schema
from tests.models.toys import toy_rows, toy_schema

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def randomised(layer, *shapes):
    layer.build(*shapes)
    for v in layer.trainable_variables:
        v.assign(RNG.normal(size=v.shape))
    return layer


# Field pooling ------------------------------------------------------------------------------------------------------


def test_fields_are_sums_of_the_embeddings_of_their_features():
    schema = toy_schema()
    x, _ = toy_rows(schema, {"books": 6, "films": 6})
    embedding, pooling = FeatureEmbedding(schema), FieldPooling(schema)
    embedded = embedding(x)
    fields, masks = pooling(x["films"], embedded["films"], domain="films")
    assert list(fields) == ["user", "item", "history_films", "history_books"]
    pooling.number_vectors.assign(normal(*pooling.number_vectors.shape))
    fields, masks = pooling(x["films"], embedded["films"], domain="films")
    e = {k: np.asarray(v) for k, v in embedded["films"].items()}
    age = (
        np.asarray(x["films"]["age"])[:, None]
        * np.asarray(pooling.number_vectors)[list(pooling.numbers).index("age")]
    )
    np.testing.assert_allclose(fields["item"], e["item"] + e["genre"], atol=1e-6)
    np.testing.assert_allclose(
        fields["user"], e["user"] + age + e["device"], atol=1e-6
    )  # context counts as the user's
    steps = e["books_seen"] + e["books_genres"] + e["books_stars"]
    np.testing.assert_allclose(fields["history_books"], steps, atol=1e-6)
    known = [np.asarray(x["films"][f"books_{name}"]) != 0 for name in ("seen", "genres", "stars")]
    np.testing.assert_array_equal(masks["history_books"], np.any(known, axis=0))


def test_ids_that_are_no_history_count_as_their_mean():
    schema = toy_schema()
    x, _ = toy_rows(schema, {"books": 6})
    embedding, pooling = FeatureEmbedding(schema), FieldPooling(schema)
    embedded = embedding(x)["books"]
    item = pooling(x["books"], embedded, domain="books")[0]["item"]
    vectors = dict(zip(pooling.numbers, np.asarray(pooling.number_vectors)))
    known = np.asarray(x["books"]["words"]) != 0
    words = np.asarray(embedded["words"]).sum(1) / np.maximum(known.sum(1), 1)[:, None]
    price = np.asarray(x["books"]["price"])[:, None] * vectors["price"]
    np.testing.assert_allclose(item, embedded["item"] + embedded["genre"] + words + price, atol=1e-6)


def test_tables_of_two_widths_are_refused():
    config = toy_schema().to_dict()
    config["tables"]["device"]["width"] = 3
    with pytest.raises(SchemaError, match="device 3.*with_width"):
        FieldPooling(Schema.from_dict(config))


# Item attention -----------------------------------------------------------------------------------------------------

B, STEPS, D = 4, 5, 3


def setting():
    mask = RNG.random((B, STEPS)) < 0.6
    mask[0], mask[1], mask[2] = True, False, [False, True, False, False, False]
    return normal(B, D), normal(B, D), normal(B, STEPS, D), mask


@pytest.mark.parametrize("units", [None, 7])
def test_item_attention_equals_the_papers_concatenation(units):
    q, p, r, mask = setting()
    layer = randomised(ItemAttention(units), q.shape)
    out, beta = layer(q, p, r, mask)
    kernel, score = (np.asarray(v, "float64") for v in (layer.kernel, layer.score))
    assert kernel.shape == (4 * D, units or D)
    expected = np.zeros((B, STEPS))
    for i in range(B):
        for t in np.flatnonzero(mask[i]):
            joined = np.concatenate([r[i, t], q[i], p[i], r[i, t] * q[i]]).astype("float64")
            expected[i, t] = np.exp((np.maximum(joined @ kernel, 0) @ score)[0])
        expected[i] /= max(expected[i].sum(), 1e-30)
    np.testing.assert_allclose(beta, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(out, np.einsum("bt,btd->bd", expected, r), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(beta).sum(1), mask.any(1), atol=1e-6)
    np.testing.assert_array_equal(np.asarray(beta)[~mask], 0)
    np.testing.assert_allclose(out[2], r[2, 1], rtol=1e-5)  # one valid step is taken whole


def test_padded_steps_do_not_matter_and_gradients_are_finite():
    q, p, r, mask = setting()
    layer = randomised(ItemAttention(), q.shape)
    results = []
    for fill in (0.0, 1e4):
        keys = tf.Variable(np.where(mask[..., None], r, fill).astype("float32"))
        with tf.GradientTape() as tape:
            out, _ = layer(q, p, keys, mask, training=True)
            loss = tf.reduce_sum(tf.square(out))
        to_keys, *to_weights = tape.gradient(loss, [keys, *[v.value for v in layer.trainable_variables]])
        assert not np.asarray(to_keys)[~mask].any()
        assert all(np.isfinite(g).all() for g in (to_keys, *to_weights))
        results.append([out, *to_weights])
    for one, two in zip(*results):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(results[0][0][1], 0)  # nothing valid


@pytest.mark.parametrize(
    ("rank", "matched", "wide"), [(2, None, 5), (None, 2, 5), (None, 2, 3), (None, None, 3)]
)
def test_item_attention_over_items_that_are_described_otherwise(rank, matched, wide):
    """(r M) * q with M = H_a H_b, or the product of the leading columns alone; q, p and r have their own widths."""
    q, p, r, mask = normal(B, D), normal(B, 4), normal(B, STEPS, wide), setting()[-1]
    layer = ItemAttention(6, rank=rank, matched=matched)
    layer(q, p, r, mask)
    for v in layer.trainable_variables:
        v.assign(RNG.normal(size=v.shape) * 0.5)
    out, beta = layer(q, p, r, mask)
    kernel, score = (np.asarray(v, "float64") for v in (layer.kernel, layer.score))
    if rank:
        assert layer.transfer_in.shape == (wide, rank) and layer.transfer_out.shape == (rank, D)
        m = np.asarray(layer.transfer_in, "float64") @ np.asarray(layer.transfer_out, "float64")
        product = (r @ m) * q[:, None]
    else:
        product = r[..., : matched or D] * q[:, None, : matched or D]
    joined = np.concatenate([r, *(np.repeat(v[:, None], STEPS, 1) for v in (q, p)), product], axis=-1)
    e = np.exp((np.maximum(joined @ kernel, 0) @ score)[..., 0]) * mask
    expected = e / np.maximum(e.sum(1, keepdims=True), 1e-300)
    np.testing.assert_allclose(beta, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(out, np.einsum("bt,btd->bd", expected, r), rtol=1e-3, atol=1e-4)


def test_a_transfer_by_the_identity_is_no_transfer():
    q, p, r, mask = setting()
    plain, transfer = ItemAttention(6), ItemAttention(6, rank=D)
    plain(q, p, r, mask), transfer(q, p, r, mask)
    transfer.kernel.assign(plain.kernel), transfer.score.assign(plain.score)
    transfer.transfer_in.assign(np.eye(D)), transfer.transfer_out.assign(np.eye(D))
    for one, other in zip(plain(q, p, r, mask), transfer(q, p, r, mask)):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_item_attention_takes_its_softmax_in_float32_under_mixed_precision():
    q, p, r = normal(64, 16), normal(64, 16), normal(64, 20, 16)
    mask = np.ones((64, 20), bool)
    exact, mixed = ItemAttention(), ItemAttention(dtype="mixed_bfloat16")
    out, beta = exact(q, p, r, mask)
    mixed(q, p, r, mask)
    for one, other in zip(exact.variables, mixed.variables):
        other.assign(one)
    mixed_out, mixed_beta = mixed(q, p, r, mask)
    assert mixed_beta.dtype == tf.float32 and mixed_out.dtype == tf.bfloat16
    np.testing.assert_allclose(np.sum(mixed_beta, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(mixed_beta, beta, atol=0.02)
    np.testing.assert_allclose(tf.cast(mixed_out, "float32"), out, atol=0.05)


@pytest.mark.slow
def test_item_attention_compiled_by_xla_is_the_plain_one(monkeypatch):
    """From a million elements on a training step compiles it."""
    q, p, r = (tf.constant(normal(*shape)) for shape in ((700, 8), (700, 8), (700, 20, 8)))
    mask = RNG.random((700, 20)) < 0.6
    mask[0] = False
    layer = ItemAttention(80)
    layer(q, p, r, mask)
    compiled = []

    def step():
        with tf.GradientTape() as tape:
            tape.watch((q, p, r))
            out, beta = layer(q, p, r, mask, training=True)
            loss = tf.reduce_sum(tf.square(out))
        weights = [v.value for v in layer.trainable_variables]
        return out, beta, *tape.gradient(loss, [q, p, r, *weights])

    def plain(function, *tensors, layer, training, elements):
        compiled.append(training and elements >= 1_000_000)
        return function(*tensors)

    fast = tf.function(step)
    assert "XlaMustCompile" in str(fast.get_concrete_function().graph.as_graph_def())
    got = fast()
    monkeypatch.setattr(interests, "fused", plain)
    for one, other in zip(got, step(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert compiled == [True]


# Interest attention -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outside", [False, True])
def test_interest_weights_are_those_of_equation_6(outside):
    m = 0.3 * normal(B, 4, D)
    layer = randomised(InterestAttention(outside), m.shape)
    c = m.reshape(B, -1).astype("float64")
    v = np.asarray(layer(m))
    assert v.shape == (B, 3)
    for i in range(3):
        hidden = np.maximum(c @ np.asarray(layer.hidden[i].kernel, "float64"), 0)
        exponent = (hidden @ np.asarray(layer.score[i].kernel, "float64"))[:, 0]
        bias = float(layer.bias[i])
        expected = np.exp(exponent) + bias if outside else np.exp(exponent + bias)
        np.testing.assert_allclose(v[:, i], expected, rtol=1e-4)


def test_only_a_bias_inside_keeps_interest_weights_positive():
    m = normal(B, 4, D)
    for outside in (False, True):
        layer = InterestAttention(outside)
        layer.build(m.shape)
        for v in layer.trainable_variables:
            v.assign(tf.zeros_like(v))
        np.testing.assert_array_equal(layer(m), 1)  # g = 0, b = 0: the plain concatenation
        layer.bias.assign([-2.0, 0.0, 0.0])
        assert (np.asarray(layer(m)) > 0).all() == (not outside)


def test_interests_may_have_widths_of_their_own():
    m = [normal(B, 3), normal(B, 2), normal(B, 5)]
    layer = InterestAttention(units=4, starts=(1.0, 0.0))
    np.testing.assert_array_equal(layer(m).shape, (B, 2))
    np.testing.assert_array_equal(layer.bias, [1.0, 0.0])
    c = np.concatenate(m, axis=1)
    for i in range(2):
        hidden = np.maximum(c @ np.asarray(layer.hidden[i].kernel), 0)
        assert hidden.shape == (B, 4)
        expected = np.exp((hidden @ np.asarray(layer.score[i].kernel))[:, 0] + (1.0, 0.0)[i])
        np.testing.assert_allclose(layer(m)[:, i], expected, rtol=1e-4)


def test_steps_of_histories_side_by_side():
    schema = toy_schema()
    x, _ = toy_rows(schema, {"films": 6})
    embedded = FeatureEmbedding(schema)(x)["films"]
    histories = schema.target_domain.histories("books")[::-1]
    steps, mask = history_steps(histories, x["films"], embedded)
    expected = [np.asarray(embedded[f"books_{name}"]) for name in ("stars", "genres", "seen")]
    np.testing.assert_array_equal(steps, np.concatenate(expected, axis=-1))
    known = [np.asarray(x["films"][f.name]) != 0 for f in histories]
    np.testing.assert_array_equal(mask, np.any(known, axis=0))


def test_exponents_are_cut():
    m = normal(B, 4, D)
    layer = InterestAttention()
    layer.build(m.shape)
    layer.bias.assign([100.0, 0.0, 0.0])
    np.testing.assert_allclose(layer(m)[:, 0], np.exp(10), rtol=1e-5)


@pytest.mark.parametrize("outside", [False, True])
def test_interest_weights_under_mixed_precision_are_the_exact_ones_rounded(outside):
    m = 0.3 * normal(B, 4, D)
    exact, mixed = InterestAttention(outside), InterestAttention(outside, dtype="mixed_bfloat16")
    expected = exact(m)
    mixed(m)
    for one, other in zip(exact.variables, mixed.variables):
        other.assign(one)
    v = mixed(m)
    assert v.dtype == tf.bfloat16 and {w.dtype for w in mixed.variables} == {"float32"}
    np.testing.assert_allclose(tf.cast(v, "float32"), expected, rtol=0.02)


def test_configurations():
    for layer in (
        ItemAttention(5, rank=2),
        ItemAttention(matched=3),
        InterestAttention(True, 4, (1.0, 0.0)),
        FieldPooling(toy_schema()),
    ):
        config = layer.get_config()
        assert keras.tree.map_structure(
            str, type(layer).from_config(config).get_config()
        ) == keras.tree.map_structure(str, config)


def test_a_mean_interest_is_the_mean_of_the_steps():
    keys, mask = normal(3, 4, 2), np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    vector, weights = MeanInterest()(normal(3, 2), normal(3, 2), keys, mask)
    np.testing.assert_allclose(weights, mask / np.array([[3], [1], [1]]), rtol=1e-6)
    np.testing.assert_allclose(vector, (np.asarray(weights)[..., None] * keys).sum(1), rtol=1e-5, atol=1e-7)


def test_interests_stand_in_the_order_of_their_pools_and_what_a_row_lacks_is_zeros():
    item, steps, mask = normal(3, 2), normal(3, 4, 2), np.ones((3, 4), bool)
    pools = {"history_films": MeanInterest(), "history_books": MeanInterest()}
    m, weights = interests.pooled_interests(
        {"item": item, "history_books": steps}, {"history_books": mask}, pools
    )
    expected = np.stack([item, 0 * item, 0 * item, steps.mean(1)], axis=1)
    np.testing.assert_allclose(m, expected, rtol=1e-5, atol=1e-7)
    assert list(weights) == ["history_books"]


def test_histories_stand_with_the_targets_first_and_a_row_needs_a_candidate():
    schema = toy_schema()
    assert FieldPooling(schema).histories == ["history_films", "history_books"]
    users = {d.name: d.with_role("user") for d in schema.domains}
    with pytest.raises(SchemaError, match="'books' lists no feature of role item"):
        FieldPooling(schema.reading(users))


@pytest.mark.parametrize(
    ("pairs", "names", "partners"),
    [
        (
            [("seen", "item"), ("genres", "genre"), ("stars", None)],
            ["seen", "genres", "stars"],
            ["item", "genre"],
        ),
        ([("stars", None), ("seen", "item"), ("again", "item")], ["seen", "stars", "again"], ["item"]),
        ([("stars", None)], ["stars"], []),
    ],
)
def test_what_has_a_partner_goes_first(pairs, names, partners):
    assert interests.own_partners_first(pairs) == (names, partners)
