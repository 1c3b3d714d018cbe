"""Factorization machine."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import SchemaError
from cdrzoo.models import FM, LR
from cdrzoo.schema import Domain, Feature, Schema, Table
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


@pytest.fixture(scope="module")
def model():
    return oracle.built(FM(toy_schema()))


def test_equals_the_numpy_version_on_both_domains(model):
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = model(x)
    for name, rows in x.items():
        fields = oracle.stack(model.fields, model.embedding, name, rows)
        z = oracle.first_order(model.linear, name, rows)
        for i, j in itertools.combinations(range(fields.shape[1]), 2):
            z = z + (fields[:, i] * fields[:, j]).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-5)


def test_by_hand():
    schema = Schema(
        target="films",
        tables=(Table("user", rows=3, width=2), Table("film", rows=4, width=2)),
        domains=(
            Domain(
                "films",
                (
                    Feature("user", "id", "user", table="user"),
                    Feature("item", "id", "item", table="film"),
                    Feature("seen", "ids", "history", table="film", length=2, of="films"),
                    Feature("age", "number", "user"),
                ),
                task="rating",
            ),
        ),
    )
    model = FM(schema)
    model.build()
    model.linear.bias.assign([0.5])
    model.embedding.table("user").assign([[0, 0], [1, 2], [0, 0]])
    model.embedding.table("film").assign([[0, 0], [3, 1], [2, 0], [0, 4]])
    model.fields.number_vectors.assign([[1, -1]])
    x = {"user": [1, 1], "item": [1, 1], "seen": [[2, 3], [0, 0]], "age": [2.0, 0.0]}
    # user (1, 2), item (3, 1), seen ((2, 0) + (0, 4)) / 2 = (1, 2), age 2 (1, -1) = (2, -2):
    # 5 (user, item) + 5 (user, seen) - 2 (user, age) + 5 (item, seen) + 4 (item, age) - 2 (seen, age); then w_0
    scores = model({"films": {k: tf.constant(v) for k, v in x.items()}})["films"]
    np.testing.assert_allclose(scores, [[15.5], [5.5]], rtol=1e-6)


def test_with_vectors_of_zeros_it_is_logistic_regression(model):
    oracle.randomise(model)
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    for layer in (model.embedding, model.fields):
        for variable in layer.variables:
            variable.assign(tf.zeros_like(variable))
    twin = LR(model.schema)
    twin.build()
    twin.linear.set_weights(model.linear.get_weights())
    for name, scores in twin(x).items():
        np.testing.assert_allclose(model(x)[name], scores, rtol=1e-6)


def test_first_order_weights_and_vectors_are_different_tables():
    model = FM(toy_schema().only("films"))
    model.build()
    names = [v.path for v in model.trainable_variables]
    assert sum("user" in name for name in names) == 2


def test_tables_of_two_widths_are_refused():
    schema = toy_schema().to_dict()
    schema["tables"]["device"]["width"] = 6
    with pytest.raises(SchemaError, match=r"device 6.*with_width\(16\)"):
        FM(schema)
