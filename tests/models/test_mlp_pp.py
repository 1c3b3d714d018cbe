"""MLP++."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cdrzoo.models import MLPPlusPlus
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


def built(model):
    model.build()
    oracle.randomise(model)
    return model


def test_equals_the_numpy_version_in_each_domain():
    model = built(MLPPlusPlus(toy_schema(), units=(9, 7)))
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = model(x)
    for name in ("books", "films"):
        row = np.concatenate(
            list(oracle.fields(model.fields[name], oracle.tables(model.embedding), x[name]).values()), axis=-1
        )
        z = oracle.dense(model.heads[name], oracle.mlp(model.towers[name], row))
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-6)


def test_domains_share_users_and_nothing_of_their_towers():
    model = built(MLPPlusPlus(toy_schema(), units=(9, 7)))
    x, y = toy_rows(model.schema, {"books": 16, "films": 16})
    model.compile("sgd")
    with tf.GradientTape() as tape:
        loss = model.domain_losses({"books": y["books"]}, model(x, training=True))["books"]
    moved = {
        v.path
        for v, g in zip(
            model.trainable_variables, tape.gradient(loss, [v.value for v in model.trainable_variables])
        )
        if g is not None and np.abs(tf.convert_to_tensor(g)).max() > 0
    }
    films = {v.path for part in (model.towers["films"], model.heads["films"]) for v in part.variables}
    assert not moved & films
    assert model.embedding.table("user").path in moved
