"""Deep Interest Network."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.models import DIN
from cdrzoo.optimizers import Adam
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


@pytest.fixture(scope="module")
def model():
    model = DIN(toy_schema().only("films", "books"), units=(9, 7), attention_units=(6, 5))
    model.build()
    return model


def vectors(model, x):
    embedded = model.rows.embedding(x)
    return model.rows.fields["films"](x["films"], embedded["films"])


def test_equals_the_numpy_version(model):
    oracle.randomise(model)
    x, _ = toy_rows(model.schema, {"films": 20})
    fields = oracle.fields(model.rows.fields["films"], oracle.tables(model.rows.embedding), x["films"])
    order = ("user", "age", "item", "genre", "device", "history_films", "history_books")
    row = np.concatenate(
        [*(fields[f] for f in order), np.zeros((20, 5)), np.tile([1.0, 0.0], (20, 1))], axis=-1
    )
    for dense, dice in zip(model.mlp.dense, model.mlp.activations):
        row = oracle.dice(dice, oracle.dense(dense, row), None, training=False)
    expected = oracle.sigmoid(oracle.dense(model.head, row))
    np.testing.assert_allclose(model(x)["films"], expected, atol=1e-5)


def test_zero_attention_weights_and_an_output_bias_of_one_give_the_sum(model):
    oracle.randomise(model)
    for attention in model.rows.fields["films"].attentions.values():
        for variable in attention.trainable_variables:
            variable.assign(tf.zeros_like(variable))
        attention.score.bias.assign([1.0])
    x, _ = toy_rows(model.schema, {"films": 20})
    tables = oracle.tables(model.rows.embedding)
    rows = {k: v.numpy() for k, v in x["films"].items()}
    listed = [("seen", "film"), ("genres", "genre"), ("stars", "stars")]
    expected = np.concatenate(
        [tables[table][rows[f"films_{name}"]].sum(axis=1) for name, table in listed], axis=-1
    )
    np.testing.assert_allclose(vectors(model, x)["history_films"], expected, atol=1e-5)


def test_a_history_twice_is_an_interest_twice_as_strong(model):
    oracle.randomise(model)
    x, _ = toy_rows(model.schema, {"films": 20})
    once, twice = dict(x["films"]), dict(x["films"])
    for name in ("films_seen", "films_genres", "films_stars"):
        kept = x["films"][name][:, :2]
        once[name] = tf.pad(kept, [[0, 0], [0, 3]])
        twice[name] = tf.pad(tf.repeat(kept, 2, axis=1), [[0, 0], [0, 1]])
    one, two = (vectors(model, {"films": rows})["history_films"].numpy() for rows in (once, twice))
    assert np.abs(one).max() > 0.1
    np.testing.assert_allclose(two, 2 * one, atol=1e-5)


def test_the_candidate_steers_the_attention(model):
    oracle.randomise(model)
    x, _ = toy_rows(model.schema, {"films": 20})
    other = {**x["films"], "item": (x["films"]["item"] + 1) % 20}
    one, two = (vectors(model, {"films": rows}) for rows in (x["films"], other))
    assert np.abs(one["history_films"] - two["history_films"]).max() > 1e-3


def test_dice_learns_statistics_in_training_only(model):
    x, y = toy_rows(model.schema, {"films": 20, "books": 20})
    dices = [model.mlp.activations[0], model.rows.fields["films"].attentions["films"].activations[0]]
    before = [dice.moving_mean.numpy() for dice in dices]
    model(x)
    assert all((dice.moving_mean.numpy() == b).all() for dice, b in zip(dices, before))
    model.compile(Adam(0.0))
    model.train_step((x, y))
    assert all((dice.moving_mean.numpy() != b).any() for dice, b in zip(dices, before))


def test_dice_keeps_its_statistics_in_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = DIN(toy_schema().only("films"), units=(4,), attention_units=(3,))
    model.build()
    dices = [model.mlp.activations[0], model.rows.fields["films"].attentions["films"].activations[0]]
    assert {v.dtype for dice in dices for v in dice.variables} == {"float32"}
