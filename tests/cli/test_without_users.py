"""A log without users, and with many columns of categories, through every command."""

from __future__ import annotations

import json
import re
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
import yaml

from cdrzoo import cli, load_run
from cdrzoo.experiments.comparison import Comparison
from tests.without_users import write

SETTINGS = ["--set", "epochs=1", "--set", "batch_size=256", "--set", "learning_rate=0.01"]
SLICES = {"site_category=news", "site_category=shop", "hour=7", "hour=0"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write(folder)
    return folder


@pytest.fixture(scope="module")
def run(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shared"
    command = [
        "train",
        str(demo / "run.yaml"),
        "--slices",
        "site_category,hour",
        "--strict",
        "--out",
        str(folder),
    ]
    assert cli.main([*command, *SETTINGS]) == 0
    return folder


def groups(metrics: dict[str, float]) -> set[str]:
    assert not any("gauc" in name or "cold" in name or "30+" in name for name in metrics)
    return {name.partition("@")[2] for name in metrics if "@" in name}


def test_schema_check_takes_the_run_configuration(demo, capsys):
    assert cli.main(["schema", "check", str(demo / "run.yaml"), "--strict"]) == 0
    out, error = capsys.readouterr()
    assert "warning" not in out + error
    assert [line.split()[1:] for line in out.splitlines() if line.startswith("  users  ")] == [["-", "-"]]
    parts = {tuple(line.split()[:3]) for line in out.splitlines() if " clicks (" in line}
    assert {("app", "train", "1,800"), ("app", "valid", "600"), ("app", "test", "600")} <= parts


def test_a_run_reports_groups_by_columns(run):
    metrics = json.loads((run / "metrics.json").read_text())
    for part in ("validation", "test"):
        assert groups(metrics[part]) >= SLICES
    assert yaml.safe_load((run / "config.yaml").read_text())["slices"] == ["site_category", "hour"]
    rows = load_run(run).rows
    model = keras.models.load_model(run / "model.keras")
    scores = model.predict(rows.test(), verbose=0)["app"][:, 0]
    news = rows.values("site_category", "test") == "news"
    labels = rows.parts["app"]["test"].y[:, 0]
    positive, negative = scores[news & (labels == 1)], scores[news & (labels == 0)]
    pairs = positive[:, None] - negative[None]
    expected = ((pairs > 0) + (pairs == 0) / 2).mean()
    assert metrics["test"]["auc@site_category=news"] == pytest.approx(expected, abs=1e-6)


def test_evaluate_takes_further_columns(run, capsys):
    assert cli.main(["evaluate", str(run), "--slices", "price,age"]) == 0
    out = capsys.readouterr().out
    assert "  site_category=news" in out and "  age=none of your business" in out
    assert len(re.findall(r" price=(?:up to|above|0\.\d+ to) ", out)) == 4  # quarters
    assert max(map(len, out.splitlines())) <= 100
    assert "gauc" not in out and "cold" not in out
    assert cli.main(["evaluate", str(run), "--slices", "huor"]) == 2
    assert (
        "no column 'huor' to group by" in (error := capsys.readouterr().err)
        and "Did you mean 'hour'?" in error
    )


@pytest.mark.slow
def test_export_verify_predict(run, demo, tmp_path, capsys):
    assert cli.main(["export", str(run), "--to", str(tmp_path / "app")]) == 0
    assert cli.main(["verify", str(tmp_path / "app/1"), "--run", str(run)]) == 0
    scores = tmp_path / "scores.csv"
    command = ["predict", str(tmp_path / "app/1"), "--input", str(demo / "app.csv"), "--output", str(scores)]
    assert cli.main(command) == 0
    assert len(pd.read_csv(scores)) == 3000


@pytest.mark.slow
def test_compare_and_its_page(demo, tmp_path, capsys):
    out = tmp_path / "compare"
    command = ["compare", str(demo / "run.yaml"), "--models", "lr,dnn", "--seeds", "2", "--slices", "hour"]
    assert cli.main([*command, "--strict", "--out", str(out), *SETTINGS]) == 0
    found = Comparison.load(out)
    assert set(found.columns) == {"auc", "log_loss", "ece"} and "item mean" in found.floors
    for line in found.results:
        assert groups(line["result"]["test"]) >= {"hour=7", "hour=0"}
    assert set(found.about["groups"]) >= {"hour=7", "hour=0"} and "cold" not in found.about["groups"]
    assert cli.main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "hour=7" in page and "COLUMN=VALUE" in page and "cold" not in page and "GAUC" not in page


@pytest.mark.slow
def test_serving_scores_and_ranks(run, demo, tmp_path):
    pytest.importorskip("grpc", reason="needs the extra `serving`")
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    from cdrzoo.serving import Client, Server

    load_run(run).export(tmp_path / "models" / "app")
    rows = pd.read_csv(demo / "app.csv").head(40)
    expected = load_run(run).predict(rows)["click_score"].to_numpy()
    with Server(tmp_path / "models", port=0, rest_port=0) as server:
        for address in (server.address, server.rest_address):
            with Client(address, "app") as client:
                np.testing.assert_allclose(client.predict(rows), expected, atol=1e-6)
                # What is not of the ad is the same for all candidates: the page and what is known of who sees it.
                ads = rows[["ad", "price"]].drop_duplicates("ad")
                seen = {"site_category": "news", "age": "young"}
                best = client.rank(seen, ads, k=5)
                scores = client.predict(ads.assign(**seen))
                np.testing.assert_allclose(best["click"], np.sort(scores)[::-1][:5], atol=1e-6)
        for address in (server.address, server.rest_address):
            command = ["predict", "app", "--server", address, "--input", str(demo / "app.csv")]
            to = tmp_path / f"{address.rpartition(':')[2]}.csv"
            assert cli.main([*command, "--output", str(to)]) == 0
            assert np.isfinite(pd.read_csv(to)["click_score"]).all()


@pytest.mark.exhaustive
def test_transfer_and_the_pages(run, tmp_path, capsys):
    out = tmp_path / "transfer"
    assert cli.main(["transfer", str(run), "--seeds", "1", "--by", "age", "--out", str(out)]) == 0
    result = json.loads((out / "transfer.json").read_text())
    assert {"site_category", "hour", "age"} <= {group["by"] for group in result["groups"]}
    assert result["users"] is None and set(result["lift"]) == {"auc", "log_loss", "ece"}
    assert "resamples of the test's rows" in capsys.readouterr().out
    page = (out / "report.html").read_text().replace("<wbr>", "")  # where a line may be broken
    assert "site_category: news" in page
    assert cli.main(["report", str(run), "--out", str(tmp_path / "run.html")]) == 0
    page = (tmp_path / "run.html").read_text().replace("<wbr>", "")
    assert ">site_category=news</th>" in page and "Cold" not in page and "GAUC" not in page


@pytest.mark.slow
def test_tune(demo, tmp_path, capsys):
    pytest.importorskip("keras_tuner")
    (tmp_path / "space.yaml").write_text("learning_rate: [0.001, 0.01]\n")
    command = ["tune", str(demo / "run.yaml"), "--space", str(tmp_path / "space.yaml"), "--trials", "2"]
    assert cli.main([*command, "--out", str(tmp_path / "tuned"), "--set", "epochs=1", "--strict"]) == 0
    assert "auc@site_category=news" in capsys.readouterr().out
    written = yaml.safe_load((tmp_path / "tuned/shared_bottom.yaml").read_text())
    assert written["slices"] == ["site_category"]


def test_strict_refuses_before_anything_is_written(demo, tmp_path, capsys):
    shutil.copytree(demo, tmp_path / "demo")
    rows = pd.read_csv(demo / "app.csv")
    rows.assign(ad=" " + rows["ad"]).to_csv(tmp_path / "demo/app.csv", index=False)
    command = ["train", str(tmp_path / "demo/run.yaml"), "--out", str(tmp_path / "run"), *SETTINGS]
    assert cli.main([*command, "--strict"]) == 2
    error = capsys.readouterr().err
    assert "app, column 'ad': 3,000 (100.0%) of the ids begin or end with a blank" in error
    assert not (tmp_path / "run").exists()
    assert cli.main(command) == 0
    error = capsys.readouterr().err
    assert error.count("begin or end with a blank") == 1
    assert "table 'ad': app and web share it, and no id" in error
