"""What was cut and is put together again."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from cdrzoo import models, optimizers, pieces
from cdrzoo.layers.pooling import joined, one_above_another
from cdrzoo.schema import Domain, Feature, Schema, Table


def test_what_was_cut_and_put_together_is_taken_as_it_was():
    @tf.function
    def step(whole, other):
        cut = pieces.cut(whole, [2, 2, 2])
        assert pieces.stacked(cut) is whole
        mixed = pieces.stacked([other, *cut])
        assert [each.name for each in mixed.op.inputs[:2]] == [other.name, whole.name]
        return mixed, pieces.stacked(cut[::-1]), pieces.stacked(cut[:2]), joined(cut)

    whole, other = (np.random.default_rng(0).normal(size=(6, 3)).astype("float32") for _ in range(2))
    mixed, turned, two, side = step(tf.constant(whole), tf.constant(other))
    np.testing.assert_array_equal(mixed, np.concatenate([other, whole]))
    np.testing.assert_array_equal(turned, whole.reshape(3, 2, 3)[::-1].reshape(6, 3))
    np.testing.assert_array_equal(two, whole[:4])
    np.testing.assert_array_equal(side, np.concatenate(np.split(whole, 3), axis=1))


def test_columns_put_side_by_side_are_taken_as_they_were():
    @tf.function
    def step(whole, other):
        columns = pieces.columns(whole)
        assert pieces.fields(columns)[0] is one_above_another(columns) is whole
        assert [each is whole for each in pieces.fields([other, *columns, other])] == [False, True, False]
        for some in (columns[::-1], columns[:2], [columns[0], other, *columns[1:]]):
            assert pieces.fields(some) == some
        mixed = [other, *columns]
        return joined(columns), joined(mixed), one_above_another(mixed), pieces.stacked(columns)

    random = np.random.default_rng(0)
    whole, other = (random.normal(size=size).astype("float32") for size in ((4, 3, 2), (4, 2)))
    side, mixed, fields, rows = step(tf.constant(whole), tf.constant(other))
    np.testing.assert_array_equal(side, whole.reshape(4, 6))
    np.testing.assert_array_equal(mixed, np.concatenate([other, whole.reshape(4, 6)], axis=1))
    np.testing.assert_array_equal(fields, np.concatenate([other[:, None], whole], axis=1))
    np.testing.assert_array_equal(rows, np.concatenate([whole[:, i] for i in range(3)]))


def test_tensors_outside_of_a_graph_are_put_together():
    whole = tf.reshape(tf.range(12.0), (4, 3))
    cut = pieces.cut(whole, [2, 2])
    np.testing.assert_array_equal(pieces.stacked(cut), whole)
    np.testing.assert_array_equal(joined(cut), tf.concat(cut, axis=1))
    np.testing.assert_array_equal(joined(pieces.columns(whole[:, :, None])), whole)


def trained(model, x, y):
    """What a model holds after some steps."""
    keras.utils.set_random_seed(3)
    made = model(schema(), units=(8,))
    made.compile(optimizers.Adam(0.05, weight_decay=0.01))
    made.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
    return [np.asarray(v) for v in [*made.variables, *made.optimizer.variables]]


def schema():
    features = tuple(Feature(f"f{i}", "id", "context", table=f"f{i}") for i in range(4))
    return Schema(
        (Domain("shop", features),), "shop", tuple(Table(f.name, width=4, rows=20) for f in features)
    )


def test_models_train_to_the_same_bits_side_by_side_and_one_by_one(monkeypatch):
    rng = np.random.default_rng(0)
    x = {"shop": {f"f{i}": rng.integers(0, 15, 64).astype("int32") for i in range(4)}}
    y = {"shop": rng.integers(0, 2, (64, 1)).astype("float32")}
    together = trained(models.DeepFM, x, y)
    monkeypatch.setattr(pieces, "LARGE", 0)
    for one, other in zip(together, trained(models.DeepFM, x, y), strict=True):
        np.testing.assert_array_equal(one, other)
