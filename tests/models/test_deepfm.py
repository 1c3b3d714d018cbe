"""DeepFM."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.layers import FeatureEmbedding
from cdrzoo.layers.crosses import fm_term
from cdrzoo.models import FM, DeepFM
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


@pytest.fixture
def model():
    return oracle.built(DeepFM(toy_schema(), units=(9, 7)))


def test_equals_the_numpy_version_on_both_domains(model):
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = model(x)
    for name, rows in x.items():
        e = oracle.stack(model.fields, model.embedding, name, rows)
        z = oracle.first_order(model.linear, name, rows)
        z = z + oracle.pairs(e).sum(axis=(1, 2))[:, None]
        z = z + oracle.dense(model.head, oracle.mlp(model.mlp, e.reshape(len(e), -1)))
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-5)


def test_without_its_deep_part_it_is_a_factorization_machine(model):
    model.head.kernel.assign(tf.zeros_like(model.head.kernel))
    twin = FM(model.schema)
    twin.build()
    for part in ("linear", "embedding", "fields"):
        getattr(twin, part).set_weights(getattr(model, part).get_weights())
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    for name, scores in twin(x).items():
        np.testing.assert_array_equal(model(x)[name], scores)


def test_both_parts_read_one_table(model):
    tables = [layer for layer in model._flatten_layers() if isinstance(layer, FeatureEmbedding)]
    assert len(tables) == 2  # the weights of first order, and the vectors
    x, _ = toy_rows(model.schema, {"films": 20}, missing=False)

    def moved(part):
        with tf.GradientTape() as tape:
            e = model.fields(x, model.embedding(x))["films"]
            out = tf.reduce_sum(part(e))
        return tape.gradient(out, model.embedding.table("film").value) is not None

    assert moved(fm_term) and moved(lambda e: model.mlp(tf.reshape(e, (20, -1))))


def test_dropout_is_on_in_training_alone():
    model = oracle.built(DeepFM(toy_schema(), units=(30,), dropout=0.5))
    x, _ = toy_rows(model.schema, {"films": 20})
    np.testing.assert_array_equal(model(x)["films"], model(x)["films"])
    assert np.abs(model(x, training=True)["films"] - model(x)["films"]).max() > 1e-3
