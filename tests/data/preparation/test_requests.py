"""Rows to score that are built from logs: the histories of the test rows, to the id."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import prepare, request_rows
from cdrzoo.data.preparation.requests import crossed
from cdrzoo.errors import DataError, InputError
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.training.config import RunConfig
from cdrzoo.training.requests import build_requests
from tests.data.preparation.test_protocols import frames, schema

HISTORIES = ("books_items", "books_ratings", "films_items", "films_ratings")


def lists(rows: pd.DataFrame) -> list[list[int]]:
    return [list(each) for each in rows["seen"]]


def test_rows_of_the_test_get_the_histories_that_prepare_gave_them():
    made = prepare(schema(), frames(), split={"by": "time", "fractions": [0.6, 0.2, 0.2]})
    for part in ("train", "test"):
        wanted = made.frame("films", part)
        assert wanted["films_items"].map(len).max() == 5 and wanted["films_items"].map(len).min() < 5
        got = request_rows(schema(), frames(), wanted.drop(columns=list(HISTORIES)))
        for column in HISTORIES:
            assert got[column].map(list).tolist() == wanted[column].map(list).tolist(), column


def test_the_rule_by_hand():
    """Strictly before, the last ones, the newest last; `where` and `history_min_label` as in training."""
    seen = Feature(
        "seen", "ids", "history", "int64", "item", 2, of="films", field="item", where={"kind": "buy"}
    )
    features = (
        Feature("user", "id", "user", table="user"),
        Feature("item", "id", "item", "int64", "item"),
        seen,
    )
    one = Schema((Domain("films", features, time="day"),), "films", (Table("user"), Table("item")))
    log = pd.DataFrame(
        {
            "user": list("aaaaaab"),
            "item": [1, 2, 3, 4, 5, 6, 7],
            "kind": ["buy", "view", "buy", "buy", "buy", "buy", "buy"],
            "day": [1, 2, 3, 4, 5, 5, 1],
            "label": [1, 1, 1, 0, 1, 1, 1],
        }
    )
    source = {"films": {"data": log, "history_min_label": 1}}
    asked = pd.DataFrame(
        {"user": ["a", "a", "b", "c", None], "item": 9, "day": [5, 6, 1, 9, 9], "place": range(5)}
    )
    found = request_rows(one, source, asked)
    assert lists(found) == [[1, 3], [5, 6], [], [], []]
    assert list(found) == ["user", "item", "day", "place", "seen"]
    now = request_rows(one, source, asked.drop(columns="day"))
    assert lists(now) == [[5, 6], [5, 6], [7], [], []]
    assert lists(request_rows(one, source, asked, time=4)) == [[1, 3], [1, 3], [7], [], []]
    both = request_rows(one, source, asked.assign(day=[5, np.nan, 1, 9, 9]))
    assert lists(both) == [[1, 3], [5, 6], [], [], []]


def test_users_and_candidates_are_crossed_and_joined(tmp_path):
    features = (
        Feature("user", "id", "user", table="user"),
        Feature("age", "number", "user"),
        Feature("item", "id", "item", table="item"),
        Feature("genre", "id", "item", table="genre"),
        Feature("position", "number", "context", serving_value=0),
        Feature("seen", "ids", "history", table="item", length=3, of="films"),
    )
    tables = (Table("user"), Table("item"), Table("genre"))
    one = Schema((Domain("films", features, time="time"),), "films", tables)
    log = pd.DataFrame(
        {"user": ["u", "u"], "age": [3.0, 3.0], "item": ["a", "b"], "position": [1, 2], "time": [1, 2]}
    )
    pd.DataFrame({"item": ["a", "b"], "genre": ["x", "y"]}).to_csv(tmp_path / "genres.csv", index=False)
    log.assign(label=1).to_csv(tmp_path / "films.csv", index=False)
    source = {"films": {"path": "films.csv", "join": [{"path": "genres.csv", "on": "item"}]}}
    users = pd.DataFrame({"user": ["u", "v"], "age": [3.0, 4.0]})
    pd.DataFrame({"item": ["b", "c"]}).to_csv(tmp_path / "items.csv", index=False)
    asked = crossed(users, tmp_path / "items.csv", one.target_domain)
    found = request_rows(one, source, asked, folder=tmp_path)
    assert found["user"].tolist() == list("uuvv") and found["item"].tolist() == list("bcbc")
    assert found["genre"].tolist() == ["y", "", "y", ""] and lists(found) == [["a", "b"]] * 2 + [[]] * 2
    with pytest.raises(DataError, match="lack the column 'age': feature 'age' reads it"):
        request_rows(
            one, source, crossed(["u"], pd.DataFrame({"item": ["b"]}), one.target_domain), folder=tmp_path
        )
    with pytest.raises(DataError, match="both have the column 'item'"):
        crossed(users.assign(item="a"), tmp_path / "items.csv", one.target_domain)


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_on_prepared_rows_builds_the_rows_that_a_run_on_logs_builds(kept, tmp_path, monkeypatch):
    data = frames()
    for name, frame in data.items():
        frame.drop(columns="price").to_csv(tmp_path / f"{name}.csv", index=False)
    items = pd.concat([frame[["item", "price"]] for frame in data.values()]).drop_duplicates("item")
    items.to_csv(tmp_path / "items.csv", index=False)
    join = [{"path": "items.csv", "on": "item"}]
    logs = {name: {"path": f"{name}.csv", "join": join, "history_min_label": 1} for name in data}
    run = {"schema": schema().to_dict(), "data": logs, "model": "dnn", "preparation": {"include_ties": True}}
    config = RunConfig.from_dict(run, tmp_path)
    monkeypatch.chdir(tmp_path)
    RunConfig.from_dict(run).prepare_to("rows")
    stored = RunConfig.from_dict({"data": str(tmp_path / "rows"), "model": "dnn"}, tmp_path / "elsewhere")
    if not kept:
        record = json.loads((tmp_path / "rows" / "prepared.json").read_text())
        del record["logs"]
        (tmp_path / "rows" / "prepared.json").write_text(json.dumps(record))
        with pytest.raises(
            InputError, match="older version, which did not keep where their logs lay. Prepare"
        ):
            build_requests(stored, users=[3], candidates=items[["item"]])
        RunConfig.from_dict(run).prepare_to("rows")
    new = data["films"].drop(columns="price").assign(time=data["films"]["time"] + 1_000)
    for more in ({}, {"logs": {"films": new}}, {"time": 900}):
        how = {"users": [3, 77], "candidates": items[["item"]], **more}
        want, found = build_requests(config, **how), build_requests(stored, **how)
        pd.testing.assert_frame_equal(found, want)
        assert want["price"].notna().all() and want["books_items"].map(len).any()


def test_the_command_builds_rows_of_new_logs_without_tensorflow(tmp_path, capsys):
    import subprocess
    import sys

    import yaml

    from cdrzoo import cli

    data = frames()
    for name, frame in data.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    run = {
        "schema": schema().to_dict(),
        "data": {name: str(tmp_path / f"{name}.csv") for name in data},
        "model": "dnn",
    }
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(run))
    (tmp_path / "run" / "metrics.json").write_text(json.dumps({}))  # it says that the run is finished
    new = data["films"].assign(time=data["films"]["time"] + 1_000)
    new.to_parquet(tmp_path / "new.parquet")
    pd.DataFrame({"user": [3, 77]}).to_csv(tmp_path / "users.csv", index=False)
    pd.DataFrame({"item": [5001, 5002], "price": [0.5, 0.25]}).to_csv(tmp_path / "items.csv", index=False)
    command = ["rows", str(tmp_path / "run"), "--logs", f"films={tmp_path / 'new.parquet'}"]
    command += ["--users", str(tmp_path / "users.csv"), "--candidates", str(tmp_path / "items.csv")]
    for form in ("parquet", "csv"):
        assert cli.main([*command, "--out", str(tmp_path / f"rows.{form}")]) == 0
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    mine = new[new["user"] == 3].sort_values("time", kind="stable")
    assert [list(each) for each in rows["films_items"]] == [mine["item"].tolist()[-5:]] * 2 + [[]] * 2
    text = pd.read_csv(tmp_path / "rows.csv")
    assert (
        text["films_items"][0] == "|".join(map(str, mine["item"].tolist()[-5:])) and text["item"][1] == 5002
    )
    assert cli.main([*command, "--time", "900", "--out", str(tmp_path / "early.parquet")]) == 0
    early = pd.read_parquet(tmp_path / "early.parquet")
    assert not early["films_items"].map(len).any() and early["books_items"].map(len).any()
    assert cli.main([*command, "--out", str(tmp_path / "rows.csv")]) == 2
    assert "exists. Choose another name" in capsys.readouterr().err
    given = [*command, "--out", str(tmp_path / "again.csv")]
    code = f"import sys; from cdrzoo import cli; sys.exit(cli.main({given!r}) or 'tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
