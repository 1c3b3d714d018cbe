"""Neural factorization machine."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.models import FM, NFM
from cdrzoo.optimizers import Adam
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


@pytest.fixture
def model():
    return oracle.built(NFM(toy_schema(), units=(9,), dropout=0.0))


def normalised(layer, h, mean, variance):
    return oracle.array(layer.gamma) * (h - mean) / np.sqrt(variance + layer.epsilon) + oracle.array(
        layer.beta
    )


def expected(model, x, training=False):
    """z of all domains' rows one below the other; `training`: statistics of these rows."""
    pooled = [
        oracle.pairs(oracle.stack(model.fields, model.embedding, name, rows)).sum(axis=1)
        for name, rows in x.items()
    ]
    h = np.concatenate(pooled)
    for index, norm in enumerate(model.norms):
        if index:
            h = oracle.dense(model.dense[index - 1], h)
        moving = (oracle.array(norm.moving_mean), oracle.array(norm.moving_variance))
        h = normalised(norm, h, *((h.mean(axis=0), h.var(axis=0)) if training else moving))
        h = np.maximum(h, 0) if index else h
    linear = np.concatenate([oracle.first_order(model.linear, name, rows) for name, rows in x.items()])
    return linear + oracle.dense(model.head, h)


def test_equals_the_numpy_version_on_both_domains(model):
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = np.concatenate(list(model(x).values()))
    np.testing.assert_allclose(scores, oracle.sigmoid(expected(model, x)), atol=1e-5)


def test_training_normalises_the_rows_of_all_domains_together(model):
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    z = expected(model, x, training=True)
    scores = np.concatenate(list(model(x, training=True).values()))
    np.testing.assert_allclose(scores, oracle.sigmoid(z), atol=1e-4)


def test_without_layers_it_is_a_factorization_machine():
    model = oracle.built(NFM(toy_schema(), units=(), batch_norm=False, dropout=0.0))
    model.head.kernel.assign(tf.ones_like(model.head.kernel))
    twin = FM(model.schema)
    twin.build()
    for part in ("linear", "embedding", "fields"):
        getattr(twin, part).set_weights(getattr(model, part).get_weights())
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    for name, scores in twin(x).items():
        np.testing.assert_allclose(model(x)[name], scores, atol=1e-6)


def test_inference_learns_no_statistics_and_its_scores_know_no_batch(model):
    x, y = toy_rows(model.schema, {"films": 20, "books": 20})
    before = [norm.moving_mean.numpy() for norm in model.norms]
    one = model({"films": {k: v[:1] for k, v in x["films"].items()}})["films"]
    np.testing.assert_allclose(one, model(x)["films"][:1], atol=1e-6)
    assert all((n.moving_mean.numpy() == b).all() for n, b in zip(model.norms, before))
    model.compile(Adam(0.0))
    model.train_step((x, y))
    assert all((n.moving_mean.numpy() != b).any() for n, b in zip(model.norms, before))


def test_dropout_meets_the_pooled_vector():
    model = oracle.built(NFM(toy_schema(), units=(), batch_norm=False, dropout=0.5))
    x, _ = toy_rows(model.schema, {"films": 20})
    assert np.abs(model(x, training=True)["films"] - model(x)["films"]).max() > 1e-3


def test_what_is_dropped_has_been_normalised():
    """Normalised afterwards, it would not be 0; and the averages would be of rows of which a half is dropped."""
    model = oracle.built(NFM(toy_schema(), units=(), dropout=0.5))
    model.head.kernel.assign([[1.0], [0.0], [0.0], [0.0]])  # lets one number of f through
    x, _ = toy_rows(model.schema, {"films": 40})
    linear = oracle.first_order(model.linear, "films", x["films"])
    kept = 2 * (expected(model, x, training=True) - linear)
    p = oracle.array(model(x, training=True)["films"])
    deep = np.log(p / (1 - p)) - linear
    dropped = np.abs(deep) < 1e-4
    assert 5 < dropped.sum() < 35
    np.testing.assert_allclose(deep[~dropped], kept[~dropped], atol=1e-3)
