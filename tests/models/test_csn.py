"""Cross-stitch network."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.models import CSN
from tests.models import oracle
from tests.models.toys import three_schema, toy_rows, toy_schema


def rows_of(model, x):
    tables = oracle.tables(model.embedding)
    return {n: np.concatenate(list(oracle.fields(model.fields[n], tables, x[n]).values()), -1) for n in x}


def relu(layer, a):
    return np.maximum(oracle.dense(layer, a), 0)


@pytest.fixture
def model():
    return oracle.built(CSN(toy_schema(), units=(9, 7)))


@pytest.fixture
def x(model):
    return toy_rows(model.schema, {"books": 20, "films": 20}, paired=True)[0]


def test_training_equals_the_numpy_version(model, x):
    scores, a = model(x, training=True), rows_of(model, x)
    for layer in range(2):
        a = {name: relu(model.towers[name].dense[layer], a[name]) for name in a}
        alpha = oracle.array(model.alpha[layer])
        a = {
            "books": alpha[0, 0] * a["books"] + alpha[0, 1] * a["films"],
            "films": alpha[1, 0] * a["books"] + alpha[1, 1] * a["films"],
        }
    for name in a:
        z = oracle.dense(model.heads[name], a[name])
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-6)


def test_what_is_scored_goes_through_its_own_tower(model, x):
    scores, a = model(x), rows_of(model, x)
    for name in a:
        z = oracle.dense(model.heads[name], oracle.mlp(model.towers[name], a[name]))
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-6)


def test_stitches_of_one_and_nothing_leave_the_towers_apart(model, x):
    for alpha in model.alpha:
        alpha.assign(np.eye(2))
    apart, together = model(x), model(x, training=True)
    for name in x:
        np.testing.assert_allclose(together[name], apart[name], atol=1e-6)


def test_equal_stitches_make_the_towers_alike(model, x):
    model.alpha[-1].assign(np.full((2, 2), 0.5))
    model.heads["books"].set_weights(model.heads["films"].get_weights())
    scores = model(x, training=True)
    np.testing.assert_allclose(scores["books"], scores["films"], atol=1e-6)


def test_the_start_is_nine_parts_one_s_own():
    two, three = CSN(toy_schema(), units=(4,)), CSN(three_schema(), units=(4,))
    np.testing.assert_allclose(two.alpha[0], [[0.9, 0.1], [0.1, 0.9]])
    np.testing.assert_allclose(three.alpha[0], np.full((3, 3), 0.05) + 0.85 * np.eye(3), atol=1e-7)


def test_the_stitches_learn(model):
    """Of pairs; what a batch of one domain says does not touch them."""
    x, y = toy_rows(model.schema, {"books": 20, "films": 20}, paired=True)
    model.compile("sgd")
    start = [alpha.numpy() for alpha in model.alpha]
    model.train_step(({"films": x["films"]}, {"films": y["films"]}))
    assert all((alpha.numpy() == before).all() for alpha, before in zip(model.alpha, start))
    model.train_step((x, y))
    assert all((alpha.numpy() != before).all() for alpha, before in zip(model.alpha, start))


def test_rows_that_are_no_pairs_are_refused(model):
    x, _ = toy_rows(model.schema, {"books": 8, "films": 6})
    with pytest.raises(InputError, match="8 rows of books, 6 rows of films.*paired=True"):
        model(x, training=True)
    assert model(x)["films"].shape == (6, 1)
    assert model({"films": x["films"]}, training=True)["films"].shape == (6, 1)


@pytest.mark.slow
def test_rows_of_different_users_stop_the_training(model):
    model.compile("sgd")
    pairs, others = (
        toy_rows(model.schema, {"books": 8, "films": 8}, paired=paired) for paired in (True, False)
    )
    model.fit(*pairs, batch_size=4, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="rows of different users.*paired=True"):
        model.fit(*others, batch_size=4, verbose=0)
    model.evaluate(*others, batch_size=4, verbose=0)
