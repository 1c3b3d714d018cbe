"""Multi-view DNN."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import SchemaError
from cdrzoo.models import MVDNN
from cdrzoo.models.mv_dnn import unit
from cdrzoo.schema import Schema
from tests.models import oracle, slots
from tests.models.toys import three_schema, toy_rows, toy_schema

ROWS = {"books": 20, "films": 15}
USER = {"user": 4, "age": 1, "device": 4, "history_films": 12, "history_books": 12}
ITEM = {"books": ("item", "genre", "words", "price"), "films": ("item", "genre")}


def make(schema=None):
    return oracle.built(MVDNN(schema or toy_schema(), units=(9, 7)))


def test_equals_the_numpy_version():
    model = make()
    x, _ = toy_rows(model.schema, ROWS)
    for name, score in model(x).items():
        fields = oracle.fields(model.fields[name], oracle.tables(model.embedding, name), x[name])
        zeros = {slot: np.zeros((ROWS[name], width)) for slot, width in USER.items()}
        user = np.concatenate([fields.get(slot, zeros[slot]) for slot in USER], -1)
        u = oracle.mlp(model.user_view, user, np.tanh)
        v = oracle.mlp(model.item_views[name], np.concatenate([fields[f] for f in ITEM[name]], -1), np.tanh)
        norms = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
        z = float(model.gamma) * (u * v).sum(1) / norms + float(model.biases[name])
        np.testing.assert_allclose(score[:, 0], oracle.sigmoid(z), atol=1e-5)


def test_a_user_is_the_same_in_every_domain():
    model = make()
    x, _ = toy_rows(model.schema, {"books": 10, "films": 10})
    same = {f: x["books"][f] for f in ("user", *(h.name for h in model.schema.domain("books").histories()))}
    nothing = {"age": tf.zeros(10), "device": tf.zeros(10, tf.int32)}
    found = model.vectors({"books": x["books"], "films": {**x["films"], **same, **nothing}})
    np.testing.assert_allclose(found["books"][0], found["films"][0], atol=1e-6)


def test_rows_of_one_domain_teach_the_users_view_and_not_anothers_items():
    model = make()
    x, y = toy_rows(model.schema, {"books": 20})
    found = slots.taught(model, x, y)
    assert not {id(v) for v in model.item_views["films"].variables} & found
    assert id(model.biases["films"]) not in found
    own = (*model.user_view.variables, *model.item_views["books"].variables, model.gamma)
    assert {id(v) for v in own} <= found


def test_vectors_have_length_one_and_the_scale_of_a_view_does_not_matter():
    y = tf.random.normal((5, 4))
    np.testing.assert_allclose(np.linalg.norm(unit(y), axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(unit(50.0 * y), unit(y), atol=1e-5)
    with tf.GradientTape() as tape:
        zero = tf.Variable(tf.zeros((1, 4)))
        loss = tf.reduce_sum(unit(zero))
    assert np.isfinite(tape.gradient(loss, zero)).all()


def test_scores_are_not_held_between_sigmoid_of_minus_one_and_one():
    model = MVDNN(toy_schema(), units=(9, 7))
    model.build()
    assert float(model.gamma) == 10.0
    assert model.gamma in model.trainable_variables
    x, _ = toy_rows(model.schema, ROWS)
    model.user_view.dense[-1].bias.assign(tf.fill([7], 5.0))
    model.item_views["films"].dense[-1].bias.assign(tf.fill([7], 5.0))
    assert (model(x)["films"].numpy() > 0.99).all()


def test_a_domain_starts_at_its_base_rate():
    model = MVDNN(toy_schema().with_means({"books": 0.8, "films": 0.25}), units=(4,))
    model.build()
    assert float(model.biases["books"]) == pytest.approx(np.log(4), rel=1e-5)
    assert float(model.biases["films"]) == pytest.approx(-np.log(3), rel=1e-5)


def test_the_served_graph_reads_the_targets_items_alone():
    model = make()
    x, _ = toy_rows(model.schema, {"films": 12})
    graph = tf.function(model.serve).get_concrete_function(x["films"])
    read = {id(variable.handle) for variable in graph.variables}
    assert not {id(v.value.handle) for v in model.item_views["books"].variables} & read


def test_what_it_needs_is_said():
    schema = toy_schema()
    for role, keep in (("item", False), ("user, context or history", True)):
        books = schema.domain("books")
        kept = tuple(f for f in books.features if (f.role == "item") == keep)
        films = dataclasses.replace(
            schema.target_domain,
            features=tuple(f for f in schema.target_domain.features if f.role != "history"),
        )
        if not keep:
            kept = tuple(f for f in kept if f.role != "history")
        domains = (dataclasses.replace(books, features=kept), films)
        used = {f.table for d in domains for f in d.features}
        with pytest.raises(SchemaError, match=f"'books' lists no feature of role {role}"):
            MVDNN(Schema(domains, "films", tuple(t for t in schema.tables if t.name in used)))


def test_a_third_domain_has_a_view_of_its_own():
    made = three_schema()  # where music lists less of a film's history than the others: one width is needed
    domains = [
        dataclasses.replace(
            d, features=tuple(f for f in d.features if f.role != "history" or f.name == "films_seen")
        )
        for d in made.domains
    ]
    used = {f.table for d in domains for f in d.features}
    model = make(Schema(tuple(domains), "films", tuple(t for t in made.tables if t.name in used)))
    x, _ = toy_rows(model.schema, {"books": 3, "music": 4, "films": 5})
    assert {name: score.shape for name, score in model(x).items()} == {
        "books": (3, 1), "music": (4, 1), "films": (5, 1),
    }  # fmt: skip
