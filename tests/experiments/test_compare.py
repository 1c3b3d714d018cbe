"""The comparison's bookkeeping: what is run, what is not run twice, what is chosen, and what the table says."""

import concurrent.futures
import contextlib
import json
import threading
import time

import numpy as np
import pandas as pd
import pytest

from cdrzoo import files
from cdrzoo.data import synthetic
from cdrzoo.errors import Diverged, InputError
from cdrzoo.evaluation.statistics import paired
from cdrzoo.experiments import compare as module
from cdrzoo.experiments import results, running, search, tables
from cdrzoo.experiments.comparison import Comparison
from cdrzoo.experiments.entries import Entry, with_settings
from cdrzoo.experiments.results import check_results
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.training import fitting
from cdrzoo.training import run as run_module
from cdrzoo.training.config import RunConfig, Training
from tests.models.toys import toy_schema


@pytest.fixture
def config():
    return RunConfig(schema=toy_schema(), data={"books": "books.csv", "films": "films.csv"}, model="dnn")


@pytest.fixture(autouse=True)
def no_rows(monkeypatch):
    """The files of `config` do not exist: what would be measured of them is left out."""
    monkeypatch.setattr(module, "measured", lambda config, *more: {"floors": {}, "groups": {}})


def compare(*arguments, **how):
    """The lines of a comparison."""
    return module.compare(*arguments, **how).results


@pytest.fixture
def runs(monkeypatch):
    """Replaces training: the validation AUC of a run is its learning rate, its test AUC depends on the seed."""
    made = []

    def train(changes):
        made.append(changes)
        rate = changes.get("learning_rate", 0.001)
        test = {"auc": 0.6 + 0.01 * changes["seed"], "gauc": 0.5, "log_loss": 0.7, "ece": 0.1}
        return {"validation": {"auc": rate}, "test": test, "parameters": 1000, "seconds": 2.0}

    monkeypatch.setattr(running, "train", train)
    monkeypatch.setattr(running, "start", lambda config, firsts: None)
    return made


def test_entries_are_parsed():
    entry = Entry.parse("cctl:ren_weight=0:units=[8, 4]:pooling=mean")
    assert entry.changes == {"model": "cctl", "ren_weight": 0, "units": [8, 4], "pooling": "mean"}
    entry = Entry.parse("cmf:loss_weights={books: 0.3, films: 1}:width=4")
    assert entry.changes == {"model": "cmf", "loss_weights": {"books": 0.3, "films": 1}, "width": 4}
    for text, message in (("cctl:ren", "must read name=value"), ("cct:ren=1", "Did you mean 'cctl'")):
        with pytest.raises(InputError, match=message):
            Entry.parse(text)


def test_every_seed_once_and_none_again_after_a_stop(config, runs, tmp_path):
    entries = [Entry.parse("dnn"), Entry.parse("lr")]
    found = compare(config, entries, tmp_path, seeds=2)
    assert [(r["label"], r["changes"]["seed"]) for r in found] == [
        ("dnn", 0),
        ("dnn", 1),
        ("lr", 0),
        ("lr", 1),
    ]
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    (tmp_path / "results.jsonl").write_text("\n".join(lines[:3]) + "\n")  # the last run was cut off
    assert compare(config, entries, tmp_path, seeds=2) == found
    assert len(runs) == 4 + 1


def test_two_at_once_in_one_folder_are_refused(config, runs, tmp_path):
    entries = [Entry.parse("dnn")]
    with files.lock(tmp_path), pytest.raises(InputError, match="Another run is working"):
        compare(config, entries, tmp_path, seeds=1)
    assert not runs
    check_results(tmp_path)  # a comparison that was stopped before its first line is no other's folder
    assert len(compare(config, entries, tmp_path, seeds=1)) == 1


def test_settings_for_all_reach_every_model_that_has_them(config, runs, tmp_path):
    entries = [Entry.parse(text) for text in ("lr", "dnn", "cctl:dropout=0.1", "mkt")]
    settings = {"epochs": 3, "dropout": 0.9, "sync_every": 5, "first.epochs": 2, "domains": "all"}
    changed, entries = with_settings(config, entries, settings)
    assert changed.training.epochs == 3
    given = {entry.label: {k: v for k, v in entry.changes.items() if k != "model"} for entry in entries}
    assert given == {
        "lr": {"domains": "all"},
        "dnn": {"dropout": 0.9, "domains": "all"},
        "cctl:dropout=0.1": {"dropout": 0.1, "sync_every": 5, "domains": "all"},
        "mkt": {"dropout": 0.9, "first.epochs": 2, "domains": "all"},
    }
    compare(changed, entries[:3], tmp_path, seeds=1)
    assert [made.get("dropout") for made in runs] == [None, 0.9, 0.1]
    with pytest.raises(InputError, match="'droput' is a setting of neither the run nor one of lr, dnn"):
        with_settings(config, entries[:2], {"droput": 0.9})


def test_a_line_that_was_cut_off_is_trained_again(config, runs, tmp_path):
    entries = [Entry.parse("dnn")]
    found = compare(config, entries, tmp_path, seeds=3)
    text = (tmp_path / "results.jsonl").read_text()
    (tmp_path / "results.jsonl").write_text(text[:-30])
    assert [line["changes"]["seed"] for line in results.kept(tmp_path / "results.jsonl")] == [0, 1]
    assert compare(config, entries, tmp_path, seeds=3) == found
    assert (tmp_path / "results.jsonl").read_text() == text and len(runs) == 4


def _diverges(monkeypatch, when):
    """Replaces training by one that diverges where `when` says so."""
    made = []

    def fit_once(config, prepared, first, own):
        made.append(config)
        if when(config):
            raise Diverged("`val_auc` was not a number")
        test = {"auc": 0.6 + 0.01 * config.seed, "gauc": 0.5, "log_loss": 0.7, "ece": 0.1}
        validation = {"auc": config.training.learning_rate}
        return {"validation": validation, "test": test, "parameters": 1000, "seconds": 2.0}

    def start(config, firsts):
        running._worker.update(config=config, prepared=None, firsts=firsts)

    monkeypatch.setattr(run_module, "fit_once", fit_once)
    monkeypatch.setattr(running, "start", start)
    return made


def test_a_trial_that_diverges_is_kept_and_not_chosen(config, tmp_path, monkeypatch):
    made = _diverges(monkeypatch, lambda run: run.training.optimizer == "adagrad")
    entries = [Entry.parse("dnn"), Entry.parse("lr")]
    found = compare(config, entries, tmp_path, seeds=2, search=3)
    assert len(made) == 2 * (3 + 2) and len(found) == 4
    assert "optimizer" not in found[0]["changes"]
    lines = results.kept(tmp_path / "results.jsonl")
    assert ["failed" in line["result"] for line in lines].count(True) == 4  # two of each model
    assert compare(config, entries, tmp_path, seeds=2, search=3) == found and len(made) == 10


def test_if_all_trials_diverge_or_a_seed_does_it_is_said_when_all_else_is_done(config, tmp_path, monkeypatch):
    entries = [Entry.parse("dnn"), Entry.parse("lr")]
    _diverges(monkeypatch, lambda run: run.model == "dnn")
    with pytest.raises(Diverged, match="Every trial of dnn failed. `val_auc`"):
        compare(config, entries, tmp_path / "a", seeds=2, search=2)
    _diverges(monkeypatch, lambda run: run.model == "dnn" and run.seed == 0)
    with pytest.raises(Diverged, match="dnn with seed 0: `val_auc`"):
        compare(config, entries, tmp_path / "b", seeds=2)
    kept = [(r["label"], r["changes"]["seed"]) for r in results.kept(tmp_path / "b" / "results.jsonl")]
    assert kept == [("lr", 0), ("dnn", 1), ("lr", 1)]


def test_what_is_trained_beside_a_failure_is_kept(config, tmp_path, monkeypatch):
    """Two threads in place of two processes: the second training ends after the first has failed."""
    over = threading.Event()

    def train(changes):
        if changes["seed"] == 0:
            over.set()
            raise OSError("disk full")
        over.wait()
        time.sleep(0.2)
        return {"validation": {"auc": 0.5}, "test": {"auc": 0.5}, "parameters": 1, "seconds": 1.0}

    @contextlib.contextmanager
    def pool(config, firsts, jobs):
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            yield threads

    monkeypatch.setattr(running, "train", train)
    monkeypatch.setattr(running, "pool", pool)
    with pytest.raises(OSError, match="disk full"):
        compare(config, [Entry.parse("dnn")], tmp_path, seeds=5, jobs=2)
    assert 1 in [line["changes"]["seed"] for line in results.kept(tmp_path / "results.jsonl")]


def test_other_settings_are_another_run(config, runs, tmp_path):
    entry = [Entry.parse("dnn")]
    compare(config, entry, tmp_path, seeds=1)
    compare(config.with_changes({"batch_size": 64}), entry, tmp_path, seeds=1)
    compare(config.with_changes({"batch_size": 64, "units": [8]}), entry, tmp_path, seeds=1)
    assert len(runs) == 3


def test_results_go_on_where_the_same_files_lie_elsewhere(runs, tmp_path):
    entry, key = [Entry.parse("dnn")], lambda text: json.loads(text)["key"]
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        for name in ("books", "films"):
            (tmp_path / place / f"{name}.csv").write_text(f"user,item\n{name},1\n")
    sources = {"books": {"path": "books.csv", "negatives": {"per_positive": 1}}, "films": ["films.csv"]}
    configs = [
        RunConfig(toy_schema(), sources, "dnn", folder=str(tmp_path / place)) for place in ("here", "there")
    ]
    found = tmp_path / "results" / "results.jsonl"
    for config in configs:
        compare(config, entry, found.parent, seeds=1)
    assert len(runs) == 1
    (tmp_path / "there" / "films.csv").write_text("user,item\nfilms,2\n")  # as long, but another content
    compare(configs[1], entry, found.parent, seeds=1)
    (tmp_path / "there" / "films.csv").rename(tmp_path / "there" / "movies.csv")
    renamed = RunConfig(
        toy_schema(), {**sources, "films": "movies.csv"}, "dnn", folder=str(tmp_path / "there")
    )
    compare(renamed, entry, found.parent, seeds=1)
    assert len(set(map(key, found.read_text().splitlines()))) == len(runs) == 3


def test_search_gives_every_model_the_same_trials_and_chooses_on_validation(config, runs, tmp_path):
    entries = [Entry.parse("dnn"), Entry.parse("lr")]
    found = compare(config, entries, tmp_path, seeds=1, search=6)
    searched = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    by_label = {
        label: [r["changes"] for r in searched if r["label"] == label and r["stage"] == "search"]
        for label in ("dnn", "lr")
    }
    assert len(by_label["dnn"]) == len(by_label["lr"]) == 6
    assert [c.get("optimizer") for c in by_label["lr"]] == [None, "adagrad", "adagrad", "adam", None, None]
    without = [{k: v for k, v in c.items() if k not in ("dropout", "model")} for c in by_label["dnn"]]
    assert without[:5] == [{k: v for k, v in c.items() if k != "model"} for c in by_label["lr"]][:5]
    assert all("dropout" not in c for c in by_label["lr"])
    best = max(c.get("learning_rate", 0.001) for c in by_label["dnn"])
    assert found[0]["changes"]["learning_rate"] == best and found[0]["changes"]["seed"] == 0


def test_an_ablation_shares_the_search_of_its_model(config, runs, tmp_path):
    entries = [Entry.parse(text) for text in ("cctl", "cctl:ren_weight=0", "dnn", "dnn:domains=all")]
    found = compare(config, entries, tmp_path, seeds=1, search=4)
    searched = list(map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines()))
    assert [r["label"] for r in searched if r["stage"] == "search"].count("cctl:ren_weight=0") == 0
    full, ablation, single, multi = (r["changes"] for r in found)
    assert {**full, "ren_weight": 0} == ablation
    assert "source_ratio" not in single and multi["domains"] == "all"
    by_label = {e.label: leader.label for e, leader in zip(entries, search.leaders(config, entries).values())}
    assert by_label["dnn:domains=all"] == "dnn:domains=all"
    recipe = Entry(entries[1].label, entries[1].changes, searched=True)
    assert search.leaders(config, [entries[0], recipe])[recipe.label] is recipe


def test_a_draw_of_a_two_stage_model_applies_to_both_and_its_variants_share_it(config, runs, tmp_path):
    single = search.trials(config.with_changes({"model": "cctl"}), 5)
    two = search.trials(config.with_changes({"model": "mkt"}), 5)
    assert two == [{**draw, **{f"first.{name}": value for name, value in draw.items()}} for draw in single]
    entries = [Entry.parse(text) for text in ("mkt", "mkt:first.gamma=0:first.learning_rate=0.5")]
    full, ablation = (r["changes"] for r in compare(config, entries, tmp_path, seeds=1, search=8))
    assert {**full, "first.gamma": 0, "first.learning_rate": 0.5} == ablation
    assert full["learning_rate"] == full["first.learning_rate"]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_models_that_share_a_first_stage_train_it_once(config, monkeypatch, tmp_path, jobs):
    config = config.with_changes({"model": "dnn", "epochs": 1})
    firsts, made = [], []

    def fit_first(first, prepared, folder, own):
        firsts.append((first.seed, first.training.learning_rate, folder))

    def fit_once(run, prepared, folder, own):
        made.append((run.model, run.seed, folder))
        return {"validation": {"auc": 0.5}, "test": {"auc": 0.5}, "parameters": 1, "seconds": 1.0}

    monkeypatch.setattr(fitting, "fit_first", fit_first)
    monkeypatch.setattr(run_module, "fit_once", fit_once)
    monkeypatch.setattr(fitting, "seen", lambda config, prepared: prepared)
    monkeypatch.setattr(fitting, "prepare", lambda config: None)
    pools = {"max_workers": 2, "initializer": running.start, "initargs": (config, tmp_path / "first")}
    threads = concurrent.futures.ThreadPoolExecutor(**pools)
    monkeypatch.setattr(running.concurrent.futures, "ProcessPoolExecutor", lambda *args, **kwargs: threads)
    texts = ("mkt", "mkt:units=[8]", "mkt:first.learning_rate=0.5", "dnn")
    entries = [Entry.parse(text) for text in texts]
    compare(config, entries, tmp_path, seeds=2, jobs=jobs)
    folders = {folder for _, _, folder in made if folder}
    assert len(made) == 8 and len(folders) == 4  # two learning rates, two seeds
    assert all(folder is None for model, _, folder in made if model == "dnn")
    assert len({(seed, folder) for model, seed, folder in made if model == "mkt"}) == 4
    if jobs == 2:  # before the second stages, so that no two processes train the same one
        assert sorted(firsts)[0][:2] == (0, 0.001) and {f for *_, f in firsts} == folders and len(firsts) == 4


@pytest.mark.exhaustive
@pytest.mark.once
def test_a_new_process_reads_the_first_stage_that_another_has_trained(tmp_path):
    """A comparison that goes on after a stop: no model has been imported in the processes that it starts."""
    made = synthetic.synthesize(users=60, source_rows=400, target_rows=400, source_items=20, target_items=20)
    training = Training(batch_size=64, epochs=1)
    config = RunConfig(schema=made.schema, data=made.sources, model="finetuned_dnn", training=training)
    first = config.first_stage()
    fitting.fit_first(first, fitting.prepare(config), tmp_path / results.key_of(first))
    with running.pool(config, tmp_path, jobs=2) as pool:
        pool.submit(running.train_first, first).result()


def test_what_is_finetuned_has_a_search_of_its_own_that_keeps_its_widths(config):
    finetuned = config.with_changes({"model": "dacdr", "finetune": "runs/old"})
    entries = [Entry.parse(text) for text in ("dacdr", "dacdr:finetune=null")]
    assert list(search.leaders(finetuned, entries).values()) == entries
    assert {name for draw in search.trials(finetuned, 4) for name in draw} == {
        "learning_rate",
        "weight_decay",
        "optimizer",
    }


def test_a_model_of_the_target_alone_draws_nothing_of_the_sources(config):
    draw = {"source_ratio": 2.0, "loss_weights": {"books": 0.5}, "epochs": 3}
    assert search.changes_of(config, draw) == {"epochs": 3}
    assert search.changes_of(config.with_changes({"model": "cmf"}), draw) == draw


def test_mistakes_fail_before_anything_is_trained(config, runs, tmp_path):
    with pytest.raises(InputError, match="units"):
        compare(config, [Entry.parse("dnn:unit=3")], tmp_path)
    for wrong in ("dropout=2", "dropout=abc", "units=64", "units=[0]", "learning_rate=high"):
        with pytest.raises(InputError, match=wrong.partition("=")[0]):
            compare(config, [Entry.parse("lr"), Entry.parse(f"dnn:{wrong}")], tmp_path)
    with pytest.raises(InputError, match="finetune=null"):
        compare(config, [Entry.parse("dacdr:finetune=runs/old")], tmp_path)
    with pytest.raises(InputError, match="the same"):
        compare(config, [Entry.parse("dnn"), Entry.parse("dnn")], tmp_path)
    assert not runs


def test_table_by_hand():
    def line(label, seed, auc):
        test = {"auc": auc, "gauc": 0.5, "log_loss": 0.7, "ece": 0.1}
        return {
            "label": label,
            "changes": {"seed": seed},
            "result": {"test": test, "parameters": 1234, "seconds": 2.0},
        }

    found = [line("dnn", 0, 0.60), line("dnn", 1, 0.62), line("cctl", 0, 0.63), line("cctl", 1, 0.67)]
    rows = tables.table(found, "dnn", {"item mean": {"auc": 0.55}})
    assert [row["model"] for row in rows] == ["item mean", "dnn", "cctl"]
    assert rows[0]["AUC"] == "0.5500" and rows[0]["GAUC"] == ""
    assert rows[1]["AUC"] == "0.6100 ± 0.0141" and rows[1]["difference"] == ""
    # Differences 0.03 and 0.05: mean 0.04, std 0.01414, t = 4 with one degree of freedom, p = 1 - 2/pi atan(4).
    assert rows[2]["difference"] == "+0.0400" and rows[2]["p"] == "0.156"
    assert rows[2]["p, Holm"] == "0.156"  # one test: nothing to correct
    third = [line("lr", 0, 0.63), line("lr", 1, 0.67)]
    assert [row["p, Holm"] for row in tables.table(found + third, "dnn")] == ["", "0.312", "0.312"]
    assert rows[2]["parameters"] == "1,234" and rows[2]["seconds"] == "2.0"
    # Six seeds, the fewest that Wilcoxon's test can say something of: one sign, 2 / 2^6.
    assert "p, Wilcoxon" not in rows[2]
    more = [
        line(m, seed, auc + 0.01 * seed * (m != "dnn"))
        for m, auc in (("dnn", 0.6), ("cctl", 0.7))
        for seed in range(6)
    ]
    ranked = tables.table(
        [*more, line("lr", 0, 0.6), line("lr", 1, 0.5)], "dnn", {"item mean": {"auc": 0.55}}
    )
    assert [row["p, Wilcoxon"] for row in ranked] == ["", "", "0.031", "1.000"]
    assert list(ranked[0]) == list(ranked[1]) == list(ranked[2])
    best = tables.with_best(rows)
    assert [row["AUC"] for row in best] == ["0.5500", "0.6100 ± 0.0141", "**0.6500 ± 0.0283**"]
    lost = {"log_loss": 0.7}, {"log_loss": 0.6}  # less is better; the floor, lower than both, is no model
    losses = [
        line(m, 0, 0.5) | {"result": {"test": t, "parameters": 1, "seconds": 1.0}}
        for m, t in zip("ab", ({"auc": 0.5, **one} for one in lost))
    ]
    text = [row["LogLoss"] for row in tables.with_best(tables.table(losses, None, {"x": {"log_loss": 0.1}}))]
    assert text == ["0.1000", "0.7000", "**0.6000**"]
    text = tables.markdown(rows).splitlines()
    assert text[0].startswith("| model | AUC |") and text[2].startswith("| item mean | 0.5500 |")


def test_metrics_of_groups_by_hand():
    def line(label, seed, **test):
        return {"label": label, "changes": {"seed": seed}, "result": {"test": {"auc": 0.5, **test}}}

    nan = float("nan")  # a group with one class has no AUC; one that is all rows says nothing of its own
    found = [
        line("dnn", 0, **{"auc@cold": 0.6, "auc@warm": nan, "auc@0-9": 0.5, "log_loss@cold": 0.7}),
        line("dnn", 1, **{"auc@cold": 0.8, "auc@warm": 0.9, "auc@30+": nan}),
        line("dacdr", 0, **{"auc@cold": 0.4}),
    ]
    assert tables.group_tables(found, {"cold": 1200, "warm": 3, "30+": 1}) == {
        "AUC": [
            {"model": "test rows", "cold": "1,200", "warm": "3"},
            {"model": "dnn", "cold": "0.7000 ± 0.1414", "warm": "0.9000"},
            {"model": "dacdr", "cold": "0.4000", "warm": ""},
        ]
    }
    assert [row["model"] for row in tables.group_tables(found, {})["AUC"]] == ["dnn", "dacdr"]


def test_what_differs_in_a_group_is_marked_after_correction_for_all_groups_and_models():
    def line(label, seed, **test):
        return {"label": label, "changes": {"seed": seed}, "result": {"test": {"auc": 0.5, **test}}}

    noise = [0.001, -0.001, 0.0005, -0.0005]
    found = [line("dnn", s, **{"auc@a": 0.6 + e, "auc@b": 0.6 - e}) for s, e in enumerate(noise)]
    # Of dcn in b: p is 0.02, and four tests are made.
    for s, e in enumerate(noise):
        found.append(line("dcn", s, **{"auc@a": 0.6 + 2 * e, "auc@b": 0.6 + 0.004 + e}))
        found.append(line("lr", s, **{"auc@a": 0.5 + 2 * e, "auc@b": 0.6 - 2 * e}))
    assert 0.0125 < paired([0.6 + 0.004 + e for e in noise], [0.6 - e for e in noise]).p < 0.05
    sizes = {"a": 1200, "b": 30}
    rows = tables.group_tables(found, sizes, "dnn", {"a": 20, "b": 7})["AUC"]
    assert [row["model"] for row in rows] == ["test rows", "clicks", "dnn", "dcn", "lr"]
    assert rows[1] == {"model": "clicks", "a": "20", "b": "7"}
    marked = {(row["model"], g) for row in rows for g in "ab" if row[g].endswith(tables.MARK)}
    assert marked == {("lr", "a")}
    assert "differs from dnn" in tables.about_groups(sizes, "dnn") and "*" not in tables.about_groups(sizes)


def test_who_is_best_on_the_target_alone_is_said_by_validation_rows():
    def line(label, domains, seed, validation):
        result = {"domains": domains, "validation": {"auc": validation}, "test": {"auc": 1 - validation}}
        return {"label": label, "changes": {"seed": seed}, "result": result}

    found = [line("all", "all", 0, 0.9), line("din", "target", 0, 0.8), line("din", "target", 1, 0.6)]
    found += [line("lr", "target", seed, 0.71) for seed in range(2)]
    assert module.best_alone(found) == "lr"


def test_every_model_gets_as_many_different_trials(config, runs, tmp_path):
    """A draw of what a model ignores or has anyway, or an entry fixes, trains nothing new, and is none."""
    for text in (
        "lr",
        "dnn:domains=all",
        "conet",  # batches of one user's rows: a source has as many as the target
        "dacdr",  # passes the sources' rows over
        "dacdr:targets=[films,books]",
        "mkt",
        "lr:optimizer=adagrad:learning_rate=0.1",
    ):
        entry = Entry.parse(text)
        run = config.with_changes({**entry.changes, "width": 8})
        found = search.trials(run, 8, entry.changes)
        ratio = any("source_ratio" in trial for trial in found)
        assert ratio == (text not in ("lr", "conet", "dacdr", "lr:optimizer=adagrad:learning_rate=0.1")), text
        usual = {"learning_rate": 0.001, "width": 8, "weight_decay": 0.0, "dropout": 0.0, "source_ratio": 1.0}
        usual |= (
            {"optimizer": "adam"} | {f"first.{name}": value for name, value in usual.items()} | entry.changes
        )
        trained = [{**usual, **trial, **entry.changes} for trial in found]
        assert len(found) == 8 and all(one not in trained[:k] for k, one in enumerate(trained)), text


def test_a_small_space_has_no_more_trials_than_it_has(config, monkeypatch):
    monkeypatch.setattr(search, "space", lambda: {"learning_rate": [0.001, 0.003]})
    found = search.trials(config.with_changes({"model": "lr"}), 8)
    assert [trial.get("learning_rate") for trial in found] == [None, 0.1, 0.03, 0.001, 0.003]


def test_a_search_tries_the_width_of_the_paper(config):
    found = search.trials(config.with_changes({"model": "dadin"}), 8)
    assert [trial["width"] for trial in found if set(trial) == {"width"}] == [64]


def test_a_comparison_gives_frames(config, runs, tmp_path, monkeypatch):
    rows = {"floors": {"item mean": {"auc": 0.55, "log_loss": 0.6}}, "groups": {}}
    monkeypatch.setattr(module, "measured", lambda config, *more: rows)
    told = []
    settings = {"epochs": 3}
    found = module.compare(
        config, "dnn,lr:width=8", tmp_path, seeds=2, against="lr:width=8", settings=settings, tell=told.append
    )
    assert told == ["Paired t-test over seeds against lr:width=8."]
    table, made = found.table, found.runs
    assert list(table.index) == ["item mean", "dnn", "lr:width=8"]
    assert table.loc["dnn", "auc"] == pytest.approx(0.605) and table.loc["item mean", "auc"] == 0.55
    assert table.loc["dnn", "auc_std"] == pytest.approx(0.01 / 2**0.5)
    assert table.loc["dnn", ["difference", "p", "p_holm"]].tolist() == [0, 1, 1]
    assert table["seconds"].isna().tolist() == [True, False, False]
    assert made[["model", "seed", "auc", "val_auc"]].values.tolist() == [
        ["dnn", 0, 0.6, 0.001],
        ["dnn", 1, 0.61, 0.001],
        ["lr:width=8", 0, 0.6, 0.001],
        ["lr:width=8", 1, 0.61, 0.001],
    ]
    assert made["settings"].tolist() == [{}, {}, {"width": 8}, {"width": 8}]
    assert repr(found) == f"Comparison({str(tmp_path)!r}: 2 models, 4 runs)"
    assert "<td>0.6050 ± 0.0071</td>" in found._repr_html_()
    assert found.markdown() in (tmp_path / "table.md").read_text()
    about = json.loads((tmp_path / "comparison.json").read_text())
    assert about["command"] == [
        *("compare", "run.yaml", "--models", "dnn,lr:width=8", "--seeds", "2", "--search", "0"),
        *("--set", "epochs=3", "--out", str(tmp_path)),
    ]
    assert about["config"]["training"]["epochs"] == 3 and about["floors"] == rows["floors"]
    assert about["runs"] == results.runs(found.results)
    again = Comparison.load(tmp_path)
    assert again.table.equals(table) and again.runs.equals(made)
    assert again.labels == ["dnn", "lr:width=8"] and again.searched == 0


def test_what_fails_beside_the_trainings_loses_none(config, runs, tmp_path, monkeypatch):
    def fails(*arguments):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:  # of the rows: before the first training
        patch.setattr(module, "measured", fails)
        with pytest.raises(ZeroDivisionError):
            compare(config, "dnn,lr", tmp_path, seeds=2)
        assert not runs
    with monkeypatch.context() as patch:  # after the last one
        patch.setattr(tables, "table", fails)
        with pytest.raises(ZeroDivisionError):
            compare(config, "dnn,lr", tmp_path, seeds=2)
    assert len(runs) == len(json.loads((tmp_path / "comparison.json").read_text())["runs"]) == 4
    with monkeypatch.context() as patch:  # in their midst
        train = running.train
        patch.setattr(running, "train", lambda changes: fails() if changes["seed"] == 1 else train(changes))
        with pytest.raises(ZeroDivisionError):
            compare(config, "dnn", tmp_path / "b", seeds=2)
    about = json.loads((tmp_path / "b" / "comparison.json").read_text())
    assert "runs" not in about and about["config"]["schema"]["target"] == "films"
    (tmp_path / "b" / "results.jsonl").unlink()
    check_results(tmp_path / "b")  # stopped before its first line
    (tmp_path / "b" / "comparison.json").write_text("{}")
    with pytest.raises(InputError, match="not of a comparison"):
        check_results(tmp_path / "b")


def test_what_means_nothing_is_refused(config, runs, tmp_path):
    for how, words in (
        ({"seeds": 0}, "`seeds` must be a whole number from 1 to 1000"),
        ({"seeds": True}, "`seeds`"),
        ({"search": -1}, "`search` must be a whole number from 0 to 10000"),
        ({"jobs": -4}, "`jobs` must be a whole number from 1 to 256"),
        ({"settings": {"seed": 5}}, "leave out `seed`"),
        ({"settings": {"model": "lr"}}, "`model` names one"),
        ({"against": "ln"}, "must be one of dnn, lr. Received: 'ln'"),
    ):
        with pytest.raises(InputError, match=words):
            compare(config, "dnn,lr", tmp_path / "c", **how)
    assert not runs and not (tmp_path / "c").exists()


def test_without_users_there_is_no_gauc():
    test = {"auc": 0.6, "log_loss": 0.7, "ece": 0.1}
    result = {"test": test, "parameters": 1, "seconds": 1.0}
    lines = [{"label": "dnn", "changes": {"seed": 0}, "result": result}]
    assert list(tables.table(lines, None)[0])[:4] == ["model", "AUC", "LogLoss", "ECE"]


@pytest.mark.slow
def test_logs_without_users_are_compared(tmp_path, monkeypatch):
    """End to end: no GAUC, no groups of users, floors of items alone."""
    monkeypatch.undo()  # the rows exist
    random = np.random.default_rng(0)
    features = [Feature("site", "id", "context", table="site"), Feature("item", "id", "item", table="item")]
    for name in ("web", "app"):
        frame = pd.DataFrame({"site": random.integers(0, 5, 300), "item": random.integers(0, 9, 300)})
        frame = frame.astype(str).assign(click=random.integers(0, 2, 300), time=np.arange(300))
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    domains = [Domain(name, features, label="click", time="time", item="item") for name in ("web", "app")]
    schema = Schema(domains, "app", [Table("site"), Table("item")])
    sources = {name: str(tmp_path / f"{name}.csv") for name in ("web", "app")}
    config = RunConfig(schema, sources, "dnn", training=Training(epochs=1, batch_size=32))
    found = module.compare(config, "lr,dnn:units=[4]", tmp_path / "out", seeds=1)
    assert found.columns == {"auc": "AUC", "log_loss": "LogLoss", "ece": "ECE"}
    assert list(found.floors) == ["item mean"] and found.about["groups"] == {}
    assert "GAUC" not in (tmp_path / "out" / "table.md").read_text() and len(found.runs) == 2
