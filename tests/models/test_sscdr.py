"""SSCDR and its first stage."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.layers import MetricFactors, hinge, in_ball
from cdrzoo.models import CML, SSCDR
from tests.models import oracle
from tests.models.factors import trained
from tests.models.test_emcdr import BOTH, COLD, USERS, rows
from tests.models.toys import toy_rows, toy_schema


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
    cml = trained(schema, "cml", readers=2)
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


def test_a_source_keeps_who_liked_what():
    factors = MetricFactors(toy_schema(), readers=4)
    factors.build()
    users, items = tf.constant([5, 6, 9, 0, 7]), tf.constant([3, 3, 3, 3, 4])
    factors.note_readers("books", users, items, tf.constant([True, False, True, True, True]))
    assert factors.readers_of("books", tf.constant([3, 4, 0])).numpy().tolist() == [
        [0, 9, 0, 0],  # 5 and 9 have one place; 6 did not like it, 0 is nobody
        [0, 0, 0, 7],
        [0, 0, 0, 0],
    ]
    factors.note_readers(
        "films", users, items, tf.fill([5], True)
    )  # nobody asks who liked what in the target


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_a_cold_user_is_the_mean_of_his_mapped_neighbourhood(hops):
    model = built(hops=hops)
    x, _ = rows()
    history = x["films"]["books_seen"].numpy()
    readers = model.pretrained.factors.liked_by["books"].numpy()
    users, items = points(model, "books", "user"), points(model, "books", "book")
    own, films = points(model, "films", "user"), points(model, "films", "film")
    known = model.pretrained.factors.seen["books"].numpy()
    expected = []
    for user, seen, film in zip(USERS, history, x["films"]["item"].numpy()):
        liked = seen[seen != 0]
        others = readers[liked].reshape(-1)
        groups = [users[[user]] if known[user] else [], items[liked], users[others[others != 0]]]
        hop = [f(model, np.asarray(group)).mean(0) for group in groups[: hops + 1] if len(group)]
        point = np.mean(hop, axis=0) if hop and user not in BOTH else own[user]
        expected.append(4.0 - 0.5 * square(point - films[film]))
    np.testing.assert_allclose(model(x)["films"][:, 0], expected, atol=1e-5)


def test_the_losses():
    model = built(unsupervised_weight=0.0)
    x, y = rows()
    model.compile("sgd")
    terms = model.auxiliary_losses(x, y, None, None, training=True)
    u, v = points(model, "books", "user")[BOTH], points(model, "films", "user")[BOTH]
    assert float(terms["supervised"]) == pytest.approx(square(f(model, u) - v).mean(), rel=1e-4)
    assert float(terms["unsupervised"]) == 0
    model.unsupervised_weight = 2.0
    x["films"]["books_seen"] = tf.constant([[9, 9, 0, 0, 0]] * len(USERS))  # whatever is drawn, the item is 9
    near = square(f(model, points(model, "books", "book")[[9]]) - v)
    far = square(f(model, points(model, "books", "book"))[:, None] - v[None])
    low, high = (np.maximum(1 + near - each, 0).mean() for each in (far[2:].max(0), far[2:].min(0)))
    unsupervised = float(model.auxiliary_losses(x, y, None, None, training=True)["unsupervised"])
    assert 2 * low - 1e-5 <= unsupervised <= 2 * high + 1e-5


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
