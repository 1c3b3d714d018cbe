"""A feature with a `serving_value`, such as the position: read in training, in no request, a constant when served."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from cdrzoo import export
from cdrzoo.data import load_rows, prepare
from cdrzoo.data.rows.making import prepare_to
from cdrzoo.data.rows.plan import Settings
from cdrzoo.errors import SchemaError
from cdrzoo.models import DNN
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.training.predict import predict

POSITIONS = {"position": 1, "slot": "top", "depth": 2.5, "shown": 3}


def schema() -> Schema:
    features = (
        Feature("position", "id", "context", "int64", "position", serving_value=POSITIONS["position"]),
        Feature("user", "id", "user", table="user"),
        Feature("item", "id", "item", "int64", "item"),
        Feature("slot", "id", "item", table="slot", serving_value=POSITIONS["slot"]),
        Feature("depth", "number", "context", serving_value=POSITIONS["depth"]),
        Feature("shown", "number", "context", "int64", serving_value=POSITIONS["shown"]),
    )
    tables = tuple(Table(name) for name in ("user", "item", "position", "slot"))
    return Schema((Domain("films", features, label="click", time="time"),), "films", tables)


def log(rows=300) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "user": [f"u{n}" for n in random.integers(20, size=rows)],
            "item": random.integers(15, size=rows),
            "position": random.integers(1, 5, rows),
            "slot": random.choice(["top", "side", ""], rows),
            "depth": random.random(rows) * 9,
            "shown": random.integers(0, 9, rows),
            "time": np.arange(rows),
            "click": random.integers(2, size=rows),
        }
    )


@pytest.fixture(scope="module")
def prepared():
    return prepare(schema(), {"films": log()})


@pytest.fixture(scope="module")
def model(prepared):
    made = DNN(prepared.schema, units=(8,))
    made.compile()
    for variable in made.trainable_variables:  # so that every feature moves the score
        variable.assign(np.random.default_rng(len(variable.path)).normal(size=variable.shape))
    return made


def test_training_reads_it_and_what_is_measured_is_what_is_served(prepared):
    for name, value in POSITIONS.items():
        train, test = (prepared.parts["films"][part].x[name] for part in ("train", "test"))
        assert len(np.unique(train)) > 2 and len(np.unique(test)) == 1
        frame = prepared.frame("films", "test").assign(**{name: value})
        np.testing.assert_array_equal(test, prepared.encoder.encode("films", frame)[name])
    assert prepared.frame("films", "test")["position"].nunique() > 1  # raw rows are as they were


def test_rows_prepared_by_partition_are_the_same(prepared, tmp_path):
    log().to_parquet(tmp_path / "films.parquet")
    prepare_to(
        tmp_path / "rows", Settings(schema(), {"films": str(tmp_path / "films.parquet")}), partitions=3
    )
    stored = load_rows(tmp_path / "rows")
    for part, rows in prepared.parts["films"].items():
        for name, values in rows.x.items():
            np.testing.assert_array_equal(stored.parts["films"][part].x[name], values)


@pytest.mark.slow
def test_no_request_holds_it_and_scores_are_those_of_its_value(prepared, model, tmp_path):
    raw = prepared.examples(40)
    path = export.save(model, prepared.encoder, tmp_path / "films", examples=raw)
    assert export.verify(path, model, prepared.encoder).ok and export.verify(path).ok
    assert export.verify(path, model, prepared.encoder, raw).ok
    served = tf.saved_model.load(str(path)).signatures
    for name, inputs in (("serving_default", {"user", "item"}), ("rank", {"user", "item", "k"})):
        assert set(served[name].structured_input_signature[1]) == inputs
    card = json.loads((path / "assets.extra" / "model_card.json").read_text())
    assert set(card["inputs"]) == {"user", "item"} and card["constants"] == POSITIONS
    fixed = {"films": prepared.encoder.encode("films", raw.assign(**POSITIONS))}
    wanted = model(fixed)["films"][:, 0]
    told = predict(path, raw[["user", "item"]])["click"]
    np.testing.assert_allclose(told, wanted, atol=1e-6)
    # The test can fail: with the positions of the log the scores are others.
    assert (
        np.abs(model({"films": prepared.encoder.encode("films", raw)})["films"][:, 0] - wanted).max() > 0.01
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "id", "table": "user", "serving_value": 0}, "must be text.*Received: 0"),
        ({"kind": "id", "table": "user", "dtype": "int64", "serving_value": "top"}, "a whole number"),
        ({"kind": "number", "serving_value": "top"}, "must be a number"),
        ({"kind": "ids", "table": "user", "length": 2, "serving_value": "top"}, "of one value a row.*'ids'"),
    ],
)
def test_mistakes_are_said(given, words):
    with pytest.raises(SchemaError, match=words):
        Feature("place", role="context", **given)
    feature = Feature("place", "number", "context", serving_value=0.0)
    with pytest.raises(SchemaError, match="a request would hold nothing"):
        Schema((Domain("films", (feature,)),), "films")
