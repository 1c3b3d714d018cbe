"""SSCDR and its first stage."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.layers import MetricFactors, sampling
from cdrzoo.layers.mappings import hinge, in_ball
from cdrzoo.models import CML, SSCDR, cml, sscdr
from cdrzoo.optimizers import Adam
from tests.models import oracle
from tests.models.factors import trained
from tests.models.test_emcdr import BOTH, COLD, USERS, rows
from tests.models.toys import toy_rows, toy_schema

HISTORIES = [[0, 0, 7, 7, 0], [5, 5, 5, 5, 5], [1, 9, 0, 0, 9], [0, 0, 0, 3, 3], [1, 6, 0, 6, 0]]
HISTORIES += [[1, 1, 0, 0, 0], [8, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
"""Of each of USERS one known book at most, with gaps and unknown ones before it: what is drawn is known."""
BOOKS = [7, 5, 9, 3, 6, 1, 8, 0]


def ball(e):
    return e / np.maximum(1, np.linalg.norm(e, axis=-1, keepdims=True))


def square(v):
    return (v**2).sum(-1)


def f(model, points):
    """The mapping of a built model, in NumPy."""
    dense = model.maps["books"].dense
    return ball(oracle.dense(dense[1], np.tanh(oracle.dense(dense[0], points))))


def points(model, domain, table):
    return ball(oracle.array(model.pretrained.factors.embedding.table(table, domain)))


def built(**arguments):
    schema = toy_schema("rating")
    cml = trained(schema, "cml", readers=2, margin=0.7)
    model = SSCDR(schema, cml, **arguments)
    model.build()
    oracle.randomise(model.maps["books"])
    model.a.assign(4.0)
    model.b.assign(0.5)
    return model


def test_points_stay_in_the_unit_ball():
    np.testing.assert_allclose(
        in_ball(tf.constant([[3.0, 4.0], [0.3, 0.4]])), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6
    )
    model = CML(toy_schema())
    x, y = toy_rows(model.schema, {"books": 20, "films": 20})
    model.compile("sgd")
    model.optimizer.learning_rate = 50.0
    for _ in range(3):
        model.train_step((x, y))
    for domain in ("books", "films"):
        reach = square(model.factors.user(domain, tf.range(30)).numpy())
        assert reach.max() <= 1 + 1e-5 and reach.max() > 0.9


def test_the_hinge():
    user, near, far = tf.zeros((3, 1)), tf.constant([[1.0], [0.5], [9.0]]), tf.constant([[0.5], [2.0], [0.0]])
    # 1 + 1 - 0.25 = 1.75;  1 + 0.25 - 4 < 0;  no weight
    assert float(hinge(1.0, user, near, far, tf.constant([1.0, 1.0, 0.0]))) == pytest.approx(1.75 / 2)
    assert float(hinge(1.0, user, near, far, tf.zeros(3))) == 0


def test_labels_fit_a_and_b_and_the_hinge_alone_moves_points():
    model = CML(toy_schema("rating"))
    x, y = toy_rows(model.schema, {"books": 20, "films": 20})
    model.compile("sgd")
    with tf.GradientTape() as tape:
        loss = sum(model.domain_losses(y, model(x, training=True)).values())
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    fitted = {v.path.split("/")[-1] for v, g in zip(model.trainable_variables, gradients) if g is not None}
    assert fitted == {"books_a", "books_b", "films_a", "films_b"}


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_the_first_stage(monkeypatch, weighted):
    """Ratings above the mean are liked; sample weights and those of domains count."""
    schema, sizes = toy_schema("rating").with_means({"books": 3.0, "films": 2.5}), {"books": 20, "films": 15}
    model = oracle.built(CML(schema, margin=0.7))
    model.compile("sgd", loss_weights={"books": 0.5})
    x, y = toy_rows(schema, sizes)
    rng = np.random.default_rng(2)
    others = {40: rng.integers(2, 40, 20), 20: rng.integers(2, 20, 15)}  # by the number of a table's rows
    monkeypatch.setattr(cml, "drawn", lambda shape, rows, seed: tf.constant(others[rows]))
    given = {d: rng.random(n).astype("float32") for d, n in sizes.items()} if weighted else None
    terms = model.auxiliary_losses(x, y, None, given, training=True)
    expected = 0.0
    for d, table, mean, importance in (("books", "book", 3.0, 0.5), ("films", "film", 2.5, 1.0)):
        rows, tables = x[d], oracle.tables(model.factors.embedding, d)
        u, i = ball(tables["user"])[rows["user"]], ball(tables[table])[rows["item"]]
        j = ball(tables[table])[others[len(tables[table])]]
        liked = y[d].numpy()[:, 0] > mean
        assert liked.any() and not liked.all()
        weights = liked * (given[d] if weighted else 1.0)
        expected += importance * np.average(
            np.maximum(0.7 + square(u - i) - square(u - j), 0), weights=weights
        )
    assert float(terms["metric"]) == pytest.approx(expected, rel=1e-5)


def test_a_training_step_notes_who_liked_what():
    schema = toy_schema("rating").with_means({"books": 3.0, "films": 3.0})
    model = CML(schema, readers=4)
    model.compile("sgd")
    x, y = toy_rows(schema, {"books": 5, "films": 5})
    x["books"] |= {"user": tf.constant([5, 6, 10, 11, 7]), "item": tf.constant([3, 3, 3, 3, 4])}
    y["books"] = tf.constant([[5.0], [4.0], [3.0], [5.0], [1.0]])
    weights = {"books": tf.constant([1.0, 1.0, 1.0, 0.0, 1.0]), "films": tf.ones(5)}
    model.train_step((x, y, weights))
    liked_by = np.zeros((40, 4))
    liked_by[3, [1, 2]] = 5, 6  # 10 and 7 rated no better than the mean, and the row of 11 does not count
    np.testing.assert_array_equal(model.factors.liked_by["books"], liked_by)


@pytest.mark.slow
def test_after_training_users_are_nearer_to_what_they_like():
    schema = toy_schema("rating").with_means({"books": 3.0, "films": 3.0})
    model = CML(schema)
    model.compile(Adam(0.02))
    sizes = {"books": 60, "films": 60}
    batches = [toy_rows(schema, sizes, seed, missing=False)[0] for seed in range(20)]
    stacked = tf.nest.map_structure(lambda *each: tf.stack(each), *batches)
    liked = {d: (r["user"] + r["item"]) % 2 == 0 for d, r in stacked.items()}
    y = {d: 1.0 + 4.0 * tf.cast(each, "float32")[..., None] for d, each in liked.items()}
    model.fit(tf.data.Dataset.from_tensor_slices((stacked, y)), epochs=5, verbose=0)
    for d, table in (("books", "book"), ("films", "film")):
        users, items = (ball(oracle.tables(model.factors.embedding, d)[name])[2:] for name in ("user", table))
        distance = square(users[:, None] - items[None])
        liked = np.add.outer(np.arange(len(users)), np.arange(len(items))) % 2 == 0
        assert distance[liked].mean() < distance[~liked].mean() - 0.5


def test_a_source_keeps_who_liked_what():
    factors = MetricFactors(toy_schema(), readers=4)
    factors.build()
    users, items = tf.constant([5, 6, 9, 0, 7, 1]), tf.constant([3, 3, 3, 3, 4, 4])
    factors.note_readers("books", users, items, tf.constant([True, False, True, True, True, True]))
    assert factors.readers_of("books", tf.constant([3, 4, 0])).numpy().tolist() == [
        [0, 9, 0, 0],  # 5 and 9 have one place; 6 did not like it, 0 is nobody
        [0, 0, 0, 7],  # 1 is nobody known
        [0, 0, 0, 0],
    ]
    factors.note_readers(
        "films", users, items, tf.fill([6], True)
    )  # nobody asks who liked what in the target


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_a_cold_user_is_the_mean_of_his_mapped_neighbourhood(hops):
    model = built(hops=hops)
    x, _ = rows()
    history = x["films"]["books_seen"].numpy()
    history[:3] = [[4, 1, 7, 0, 7], [1, 1, 0, 0, 0], [0, 0, 9, 4, 1]]  # gaps, unknown books, one listed twice
    x["films"]["books_seen"] = tf.constant(history)
    readers = model.pretrained.factors.liked_by["books"].numpy()
    readers[[7, 9, 4]] = [
        [USERS[0], 9],
        [20, 15],
        [20, 0],
    ]  # the user himself; another one of two of his books
    model.pretrained.factors.liked_by["books"].assign(readers)
    users, items = points(model, "books", "user"), points(model, "books", "book")
    own, films = points(model, "films", "user"), points(model, "films", "film")
    known = model.pretrained.factors.seen["books"].numpy()
    expected = []
    for user, seen, film in zip(USERS, history, x["films"]["item"].numpy()):
        liked = np.unique(seen[seen >= 2])
        others = np.setdiff1d(readers[liked], [0, user])
        groups = [users[[user]] if known[user] else [], items[liked], users[others]]
        hop = [f(model, np.asarray(group)).mean(0) for group in groups[: hops + 1] if len(group)]
        point = np.mean(hop, axis=0) if hop and user not in BOTH else own[user]
        expected.append(4.0 - 0.5 * square(point - films[film]))
    np.testing.assert_allclose(model(x)["films"][:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0, 0.5, 1.5, 4.0, 1.0, 2.0]])
def test_the_losses(monkeypatch, weight):
    model = built(unsupervised_weight=2.0)
    x, y = rows()
    x["films"]["books_seen"] = tf.constant(HISTORIES)
    others = np.random.default_rng(2).integers(2, 40, len(USERS))
    monkeypatch.setattr(sscdr, "drawn", lambda shape, rows, seed: {40: tf.constant(others)}[rows])
    model.compile("sgd")
    given = None if weight is None else {"films": tf.constant(weight)}
    terms = model.auxiliary_losses(x, y, None, given, training=True)
    w = np.ones(len(USERS)) if weight is None else np.array(weight)
    u, v = points(model, "books", "user")[USERS], points(model, "films", "user")[USERS]
    books = f(model, points(model, "books", "book"))
    counts = w * np.isin(USERS, BOTH)
    supervised = np.average(square(f(model, u) - v), weights=counts)
    assert float(terms["supervised"]) == pytest.approx(supervised, rel=1e-4)
    hinges = np.maximum(0.7 + square(v - books[BOOKS]) - square(v - books[others]), 0)
    assert (hinges[3:5] > 0).all()
    unsupervised = 2.0 * np.average(hinges, weights=counts * (np.array(BOOKS) >= 2))
    assert float(terms["unsupervised"]) == pytest.approx(unsupervised, rel=1e-4)


def test_any_known_item_is_drawn_of_a_table_without_one_the_unknown():
    seed = keras.random.SeedGenerator(0)
    assert np.unique(sampling.drawn((300,), 6, seed)).tolist() == [2, 3, 4, 5]
    assert np.unique(sampling.drawn((30,), 2, seed)).tolist() == [1]


def test_every_known_book_of_a_history_is_drawn_alike():
    history = tf.constant([[0, 0, 0, 7, 9]] * 300 + [[5, 1, 6, 0, 8]] * 300)
    drawn = sampling.one_of(history, history >= 2, seed=keras.random.SeedGenerator(0)).numpy()
    for part, books in ((drawn[:300], [7, 9]), (drawn[300:], [5, 6, 8])):
        found, counts = np.unique(part, return_counts=True)
        assert found.tolist() == books and counts.min() > 200 / len(books)


@pytest.mark.slow
def test_training_brings_users_and_what_they_like_to_where_they_are_in_the_target():
    model = built()
    x, y = rows()
    x["films"]["books_seen"] = tf.constant(HISTORIES)
    model.compile(Adam(0.02))
    own = points(model, "films", "user")[BOTH]

    def distances():
        books = f(model, points(model, "books", "book"))
        users = f(model, points(model, "books", "user")[BOTH])
        return square(users - own).mean(), *(square(books[at] - own[:2]).mean() for at in ([3, 6], [6, 3]))

    before, *_ = distances()
    train = tf.function(lambda: model.train_step((x, y)))
    for _ in range(150):
        train()
    after, liked, other = distances()
    assert after < 0.3 * before
    assert liked < other - 0.3


def test_labels_do_not_move_the_mapping_and_the_points_rest():
    model = built()
    model.compile("sgd")
    before = [v.numpy() for v in model.pretrained.variables]
    x, y = rows()
    with tf.GradientTape() as tape:
        loss = model.domain_losses(y, model(x, training=True))["films"]
    mapping = [v.value for v in model.maps["books"].trainable_variables]
    assert all(g is None for g in tape.gradient(loss, mapping))
    model.train_step((x, y))
    assert all(
        (v.numpy() == b).all() for v, b in zip(model.pretrained.variables, before) if v.dtype != "uint32"
    )


def test_cold_users_are_those_only_the_source_knows():
    seen = built().pretrained.factors.seen
    assert all(seen["books"][u] and not seen["films"][u] for u in COLD)
