"""Continual transfer network."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.models import CTNet, SourceDNN
from cdrzoo.optimizers import Adam
from tests.models import oracle
from tests.models.toys import toy_dataset, toy_rows, toy_schema

ROWS = {"books": 20, "films": 15}


def source(seed=0, **changes):
    model = SourceDNN(toy_schema(), **{"units": (9, 7), **changes})
    model.build()
    oracle.randomise(model, seed)
    return model


def make(first=None, randomise=True, eager=True, **changes):
    first = first or source()
    model = CTNet(first.schema, first, **{"units": (8, 6), **changes})
    model.compile(Adam(0.05), run_eagerly=eager)  # a handful of steps is not worth tracing
    if randomise:
        tower = {id(v) for v in model.pretrained.variables}
        kept = [v.numpy() for v in model.pretrained.variables]
        oracle.randomise(model, seed=1)
        for v, value in zip([v for v in model.variables if id(v) in tower], kept):
            v.assign(value)
    return model


def increment(seed, batches=3):
    return toy_dataset(toy_schema(), {"films": 24}, batches, seed)


def states(layers, h):
    out = []
    for layer in layers:
        h = oracle.mlp(layer, h)
        out.append(h)
    return out


def forward(model, rows):
    """The logit, in float64."""
    own = oracle.fields(model.fields, oracle.tables(model.embedding, "films"), rows)
    first = model.pretrained
    theirs = oracle.fields(first.fields["films"], oracle.tables(first.embedding, "films"), rows)
    known = states(
        first.hidden, np.concatenate([*theirs.values(), np.tile([0.0, 1.0], (len(own["age"]), 1))], -1)
    )
    h = np.concatenate(list(own.values()), -1)
    for layer, adapter, state in zip(model.hidden, model.adapters, known):
        gate = oracle.sigmoid(oracle.dense(adapter.gate, state))
        h = oracle.mlp(layer, h) + oracle.dense(adapter.value, state) * gate
    return oracle.dense(model.head, h)


def tower(model):
    """The numbers that the target has learnt."""
    theirs = {id(v) for v in model.pretrained.variables}
    return [v.numpy() for v in model.variables if id(v) not in theirs]


def equal(one, other):
    return len(one) == len(other) and all((a == b).all() for a, b in zip(one, other))


def test_equals_the_numpy_version():
    model = make()
    x, _ = toy_rows(model.schema, {"films": 15})
    np.testing.assert_allclose(model(x)["films"], oracle.sigmoid(forward(model, x["films"])), atol=1e-5)


def test_adapters_start_by_changing_nothing():
    """Attached to a target's tower they leave its scores as they were, whatever the source's tower says."""
    model = make(randomise=False)
    x, _ = toy_rows(model.schema, {"films": 15})
    own = oracle.fields(model.fields, oracle.tables(model.embedding, "films"), x["films"])
    h = states(model.hidden, np.concatenate(list(own.values()), -1))[-1]
    np.testing.assert_allclose(model(x)["films"], oracle.sigmoid(oracle.dense(model.head, h)), atol=1e-6)
    before = model(x)["films"]
    model.refresh(source(seed=5))
    np.testing.assert_array_equal(model(x)["films"], before)


def test_the_sources_tower_is_frozen_to_the_bit_and_used_without_dropout():
    first = source(dropout=0.8)
    model = make(first)
    x, _ = toy_rows(model.schema, {"films": 15})
    np.testing.assert_array_equal(model(x, training=True)["films"], model(x)["films"])
    before = model.pretrained.get_weights()
    model.fit(increment(0), verbose=0)
    assert equal(model.pretrained.get_weights(), before)
    assert equal(first.get_weights(), before)
    mine = {id(v) for v in model.pretrained.variables}
    assert not any(id(v) in mine for v in model.trainable_variables)


def test_a_refresh_replaces_the_sources_tower_and_nothing_else():
    model, newer = make(), source(seed=7)
    model.fit(increment(0), verbose=0)
    x, _ = toy_rows(model.schema, {"films": 15})
    own, moments = tower(model), [v.numpy() for v in model.optimizer.variables]
    before = model(x)["films"]
    model.refresh(newer)
    assert equal(tower(model), own)
    assert equal([v.numpy() for v in model.optimizer.variables], moments)
    assert equal(model.pretrained.get_weights(), newer.get_weights())
    assert np.abs(model(x)["films"] - before).max() > 1e-4  # the adapters let through what is new
    np.testing.assert_allclose(model(x)["films"], oracle.sigmoid(forward(model, x["films"])), atol=1e-5)


@pytest.mark.exhaustive
def test_day_after_day():
    """Both go on: the source by itself, the target on its increments; the traced step sees the refreshed tower."""
    first = source()
    first.compile(Adam(0.05))
    model = make(first, randomise=False, eager=False)
    loss = []
    for day in range(3):
        first.fit(toy_dataset(first.schema, {"books": 24}, 3, seed=day), verbose=0)
        model.refresh(first)
        frozen = model.pretrained.get_weights()
        assert equal(frozen, first.get_weights())
        own = tower(model)
        loss += model.fit(increment(day, batches=6), verbose=0).history["loss"]
        assert not equal(tower(model), own) and equal(model.pretrained.get_weights(), frozen)
    assert int(model.optimizer.iterations) == 18  # one training, never begun anew
    assert loss[-1] < loss[0]


@pytest.mark.slow
def test_a_traced_step_reads_the_refreshed_tower():
    model = make()
    x, y = toy_rows(model.schema, {"films": 15})
    score = tf.function(lambda rows: model({"films": rows})["films"])
    score(x["films"])
    model.refresh(source(seed=7))
    np.testing.assert_allclose(score(x["films"]), model(x)["films"], atol=1e-6)


@pytest.mark.slow
def test_a_stopped_training_goes_on_from_its_file(tmp_path):
    model = make()
    model.fit(increment(0), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.refresh(source(seed=7))
        one.fit(increment(1), verbose=0)
    assert equal(tower(again), tower(model)) and equal(
        again.pretrained.get_weights(), model.pretrained.get_weights()
    )


def test_every_adapter_learns():
    model = make(randomise=False)
    before = [v.numpy() for adapter in model.adapters for v in adapter.trainable_variables]
    model.fit(increment(0), verbose=0)
    after = [v.numpy() for adapter in model.adapters for v in adapter.trainable_variables]
    assert all((a != b).any() for a, b in zip(after, before))


def test_what_does_not_fit_is_said():
    schema, first = toy_schema(), source()
    with pytest.raises(InputError, match="a trained SourceDNN, the first stage. Received: int"):
        CTNet(schema, 3)
    with pytest.raises(SchemaError, match="trained with another schema"):
        CTNet(schema.with_width(5), first)
    with pytest.raises(InputError, match="`units` must name 2 layers. Received: \\(8,\\)"):
        CTNet(schema, first, units=(8,))
    model = make(first)
    with pytest.raises(InputError, match="rows of the target 'films' alone"):
        model(toy_rows(schema, ROWS)[0])
    with pytest.raises(InputError, match="hidden layers \\(9, 7\\), which the adapters read"):
        model.refresh(source(units=(9, 8)))
