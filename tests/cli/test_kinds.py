"""A click log with numbers, times, vectors, weights, crosses and two labels through every command."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import yaml

from cdrzoo import cli, load_run
from cdrzoo.errors import DataError
from cdrzoo.schema import Label, Schema
from tests.data import test_kinds as kinds

pytestmark = [pytest.mark.slow, pytest.mark.once]

SETTINGS = ["--set", "epochs=1", "--set", "batch_size=64"]
OUTPUTS = ["click", "conversion"]
LABELS = (Label("click", "label"), Label("conversion", "bought", given="click"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    for name, frame in kinds.logs(1, rows=600).items():
        lists = {
            column: ["" if row is None else "|".join(map(str, row)) for row in frame[column]]
            for column in ("text", "tags", "shares")
        }
        bought = frame["label"].where(np.arange(len(frame)) % 3 > 0, 0).mask(np.arange(len(frame)) % 10 == 0)
        frame.assign(**lists, bought=bought).to_csv(folder / f"{name}.csv", index=False)
    made = kinds.schema()
    films = dataclasses.replace(made.target_domain, labels=LABELS)
    Schema((*made.sources, films), "films", made.tables).save(folder / "schema.yaml")
    given = {
        "schema": "schema.yaml",
        "data": {"books": "books.csv", "films": "films.csv"},
        "model": "dnn",
        "domains": "all",
        "slices": ["of_day"],
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(given))
    return folder


@pytest.fixture(scope="module")
def run(demo):
    assert cli.main(["train", str(demo / "run.yaml"), "--out", str(demo / "run"), *SETTINGS]) == 0
    return load_run(demo / "run")


@pytest.fixture(scope="module")
def exported(run, demo):
    assert cli.main(["export", str(demo / "run"), "--to", str(demo / "models/films")]) == 0
    return demo / "models" / "films" / "1"


def test_schema_check_and_prepared_rows_train_alike(demo, run, capsys):
    assert cli.main(["schema", "check", str(demo / "run.yaml")]) == 0
    assert "user x of_day" in capsys.readouterr().out
    assert cli.main(["prepare", str(demo / "run.yaml"), "--out", str(demo / "rows")]) == 0
    given = yaml.safe_load((demo / "run.yaml").read_text())
    (demo / "again.yaml").write_text(yaml.safe_dump({**given, "data": "rows"}))
    assert cli.main(["train", str(demo / "again.yaml"), "--out", str(demo / "again"), *SETTINGS]) == 0
    assert load_run(demo / "again").metrics["test"] == run.metrics["test"]


def test_evaluate_verify_and_predict(demo, run, exported, capsys):
    assert cli.main(["evaluate", str(demo / "run")]) == 0
    assert "of_day=" in capsys.readouterr().out
    assert cli.main(["verify", str(exported), "--run", str(demo / "run")]) == 0
    assert "64 rows built from the logs" in capsys.readouterr().out
    assert cli.main(["verify", str(exported)]) == 0  # by the rows that it records
    rows = run.rows.frame("films", "test", 50)
    lists = {
        name: ["|".join(map(str, row)) for row in rows[name]]
        for name in ("text", "taste", "tags", "shares", "was")
    }
    rows.assign(**lists).to_csv(demo / "new.csv", index=False)
    to = ["--input", str(demo / "new.csv"), "--output", str(demo / "scores.csv")]
    assert cli.main(["predict", str(exported), *to]) == 0
    wanted = run.predict(demo / "new.csv")
    np.testing.assert_allclose(pd.read_csv(demo / "scores.csv")[OUTPUTS], wanted[OUTPUTS], atol=1e-6)


def test_the_card_says_what_is_sent(exported):
    inputs = json.loads((exported / "assets.extra" / "model_card.json").read_text())["inputs"]
    assert inputs["text"] == {"dtype": "float32", "shape": "[batch, 3]", "missing": "zeros"}
    assert (
        inputs["of_day"]["dtype"] == "int64" and inputs["idle"]["missing"] == "NaN" and "pair" not in inputs
    )


def test_serving_takes_them_and_says_what_is_wrong(run, exported):
    pytest.importorskip("grpc", reason="needs the extra `serving`")
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    from cdrzoo.serving import Client, Server

    rows = run.rows.frame("films", "test", 20)
    expected = run.predict(rows)[OUTPUTS]
    rows = rows.rename(columns={"shares": "tags_weights"})  # a server knows features by their names
    users = ["user", "hour", "of_day", "of_week", "idle", "read", "taste", "was"]
    items = ["plain", "logged", "clipped", "ranked", "ruled", "genre", "text", "tags", "tags_weights"]
    with Server(exported.parent.parent, port=0, rest_port=0) as server:
        for address in (server.address, server.rest_address):
            with Client(address, "films") as client:
                np.testing.assert_allclose(client.predict(rows)[OUTPUTS], expected, atol=1e-6)
                ranked = client.rank(rows[users].iloc[0].to_dict(), rows[items], k=3)
                assert len(ranked) == 3
                short = rows.assign(text=[row[:2] for row in rows["text"]])
                with pytest.raises(DataError, match="'text' takes lists of float32.*row 1 2 numbers, not 3"):
                    client.predict(short)


def test_compare(demo):
    command = [
        "compare",
        str(demo / "run.yaml"),
        "--models",
        "dnn,shared_bottom:tower_units=[4]",
        "--seeds",
        "1",
        "--out",
    ]
    assert cli.main([*command, str(demo / "compare"), *SETTINGS]) == 0
