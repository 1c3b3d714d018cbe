"""MF and CMF."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.models import CMF, MF
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


@pytest.mark.parametrize("cls", [MF, CMF])
@pytest.mark.parametrize("factorization", ["biased", "bias-free"])
def test_equals_the_numpy_version(cls, factorization):
    model = oracle.built(cls(toy_schema("rating"), factorization=factorization))
    x, _ = toy_rows(model.schema, {"books": 12, "films": 10})
    for name, item in (("books", "book"), ("films", "film")):
        table = lambda of: oracle.array(model.factors.embedding.table(of, name))  # noqa: B023, E731
        u, i = table("user")[x[name]["user"].numpy()], table(item)[x[name]["item"].numpy()]
        z = (u[:, :4] * i[:, :4]).sum(-1)
        if factorization == "biased":
            z += u[:, 4] + i[:, 4] + float(model.factors.mu[name])
        np.testing.assert_allclose(model(x)[name][:, 0], z, atol=1e-5)


def test_rows_of_the_source_move_a_user_of_the_target_in_cmf_alone():
    for cls, moves in ((CMF, True), (MF, False)):
        model = cls(toy_schema("rating"))
        x, y = toy_rows(model.schema, {"books": 20}, missing=False)
        model.compile("sgd")
        before = model.factors.user("films", x["books"]["user"]).numpy()
        model.train_step((x, y))
        after = model.factors.user("films", x["books"]["user"]).numpy()
        assert (after != before).any() == moves


def test_loss_weights_are_the_alpha_of_cmf():
    model = CMF(toy_schema("rating"))
    x, y = toy_rows(model.schema, {"books": 20, "films": 10})
    model.compile("sgd", loss_weights={"books": 0.3, "films": 0.7})
    scores = model(x)
    losses = {name: float(tf.reduce_mean((y[name] - scores[name]) ** 2)) for name in x}
    expected = 0.3 * losses["books"] + 0.7 * losses["films"]
    assert float(model.compute_loss(x, y, scores)) == pytest.approx(expected, rel=1e-5)


def test_it_reads_the_keys_alone():
    assert [f.name for f in MF(toy_schema()).serving_features] == ["user", "item"]
