"""xDeepFM."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.models import XDeepFM
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


@pytest.fixture
def model():
    return oracle.built(XDeepFM(toy_schema(), units=(9, 7), cin_units=(5, 3)))


def cin(layer, e):
    maps, pooled = e, []
    for kernel, count in zip(layer.kernels, layer.units):
        w = oracle.array(kernel).reshape(e.shape[1], maps.shape[1], count)
        maps = np.einsum("ijh,bid,bjd->bhd", w, e, maps)
        pooled.append(maps.sum(axis=-1))
    return np.concatenate(pooled, axis=-1)


def test_equals_the_numpy_version_on_both_domains(model):
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = model(x)
    for name, rows in x.items():
        e = oracle.stack(model.fields, model.embedding, name, rows)
        deep = oracle.mlp(model.mlp, e.reshape(len(e), -1))
        z = oracle.first_order(model.linear, name, rows)
        z = z + oracle.dense(model.head, np.concatenate([cin(model.cin, e), deep], axis=-1))
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-5)


def test_one_map_of_ones_is_the_square_of_the_sum_of_the_fields():
    model = oracle.built(XDeepFM(toy_schema(), units=(4,), cin_units=(1,)))
    model.cin.kernels[0].assign(tf.ones_like(model.cin.kernels[0]))
    model.head.kernel.assign([[1.0], [0.0], [0.0], [0.0], [0.0]])
    x, _ = toy_rows(model.schema, {"films": 20})
    e = oracle.stack(model.fields, model.embedding, "films", x["films"])
    z = oracle.first_order(model.linear, "films", x["films"]) + (e.sum(axis=1) ** 2).sum(-1, keepdims=True)
    np.testing.assert_allclose(model(x)["films"], oracle.sigmoid(z), atol=1e-5)


def test_dropout_leaves_the_explicit_crosses_alone():
    model = oracle.built(XDeepFM(toy_schema(), units=(6,), cin_units=(2,), dropout=0.5))
    model.head.kernel.assign([[0.7], [-0.3], *[[0.0]] * 6])
    x, _ = toy_rows(model.schema, {"films": 20})
    np.testing.assert_array_equal(model(x, training=True)["films"], model(x)["films"])
