"""Attentional factorization machine."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.models import AFM, FM
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


@pytest.fixture
def model():
    return oracle.built(AFM(toy_schema(), attention_units=5))


def pooled(layer, e):
    """Row by row, over the pairs of the fields that the row has."""
    w, b, h = (oracle.array(v) for v in (layer.kernel, layer.bias, layer.score))
    out = np.zeros((len(e), e.shape[2]))
    for row, fields in enumerate(e):
        present = [f for f in fields if f.any()]
        p = np.array([one * two for one, two in itertools.combinations(present, 2)])
        a = np.exp(np.maximum(p @ w + b, 0) @ h)
        out[row] = (a / a.sum() * p).sum(axis=0)
    return out


def test_equals_the_numpy_version_on_both_domains(model):
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = model(x)
    for name, rows in x.items():
        e = oracle.stack(model.fields, model.embedding, name, rows)
        z = oracle.first_order(model.linear, name, rows)
        z = z + oracle.dense(model.head, pooled(model.attention, e))
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-5)


def test_with_equal_attention_to_all_pairs_it_is_a_factorization_machine():
    schema = toy_schema().only("films")
    model, twin = AFM(schema), FM(schema)
    model.build()
    twin.build()
    oracle.randomise(model)
    for part in ("linear", "embedding", "fields"):
        getattr(twin, part).set_weights(getattr(model, part).get_weights())
    model.attention.score.assign(tf.zeros_like(model.attention.score))
    x, _ = toy_rows(schema, {"films": 20}, missing=False)
    full = x["films"]["films_seen"].numpy()[:, 0] > 0  # rows without a history have fewer pairs
    pairs = 8 * 7 // 2
    model.head.kernel.assign(tf.fill(model.head.kernel.shape, float(pairs)))
    assert 5 < np.sum(full) < 20
    ours, theirs = model(x)["films"].numpy(), twin(x)["films"].numpy()
    np.testing.assert_allclose(ours[full], theirs[full], atol=1e-5)
    assert np.abs(ours[~full] - theirs[~full]).max() > 1e-3


def test_a_missing_id_takes_no_attention(model):
    x, _ = toy_rows(model.schema, {"films": 20}, missing=False)
    x["films"]["device"] = tf.zeros_like(x["films"]["device"])
    e = model.fields(x, model.embedding(x))["films"]
    _, weights = model.attention(e)
    index = list(model.fields.slots).index("device")
    absent = [n for n, pair in enumerate(itertools.combinations(range(e.shape[1]), 2)) if index in pair]
    assert (weights.numpy()[:, absent] == 0).all()
    np.testing.assert_allclose(weights.numpy().sum(axis=1), 1, atol=1e-5)


def test_the_attention_is_as_wide_as_the_tables_by_default():
    model = AFM(toy_schema())
    model.build()
    assert model.attention.kernel.shape == (4, 4)
