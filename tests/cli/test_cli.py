"""The command line from logs to predictions, what it refuses, and that it loses nothing."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import types

import keras
import numpy as np
import pandas as pd
import pytest
import yaml

from cdrzoo import cli
from cdrzoo.data import synthetic
from cdrzoo.experiments.entries import read_entries
from cdrzoo.models import CARDS, card
from cdrzoo.schema import Schema, Table
from cdrzoo.training import callbacks

SIZES = {"users": 120, "source_rows": 1500, "target_rows": 700, "source_items": 60, "target_items": 40}
FAST = ["--set", "learning_rate=1e-3", "--set", "epochs=2", "--set", "batch_size=64", "--set", "units=[8]"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder with two small logs, their schema and a run configuration."""
    folder = tmp_path_factory.mktemp("demo")
    made = synthetic.synthesize(**SIZES)
    made.write(folder)
    data = {name: f"{name}.csv" for name in ("books", "films")}
    (folder / "run.yaml").write_text(yaml.safe_dump({"schema": "schema.yaml", "data": data, "model": "dnn"}))
    return folder


@pytest.fixture(scope="module")
def run(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "dnn"
    assert cli.main(["train", str(demo / "run.yaml"), "--out", str(folder), *FAST]) == 0
    return folder


def test_models_lists_every_model(capsys):
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    for name in ("lr", "dnn", "din", "cctl"):
        assert any(line.startswith(name + " ") for line in out.splitlines())
    assert cli.main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed] == [one.name for one in CARDS] and listed[0]["step"] > 0


def test_a_run_folder_holds_everything(run):
    for name in (
        "config.yaml",
        "schema.yaml",
        "encoder/encoder.json",
        "split.json",
        "model.keras",
        "history.csv",
    ):
        assert (run / name).exists()
    assert list((run / "logs").iterdir())
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0 < metrics["test"]["auc"] < 1 and metrics["epochs"] == 2
    assert metrics["split"]["hash"] == json.loads((run / "split.json").read_text())["hash"]
    assert len(pd.read_csv(run / "history.csv")) == 2


def test_evaluate_gives_what_training_reported(run, capsys):
    assert cli.main(["evaluate", str(run)]) == 0
    reported = json.loads((run / "metrics.json").read_text())["test"]["auc"]
    out = capsys.readouterr().out
    assert re.search(rf"^  auc +{reported:.4f} ", out, re.M)
    assert re.search(r"^  rows +[0-9,]+ ", out, re.M) and "auc of the item mean" in out
    assert cli.main(["evaluate", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["auc"] == pytest.approx(reported, abs=1e-6)


def test_brackets_keep_the_values_of_an_entry_together():
    texts = ["dnn:units=[8, 4]:dropout=0.2", "cmf:loss_weights={books: 0.3, films: 1}", "lr"]
    assert [entry.label for entry in read_entries(",".join(texts))] == texts


@pytest.mark.slow
def test_export_verify_predict(run, demo, tmp_path, capsys):
    assert cli.main(["export", str(run), "--to", str(tmp_path / "films")]) == 0
    _, verify, predict = [line.split("    ")[0] for line in capsys.readouterr().out.splitlines()[-3:]]
    assert cli.main(shlex.split(verify)[1:]) == 0  # as it says
    assert "verified" in capsys.readouterr().out
    assert cli.main([*shlex.split(verify)[1:], "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and report["rows"] > 0 and all(check["ok"] for check in report["checks"])
    assert cli.main(["export", str(run), "--to", str(tmp_path / "films"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(tmp_path / "films/2")}
    assert cli.main(shlex.split(predict)[1:]) == 0
    rows = pd.read_parquet(run / "examples.parquet")
    rows.to_parquet(tmp_path / "rows.parquet")
    scores = tmp_path / "scores.csv"
    command = [
        "predict",
        str(tmp_path / "films/1"),
        "--input",
        str(tmp_path / "rows.parquet"),
        "--output",
        str(scores),
    ]
    assert cli.main(command) == 0
    found = pd.read_csv(scores)
    assert list(found) == [*rows, "click_score"] and list(found["click"]) == list(rows["click"])
    assert found["click_score"].nunique() > 1 and len(found) == len(rows)
    assert cli.main(command) == 2  # the scores are there already
    _predict_again(tmp_path / "films/1", scores, found, capsys)
    card = json.loads((tmp_path / "films/1/assets.extra/model_card.json").read_text())
    assert card["split"]["hash"] == json.loads((run / "split.json").read_text())["hash"]
    assert card["metrics"]["test"]["auc"] == json.loads((run / "metrics.json").read_text())["test"]["auc"]


def test_a_failed_verification_is_json_too(monkeypatch, capsys):
    from cdrzoo import export
    from cdrzoo.export import report, verification

    failed = report.Report("films/1", checks=[report.Check("signatures", False, "none")])
    monkeypatch.setattr(export, "verify", lambda path: verification._passed(failed))
    assert cli.main(["verify", "films/1", "--json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out) == failed.to_dict() and "FAIL signatures" in said.err


def _predict_again(model, scores, found, capsys):
    """What was written is read back: histories too, and what is of no use to the model stays where it stood."""
    requests = pd.read_csv(scores, dtype=str, keep_default_na=False).drop(columns=["click", "click_score"])
    requests.insert(0, "request", [f"{number:03d}" for number in range(len(requests))])
    requests.to_csv(scores.with_name("requests.csv"), index=False)
    command = ["predict", str(model), "--input", str(scores.with_name("requests.csv")), "--output"]
    assert cli.main([*command, str(scores.with_name("again.csv"))]) == 0
    again = pd.read_csv(scores.with_name("again.csv"), dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(again.drop(columns="click"), requests)
    np.testing.assert_allclose(again["click"].astype(float), found["click_score"], atol=1e-6)
    assert requests["films_shown"].str.contains("|", regex=False).any()
    named = scores.with_name("named.csv")
    requests.assign(click=1, click_score=1).to_csv(named, index=False)
    assert cli.main(["predict", str(model), "--input", str(named)]) == 2
    assert cli.main([*command, str(scores.parent / "nowhere" / "x.csv")]) == 2
    error = capsys.readouterr().err
    assert "no name is left for the scores" in error and "There is no folder" in error


def test_an_interrupted_run_resumes_to_the_same_result(demo, run, tmp_path, monkeypatch, capsys):
    def interrupt(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Scalars, "on_epoch_end", interrupt)
        assert cli.main(["train", str(demo / "run.yaml"), "--out", str(folder), *FAST]) == 130
    assert not (folder / "metrics.json").exists()
    assert cli.main(["train", str(demo / "run.yaml"), "--out", str(folder), *FAST]) == 2
    assert "--resume" in capsys.readouterr().err
    assert cli.main(["train", "--out", str(folder), "--resume"]) == 0
    one, two = (json.loads((f / "metrics.json").read_text()) for f in (run, folder))
    assert one["test"] == two["test"] and one["validation"] == two["validation"] and two["epochs"] == 2
    pd.testing.assert_frame_equal(pd.read_csv(run / "history.csv"), pd.read_csv(folder / "history.csv"))


@pytest.mark.once
@pytest.mark.parametrize(
    "when",
    [
        pytest.param("stopped", marks=pytest.mark.slow),
        pytest.param("finished", marks=pytest.mark.exhaustive),
    ],
)
def test_a_changed_feature_is_a_changed_file(demo, tmp_path, monkeypatch, capsys, when):
    """Users, items, times and labels stay: what tells the split does not see it."""
    own = tmp_path / "demo"
    shutil.copytree(demo, own)
    stop = {"stopped": 1, "finished": None}[when]

    def interrupt(self, epoch, logs=None):
        if epoch == stop:
            raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Scalars, "on_epoch_end", interrupt)
        status = cli.main(["train", str(own / "run.yaml"), "--out", str(folder), *FAST])
    assert status == (0 if stop is None else 130)
    rows = pd.read_csv(own / "films.csv")
    rows.assign(device=rows["device"].iloc[::-1].to_numpy()).to_csv(own / "films.csv", index=False)
    again = ["train", "--out", str(folder), "--resume"] if stop else ["evaluate", str(folder)]
    assert cli.main(again) == 2
    assert "The data of films has changed" in capsys.readouterr().err
    shutil.copy(demo / "films.csv", own / "films.csv")
    assert cli.main(again) == 0


TWO_STAGES = ["--set", "model=mkt", *FAST]
TWO_STAGES += ["--set", "first.expert_units=[8]", "--set", "first.epochs=3", "--set", "first.dropout=0.2"]


@pytest.fixture(scope="module")
def two_stages(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mkt"
    assert cli.main(["train", str(demo / "run.yaml"), "--out", str(folder), *TWO_STAGES]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.once
def test_a_run_of_two_stages_reports_both_and_is_served(two_stages, tmp_path, capsys):
    metrics = json.loads((two_stages / "metrics.json").read_text())
    first = metrics["first"]
    assert first == json.loads((two_stages / "first/metrics.json").read_text())
    assert (first["model"], first["epochs"], metrics["epochs"]) == ("mem", 3, 2)
    assert first["parameters"] == first["trained_parameters"] and first["seconds"] < metrics["seconds"]
    assert first["parameters"] + metrics["trained_parameters"] == metrics["parameters"]
    assert len(pd.read_csv(two_stages / "first/history.csv")) == 3
    assert sorted(path.name for path in (two_stages / "first").iterdir()) == [
        "history.csv",
        "logs",
        "metrics.json",
        "model.keras",
    ]
    assert cli.main(["evaluate", str(two_stages)]) == 0
    assert f"{metrics['test']['auc']:.4f}" in capsys.readouterr().out
    assert cli.main(["export", str(two_stages), "--to", str(tmp_path / "films")]) == 0
    assert cli.main(["verify", str(tmp_path / "films/1"), "--run", str(two_stages)]) == 0
    rows = tmp_path / "rows.parquet"
    pd.read_parquet(two_stages / "examples.parquet").to_parquet(rows)
    assert cli.main(["predict", str(tmp_path / "films/1"), "--input", str(rows)]) == 0
    card = json.loads((tmp_path / "films/1/assets.extra/model_card.json").read_text())
    assert card["training"]["first"]["arguments"] == {"expert_units": [8], "dropout": 0.2}


@pytest.mark.once
@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("first", id="stage one", marks=pytest.mark.slow),
        pytest.param(".", id="stage two", marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_stopped_in_either_stage_resumes_to_the_same_result(
    demo, two_stages, tmp_path, monkeypatch, stage
):
    folder = tmp_path / "stopped"

    def interrupt(self, epoch, logs=None):
        if epoch == 1 and self.folder == folder / stage / "logs":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Scalars, "on_epoch_end", interrupt)
        assert cli.main(["train", str(demo / "run.yaml"), "--out", str(folder), *TWO_STAGES]) == 130
    done = folder / "first/model.keras"
    assert done.exists() == (stage != "first") and not (folder / "metrics.json").exists()
    before = done.stat().st_mtime_ns if done.exists() else None
    assert cli.main(["train", "--out", str(folder), "--resume"]) == 0
    assert before in (None, done.stat().st_mtime_ns)
    one, two = (json.loads((f / "metrics.json").read_text()) for f in (two_stages, folder))
    assert one["test"] == two["test"] and one["first"]["test"] == two["first"]["test"]
    for name in ("history.csv", "first/history.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(two_stages / name), pd.read_csv(folder / name))


def test_a_first_stage_that_does_not_fit_fails_before_anything_is_written(demo, tmp_path, capsys):
    command = ["train", str(demo / "run.yaml"), "--out", str(tmp_path / "x"), *TWO_STAGES]
    assert cli.main([*command, "--set", "first.width=4"]) == 2
    assert "another schema" in capsys.readouterr().err and not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def stars(tmp_path_factory):
    """The same logs as `demo`, with stars in the place of clicks."""
    folder = tmp_path_factory.mktemp("stars")
    made = synthetic.synthesize(**SIZES)
    for name, chance in made.probabilities.items():
        made.frames[name]["click"] = 1 + np.round(4 * chance).astype("int64")
    rated = tuple(dataclasses.replace(domain, task="rating") for domain in made.schema.domains)
    dataclasses.replace(made, schema=dataclasses.replace(made.schema, domains=rated)).write(folder)
    data = {name: f"{name}.csv" for name in made.frames}
    (folder / "run.yaml").write_text(yaml.safe_dump({"schema": "schema.yaml", "data": data}))
    return folder


TWO_STAGE_MODELS = {
    "mkt": ["units=[8]", "pooling=mean", "first.expert_units=[8]", "first.pooling=mean"],
    "finetuned_dnn": ["first.units=[8]"],
    "ctnet": ["units=[8]", "first.units=[8]"],
    "emcdr": [],
    "ptupcdr": [],
    "sscdr": [],
}
OF_RATINGS = ("emcdr", "ptupcdr", "sscdr")


def test_every_model_of_two_stages_is_run():
    assert set(TWO_STAGE_MODELS) == {card.name for card in CARDS if card.after}


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.parametrize("name", TWO_STAGE_MODELS)
def test_a_model_of_two_stages_is_trained_loaded_and_served(name, demo, request, tmp_path):
    from cdrzoo.training.run import EXAMPLE_ROWS, load_run

    folder = request.getfixturevalue("stars") if name in OF_RATINGS else demo
    metric = "rmse" if name in OF_RATINGS else "auc"
    settings = ["epochs=1", "batch_size=128", *TWO_STAGE_MODELS[name]]
    command = ["train", str(folder / "run.yaml"), "--model", name, "--out", str(tmp_path / "run")]
    assert cli.main([*command, *(text for setting in settings for text in ("--set", setting))]) == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert (metrics["model"], metrics["first"]["model"]) == (name, card(name).after)
    assert np.isfinite([metrics["test"][metric], metrics["first"]["test"][metric]]).all()
    model = (done := load_run(tmp_path / "run")).model
    assert done.evaluate()[metric] == pytest.approx(metrics["test"][metric], abs=1e-6)
    if name != "finetuned_dnn":  # the others keep what their first stage has learnt
        first = keras.models.load_model(tmp_path / "run/first/model.keras")
        for one, other in zip(model.pretrained.get_weights(), first.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert cli.main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "films")]) == 0
    rows, scores = tmp_path / "rows.parquet", tmp_path / "scores.csv"
    pd.read_parquet(tmp_path / "run/examples.parquet").to_parquet(rows)
    command = ["predict", str(tmp_path / "films/1"), "--input", str(rows), "--output", str(scores)]
    assert cli.main(command) == 0
    served = pd.read_csv(scores).iloc[:, -1]  # behind what stood in the file
    expected = model.predict(done.rows.test(), verbose=0)["films"][: len(served), 0]
    assert len(served) == EXAMPLE_ROWS
    np.testing.assert_allclose(served, expected, atol=1e-5)


@pytest.fixture(scope="module")
def new_domain(demo, tmp_path_factory):
    """A trained DACDR, `old`, and a run configuration that fine-tunes it to comics, which it does not know."""
    folder = tmp_path_factory.mktemp("comics")
    command = ["train", str(demo / "run.yaml"), "--model", "dacdr", "--out", str(folder / "old"), *FAST]
    assert cli.main(command) == 0
    old = Schema.load(folder / "old/schema.yaml")
    known = [f for f in old.target_domain.features if f.of != "films"]
    features = tuple(dataclasses.replace(f, table="comic") if f.name == "item" else f for f in known)
    comics = dataclasses.replace(old.target_domain, name="comics", features=features)
    Schema((*old.domains, comics), "comics", (*old.tables, Table("comic"))).save(folder / "schema.yaml")
    log = pd.read_csv(demo / "films.csv").sample(frac=0.6, random_state=0)
    log.assign(item="comic " + log["item"]).to_csv(folder / "comics.csv", index=False)
    config = {
        "schema": "schema.yaml",
        "data": {"comics": "comics.csv", **{name: str(demo / f"{name}.csv") for name in ("books", "films")}},
        "model": "dacdr",
        "finetune": "old",
        "training": {"epochs": 2, "batch_size": 64, "learning_rate": 0.01},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def finetuned(new_domain):
    assert cli.main(["train", str(new_domain / "run.yaml"), "--out", str(new_domain / "new")]) == 0
    return new_domain / "new"


def _files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.exhaustive
@pytest.mark.once
def test_a_trained_model_is_finetuned_to_a_new_domain(new_domain, finetuned, capsys):
    from cdrzoo.training import fitting
    from cdrzoo.training.run import load_run

    before = _files(new_domain / "old")
    again = new_domain / "again"
    assert cli.main(["train", str(new_domain / "run.yaml"), "--out", str(again)]) == 0
    assert _files(new_domain / "old") == before
    reported = json.loads((again / "metrics.json").read_text())
    assert reported["test"] == json.loads((finetuned / "metrics.json").read_text())["test"]
    out = capsys.readouterr().out
    assert "test rows of comics" in out and "dacdr: 2 epochs" in out
    assert f"{reported['trained_parameters']:,} of {reported['parameters']:,} parameters trained" in out

    begun, done = load_run(new_domain / "old"), load_run(finetuned)
    config, old, encoder, new, extended = begun.config, begun.model, begun.encoder, done.model, done.encoder
    rows = fitting.prepare(config, encoder).frame("films", "test")
    for name, values in encoder.encode("films", rows).items():
        np.testing.assert_array_equal(extended.encode("films", rows)[name], values)
    x = {"films": encoder.encode("films", rows)}
    np.testing.assert_array_equal(new(x)["films"], old(x)["films"])  # to the bit
    assert reported["trained_parameters"] == new.trained_parameters
    moved = {v.path for v in new.trainable_variables}
    assert any("comic" in path for path in moved) and not any("films_view" in path for path in moved)


@pytest.mark.exhaustive
@pytest.mark.once
def test_a_finetuned_run_is_evaluated_and_served(finetuned, tmp_path, capsys):
    assert cli.main(["evaluate", str(finetuned)]) == 0
    reported = json.loads((finetuned / "metrics.json").read_text())
    assert f"{reported['test']['auc']:.4f}" in capsys.readouterr().out
    assert cli.main(["export", str(finetuned), "--to", str(tmp_path / "comics")]) == 0
    assert cli.main(["verify", str(tmp_path / "comics/1"), "--run", str(finetuned)]) == 0
    rows = tmp_path / "rows.parquet"
    pd.read_parquet(finetuned / "examples.parquet").to_parquet(rows)
    assert cli.main(["predict", str(tmp_path / "comics/1"), "--input", str(rows)]) == 0


@pytest.mark.exhaustive
@pytest.mark.once
def test_a_finetuning_that_was_stopped_resumes_to_the_same_result(
    new_domain, finetuned, tmp_path, monkeypatch
):
    def interrupt(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Scalars, "on_epoch_end", interrupt)
        assert cli.main(["train", str(new_domain / "run.yaml"), "--out", str(tmp_path / "x")]) == 130
    assert cli.main(["train", "--out", str(tmp_path / "x"), "--resume"]) == 0
    one, two = (json.loads((f / "metrics.json").read_text()) for f in (finetuned, tmp_path / "x"))
    assert one["test"] == two["test"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "out", "message"),
    [
        (["model=cctl"], "x", "CCTL cannot be fine-tuned"),
        (["finetune=nowhere"], "x", "no finished run"),
        (["width=4"], "x", "8 wide"),
        (["like=books"], "x", "must be one of films"),
        (["units=[8]"], "x", "unknown entry 'units'"),
        ([], "old", "lie in one another"),
        ([], "old/new", "lie in one another"),
    ],
)
def test_what_cannot_be_finetuned_is_named(new_domain, capsys, settings, out, message):
    before = _files(new_domain / "old")
    config = yaml.safe_load((new_domain / "run.yaml").read_text())
    changes = dict(setting.split("=") for setting in settings)
    config["model"] = changes.pop("model", config["model"])
    (new_domain / "changed.yaml").write_text(yaml.safe_dump(config))
    command = ["train", str(new_domain / "changed.yaml"), "--out", str(new_domain / out), "--overwrite"]
    for name, value in changes.items():
        command += ["--set", f"{name}={value}"]
    assert cli.main(command) == 2
    assert message in capsys.readouterr().err and not (new_domain / "x").exists()
    assert _files(new_domain / "old") == before


def test_nothing_is_overwritten_unasked(demo, run, tmp_path, capsys):
    before = (run / "metrics.json").read_bytes()
    assert cli.main(["train", str(demo / "run.yaml"), "--out", str(run), *FAST]) == 2
    assert "--overwrite" in capsys.readouterr().err and (run / "metrics.json").read_bytes() == before
    assert cli.main(["train", "--out", str(run), "--resume"]) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for flags in ([], ["--overwrite"]):
        assert cli.main(["train", str(demo / "run.yaml"), "--out", str(tmp_path / "mine"), *flags]) == 2
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    assert cli.main(["synthesize", str(tmp_path / "mine")]) == 2


def _break(folder, demo, domain, change):
    """A copy of the demo in which one domain's log is changed."""
    for name in ("books", "films"):
        frame = pd.read_csv(demo / f"{name}.csv")
        (change(frame) if name == domain else frame).to_csv(folder / f"{name}.csv", index=False)
    (folder / "schema.yaml").write_text((demo / "schema.yaml").read_text())
    (folder / "run.yaml").write_text((demo / "run.yaml").read_text())


@pytest.mark.parametrize(
    ("domain", "change", "message"),
    [
        ("films", lambda f: f.drop(columns="genre"), "lacks the column 'genre'"),
        ("films", lambda f: f.iloc[:0], "no rows"),
        ("books", lambda f: f.assign(price="cheap"), "price"),
        ("films", lambda f: f.assign(click=2), "click"),
        ("films", lambda f: f.assign(price=float("inf")), "price"),
        ("books", lambda f: f.assign(time=-5), "time"),
        ("books", lambda f: f.drop(columns="time"), "time"),
    ],
    ids=[
        "missing column",
        "empty file",
        "wrong type",
        "label",
        "not finite",
        "negative time",
        "history without time",
    ],
)
def test_bad_rows_are_named_before_anything_is_written(demo, tmp_path, capsys, domain, change, message):
    _break(tmp_path, demo, domain, change)
    assert cli.main(["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and len(error.splitlines()) <= 2
    assert not (tmp_path / "out").exists()


def test_a_truncated_gzip_is_named(demo, tmp_path, capsys):
    _break(tmp_path, demo, "films", lambda f: f)
    packed = gzip.compress((tmp_path / "films.csv").read_bytes())
    (tmp_path / "films.csv.gz").write_bytes(packed[: len(packed) // 2])
    text = (tmp_path / "run.yaml").read_text().replace("films.csv", "films.csv.gz")
    (tmp_path / "run.yaml").write_text(text)
    assert cli.main(["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "films.csv.gz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.replace("target: films", "target: movies"), "movies"),
        (lambda s: s.replace("of: books", "of: bookz", 1), "bookz"),
        (lambda s: s.replace("table: genre", "table: genres", 1), "Did you mean 'genre'"),
        (lambda s: s.replace("role: item", "role: itm", 1), "Did you mean 'item'"),
        (lambda s: s.replace("tables:\n", "tables:\n  genre: {width: 3}\n"), "twice"),
    ],
    ids=["no target", "unknown domain", "unknown table", "unknown role", "a table twice"],
)
def test_bad_schemas_are_named(demo, tmp_path, capsys, change, message):
    text = (demo / "schema.yaml").read_text()
    assert change(text) != text
    (tmp_path / "schema.yaml").write_text(change(text))
    assert cli.main(["schema", "check", str(tmp_path / "schema.yaml")]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) <= 2


def test_two_widths_for_a_table(demo, tmp_path, capsys):
    config = yaml.safe_load((demo / "schema.yaml").read_text())
    config["tables"] = [{"name": name} for name in config["tables"]] + [{"name": "genre", "width": 4}]
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["schema", "check", str(tmp_path / "schema.yaml")]) == 2
    assert "two widths, 8 and 4" in capsys.readouterr().err


def test_schema_check_shows_the_domains_side_by_side(demo, capsys):
    data = [f"--data={name}={demo / name}.csv" for name in ("books", "films")]
    assert cli.main(["schema", "check", str(demo / "schema.yaml"), *data]) == 0
    out = capsys.readouterr().out
    assert "films (target)" in out and "shared features" in out and "device" in out
    assert cli.main(["schema", "check", str(demo / "schema.yaml"), *data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] == (not found["warnings"]) == ("warning: " not in out)
    assert all(cell in out for table in found["tables"] for row in table["rows"] for cell in row)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "none.yaml", "--out", "x"],
        ["train", "--out", "x"],
        ["train", "--resume", "--out", "x"],
        ["evaluate", "x"],
        ["export", "x", "--to", "y"],
        ["verify", "x"],
        ["predict", "x", "--input", "y.csv"],
        ["dataset", "netflix", ".", "--out", "x"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_said_in_a_line(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) <= 2


def test_a_dataset_under_the_cold_start_protocol(tmp_path, capsys):
    from cdrzoo.training import fitting
    from cdrzoo.training.config import RunConfig

    for name, items in (("book", 4), ("music", 3)):
        rows = [(user, (user + k) % items, 1 + (user * k) % 5) for user in range(20) for k in range(3)]
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
        frame.to_csv(tmp_path / f"interactions_{name}.csv.gz", index=False)
    arguments = ["dataset", "douban", str(tmp_path), "--cold-start", "0.5"]
    assert cli.main([*arguments, "--out", str(tmp_path / "cold")]) == 0
    config = RunConfig.load(tmp_path / "cold/run.yaml")
    assert config.schema.target_domain.task == "rating" and config.preparation == {"history": "others"}
    prepared = fitting.prepare(config)
    parts = {part: set(rows.user) for part, rows in prepared.parts["music"].items()}
    assert len(parts["test"]) == 10 and not parts["test"] & parts["train"]
    assert not [f for d in config.schema.domains for f in d.features if f.of == "music"]
    assert cli.main([*arguments, "--task", "click", "--out", str(tmp_path / "clicks")]) == 0
    assert RunConfig.load(tmp_path / "clicks/run.yaml").schema.target_domain.threshold == 4
    capsys.readouterr()
    wrong = ["dataset", "amazon_food_kitchen", ".", "--task", "rating", "--out", str(tmp_path / "no")]
    assert cli.main(wrong) == 2 and "has no 'task'" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["unit=3", "learning_rat=1", "epochs=0", "units", "units=[3"])
def test_misspelt_settings_are_named(demo, tmp_path, capsys, setting):
    assert cli.main(["train", str(demo / "run.yaml"), "--out", str(tmp_path / "x"), "--set", setting]) == 2
    assert capsys.readouterr().err.startswith("error: ") and not (tmp_path / "x").exists()


@pytest.mark.slow
def test_tune_writes_a_run_that_train_takes(demo, tmp_path, capsys):
    pytest.importorskip("keras_tuner")
    (tmp_path / "space.yaml").write_text("learning_rate: {min: 0.001, max: 0.1, sampling: log}\n")
    command = ["tune", str(demo / "run.yaml"), "--models", "lr", "--space", str(tmp_path / "space.yaml")]
    command += ["--trials", "2", "--set", "epochs=1", "--out", str(tmp_path / "tuned")]
    assert cli.main(command) == 0
    assert "lr: validation rows, best of 2 trials" in capsys.readouterr().out
    assert len((tmp_path / "tuned/results.jsonl").read_text().splitlines()) == 2
    (tmp_path / "tuned/mine.yaml").write_text("")
    assert cli.main(command) == 0
    *_, configurations, _, _, train = capsys.readouterr().out.splitlines()
    assert configurations == f"Configurations: {tmp_path / 'tuned/lr.yaml'}"
    assert cli.main(shlex.split(train.split("    ")[0])[1:]) == 0  # as it says
    config = yaml.safe_load((tmp_path / "tuned/lr/config.yaml").read_text())
    assert config["model"] == "lr" and config["training"]["epochs"] == 1


@pytest.mark.slow
def test_reproduce_runs_an_experiment_and_writes_its_page(demo, tmp_path, capsys, monkeypatch):
    from cdrzoo.experiments import catalogue

    for name in ("book", "music"):
        rows = [(user, (user + k) % 7, 1 + (user * k) % 5) for user in range(30) for k in range(4)]
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
        (tmp_path / "data/douban").mkdir(parents=True, exist_ok=True)
        frame.to_csv(tmp_path / f"data/douban/interactions_{name}.csv.gz", index=False)
    part = catalogue.Part(
        {"MF": {"model": "mf"}},
        "douban",
        against="MF",
        beta=0.5,
        seeds=2,
        settings={"epochs": 1, "batch_size": 32},
        published={"MF": {"mae": 1.5}},
    )
    monkeypatch.setitem(catalogue.experiments(), "toy", catalogue.Experiment("A table", {"half": part}))
    command = ["reproduce", "toy", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    page = (tmp_path / "out/toy/README.md").read_text()
    assert page in capsys.readouterr().out
    lines = list(map(json.loads, (tmp_path / "out/toy/half/results.jsonl").read_text().splitlines()))
    assert [line["changes"]["seed"] for line in lines] == [0, 1]
    assert lines[0]["result"]["split"]["hash"] in page and lines[0]["result"]["versions"]["cdrzoo"] in page
    about = (tmp_path / "out/toy/half/comparison.json").read_text()
    assert str(tmp_path) not in about + page and (tmp_path / "out/toy/half/report.html").exists()
    sizes = json.loads(about)["groups"]
    assert sizes["warm"] == 0 and sizes["cold"] == sizes["0-9"] > 0
    assert "| MF |" in page and "| 1.5000 |" in page and "| item mean |" in page
    assert cli.main(command) == 0
    assert len((tmp_path / "out/toy/half/results.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_compare_prints_a_table_and_goes_on_where_it_stopped(demo, tmp_path, capsys):
    command = [
        "compare",
        str(demo / "run.yaml"),
        "--models",
        "lr,dnn:units=[8, 4]",
        "--against",
        "lr",
        "--seeds",
        "2",
    ]
    command += ["--out", str(tmp_path), "--set", "epochs=1"]
    assert cli.main(command) == 0
    first = capsys.readouterr().out
    assert "| lr |" in first and "| dnn:units=[8, 4] |" in first and "item mean" in first
    lines = (tmp_path / "results.jsonl").read_text()
    assert len(lines.splitlines()) == 4
    assert cli.main(command) == 0
    assert (tmp_path / "results.jsonl").read_text() == lines and (tmp_path / "table.md").exists()
    pytest.importorskip("matplotlib")
    report = capsys.readouterr().out.splitlines()[-1].split("    ")[0]
    assert cli.main(shlex.split(report)[1:]) == 0  # as it says
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("dnn:domains=all,dnn", "Paired t-test over seeds against dnn."),
        ("mmoe,lr,fm", "Paired t-test over seeds against lr."),
        ("mmoe,star", "No paired test: no model sees the target alone. Add dnn to --models"),
        ("lr", "No paired test: it takes two models, and two seeds."),
    ],
)
def test_what_is_tested_against_what_is_said(demo, tmp_path, monkeypatch, capsys, models, said):
    from cdrzoo.experiments import running

    def train(changes):
        test = {
            "auc": 0.6 + 0.01 * changes["seed"] + 0.1 * len(changes["model"]),
            "gauc": 0.5,
            "log_loss": 1,
            "ece": 0,
        }
        return {"validation": {"auc": 0.5}, "test": test, "parameters": 1, "seconds": 1.0}

    monkeypatch.setattr(running, "train", train)
    monkeypatch.setattr(running, "start", lambda config, firsts: print("training"))
    folder = tmp_path / "c"
    command = ["compare", str(demo / "run.yaml"), "--models", models, "--seeds", "2", "--out", str(folder)]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert out.index(said) < out.index("training") and said in (folder / "table.md").read_text()
    table = (folder / "table.md").read_text()
    assert any("+0." in line or "-0." in line for line in table.splitlines()) == ("No paired" not in said)


def test_what_is_in_a_folder_is_not_mixed_with_a_comparison(demo, run, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/table.md").write_text("my precious table")
    for folder in (run, tmp_path / "mine"):
        before = _files(folder)
        assert cli.main(["compare", str(demo / "run.yaml"), "--models", "lr,dnn", "--out", str(folder)]) == 2
        assert "not of a comparison" in capsys.readouterr().err and _files(folder) == before


@pytest.mark.slow
def test_a_page_of_somebody_elses_is_not_written_over(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    page = tmp_path / "run/report.html"
    assert cli.main(["report", str(tmp_path / "run")]) == cli.main(["report", str(tmp_path / "run")]) == 0
    page.write_text("<title>mine</title>")
    assert cli.main(["report", str(tmp_path / "run")]) == 2 and page.read_text() == "<title>mine</title>"
    assert cli.main(["train", str(run / "config.yaml"), "--out", str(tmp_path / "run"), "--overwrite"]) == 2
    assert "more than a run: report.html" in capsys.readouterr().err


def test_a_model_to_test_against_that_is_not_compared_is_named(demo, tmp_path, capsys):
    command = [
        "compare",
        str(demo / "run.yaml"),
        "--models",
        "lr",
        "--against",
        "dnn",
        "--out",
        str(tmp_path / "c"),
    ]
    assert cli.main(command) == 2
    assert "must be one of lr. Received: 'dnn'" in capsys.readouterr().err and not (tmp_path / "c").exists()


def test_the_schema_in_the_run_folder_is_complete(run):
    assert all(table.rows for table in Schema.load(run / "schema.yaml").tables)


@pytest.mark.parametrize("argument", ["models", "--help"])
def test_a_reader_that_leaves_early_sees_no_traceback(argument, monkeypatch):
    """As `cdrzoo models | head` does."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # argparse passes over what it cannot write at once
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "cdrzoo.cli", argument]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_training_says_a_line_per_epoch_and_a_table_that_fit_a_screen(demo, tmp_path, capsys):
    assert cli.main(["train", str(demo / "run.yaml"), "--out", str(tmp_path / "said"), *FAST]) == 0
    lines = capsys.readouterr().out.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 2 and all("val" in line and "auc 0." in line for line in epochs)
    best = json.loads((tmp_path / "said/metrics.json").read_text())["best_epoch"]
    assert epochs[best - 1].endswith("  best")
    paths = ("Run: ", "  cdrzoo ")  # which are as long as they are
    assert max(len(line) for line in lines if not line.startswith(paths)) <= 100
    assert any(line.split()[:2] == ["all", "cold"] for line in lines)


def test_rows_are_called_as_in_the_logs_or_as_a_server_does(tmp_path, monkeypatch):
    """A server knows a feature by its name, and the log of the walk had it in another column."""
    from cdrzoo.training import requests
    from cdrzoo.training.config import RunConfig

    run = pathlib.Path(__file__).parents[1] / "training" / "finished" / "dadin"
    feature = types.SimpleNamespace(column="user_id", name="user")
    schema = types.SimpleNamespace(target_domain=types.SimpleNamespace(features=[feature]))
    monkeypatch.setattr(RunConfig, "load", lambda path: types.SimpleNamespace(schema=schema))
    monkeypatch.setattr(
        requests, "build_requests", lambda *a, **k: pd.DataFrame({"user_id": ["u1"], "city": ["x"]})
    )
    command = ["rows", str(run), "--users", "u.csv", "--candidates", "i.csv", "--out"]
    assert (
        cli.main([*command, str(tmp_path / "a.csv")])
        == cli.main([*command, str(tmp_path / "b.csv"), "--names"])
        == 0
    )
    assert (tmp_path / "a.csv").read_text() == "user_id,city\nu1,x\n"
    assert (tmp_path / "b.csv").read_text() == "user,city\nu1,x\n"
