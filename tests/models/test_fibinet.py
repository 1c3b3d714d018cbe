"""FiBiNET."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import SchemaError
from cdrzoo.models import FiBiNET
from cdrzoo.schema import Domain, Feature, Schema, Table
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


def test_one_field_alone_is_refused():
    film = Feature("item", "id", "item", dtype="int64", table="film")
    schema = Schema((Domain("films", (film,)),), "films", (Table("film", width=4, rows=9),))
    with pytest.raises(SchemaError, match="has one feature alone. Add one"):
        FiBiNET(schema)


def made(**arguments):
    return oracle.built(FiBiNET(toy_schema(), **{"units": (9, 7), **arguments}))


def products(layer, e):
    w = oracle.array(layer.kernel)
    choose = {"all": lambda i, n: w[0], "each": lambda i, n: w[i], "interaction": lambda i, n: w[n]}[
        layer.form
    ]
    return np.concatenate(
        [
            (e[:, i] @ choose(i, n)) * e[:, j]
            for n, (i, j) in enumerate(itertools.combinations(range(e.shape[1]), 2))
        ],
        axis=-1,
    )


@pytest.mark.parametrize("form", ["all", "each", "interaction"])
def test_equals_the_numpy_version_on_both_domains(form):
    model = made(bilinear=form)
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = model(x)
    for name, rows in x.items():
        e = oracle.stack(model.fields, model.embedding, name, rows)
        gate = np.maximum(e.mean(axis=-1) @ oracle.array(model.senet.squeeze), 0)
        gate = np.maximum(gate @ oracle.array(model.senet.excite), 0)
        weighed = products(model.weighed_products, e * gate[..., None])
        deep = oracle.mlp(model.mlp, np.concatenate([products(model.products, e), weighed], axis=-1))
        z = oracle.first_order(model.linear, name, rows) + oracle.dense(model.head, deep)
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-5)


def test_what_has_a_matrix():
    fields = 13 + 1  # the features of both domains, and the domain
    for form, count in (("all", 1), ("each", fields - 1), ("interaction", fields * (fields - 1) // 2)):
        assert made(bilinear=form).products.kernel.shape == (count, 4, 4)


def test_closed_gates_leave_the_products_of_the_fields_themselves():
    model = made()
    x, _ = toy_rows(model.schema, {"films": 20})
    before = model(x)["films"].numpy()
    model.senet.excite.assign(-tf.abs(model.senet.excite.value))  # relu closes all
    closed = model(x)["films"].numpy()
    assert np.abs(before - closed).max() > 1e-3
    oracle_rows = oracle.stack(model.fields, model.embedding, "films", x["films"])
    p = products(model.products, oracle_rows)
    deep = oracle.mlp(model.mlp, np.concatenate([p, np.zeros_like(p)], axis=-1))
    z = oracle.first_order(model.linear, "films", x["films"]) + oracle.dense(model.head, deep)
    np.testing.assert_allclose(closed, oracle.sigmoid(z), atol=1e-5)
