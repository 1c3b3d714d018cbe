"""Towers of one shape, and the alignment of tokens by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.layers import MLP, CompanionTower, SemanticAlignment
from cdrzoo.layers.companion import check_comparable, copy_draws, copy_weights
from cdrzoo.layers.tokens import split_tokens, token_widths
from cdrzoo.optimizers import Adam, copy_slots, slots
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema, twin_schema


def test_tokens_hold_the_fields_of_their_roles_in_order():
    fields = {name: tf.fill((1, 1), value) for name, value in (("item", 1.0), ("seen", 2.0), ("user", 3.0))}
    tokens = split_tokens(fields, {"item": "item", "seen": "history", "user": "user"})
    assert {token: v.numpy().tolist() for token, v in tokens.items()} == {"user": [[2, 3]], "item": [[1]]}
    assert token_widths(toy_schema(), "films") == {"user": 4 + 1 + 24, "item": 8, "context": 4}
    assert token_widths(toy_schema(), "books") == {"user": 4 + 24, "item": 4 + 4 + 4 + 1}


def test_alignment_equals_the_numpy_version():
    schema = toy_schema()
    layer = SemanticAlignment(schema, "books", pooling="mean")
    rows = toy_rows(schema, {"books": 6, "films": 2})[0]["books"]
    out = layer(rows)
    f = oracle.fields(layer.fields, oracle.tables(layer.embedding), rows)
    tokens = {
        "user": np.concatenate([f["user"], f["history_books"], f["history_films"]], -1),
        "item": np.concatenate([f["item"], f["genre"], f["words"], f["price"]], -1),
    }
    mapped = [
        oracle.dense(second, np.maximum(oracle.dense(first, tokens[token]), 0))
        for token, (first, second) in ((token, layer.maps[token].layers) for token in tokens)
    ]
    np.testing.assert_allclose(out, np.concatenate([*mapped, np.zeros((6, 4))], -1), atol=1e-6)
    assert layer.compute_output_shape({"user": (6,)}) == out.shape
    again = SemanticAlignment.from_config(layer.get_config())
    assert (again.source, again.pooling, again.align, again.schema) == ("books", "mean", True, schema)


def test_alignment_of_equal_fields_may_be_left_out():
    layer = SemanticAlignment(twin_schema(), "books", align=False)
    assert layer.maps == {}
    with pytest.raises(SchemaError, match="align=False reads the rows of 'books' as rows of 'films'"):
        SemanticAlignment(toy_schema(), "books", align=False)


def test_a_copy_is_the_same_and_drops_the_same():
    schema = toy_schema()
    one, other = (CompanionTower(schema, (6,), pooling="mean", dropout=0.5) for _ in range(2))
    rows = toy_rows(schema, {"books": 2, "films": 8})[0]["films"]
    one(rows), other(rows)
    assert np.abs(one(rows) - other(rows)).max() > 0
    copy_weights(one, other)
    np.testing.assert_array_equal(one(rows, training=True), other(rows, training=True))
    first = one(rows, training=True)
    copy_draws(one, other)
    np.testing.assert_array_equal(one(rows, training=True), other(rows, training=True))
    assert np.abs(one(rows, training=True) - first).max() > 0
    assert one.compute_output_shape({"user": (8,)}) == (8, 1)


def test_draws_are_copied_without_the_weights():
    one, other = MLP((4,), dropout=0.5), MLP((4,), dropout=0.5)
    x = tf.ones((2, 3))
    one(x), other(x)
    before = [v.numpy() for v in other.weights]
    copy_draws(one, other)
    assert all((v.numpy() == old).all() for v, old in zip(other.weights, before))


def test_slots_are_copied():
    one, other = (keras.Variable(np.zeros(2), dtype="float32") for _ in range(2))
    optimizer = Adam(0.1)
    optimizer.build([one, other])
    optimizer.apply_gradients([(tf.constant([1.0, 2.0]), one), (tf.constant([3.0, 3.0]), other)])
    copy_slots(optimizer, [one], [other])
    for a, b in zip(slots(optimizer, one), slots(optimizer, other)):
        assert np.any(a) and (a.numpy() == b.numpy()).all()


@pytest.mark.parametrize("wrap", [lambda o: o, keras.optimizers.LossScaleOptimizer])
def test_what_would_not_treat_towers_alike_is_refused(wrap):
    check_comparable("adam")
    with pytest.raises(InputError, match="`global_clipnorm` would scale"):
        check_comparable(wrap(Adam(0.01, global_clipnorm=1.0)))
