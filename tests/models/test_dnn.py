"""Embedding and MLP."""

from __future__ import annotations

import numpy as np
import pytest

from cdrzoo.models import DNN
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema

SLOTS = ("user", "age", "item", "genre", "device", "history_films", "history_books", "words", "price")


@pytest.fixture(scope="module")
def model():
    return oracle.built(DNN(toy_schema(), units=(9, 7)))


def test_equals_the_numpy_version_on_both_domains(model):
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = model(x)
    widths = {"age": 1, "price": 1, "history_films": 12, "history_books": 12}
    for index, name in enumerate(("books", "films")):
        fields = oracle.fields(model.rows.fields[name], oracle.tables(model.rows.embedding), x[name])
        slots = [fields.get(slot, np.zeros((len(scores[name]), widths.get(slot, 4)))) for slot in SLOTS]
        domain = np.tile(np.eye(2)[index], (len(scores[name]), 1))
        z = oracle.dense(model.head, oracle.mlp(model.mlp, np.concatenate([*slots, domain], axis=-1)))
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-6)


def test_one_domain_needs_no_one_hot_and_no_empty_slots():
    model = DNN(toy_schema().only("films"), units=(9,))
    model.build()
    assert model.mlp.dense[0].kernel.shape[0] == 4 * 4 + 1 + 12  # no books: their history goes too


def test_a_row_reads_its_own_features_alone(model):
    x, _ = toy_rows(model.schema, {"films": 20})
    before = model(x)["films"]
    book = model.rows.embedding.table("word")
    book.assign(book + 1.0)
    np.testing.assert_array_equal(model(x)["films"], before)


def test_ratings_are_values():
    model = DNN(toy_schema("rating"), units=(4,))
    model.build()
    model.head.bias.assign([3.5])
    x, y = toy_rows(model.schema, {"films": 5})
    assert (model(x)["films"].numpy() > 1).all()
    model.compile("sgd")
    expected = np.mean((y["films"].numpy() - model(x)["films"].numpy()) ** 2)
    assert float(model.compute_loss(x, y, model(x))) == pytest.approx(expected, rel=1e-5)
