"""CoNet and sparse CoNet."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.models import CoNet
from cdrzoo.schema import Schema
from tests.models import oracle
from tests.models.toys import three_schema, toy_rows, toy_schema

SLOTS = ("user", "age", "item", "genre", "device", "history_films", "history_books", "words", "price")


def built(schema=None, **arguments):
    return oracle.built(CoNet(schema or toy_schema(), units=(9, 7, 5), **arguments))


def rows_of(model, x):
    """Every domain's rows in the same columns, with its one-hot."""
    tables, rows = oracle.tables(model.rows.embedding), {}
    widths = {"age": 1, "price": 1, "history_films": 12, "history_books": 12}
    for index, name in enumerate(("books", "films")):
        fields, n = oracle.fields(model.rows.fields[name], tables, x[name]), len(x[name]["user"])
        slots = [fields.get(slot, np.zeros((n, widths.get(slot, 4)))) for slot in SLOTS]
        rows[name] = np.concatenate([*slots, np.tile(np.eye(2)[index], (n, 1))], axis=-1)
    return rows


def scores_of(model, a, cross_layers):
    for layer in range(3):
        below, other = a, {"books": "films", "films": "books"}
        a = {name: oracle.dense(model.towers[name].dense[layer], below[name]) for name in below}
        if layer < cross_layers:  # both directions: one matrix, and what stood below the layer
            h = oracle.array(model.cross[f"books_films_{layer}"].kernel)
            a = {name: a[name] + below[other[name]] @ h for name in a}
        a = {name: np.maximum(a[name], 0) for name in a}
    return {name: oracle.sigmoid(oracle.dense(model.heads[name], a[name])) for name in a}


@pytest.mark.parametrize("cross_layers", [1, 2, 3])
def test_training_equals_the_numpy_version(cross_layers):
    model = built(cross_layers=cross_layers)
    x, _ = toy_rows(model.schema, {"books": 20, "films": 20}, paired=True)
    expected = scores_of(model, rows_of(model, x), cross_layers)
    assert len(model.cross) == cross_layers
    for name, score in model(x, training=True).items():
        np.testing.assert_allclose(score, expected[name], atol=1e-5)


def test_what_is_scored_goes_through_its_own_tower():
    model = built()
    x, _ = toy_rows(model.schema, {"books": 20, "films": 20}, paired=True)
    expected = scores_of(model, rows_of(model, x), 0)
    for name, score in model(x).items():
        np.testing.assert_allclose(score, expected[name], atol=1e-5)
    for h in model.cross.values():  # H = 0 is MLP++
        h.kernel.assign(tf.zeros_like(h.kernel))
    for name, score in model(x, training=True).items():
        np.testing.assert_allclose(score, expected[name], atol=1e-5)


def test_the_lasso_is_lambda_times_the_sum_of_absolute_values():
    model = built(lasso=0.1)
    x, y = toy_rows(model.schema, {"books": 8, "films": 8}, paired=True)
    model.compile("sgd")
    scores = model(x, training=True)
    plain = sum(float(v) for v in model.domain_losses(y, scores).values())
    lasso = 0.1 * sum(np.abs(h.kernel.numpy()).sum() for h in model.cross.values())
    assert float(model.compute_loss(x, y, scores)) == pytest.approx(plain + lasso, rel=1e-5)


def test_of_three_domains_each_pair_has_its_matrix():
    books, music, films = (schema := three_schema()).domains
    alone = tuple(
        f for f in music.features if f.name != "films_seen"
    )  # the others list more of these histories
    music = dataclasses.replace(music, features=alone)
    model = built(Schema((books, music, films), "films", schema.tables))
    pairs = {name.rpartition("_")[0] for name in model.cross}
    assert pairs == {"books_music", "books_films", "music_films"}
    x, _ = toy_rows(model.schema, {"books": 6, "music": 6, "films": 6}, paired=True)
    before = model(x, training=True)["films"]
    matrix = model.cross["books_music_0"].kernel
    matrix.assign(matrix + 1.0)
    assert np.abs(model(x, training=True)["films"] - before).max() > 1e-4  # by way of the layer above
    matrix = model.cross["books_music_1"].kernel
    now = model(x, training=True)["films"]
    matrix.assign(matrix + 1.0)  # the last crossed layer: the other two alone
    np.testing.assert_array_equal(model(x, training=True)["films"], now)


def test_rows_of_different_users_are_refused():
    model = built()
    x, _ = toy_rows(model.schema, {"books": 8, "films": 8})
    with pytest.raises(tf.errors.InvalidArgumentError, match="rows of different users"):
        model(x, training=True)
    assert model(x)["films"].shape == (8, 1)


def test_arguments_that_make_no_model_are_refused():
    for arguments in ({"cross_layers": 4}, {"cross_layers": 0}, {"lasso": -1.0}):
        with pytest.raises(InputError, match=f"^`{next(iter(arguments))}`"):
            built(**arguments)
