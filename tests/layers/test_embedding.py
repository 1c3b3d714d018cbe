"""The feature embedding: which variable a feature reads, padding, and sparse gradients."""

from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo import pieces
from cdrzoo.errors import SchemaError
from cdrzoo.layers import FeatureEmbedding
from cdrzoo.schema import Domain, Feature, Schema, Table

SCHEMA = Schema(
    domains=(
        Domain(
            "books",
            (
                Feature("user", "id", "user", table="user"),
                Feature("item", "id", "item", table="book"),
                Feature("tags", "ids", "item", table="tag", length=3),
            ),
        ),
        Domain(
            "films",
            (
                Feature("user", "id", "user", table="user"),
                Feature("item", "id", "item", table="film"),
                Feature("tags", "ids", "item", table="tag", length=3),
                Feature("read", "ids", "history", table="book", length=4, of="books"),
                Feature("age", "number", "user"),
            ),
        ),
    ),
    target="films",
    tables=(
        Table("user", 2, rows=10),
        Table("book", 4, rows=20),
        Table("film", 4, rows=30),
        Table("tag", 3, True, rows=6),
    ),
)


def batch(rows=5):
    rng = np.random.default_rng(0)

    def ids(limit, *shape):
        return rng.integers(0, limit, (rows, *shape)).astype("int32")

    return {
        "books": {"user": ids(10), "item": ids(20), "tags": ids(6, 3)},
        "films": {
            "user": ids(10)[:3],
            "item": ids(30)[:3],
            "tags": ids(6, 3)[:3],
            "read": ids(20, 4)[:3],
            "age": np.array([0.5, -1.0, 2.0], "float32"),
        },
    }


def test_every_feature_reads_its_table():
    layer, x = FeatureEmbedding(SCHEMA), batch()
    out = layer(x)
    assert sorted(v.name for v in layer.trainable_variables) == [
        "book",
        "film",
        "tag_books",
        "tag_films",
        "user",
    ]
    tables = {v.name: np.asarray(v) for v in layer.trainable_variables}
    for domain, feature, table in [
        ("books", "user", "user"),
        ("films", "user", "user"),
        ("books", "item", "book"),
        ("films", "read", "book"),
        ("films", "item", "film"),
        ("books", "tags", "tag_books"),
        ("films", "tags", "tag_films"),
    ]:
        np.testing.assert_array_equal(out[domain][feature], tables[table][x[domain][feature]])
    np.testing.assert_array_equal(out["films"]["age"], [[0.5], [-1.0], [2.0]])
    assert list(out["films"]) == list(x["films"])


def test_any_subset_of_domains_and_features():
    layer, x = FeatureEmbedding(SCHEMA), batch()
    whole = layer(x)
    part = layer({"films": {"read": x["films"]["read"]}})
    np.testing.assert_array_equal(part["films"]["read"], whole["films"]["read"])
    only = FeatureEmbedding(SCHEMA, domains=("books",))
    only({"books": x["books"]})
    assert sorted(v.name for v in only.trainable_variables) == ["book", "tag_books", "user"]
    with pytest.raises(SchemaError, match="films"):
        only(x)


LARGE = SCHEMA.with_rows({"user": 100, "book": 200, "film": 300, "tag": 60})


def kinds(layer, x):
    graph = tf.function(layer).get_concrete_function(tf.nest.map_structure(tf.constant, x)).graph
    return [op.type for op in graph.get_operations()]


def test_one_lookup_a_table():
    layer, x = FeatureEmbedding(LARGE), batch()
    layer(x)
    found = kinds(layer, x)
    assert found.count("ResourceGather") == 5 and "ReadVariableOp" not in found


def test_small_tables_of_one_width_are_looked_up_side_by_side():
    layer, x = FeatureEmbedding(SCHEMA), batch(10)
    layer(x)
    found = kinds(layer, x)
    assert found.count("GatherV2") == 1, "the tags of both"
    assert found.count("ResourceGather") == 3, (
        "users and books, of other widths; films, with few ids for their rows"
    )


@pytest.mark.parametrize("beyond", [6, -1])
def test_an_id_beyond_its_table_fails_and_reads_no_other(beyond):
    layer, x = FeatureEmbedding(SCHEMA), batch(10)
    layer(x)
    x["books"]["tags"][0, 0] = beyond
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"-1 is not in \[0, 13\)"):
        layer({domain: {"tags": rows["tags"]} for domain, rows in x.items()})


def test_side_by_side_makes_no_difference(monkeypatch):
    layer, x = FeatureEmbedding(SCHEMA, initializer="ones"), batch(10)
    x["films"]["read"][0] = 0  # padding
    layer(x)
    for seed, table in enumerate(layer.trainable_variables):
        table.assign(np.random.default_rng(seed).normal(size=table.shape))

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            out = layer(x)
            loss = sum(tf.reduce_sum(tf.square(v + 1) * 3) for v in tf.nest.flatten(out))
        gradients = tape.gradient(loss, [table.value for table in layer.trainable_variables])
        assert all(isinstance(each, tf.IndexedSlices) for each in gradients)
        return out, [tf.convert_to_tensor(each) for each in gradients]

    found = step(x)
    monkeypatch.setattr(pieces, "LARGE", 0)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(tf.function(step.python_function)(x))):
        np.testing.assert_array_equal(one, other)
    assert all(not gradient[0].numpy().any() and gradient.numpy().any() for gradient in found[1])


@pytest.mark.parametrize("of_padding", [0.0, 2.0])
def test_lookups_without_gradients_make_no_difference(of_padding):
    layer, x = FeatureEmbedding(SCHEMA, initializer="ones"), batch()
    x["films"]["read"][0] = 0  # padding
    expected = layer(x)
    for table in layer.trainable_variables:
        table.assign(np.concatenate([np.full((1, table.shape[1]), of_padding), table.numpy()[1:]]))
    with layer.without_gradients():
        found, masked = layer(x), kinds(layer, x).count("Mul")
    assert not expected["films"]["read"].numpy()[0].any()
    assert bool(masked) == bool(of_padding) and kinds(layer, x).count("Mul"), "zeros need no mask"
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_unknown_lengths_and_batches_in_a_graph():
    layer, x = FeatureEmbedding(SCHEMA), batch()
    spec = {
        d: {n: tf.TensorSpec([None] * v.ndim, v.dtype) for n, v in features.items()}
        for d, features in x.items()
    }
    out = tf.function(layer, input_signature=[spec])(tf.nest.map_structure(tf.constant, x))
    expected = layer(x)
    for domain in x:
        for feature in x[domain]:
            np.testing.assert_array_equal(out[domain][feature], expected[domain][feature])


def test_gradients_are_rows_and_padding_gets_none():
    layer = FeatureEmbedding(SCHEMA)
    x = {"books": {"user": np.array([0, 3, 3], "int32")}}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(
            layer(x)["books"]["user"] * np.array([[5.0, 5.0], [1.0, 2.0], [3.0, 4.0]], "float32")
        )
    gradient = tape.gradient(loss, layer.table("user").value)
    assert isinstance(gradient, tf.IndexedSlices)
    expected = np.zeros((10, 2))
    expected[3] = [4, 6]
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient), expected)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad"])
def test_row_0_reads_as_zeros_before_and_after_training(optimizer):
    layer, x = FeatureEmbedding(SCHEMA, initializer="ones"), batch()
    layer(x)
    keras_optimizer = keras.optimizers.get(optimizer)
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_sum(tf.square(v + 1)) for v in tf.nest.flatten(layer(x)))
        variables = layer.trainable_variables
        keras_optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
    for v in layer.trainable_variables:
        assert not np.asarray(v)[0].any()
        assert (np.asarray(v)[1:] != 0).all()


def test_lookup_and_table_by_name():
    layer = FeatureEmbedding(SCHEMA)
    ids = np.array([[1, 2], [3, 0]], "int32")
    np.testing.assert_array_equal(layer.lookup("book", ids), np.asarray(layer.table("book"))[ids])
    np.testing.assert_array_equal(
        layer.lookup("tag", ids, "books"), np.asarray(layer.table("tag", "books"))[ids]
    )
    assert layer.table("tag") is layer.table("tag", "films")
    assert FeatureEmbedding(SCHEMA, domains=("books",)).table("tag").name == "tag_books"
    with pytest.raises(SchemaError, match="'film'"):
        FeatureEmbedding(SCHEMA, domains=("books",)).table("film")


def test_tables_stay_float32_under_mixed_precision():
    layer, x = FeatureEmbedding(SCHEMA, dtype="mixed_bfloat16"), batch()
    out = layer(x)
    assert {v.dtype for v in tf.nest.flatten(out)} == {tf.bfloat16}
    assert {v.dtype for v in layer.trainable_variables} == {"float32"}


def test_the_schema_must_know_its_rows():
    unknown = Schema((Domain("a", (Feature("user", "id", "user", table="user"),)),), "a", (Table("user"),))
    with pytest.raises(SchemaError, match="'user' does not know its number of rows"):
        FeatureEmbedding(unknown)


def test_configuration_round_trip():
    layer = FeatureEmbedding(
        SCHEMA, domains=("books",), initializer=keras.initializers.RandomNormal(0.0, 0.3)
    )
    again = FeatureEmbedding.from_config(layer.get_config())
    assert again.schema == SCHEMA
    assert again.domains == ("books",)
    assert again.initializer.stddev == 0.3


def test_compile_keeps_the_step_out_of_xla():
    layer = FeatureEmbedding(SCHEMA)

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = layer
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(self.embedding(x)["books"]["user"])

    model = Model()
    model.compile("sgd", "mse")
    assert model.jit_compile is False


def test_a_traced_step_is_given_back():
    """A gradient that TensorFlow registers for ever holds the graph it was traced in, one a model."""
    layer = FeatureEmbedding(SCHEMA)

    @tf.function
    def step(user):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer({"films": {"user": user}})["films"]["user"])
        return tape.gradient(loss, layer.table("user"))

    graph = weakref.ref(step.get_concrete_function(tf.constant([1, 2])).graph)
    assert graph() is not None
    del step
    gc.collect()
    assert graph() is None
