"""The transfer report: the right verdict on planted transfer, alarms at their level, the right twin, honest groups."""

from __future__ import annotations

import json
import pathlib
import re
import tempfile

import keras
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats as scipy_stats

from cdrzoo import cli
from cdrzoo.data import synthetic
from cdrzoo.errors import InputError
from cdrzoo.evaluation import transfer
from cdrzoo.training import callbacks, fitting, run
from cdrzoo.training.config import RunConfig, Training
from tests.models.toys import toy_schema

DATA = {"books": "books.csv", "films": "films.csv"}


# The twin ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"model": "dnn", "domains": "all", "arguments": {"units": [8]}}, ("dnn", {"units": [8]})),
        ({"model": "star", "arguments": {"pooling": "attention"}}, ("star", {"pooling": "attention"})),
        ({"model": "cctl"}, ("din", {"units": [256, 128, 32], "dropout": 0.0})),
        (
            {"model": "cctl", "arguments": {"pooling": "mean", "units": [8], "alpha": 0.5}},
            ("dnn", {"units": [8], "dropout": 0.0}),
        ),
        (
            {"model": "dacdr", "arguments": {"dropout": 0.3}},
            ("din", {"units": [256, 128, 64], "dropout": 0.3}),
        ),
        # What a second stage does not have itself it has from its first.
        ({"model": "finetuned_dnn", "first": {"units": [9]}}, ("dnn", {"units": [9], "dropout": 0.0})),
    ],
)
def test_the_twin_is_the_same_but_for_the_source(given, expected):
    training = Training(batch_size=64, epochs=3)
    config = RunConfig(schema=toy_schema(), data=DATA, seed=5, width=8, training=training, **given)
    twin, why = transfer.twin_of(config)
    assert (twin.model, twin.arguments) == expected and twin.domains == "target" and why
    assert (twin.seed, twin.width, twin.training) == (5, 8, training)
    twin.model_arguments()


def test_without_a_source_there_is_nothing_to_measure():
    with pytest.raises(InputError, match="saw the target alone"):
        transfer.twin_of(RunConfig(schema=toy_schema(), data=DATA, model="dnn"))


# Groups -----------------------------------------------------------------------------------------------------------


def test_groups_by_hand():
    rows = pd.DataFrame(
        {
            "target_rows": [0, 1, 10, 11, 30, 31, 5],
            "source_rows": [3, 0, 0, 1, 1, 1, 1],
            "item_rows": [0] * 7,  # one group: it divides nothing
            "device": list("aabbbcd"),
            "price": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
        }
    )
    found = transfer.groups_of(rows, ["device", "price"])
    at = {
        by: {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}
        for by, masks in found.items()
    }
    assert at["user's rows in the target"] == {"0": [0], "1-10": [1, 2, 6], "11-30": [3, 4], "above 30": [5]}
    assert at["user in a source"] == {"shared": [0, 3, 4, 5, 6], "new to it": [1, 2]}
    assert at["device"] == {"b": [2, 3, 4], "a": [0, 1], "c": [5], "d": [6]}
    assert list(at["price"].values()) == [[0, 1], [2, 3], [4], [5, 6]]  # quarters
    assert set(at) == {"user's rows in the target", "user in a source", "device", "price"}


# The verdict ------------------------------------------------------------------------------------------------------


def log(seed, lift=0.0, rows=800, users=100, trainings=1, training_noise=0.0, clicks=1.0):
    """A test log and two models whose signal differs by `lift`; every training of each is off by a chance of its own.

    Users differ in how often they click (in 0.4 `clicks` of their rows on average) and in how each model scores them.
    """
    rng = np.random.default_rng(seed)
    user = rng.integers(users, size=rows)
    label = (rng.random(rows) < clicks * rng.beta(1.0, 1.5, users)[user]).astype(float)
    counts = rng.integers(0, 40, users)[user]
    frame = pd.DataFrame({"user": user, "label": label, "weight": 1.0, "target_rows": counts})
    scores = []
    for signal in (1.0 + lift, 1.0):
        signals = signal + training_noise * rng.normal(size=(trainings, 1))
        own = rng.normal(size=users)[user] + rng.normal(size=rows)
        scores.append(1 / (1 + np.exp(-(signals * label + own + 0.3 * rng.normal(size=(trainings, rows))))))
    return frame, *scores


@pytest.mark.parametrize(("lift", "expected"), [(1.0, "helps"), (-0.9, "harms")])
def test_planted_transfer_is_found(lift, expected):
    result = transfer.measure(*log(0, lift, trainings=3, training_noise=0.05))
    assert result["verdict"] == expected and result["metric"] == "auc"
    assert result["rows"] == 800 and result["users"] == 100
    worse = len(result["groups"]) if lift < 0 else 0
    assert result["lower"] == worse and len(result["groups"]) == 4


def test_planted_transfer_of_ratings():
    rng = np.random.default_rng(0)
    label = rng.normal(3, 1, 400)
    frame = pd.DataFrame({"user": rng.integers(50, size=400), "label": label, "weight": 1.0})
    good, bad = (label + noise * rng.normal(size=400) for noise in (0.5, 1.0))
    assert transfer.measure(frame, good, bad, "rating")["verdict"] == "helps"
    assert transfer.measure(frame, bad, good, "rating")["verdict"] == "harms"
    assert transfer.measure(frame, bad, good, "rating")["metric"] == "rmse"


def verdicts(repeats, **arguments):
    """How many of `repeats` logs without any lift are not called `no difference`."""
    return sum(
        transfer.measure(frame.drop(columns="target_rows"), *scores, resamples=150)["verdict"]
        != "no difference"
        for frame, *scores in (log(2000 + seed, rows=200, users=40, **arguments) for seed in range(repeats))
    )


def test_false_alarms_of_one_training_keep_their_level():
    low, high = scipy_stats.binom.ppf([0.001, 0.999], 300, 0.05)
    assert low <= verdicts(300) <= high


@pytest.mark.slow
@pytest.mark.once
def test_false_alarms_keep_their_level_when_training_is_noisy():
    """Two methods that are equal, but whose trainings scatter: three seeds cover it, one cannot."""
    high = scipy_stats.binom.ppf(0.999, 300, 0.05)
    assert verdicts(300, trainings=3, training_noise=0.7) <= high
    assert verdicts(300, trainings=1, training_noise=0.7) > high


def test_no_group_is_harmed_beyond_chance_where_one_row_in_a_hundred_is_a_click():
    alarms = 0
    for seed in range(60):
        frame, *scores = log(3000 + seed, rows=1500, users=300, clicks=0.02)
        found = transfer.measure(frame, *scores, resamples=100)
        alarms += any(group["p_holm"] < 0.05 for group in found["groups"])
    assert alarms <= scipy_stats.binom.ppf(0.999, 60, 0.05)


def test_the_calibration_curve_by_hand():
    scores = np.array([0.9, 0.1, 0.2, 0.8])
    found = transfer.calibration([1, 0, 1, 1], scores, np.ones(4), bins=2)
    assert [(round(p["score"], 9), p["label"], p["rows"]) for p in found] == [(0.15, 0.5, 2), (0.85, 1.0, 2)]


# With trainings ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small run of both domains, and what it was made from."""
    folder = tmp_path_factory.mktemp("demo")
    made = synthetic.synthesize(users=80, source_rows=800, target_rows=400, source_items=30, target_items=20)
    made.write(folder)
    training = {"epochs": 1, "batch_size": 64}
    config = {"schema": "schema.yaml", "data": DATA, "model": "dnn", "domains": "all", "training": training}
    (folder / "run.yaml").write_text(yaml.safe_dump({**config, "arguments": {"units": [4]}}))
    assert cli.main(["train", str(folder / "run.yaml"), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="module")
def reported(demo):
    pytest.importorskip("matplotlib")
    command = ["transfer", str(demo / "run"), "--seeds", "2", "--by", "device", "--out", str(demo / "report")]
    assert cli.main(command) == 0
    return demo / "report", command


@pytest.mark.slow
def test_a_report_of_a_run(reported, demo, capsys, monkeypatch):
    folder, command = reported
    result = json.loads((folder / "transfer.json").read_text())
    assert sorted(path.name for path in (folder / "runs").iterdir()) == [
        "model-seed-1",
        "twin-seed-0",
        "twin-seed-1",
    ]
    assert result["twin"]["domains"] == "target" and result["twin"]["arguments"] == {"units": [4]}
    tests = {
        role: [json.loads((pathlib.Path(run) / "metrics.json").read_text())["test"] for run in runs]
        for role, runs in result["runs"].items()
    }
    for name, lift in result["lift"].items():  # a run that is scored again scores as it did
        assert lift["first"] == pytest.approx(np.mean([test[name] for test in tests["model"]]), abs=1e-6)
        assert lift["second"] == pytest.approx(np.mean([test[name] for test in tests["twin"]]), abs=1e-6)
    rows = pd.read_parquet(folder / "scores.parquet")
    assert len(rows) == result["rows"] and {"model 0", "model 1", "twin 0", "twin 1", "device"} <= set(rows)
    assert {group["by"] for group in result["groups"]} >= {"device", "user in a source"}
    page = (folder / "report.html").read_text()
    assert result["verdict"].capitalize() in page and "Lift by group" in page and "Calibration" in page

    def no_training(*arguments, **settings):
        raise AssertionError("what is trained is not trained again")

    monkeypatch.setattr(run, "train", no_training)
    assert cli.main(command) == 0
    assert json.loads((folder / "transfer.json").read_text()) == result
    assert transfer.sentence(result) in capsys.readouterr().out
    # The twin as it stands there can be named, and a run can be reported on by itself.
    again = ["transfer", str(demo / "run"), "--twin", str(folder / "runs" / "twin-seed-0"), "--seeds", "1"]
    assert cli.main([*again, "--out", str(demo / "given")]) == 0
    assert "NOT the chance of training" in capsys.readouterr().out
    assert cli.main(["report", str(demo / "run"), "--out", str(demo / "run.html")]) == 0
    assert "Learning curves" in (demo / "run.html").read_text()


@pytest.mark.slow
def test_the_page_on_transfer_shows_the_other_tests(reported, capsys):
    folder, _ = reported
    page = (pathlib.Path(__file__).parents[2] / "docs" / "transfer.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(code.replace("runs/cctl_transfer", str(folder)).replace("range(3)", "range(2)"), {})
    delong, wilcoxon = capsys.readouterr().out.splitlines()
    first = json.loads((folder.parent / "run" / "metrics.json").read_text())["test"]["auc"]
    assert float(re.search(r"first=([0-9.]+)", delong)[1]) == pytest.approx(first, abs=1e-6)
    assert float(wilcoxon) in (0.5, 1.0)


@pytest.mark.slow
@pytest.mark.once
def test_the_twin_makes_as_many_steps_as_the_model(demo, tmp_path, monkeypatch):
    """A pass over the longest domain is one over the target where there is no source."""
    made = yaml.safe_load((demo / "run.yaml").read_text())
    for name in ("schema.yaml", *DATA.values()):
        (tmp_path / name).write_bytes((demo / name).read_bytes())
    config = {**made, "training": {**made["training"], "epoch": "longest"}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run")]) == 0
    trained = []
    fit = keras.Model.fit

    def counted(self, rows, **arguments):
        trained.append(int(rows.cardinality()))
        return fit(self, rows, **arguments)

    monkeypatch.setattr(keras.Model, "fit", counted)
    result = transfer.transfer(tmp_path / "run", tmp_path / "out", seeds=2)
    assert len(trained) == 3 and len(set(trained)) == 1 and trained[0] == result["twin"]["training"]["epoch"]
    assert result["model"]["training"]["epoch"] == "longest" and f"({trained[0]})" in result["why"]


@pytest.mark.slow
@pytest.mark.once
def test_a_report_goes_on_where_a_run_was_stopped_before_its_configuration(demo, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    rename = pathlib.Path.replace

    def stop(path, other):
        if other.name == "config.yaml":  # written last of what comes before the training
            raise Stopped
        return rename(path, other)

    with monkeypatch.context() as context:
        context.setattr(pathlib.Path, "replace", stop)
        with pytest.raises(Stopped):
            transfer.transfer(demo / "run", tmp_path / "out", seeds=1)
    twin = tmp_path / "out" / "runs" / "twin-seed-0"
    assert sorted(path.name for path in twin.iterdir()) == [
        ".config.yaml.unfinished",
        ".lock",
        "encoder",
        "schema.yaml",
        "split.json",
    ]
    (twin / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no run of cdrzoo"):
        transfer.transfer(demo / "run", tmp_path / "out", seeds=1)
    assert (twin / "notes.txt").read_text() == "mine"
    (twin / "notes.txt").unlink()
    transfer.transfer(demo / "run", tmp_path / "out", seeds=1)
    assert (twin / "metrics.json").exists()


@pytest.mark.slow
@pytest.mark.once
def test_mistakes_are_named_before_anything_is_trained(demo, reported, tmp_path, capsys, monkeypatch):
    folder, _ = reported
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "project" / "runs" / "cctl").mkdir(parents=True)
    twin = str(folder / "runs" / "twin-seed-0")
    for arguments, message in (
        (["--seeds", "0"], "at least 1"),
        (["--by", "colour"], "no column 'colour'"),
        (["--twin", str(demo / "run")], "saw sources, too"),
        (["--out", str(tmp_path / "mine")], "no transfer report"),
        (["--out", str(tmp_path / "project")], "no transfer report"),
    ):
        out = [] if "--out" in arguments else ["--out", str(tmp_path / "new")]
        assert cli.main(["transfer", str(demo / "run"), *arguments, *out]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "new").exists()
    assert cli.main(["transfer", twin, "--out", str(tmp_path / "new")]) == 2
    assert "saw the target alone" in capsys.readouterr().err


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(("planted", "expected"), [(1.0, "helps"), (-1.0, "harms")])
def test_planted_transfer_is_found_by_training(planted, expected):
    """Tastes that carry over help a DNN of both domains; opposite ones harm it."""
    made = synthetic.synthesize(
        planted, users=400, source_rows=8000, target_rows=3000, source_items=60, target_items=40
    )
    config = RunConfig(
        schema=made.schema,
        data=made.sources,
        model="dnn",
        domains="all",
        arguments={"units": [16]},
        split={"by": "time", "fractions": [0.4, 0.1, 0.5]},
        training=Training(batch_size=128, epochs=5, learning_rate=0.003, source_ratio=4.0),
    )
    prepared = fitting.prepare(config)
    scores: dict[str, list[np.ndarray]] = {"all": [], "target": []}
    for domains, found in scores.items():
        for seed in range(3):
            settings = config.with_changes({"domains": domains, "seed": seed})
            seen = fitting.seen(settings, prepared)
            with tempfile.TemporaryDirectory() as folder:
                model = fitting.fit(settings, seen, pathlib.Path(folder)).model
            found.append(callbacks.target_scores(model, seen.test())[1])
    result = transfer.measure(transfer.test_rows(prepared), scores["all"], scores["target"])
    assert result["verdict"] == expected, result["lift"]["auc"]
