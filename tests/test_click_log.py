"""A click log with two labels, a position and slices, through every command."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from cdrzoo import cli, load_run
from cdrzoo.data import prepare
from tests.labelled import log, write

SETTINGS = ["--set", "epochs=1"]
MEASURED = {f"{of}{name}" for of in ("", "conversion.") for name in ("auc", "gauc", "log_loss", "ece")}
SLICES = {"device=phone", "device=tablet", "hour=0", "hour=1", "hour=2", "hour=3"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clicks")
    write(folder)
    return folder


@pytest.fixture(scope="module")
def run(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mmoe"
    assert cli.main(["train", str(demo / "run.yaml"), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def version(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "films"
    assert cli.main(["export", str(run), "--to", str(folder)]) == 0
    return folder / "1"


def test_a_run_measures_every_label_in_every_slice(demo, run, capsys):
    assert cli.main(["schema", "check", str(demo / "run.yaml")]) == 0
    assert "click clicked; click spent >= 10 given click" in capsys.readouterr().out
    result = json.loads((run / "metrics.json").read_text())
    assert {name for name in result["test"] if "@" not in name} == MEASURED
    assert {f"{name}@{group}" for name in MEASURED for group in SLICES} <= set(result["test"])
    assert result["intervals"].keys() == result["test"].keys()
    assert 0 < result["groups"]["all"]["conversion"] < result["groups"]["all"]["clicks"]
    assert (
        sum(result["groups"][name]["rows"] for name in ("hour=0", "hour=1", "hour=2", "hour=3"))
        == (result["groups"]["all"]["rows"])
    )
    history = pd.read_csv(run / "history.csv")
    assert {"films_loss", "films.conversion_loss", "books_loss", "val_conversion.auc"} <= set(history)
    assert cli.main(["evaluate", str(run), "--slices", "position"]) == 0
    out = capsys.readouterr().out
    for word in ("conversion.auc", "auc ±", "clicks", "position=1", "hour=3"):
        assert word in out
    assert cli.main(["evaluate", str(run), "--part", "valid", "--json"]) == 0
    valid = json.loads(capsys.readouterr().out)
    assert valid["conversion.auc"] == pytest.approx(result["validation"]["conversion.auc"], abs=1e-6)


def test_served_scores_are_the_model_s_and_rows_built_from_the_logs_get_them(
    demo, run, version, tmp_path, capsys
):
    assert cli.main(["verify", str(version), "--run", str(run)]) == 0
    out = capsys.readouterr().out
    assert "rows built from the logs" in out and "not made" not in out and "verified" in out
    new = log(300, 7)
    new["time"] += 20 * 86_400
    new.to_parquet(tmp_path / "new.parquet")
    users = pd.DataFrame({"user": ["u1", "u2", "nobody"], "device": ["phone", "tablet", "phone"]})
    users.to_csv(tmp_path / "users.csv", index=False)
    pd.DataFrame({"item": range(10)}).to_csv(tmp_path / "items.csv", index=False)
    command = ["rows", str(run), "--logs", f"films={tmp_path / 'new.parquet'}"]
    command += ["--users", str(tmp_path / "users.csv"), "--candidates", str(tmp_path / "items.csv")]
    assert cli.main([*command, "--out", str(tmp_path / "rows.parquet")]) == 0
    assert cli.main([*command, "--out", str(tmp_path / "rows.csv")]) == 0
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    clicked = new[(new["user"] == "u1") & (new["clicked"] == 1)].sort_values("time", kind="stable")["item"]
    assert len(rows) == 30 and list(rows["films_seen"][0]) == clicked.tolist()[-4:]
    scores = {}
    for form in ("parquet", "csv"):
        to = tmp_path / f"{form}.csv"
        assert (
            cli.main(
                ["predict", str(version), "--input", str(tmp_path / f"rows.{form}"), "--output", str(to)]
            )
            == 0
        )
        scores[form] = pd.read_csv(to)
    for name in ("click", "conversion"):
        np.testing.assert_allclose(scores["csv"][name], scores["parquet"][name], atol=1e-6)
        np.testing.assert_allclose(load_run(run).predict(rows)[name], scores["csv"][name], atol=1e-6)
    assert (scores["csv"]["conversion"] <= scores["csv"]["click"] + 1e-6).all()
    late = load_run(run).requests(users=users, candidates=tmp_path / "items.csv", time=0)
    assert not late["films_seen"].map(len).any()


def test_a_server_gives_both_outputs_and_ranks_by_the_first(run, version):
    pytest.importorskip("grpc", reason="needs the extra `serving`")
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    from cdrzoo.serving import Client, Server

    rows = load_run(run).requests(
        users=pd.DataFrame({"user": ["u3"], "device": ["phone"]}), candidates=_items()
    )
    expected = load_run(run).predict(rows)
    with Server(version.parent.parent, port=0, rest_port=0) as server:
        for address in (server.address, server.rest_address):
            with Client(address, "films") as client:
                assert "position" not in [feature.name for feature in client.features()]
                found = client.predict(rows)
                for name in ("click", "conversion"):
                    np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
                user = {name: rows[name][0] for name in ("user", "device", "films_seen")}
                best = client.rank(user, rows[["item"]], k=4)
                order = np.argsort(-expected["click"].to_numpy(), kind="stable")[:4]
                assert best["item"].tolist() == rows["item"].to_numpy()[order].tolist()
                np.testing.assert_allclose(
                    best["conversion"], expected["conversion"].to_numpy()[order], atol=1e-6
                )


def _items() -> pd.DataFrame:
    return pd.DataFrame({"item": range(12)})


@pytest.mark.exhaustive
def test_comparisons_transfer_and_pages(demo, run, tmp_path):
    out = tmp_path / "compare"
    command = [
        "compare",
        str(demo / "run.yaml"),
        "--models",
        "dnn,shared_bottom:tower_units=[4]",
        "--seeds",
        "2",
    ]
    assert cli.main([*command, "--out", str(out), *SETTINGS]) == 0
    table = (out / "table.md").read_text()
    assert "AUC, conversion" in table and "hour=2" in table and "| clicks |" in table
    report = tmp_path / "transfer"
    assert cli.main(["transfer", str(run), "--seeds", "1", "--out", str(report)]) == 0
    groups = json.loads((report / "transfer.json").read_text())["groups"]
    assert {"device", "hour"} <= {group["by"] for group in groups} and all(
        "clicks" in group for group in groups
    )
    for folder, words in (
        (run, ("AUC, conversion", "hour=1")),
        (out, ("AUC, conversion",)),
        (report, ("clicks",)),
    ):
        assert cli.main(["report", str(folder), "--out", str(tmp_path / f"{folder.name}.html")]) == 0
        page = (tmp_path / f"{folder.name}.html").read_text()
        assert all(word in page for word in words)


@pytest.mark.exhaustive
def test_prepared_rows_train_the_same_run(demo, run, tmp_path):
    assert cli.main(["prepare", str(demo / "run.yaml"), "--out", str(tmp_path / "rows"), "--jobs", "1"]) == 0
    made = yaml.safe_load((demo / "run.yaml").read_text())
    kept = {name: made[name] for name in ("model", "arguments", "training", "slices")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"data": "rows", **kept}))
    assert cli.main(["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run")]) == 0
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path / "run"))
    assert first["test"] == second["test"] and first["groups"] == second["groups"]
    # Rarer clicks: class weights and a log that kept a share of the rows without one.
    made["schema"]["domains"]["films"]["negatives_kept"] = 0.25
    (demo / "rare.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
    settings = ["--set", "epochs=1", "--set", "class_weights={1: 3}", "--model", "dnn"]
    assert cli.main(["train", str(demo / "rare.yaml"), *settings, "--out", str(tmp_path / "rare")]) == 0
    rare = load_run(tmp_path / "rare")
    part = rare.rows.parts["films"]["test"]
    raw = rare.model({"films": part.x})["films"].numpy()[:, 0].astype(float)
    served = rare.predict(rare.rows.frame("films", "test"))["click"]
    np.testing.assert_allclose(served, raw / (raw + (1 - raw) / 0.25), rtol=1e-4)
    assert rare.metrics["training"]["class_weights"] == {"1": 3.0}
    assert (
        prepare(rare.config.schema.only("films"), {"films": str(demo / "films.csv")}).schema.target == "films"
    )
