"""A click log with numbers, times, vectors and crosses through every command."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from cdrzoo import cli, load_run
from cdrzoo.errors import DataError
from tests.data import test_kinds as kinds

pytestmark = [pytest.mark.slow, pytest.mark.once]

SETTINGS = ["--set", "epochs=1", "--set", "batch_size=64"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    for name, frame in kinds.logs(1, rows=600).items():
        texts = ["" if row is None else "|".join(map(str, row)) for row in frame["text"]]
        frame.assign(text=texts).to_csv(folder / f"{name}.csv", index=False)
    kinds.schema().save(folder / "schema.yaml")
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
    vectors = {name: ["|".join(map(str, row)) for row in rows[name]] for name in ("text", "taste")}
    rows.assign(**vectors).to_csv(demo / "new.csv", index=False)
    command = [
        "predict",
        str(exported),
        "--input",
        str(demo / "new.csv"),
        "--output",
        str(demo / "scores.csv"),
    ]
    assert cli.main(command) == 0
    found = pd.read_csv(demo / "scores.csv")["click"]
    np.testing.assert_allclose(found, run.predict(demo / "new.csv")["click"], atol=1e-6)


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
    expected = run.predict(rows)["click"].to_numpy()
    with Server(exported.parent.parent, port=0, rest_port=0) as server:
        for address in (server.address, server.rest_address):
            with Client(address, "films") as client:
                np.testing.assert_allclose(client.predict(rows), expected, atol=1e-6)
                one = rows.iloc[0]
                ranked = client.rank(
                    {
                        name: one[name]
                        for name in ("user", "hour", "of_day", "of_week", "idle", "read", "taste")
                    },
                    rows[["plain", "logged", "clipped", "ranked", "ruled", "genre", "text"]],
                    k=3,
                )
                assert len(ranked) == 3
                short = rows.assign(text=[row[:2] for row in rows["text"]])
                with pytest.raises(DataError, match="'text' takes lists of float32.*row 1 2 numbers, not 3"):
                    client.predict(short)


def test_compare(demo):
    command = ["compare", str(demo / "run.yaml"), "--models", "lr,deepfm", "--seeds", "1", "--out"]
    assert cli.main([*command, str(demo / "compare"), *SETTINGS]) == 0
