"""EMCDR."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.models import CMF, DNN, EMCDR, card
from cdrzoo.optimizers import Adam
from tests.models import oracle
from tests.models.factors import trained
from tests.models.toys import toy_rows, toy_schema

COLD, BOTH, NOBODY = [2, 5, 7], [8, 9, 11], [12, 13]
USERS = COLD + BOTH + NOBODY


def rows(users=USERS):
    x, y = toy_rows(toy_schema("rating"), {"films": len(users)}, missing=False)
    x["films"]["user"] = tf.constant(users)
    return x, y


def built(mapping="linear", **arguments):
    schema = toy_schema("rating")
    model = EMCDR(schema, trained(schema, **arguments), mapping=mapping)
    model.build()
    oracle.randomise(model.maps["books"])
    return model


def vectors(model, domain, users):
    return oracle.array(model.pretrained.factors.user(domain, tf.constant(users)))


@pytest.mark.parametrize("mapping", ["linear", "mlp"])
@pytest.mark.parametrize("factorization", ["biased", "bias-free"])
def test_a_cold_user_is_served_with_his_mapped_vector_and_a_known_one_with_his_own(mapping, factorization):
    model = built(mapping, factorization=factorization)
    x, _ = rows()
    dense = model.maps["books"].dense
    u = vectors(model, "books", USERS)
    if mapping == "mlp":
        u = np.tanh(oracle.dense(dense[0], u))
    f = oracle.dense(dense[-1], u)
    user = np.where(np.isin(USERS, COLD)[:, None], f, vectors(model, "films", USERS))
    item = oracle.array(model.pretrained.factors.item("films", x["films"]["item"]))
    z = (user[:, :4] * item[:, :4]).sum(-1)
    if factorization == "biased":
        z += user[:, 4] + item[:, 4] + float(model.pretrained.factors.mu["films"])
    np.testing.assert_allclose(model(x)["films"][:, 0], z, atol=1e-5)


def test_the_loss_is_the_distance_over_users_that_both_domains_know():
    model = built()
    x, y = rows()
    model.compile("sgd")
    f = vectors(model, "books", BOTH) @ oracle.array(model.maps["books"].dense[0].kernel)
    expected = ((f - vectors(model, "films", BOTH)) ** 2).sum(-1).mean()
    assert float(model.compute_loss(x, y, model(x))) == pytest.approx(expected, rel=1e-5)
    weight = {"films": tf.constant([float(u == 9) for u in USERS])}
    one = ((f - vectors(model, "films", BOTH)) ** 2).sum(-1)[1]
    assert float(model.compute_loss(x, y, model(x), weight)) == pytest.approx(one, rel=1e-5)


def test_a_linear_map_is_recovered_and_the_factors_rest():
    schema = toy_schema("rating")
    mf = trained(schema, factorization="bias-free")
    for seen in mf.factors.seen.values():
        seen.assign(np.ones(seen.shape, bool))
    a = np.random.default_rng(1).normal(size=(4, 4)).astype("float32")
    source, target = (mf.factors.embedding.table("user", d) for d in ("books", "films"))
    target.assign(source.value @ a)
    model = EMCDR(schema, mf)
    model.compile(Adam(0.03))
    before = [v.numpy() for v in mf.variables]
    x, y = rows(list(range(30)))
    train = tf.function(lambda: model.train_step((x, y)))
    for _ in range(400):
        train()
    np.testing.assert_allclose(model.maps["books"].dense[0].kernel, a, atol=0.02)
    assert all((v.numpy() == b).all() for v, b in zip(mf.variables, before))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "first"), [("emcdr", "mf"), ("ptupcdr", "mf"), ("sscdr", "cml")])
def test_a_first_stage_that_knows_nobody_is_an_error_of_training(name, first):
    """Nothing could be learnt, and the losses would say 0."""
    schema = toy_schema("rating")
    stage = card(first).load()(schema)
    model = card(name).load()(schema, stage)
    model.compile("sgd")
    x, y = rows()
    assert np.isfinite(model(x)["films"]).all()
    for books in ([], [0, 1, 5, 7]):  # rows 0 and 1 are no one's
        stage.factors.seen["books"].assign(np.isin(np.arange(30), books))
        stage.factors.seen["films"].assign(np.isin(np.arange(30), [0, 1, 8]) & bool(books))
        with pytest.raises(InputError, match=f"{2 if books else 0} users in 'books', .*Train it first"):
            model.fit(x, y, verbose=0)
    stage.factors.seen["books"].assign(np.isin(np.arange(30), [8]))
    model.fit(x, y, verbose=0)


def test_what_is_no_factorisation_of_both_domains_is_refused():
    schema = toy_schema("rating")
    for wrong in (DNN(schema), CMF(schema)):
        with pytest.raises(InputError, match="must be a trained MF"):
            EMCDR(schema, wrong)
    x, _ = toy_rows(schema, {"books": 4, "films": 4})
    with pytest.raises(InputError, match="Received: rows of .books."):
        built()(x)
