"""PTUPCDR."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import SchemaError
from cdrzoo.models import PTUPCDR
from cdrzoo.schema import Schema
from tests.models import oracle
from tests.models.factors import trained
from tests.models.test_emcdr import BOTH, COLD, USERS, rows
from tests.models.toys import toy_schema


def built(**arguments):
    schema = toy_schema("rating")
    model = PTUPCDR(schema, trained(schema, **arguments), meta_units=6)
    model.build()
    oracle.randomise(model.bridges["books"])
    return model


def bridge(layer, u, v, mask):
    out = []
    for row, history, valid in zip(u, v, mask):
        p = np.zeros_like(row)
        if valid.any():
            a = oracle.dense(layer.score, np.maximum(oracle.dense(layer.hidden, history[valid]), 0))[:, 0]
            a = np.exp(a - a.max())
            p = (a / a.sum()) @ history[valid]
        m = oracle.dense(layer.matrix, np.maximum(oracle.dense(layer.meta, p), 0)).reshape(len(row), len(row))
        out.append(row @ m)
    return np.stack(out)


@pytest.mark.parametrize("base", ["mf", "gmf", "dnn"])
def test_equals_the_numpy_version(base):
    model = built(base=base)
    factors = model.pretrained.factors
    x, _ = rows()
    history = x["films"]["books_seen"].numpy()
    history[:3, :2] = [[1, 0], [1, 7], [0, 9]]  # unknown ids and gaps count as little as padding
    history[0, 2:] = 0
    x["films"]["books_seen"] = tf.constant(history)
    v, item = (
        oracle.array(factors.item("books", history)),
        oracle.array(factors.item("films", x["films"]["item"])),
    )
    u, own = (oracle.array(factors.user(d, tf.constant(USERS))) for d in ("books", "films"))
    mapped = bridge(model.bridges["books"], u, v, history >= 2)
    w = oracle.array(factors.w["films"]) if base == "gmf" else 1.0
    for training, known in ((False, COLD), (True, COLD + BOTH)):  # training maps whom both domains know, too
        user = np.where(np.isin(USERS, known)[:, None], mapped, own)
        z = (user[:, :4] * item[:, :4] * w).sum(-1) + user[:, 4] + item[:, 4] + float(factors.mu["films"])
        np.testing.assert_allclose(model(x, training=training)["films"][:, 0], z, rtol=1e-4, atol=1e-4)


def test_the_ratings_of_the_target_train_the_bridge_and_nothing_else():
    model = built()
    model.compile("sgd")
    assert {id(v) for v in model.trainable_variables} == {id(v) for v in model.bridges["books"].variables}
    before = [v.numpy() for v in model.pretrained.variables]
    x, y = rows()
    scores = model(x, training=True)
    expected = np.mean((y["films"] - scores["films"]).numpy() ** 2)
    assert float(model.compute_loss(x, y, scores)) == pytest.approx(expected, rel=1e-5)
    model.train_step((x, y))
    assert all((v.numpy() == b).all() for v, b in zip(model.pretrained.variables, before))


def test_it_reads_the_keys_and_what_the_user_liked():
    assert [f.name for f in built().serving_features] == ["user", "item", "books_seen"]


def test_rows_that_do_not_say_what_the_user_liked_are_refused():
    schema = toy_schema("rating")
    books, films = schema.domains
    films = dataclasses.replace(films, features=tuple(f for f in films.features if f.name != "books_seen"))
    schema = Schema((books, films), "films", schema.tables)
    with pytest.raises(SchemaError, match="of: books, field: item, table: book"):
        PTUPCDR(schema, trained(schema))
