"""YouTube-DNN as a model of clicks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cdrzoo.models import DNN, YouTubeDNN
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema, twin_schema


@pytest.fixture
def model():
    return oracle.built(YouTubeDNN(toy_schema(), units=(9, 7)))


def test_equals_the_numpy_version_on_both_domains(model):
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = model(x)
    for name, rows in x.items():
        fields = oracle.fields(model.rows.fields[name], oracle.tables(model.rows.embedding), rows)
        row = [oracle.slots(model.rows.concat, name, fields)]
        for number in ("age", "price"):
            value = rows[number].numpy() if number in rows else None
            q = [
                0.0 if value is None else 0.5 * math.erfc(-v / math.sqrt(2)) for v in _or_zeros(value, row[0])
            ]
            row += [np.square(q)[:, None], np.sqrt(q)[:, None]]
        z = oracle.dense(model.head, oracle.mlp(model.mlp, np.concatenate(row, axis=-1)))
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-5)


def _or_zeros(value, row):
    return np.zeros(len(row)) if value is None else value


def test_an_extreme_number_is_finite(model):
    x, _ = toy_rows(model.schema, {"films": 2})
    x["films"]["age"] = np.array([-1e4, 1e4], "float32")
    assert np.isfinite(model(x)["films"]).all()


def test_without_numbers_it_is_the_dnn():
    schema = twin_schema()
    model, twin = YouTubeDNN(schema, units=(9,)), DNN(schema, units=(9,))
    model.build()
    twin.build()
    oracle.randomise(model)
    twin.set_weights(model.get_weights())
    x, _ = toy_rows(schema, {"books": 30, "films": 20})
    for name, scores in twin(x).items():
        np.testing.assert_array_equal(model(x)[name], scores)


def test_one_domain_or_several(model):
    single = YouTubeDNN(toy_schema().only("films"), units=(9,))
    single.build()
    assert (
        single.mlp.dense[0].kernel.shape[0] == 4 * 4 + 1 + 12 + 2
    )  # no other domain's slots, no one-hot; two powers
    assert model.mlp.dense[0].kernel.shape[0] == 5 * 4 + 2 + 2 * 12 + 2 + 4
