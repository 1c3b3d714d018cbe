"""Logistic regression."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cdrzoo.models import LR
from cdrzoo.schema import Domain, Feature, Schema, Table
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


def small_schema(task="click"):
    return Schema(
        target="films",
        tables=(Table("film", rows=5, width=8), Table("user", rows=4)),
        domains=(
            Domain(
                "films",
                (
                    Feature("user", "id", "user", table="user"),
                    Feature("item", "id", "item", table="film"),
                    Feature("seen", "ids", "history", table="film", length=3, of="films"),
                    Feature("age", "number", "user"),
                ),
                task=task,
            ),
        ),
    )


def weigh(model, **weights):
    """Sets the weights of features, of numbers and `bias`."""
    for name, value in weights.items():
        variable = {
            "bias": model.linear.bias,
            **model.linear.numbers,
            "user": model.linear.embedding.table("user_user"),
            "item": model.linear.embedding.table("item_film"),
            "seen": model.linear.embedding.table("seen_film"),
        }[name]
        variable.assign(np.reshape(value, variable.shape))


def test_by_hand():
    model = LR(small_schema(task="rating"))
    model.build()
    weigh(model, bias=0.25, age=2.0, user=[0, 1, 10, 100], item=[0, 1, 2, 3, 4], seen=[0, 10, 20, 30, 40])
    x = {"user": [2, 0], "item": [4, 3], "seen": [[2, 4, 0], [0, 0, 0]], "age": [1.5, 0.0]}
    # 0.25 + 10 + 4 + (20 + 40) / 2 + 2 * 1.5;  a missing user and an empty history weigh nothing
    scores = model({"films": {k: tf.constant(v) for k, v in x.items()}})["films"]
    np.testing.assert_allclose(scores, [[47.25], [3.25]], rtol=1e-6)


def test_equals_the_dot_product_with_the_one_hot_row():
    model = oracle.built(LR(small_schema()))
    x, _ = toy_rows(model.schema, {"films": 20})
    w = [oracle.array(model.linear.embedding.table(t))[:, 0] for t in ("user_user", "item_film", "seen_film")]
    weights = np.concatenate([*w, [float(model.linear.numbers["age"]), *oracle.array(model.linear.bias)]])
    rows = {k: oracle.array(v) for k, v in x["films"].items()}
    one_hot = np.zeros((20, len(weights)))
    for i in range(20):
        known = [step for step in rows["seen"][i] if step]
        for offset, ids in ((0, [rows["user"][i]]), (4, [rows["item"][i]]), (9, known)):
            for value in ids:
                one_hot[i, offset + value] += 1 / len(ids)
        one_hot[i, -2:] = rows["age"][i], 1
    np.testing.assert_allclose(model(x)["films"][:, 0], oracle.sigmoid(one_hot @ weights), rtol=1e-5)


def test_an_item_and_its_history_have_weights_of_their_own():
    model = LR(small_schema())
    assert model.linear.embedding.table("item_film") is not model.linear.embedding.table("seen_film")


def test_domains_share_the_weights_of_a_shared_feature_and_not_the_bias():
    model = LR(toy_schema())
    model.build()
    assert model.linear.bias.shape == (2,)
    names = sorted(v.name for v in model.weights)
    assert names.count("user_user") == 1 and names.count("genre_genre") == 1
    assert {"item_book", "item_film", "age", "price"} <= set(names)
