"""Finetune: what the first stage learns of the sources, and what the second makes of it."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.models import DNN, FinetunedDNN, SourceDNN
from cdrzoo.models.source_dnn import in_the_targets_terms
from cdrzoo.optimizers import Adam
from cdrzoo.schema import Schema
from tests.models import oracle
from tests.models.toys import three_schema, toy_dataset, toy_rows, toy_schema

ROWS = {"books": 20, "films": 15}
SLOTS = ("user", "age", "item", "genre", "device", "history_films", "history_books")
WIDTHS = {"age": 1, "history_films": 12, "history_books": 12}


def first_stage(schema=None, **changes):
    return oracle.built(SourceDNN(schema or toy_schema(), **{"units": (9, 7), **changes}))


def row(model, name, rows):
    fields = oracle.fields(model.fields[name], oracle.tables(model.embedding, name), rows)
    count = len(next(iter(fields.values())))
    slots = [fields.get(slot, np.zeros((count, WIDTHS.get(slot, 4)))) for slot in SLOTS]
    return np.concatenate([*slots, np.tile([0.0, 1.0], (count, 1))], axis=-1)


def test_the_first_stage_equals_the_numpy_version():
    model = first_stage()
    x, _ = toy_rows(model.schema, ROWS)
    for name, score in model(x).items():
        h = row(model, name, x[name])
        states = model.states(name, x[name])
        np.testing.assert_allclose(states[0], h, atol=1e-6)
        for layer, state in zip(model.hidden, states[1:]):
            h = oracle.mlp(layer, h)
            np.testing.assert_allclose(state, h, atol=1e-5)
        np.testing.assert_allclose(score, oracle.sigmoid(oracle.dense(model.head, h)), atol=1e-5)


def test_a_source_lists_what_the_target_lists_in_its_order():
    books, films = in_the_targets_terms(toy_schema()).domains
    histories = tuple(f"{of}_{what}" for of in ("films", "books") for what in ("seen", "genres", "stars"))
    assert tuple(f.name for f in books.features) == (
        "user",
        "item",
        "genre",
        *histories,
    )  # no words, no price
    assert films == toy_schema().target_domain
    books, music, _ = in_the_targets_terms(three_schema()).domains
    # Music has the films seen alone, and not their genres and stars: that is not the target's history.
    assert tuple(f.name for f in music.features) == ("user", "item", "genre")


def test_tables_are_no_domains_own():
    config = toy_schema().to_dict()
    config["tables"]["user"]["per_domain"] = True
    model = first_stage(Schema.from_dict(config))
    assert model.embedding.table("user", "books") is model.embedding.table("user", "films")


def test_what_the_target_has_alone_says_nothing_before_the_second_stage():
    model = SourceDNN(toy_schema(), units=(9, 7))
    model.compile(Adam(0.05), run_eagerly=True)
    model.fit(toy_dataset(model.schema, {"books": 24}, 4), verbose=0)
    x, _ = toy_rows(model.schema, ROWS)
    other = toy_rows(model.schema, ROWS, seed=8)[0]["films"]
    changed = {**x["films"], "age": other["age"], "device": other["device"]}
    np.testing.assert_array_equal(model({"films": changed})["films"], model(x)["films"])
    second = FinetunedDNN(model.schema, model)
    second.compile(Adam(0.05), run_eagerly=True)
    second.fit(toy_dataset(model.schema, {"films": 24}, 2), verbose=0)
    assert np.abs(second({"films": changed})["films"] - second({"films": x["films"]})["films"]).max() > 1e-5


def test_it_is_a_dnn():
    """On a schema in which the source lists all that the target lists, the same network as `DNN`."""
    schema = in_the_targets_terms(toy_schema())
    model = first_stage(schema)
    dnn = DNN(schema, units=(9, 7))
    dnn.build()
    dnn.rows.embedding.set_weights(model.embedding.get_weights())
    dnn.mlp.set_weights([w for layer in model.hidden for w in layer.get_weights()])
    dnn.head.set_weights(model.head.get_weights())
    x, _ = toy_rows(schema, {"films": 15})
    np.testing.assert_allclose(model(x)["films"], dnn(x)["films"], atol=1e-6)


def test_without_a_step_of_fine_tuning_the_scores_are_those_of_the_first_stage():
    first = first_stage()
    x, _ = toy_rows(first.schema, {"films": 15})
    second = FinetunedDNN(first.schema, first)
    np.testing.assert_array_equal(second(x)["films"], first(x)["films"])


def test_fine_tuning_trains_a_copy_on_the_target_alone(tmp_path):
    first = first_stage(dropout=0.3)
    first.compile(Adam(0.05), run_eagerly=True)
    before = first.get_weights()
    second = FinetunedDNN(first.schema, first)
    second.compile(Adam(0.05), run_eagerly=True)
    start = {v.path: v.numpy() for v in second.trainable_variables}
    second.fit(toy_dataset(first.schema, {"films": 24}, 3), verbose=0)
    assert all((a == b).all() for a, b in zip(first.get_weights(), before))
    assert all((v.numpy() != start[v.path]).any() for v in second.trainable_variables)
    assert len(second.variables) == len(first.variables)  # and no second copy of the tables is kept
    first.fit(toy_dataset(first.schema, {"books": 24}, 1), verbose=0)  # which goes on as it was
    second.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x, _ = toy_rows(first.schema, {"films": 15})
    np.testing.assert_array_equal(again(x)["films"], second(x)["films"])


def test_rows_of_a_table_that_the_target_has_not_seen_stay_what_the_source_taught():
    first = first_stage()
    second = FinetunedDNN(first.schema, first)
    second.compile(Adam(0.05))
    x, y = toy_rows(first.schema, {"films": 4})
    second.train_step((x, y))
    user = second.pretrained.embedding.table("user").numpy()
    seen = np.isin(np.arange(30), x["films"]["user"]) & (np.arange(30) > 0)
    moved = (user != first.embedding.table("user").numpy()).any(axis=1)
    np.testing.assert_array_equal(moved, seen)


def test_tables_may_be_kept():
    first = first_stage()
    second = FinetunedDNN(first.schema, first, train_embeddings=False)
    second.compile(Adam(0.05))
    second.train_step(toy_rows(first.schema, {"films": 15}))
    for one, other in zip(first.embedding.variables, second.pretrained.embedding.variables):
        np.testing.assert_array_equal(one, other)
    assert (first.head.kernel.numpy() != second.pretrained.head.kernel.numpy()).any()
    assert first.embedding.trainable


def test_what_does_not_fit_is_said():
    schema, first = toy_schema(), first_stage()
    with pytest.raises(InputError, match="a trained SourceDNN, the first stage. Received: str"):
        FinetunedDNN(schema, "model.keras")
    with pytest.raises(SchemaError, match="trained with another schema"):
        FinetunedDNN(schema.with_width(5), first)
    with pytest.raises(
        InputError, match="rows of the target 'films' alone. Received: rows of 'books', 'films'"
    ):
        FinetunedDNN(schema, first)(toy_rows(schema, ROWS)[0])
    with pytest.raises(SchemaError, match="the target alone"):
        SourceDNN(schema.only("films"))
    books = schema.domain("books")
    books = dataclasses.replace(
        books, features=tuple(f for f in books.features if f.name in ("words", "price"))
    )
    films = dataclasses.replace(
        schema.target_domain,
        features=tuple(f for f in schema.target_domain.features if f.role != "history"),
    )
    used = {f.table for d in (books, films) for f in d.features}
    apart = Schema((books, films), "films", tuple(t for t in schema.tables if t.name in used))
    with pytest.raises(SchemaError, match="domain 'books' cannot reach the target 'films'"):
        SourceDNN(apart)
