"""The search: one budget for all, what is drawn, what is not trained twice, what is chosen."""

from __future__ import annotations

import json

import pytest
import yaml

from cdrzoo.data import quality
from cdrzoo.errors import InputError
from cdrzoo.experiments import running, search
from cdrzoo.experiments.entries import Entry
from cdrzoo.experiments.tune import load_space, tune
from cdrzoo.training.config import RunConfig
from tests.models.toys import toy_schema

pytest.importorskip("keras_tuner")


@pytest.fixture
def config():
    return RunConfig(toy_schema(), {"books": "books.csv", "films": "films.csv"}, "dnn")


@pytest.fixture
def runs(monkeypatch):
    """Replaces training: validation is best at a learning rate of 0.01 and grows with the epochs; the test misleads."""
    made = []

    def train(changes):
        made.append(changes)
        rate, epochs = changes.get("learning_rate", 0.001), changes.get("epochs", 20)
        merit = 0.8 - abs(rate - 0.01) + 0.001 * epochs
        return {"validation": {"auc": merit}, "test": {"auc": -merit}, "parameters": 1, "seconds": 1.0}

    monkeypatch.setattr(running, "train", train)
    monkeypatch.setattr(running, "start", lambda config, firsts: None)
    monkeypatch.setattr(running, "rows", lambda: None)
    monkeypatch.setattr(quality, "parts", lambda rows: "parts")
    monkeypatch.setattr(quality, "heed", lambda rows, strict: None)
    return made


SPACE = {
    "learning_rate": {"min": 0.0001, "max": 0.1, "sampling": "log"},
    "batch_size": {"min": 64, "max": 256, "step": 64},
    "dropout": [0.0, 0.2],
    "units": [[64], [256, 128]],
}


def test_every_entry_has_the_same_budget_and_the_best_validation_is_written(config, runs, tmp_path):
    entries = [Entry.parse(text) for text in ("dnn", "lr", "dnn:domains=all:dropout=0.5")]
    found = tune(config, entries, out=tmp_path, space=SPACE, trials=8)
    by_label = {e.label: [r for r in runs if {**r, **e.changes} == r] for e in entries[1:]}
    assert len(runs) == 24 and len(by_label["lr"]) == 8
    assert all("units" not in r and "dropout" not in r for r in by_label["lr"])
    assert all(
        r["dropout"] == 0.5 for r in by_label["dnn:domains=all:dropout=0.5"]
    )  # what an entry says stays
    own = [r for r in runs if r["model"] == "dnn" and "domains" not in r]
    assert own[0] == {"model": "dnn", "seed": search.SEED}  # as it stands
    assert all(
        0.0001 <= r["learning_rate"] <= 0.1 and r["batch_size"] in (64, 128, 192, 256) for r in own[1:]
    )
    assert all(r["units"] in ([64], [256, 128]) for r in own[1:])
    assert len({r["learning_rate"] for r in own[1:]}) == 7
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    merits = [r["result"]["validation"]["auc"] for r in lines if r["label"] == "dnn"]
    assert found.best["dnn"]["result"]["validation"]["auc"] == max(merits)
    written = RunConfig.load(tmp_path / "dnn.yaml")
    assert written.training.learning_rate == found.best["dnn"]["changes"]["learning_rate"]
    assert list(written.arguments["units"]) == found.best["dnn"]["changes"]["units"] and written.seed == 0
    assert (tmp_path / "dnn_domains_all_dropout_0_5.yaml").exists()


def test_a_file_of_somebody_elses_is_not_written_over(config, runs, tmp_path):
    entry, mine = (
        [Entry("dnn")],
        "schema: schema.yaml\ndata: {books: b.csv, films: f.csv}\nmodel: dnn\n",
    )
    config.schema.save(tmp_path / "schema.yaml")
    (tmp_path / "dnn.yaml").write_text(mine)
    given = RunConfig.load(tmp_path / "dnn.yaml")
    rates = {"space": {"learning_rate": [0.01]}, "trials": 1}
    with pytest.raises(InputError, match="not of a comparison or a search"):
        tune(given, entry, out=tmp_path, **rates)
    tune(given, [Entry.parse("lr")], out=tmp_path / "tuned", **rates)
    (tmp_path / "tuned" / "dnn.yaml").write_text(mine)
    with pytest.raises(InputError, match="there already"):
        tune(given, entry, out=tmp_path / "tuned", **rates)
    assert (tmp_path / "dnn.yaml").read_text() == (tmp_path / "tuned" / "dnn.yaml").read_text() == mine
    chosen = RunConfig.load(tmp_path / "tuned" / "lr.yaml")
    with pytest.raises(InputError, match="there already"):  # what the search starts from
        tune(chosen, [Entry.parse("lr")], out=tmp_path / "tuned", **rates)
    assert len(runs) == 1
    tune(given, [Entry.parse("lr")], out=tmp_path / "tuned", **rates)


@pytest.mark.parametrize("how", ["random", "bayesian", "hyperband"])
def test_a_search_that_was_stopped_goes_on(config, runs, tmp_path, how):
    config = config.with_changes({"epochs": 9})
    entries = [Entry("dnn")]
    found = tune(config, entries, out=tmp_path / "whole", space=SPACE, trials=8, how=how)
    whole = list(runs)
    assert len(whole) == 8
    lines = (tmp_path / "whole" / "results.jsonl").read_text().splitlines()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "results.jsonl").write_text("\n".join(lines[:5]) + "\n")
    runs.clear()
    assert tune(config, entries, out=tmp_path / "half", space=SPACE, trials=8, how=how).best == found.best
    assert runs == whole[5:]
    again = tune(config, entries, out=tmp_path / "half", space=SPACE, trials=8, how=how)
    assert again.best == found.best and len(runs) == 3


def test_hyperband_trains_most_for_a_part_of_the_epochs_and_the_best_for_more(config, runs, tmp_path):
    config = config.with_changes({"epochs": 9})
    found = tune(config, [Entry("dnn")], out=tmp_path, space=SPACE, trials=14, how="hyperband")
    epochs = [run.get("epochs") for run in runs]
    assert epochs[0] is None and set(epochs[1:]) == {1, 3, 9}
    assert epochs.count(1) > epochs.count(3) > epochs.count(9) - epochs.count(None)
    promoted = [run for run in runs if run.get("epochs") == 9]
    assert all({**run, "epochs": 1} in runs for run in promoted)
    assert RunConfig.load(tmp_path / "dnn.yaml").training.epochs == 9
    assert found.best["dnn"]["changes"].get("epochs") in (None, 9)


def test_a_model_of_two_stages_has_a_draw_in_both(config, runs, tmp_path):
    tune(
        config,
        [Entry.parse("mkt")],
        out=tmp_path,
        space={"learning_rate": [0.01], "gamma": [0.5]},
        trials=2,
    )
    drawn = {"learning_rate": 0.01, "first.learning_rate": 0.01, "first.gamma": 0.5}
    assert runs[1] == {"model": "mkt", **drawn, "seed": search.SEED}


def test_a_trial_that_diverges_is_not_chosen_and_a_mistake_is_not_hidden(config, runs, tmp_path, monkeypatch):
    def train(changes):
        if changes.get("learning_rate", 0) == 1.0:
            raise InputError("`val_auc` was not a number in any epoch")
        if changes.get("learning_rate", 0) == 2.0:
            raise ZeroDivisionError("by zero")
        return {
            "validation": {"auc": changes.get("learning_rate", 0.1)},
            "test": {},
            "parameters": 1,
            "seconds": 1.0,
        }

    monkeypatch.setattr(running, "train", train)
    entry = [Entry("dnn")]
    found = tune(config, entry, out=tmp_path / "a", space={"learning_rate": [0.5, 1.0]}, trials=3)
    assert found.best["dnn"]["changes"]["learning_rate"] == 0.5
    with pytest.raises(Exception, match="ZeroDivisionError: by zero"):
        tune(config, entry, out=tmp_path / "b", space={"learning_rate": [2.0, 2.5]}, trials=3)


def test_the_space_is_checked_first(config, runs, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(SPACE))
    assert load_space(path) == SPACE and "learning_rate" in load_space()
    path.write_text("learning_rate: {min: 1e-4, max: 1e-1, sampling: log}\n")
    assert load_space(path) == {"learning_rate": SPACE["learning_rate"]}
    for wrong, words in (
        ({"dropout": 0.2}, "list of values, or a range"),
        ({"dropout": []}, "list of values, or a range"),
        ({"dropout": {"min": 0.2}}, "must be {min"),
        ({"dropout": {"min": 0.2, "max": 0.1}}, "must be {min"),
        ({"dropout": {"min": 0.1, "max": "0.2"}}, "must be {min"),
        ({"dropout": {"min": 0.1, "max": 0.2, "sampling": "exp"}}, "linear or log"),
    ):
        path.write_text(yaml.safe_dump(wrong))
        with pytest.raises(InputError, match=words):
            load_space(path)
    entry = [Entry("dnn")]
    with pytest.raises(InputError, match="'droput'"):
        tune(config, entry, out=tmp_path / "x", space={"droput": [0.1]})
    with pytest.raises(InputError, match="`dropout` must be a number of at least 0"):
        tune(config, entry, out=tmp_path / "x", space={"dropout": [0.1, 2]})
    with pytest.raises(InputError, match="random, bayesian, hyperband"):
        tune(config, entry, out=tmp_path / "x", how="grid")
    with pytest.raises(InputError, match="from 1 to 10000"):
        tune(config, entry, out=tmp_path / "x", trials=0)
    assert not runs and not (tmp_path / "x").exists()


@pytest.mark.slow
def test_what_a_model_does_not_have_is_left_out_and_said(config, runs, tmp_path):
    told = []
    entries = [Entry.parse("lr"), Entry.parse("mkt")]
    found = tune(config, entries, out=tmp_path, trials=3, progress=told.append)
    assert told[0] == "lr: without dropout, source_ratio, which it does not have"
    trials = [text.split() for text in told[1:] if text != "parts"]
    assert [said[2] for said in trials] == ["lr"] * 3 + ["mkt"] * 3  # mkt has all of it
    assert [said[1] for said in trials] == ["1/3", "2/3", "3/3"] * 2
    assert all({"seed", "epoch", "best", "left"} < set(said) for said in trials)
    drawn = {name for run in runs if run["model"] == "lr" for name in run}
    assert drawn == {"model", "seed", "learning_rate", "weight_decay", "width"}
    assert set(found.trials["model"]) == {"lr", "mkt"} and len(found.trials) == 6
    assert found.trials["auc"].max() == max(
        line["result"]["validation"]["auc"] for line in found.best.values()
    )
    told.clear()
    tune(config, [Entry("dnn")], out=tmp_path / "b", space={"dropout": [0.1]}, trials=1, progress=told.append)
    assert told.pop(0) == "parts" and len(told) == 1


def test_the_runs_that_are_found_stay_when_a_later_model_fails(config, runs, tmp_path, monkeypatch):
    train = running.train

    def fails(changes):
        if changes["model"] == "lr":
            raise OSError("disk full")
        return train(changes)

    monkeypatch.setattr(running, "train", fails)
    with pytest.raises(OSError, match="disk full"):
        tune(config, "dnn,lr", out=tmp_path, space={"learning_rate": [0.01]}, trials=2)
    assert RunConfig.load(tmp_path / "dnn.yaml").model == "dnn" and not (tmp_path / "lr.yaml").exists()
