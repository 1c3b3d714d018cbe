"""What a run chooses its epoch by, and what it leaves in place when it is told to overwrite."""

from __future__ import annotations

import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from cdrzoo import files
from cdrzoo.data import synthetic
from cdrzoo.errors import InputError
from cdrzoo.models import CARDS
from cdrzoo.training import callbacks, fitting, folders, looks, measuring, run
from cdrzoo.training.config import RunConfig, Training


def test_the_epoch_is_the_best_on_validation_rows_and_no_test_row_is_looked_at(tmp_path):
    """The best test epoch, which some report, is a choice made on test rows. Each of two stages is fitted like this."""
    made = synthetic.synthesize(users=80, source_rows=400, target_rows=500, source_items=30, target_items=20)
    # A learning rate at which validation soon gets worse again, so that the last epoch is not the best.
    training = Training(batch_size=64, learning_rate=0.1, epochs=4, patience=3)
    config = RunConfig(schema=made.schema, data=made.sources, model="lr", training=training)
    prepared = fitting.seen(config, fitting.prepare(config))
    prepared.parts["films"].pop("test")
    fitted = fitting.fit(config, prepared, tmp_path)
    watched = fitted.history["val_auc"]
    assert fitted.best_epoch == int(np.argmax(watched)) < len(watched) - 1
    assert measuring.evaluate(fitted.model, prepared, "valid")["auc"] == pytest.approx(max(watched), abs=1e-6)


@pytest.fixture(scope="module")
def small():
    made = synthetic.synthesize(users=60, source_rows=400, target_rows=400, source_items=20, target_items=20)
    return RunConfig(schema=made.schema, data=made.sources, training=Training(batch_size=32, epochs=1))


@pytest.mark.parametrize("name", [card.name for card in CARDS if card.paired])
def test_a_model_that_wants_pairs_is_trained_on_pairs(small, name, tmp_path, monkeypatch):
    class Caught(Exception):
        pass

    def fit(model, rows, **kwargs):
        raise Caught(rows)

    monkeypatch.setattr(keras.Model, "fit", fit)
    config = small.with_changes({"model": name, "source_ratio": 2.0})
    with pytest.raises(Caught) as caught:
        fitting.fit(config, fitting.prepare(config), tmp_path)
    (rows,) = caught.value.args
    users = [{domain: x[domain]["user"].numpy() for domain in ("books", "films")} for x, _ in rows]
    assert len(users) > 3 and all(len(np.unique(batch["films"])) > 5 for batch in users)
    for batch in users:
        np.testing.assert_array_equal(batch["books"], batch["films"])


def test_the_weights_of_domains_reach_the_stage_they_are_set_for(small, tmp_path):
    config = small.with_changes(
        {"model": "mkt", "loss_weights": {"films": 3}, "first.loss_weights": {"books": 0.5}}
    )
    prepared = fitting.prepare(config)
    first = fitting.build(config.first_stage(), prepared)
    assert first._terms.weights == {"books": 0.5, "films": 1.0}
    assert fitting.build(config, prepared, first)._terms.weights == {"books": 1.0, "films": 3.0}
    alone = small.with_changes({"model": "dnn", "loss_weights": {"books": 0.5, "films": 3}})
    assert fitting.build(alone, fitting.seen(alone, prepared))._terms.weights == {"films": 3.0}


def test_rows_come_together_by_a_column_or_by_the_feature_that_reads_it(small):
    """A catalogue may say `group: user` of logs whose column is called otherwise."""
    schema, renamed = small.schema, {"user": "reader", "price": "cents"}
    domains = tuple(
        dataclasses.replace(
            d,
            user="reader",
            features=tuple(
                dataclasses.replace(f, column=renamed.get(f.column, f.column)) for f in d.features
            ),
        )
        for d in schema.domains
    )
    sources = {name: {"data": source["data"].rename(columns=renamed)} for name, source in small.data.items()}
    config = dataclasses.replace(small, schema=dataclasses.replace(schema, domains=domains), data=sources)
    prepared = fitting.prepare(config)
    for column in ("reader", "price", "cents"):
        fitting.check_model(config.with_changes({"group": column}))
    for name, column in (("user", "reader"), ("price", "cents")):
        one, other = (
            prepared.train({"books": 16, "films": 16}, group={"books": each}) for each in (name, column)
        )
        for (x, _), (same, _) in zip(one, other, strict=True):
            np.testing.assert_array_equal(x["books"]["user"], same["books"]["user"])
    with pytest.raises(
        InputError, match=r"'books' are grouped by must be one of .*reader.* Received: 'buyer'"
    ):
        fitting.check_model(config.with_changes({"group": "buyer"}))


@pytest.mark.exhaustive
def test_the_weight_of_a_source_changes_what_is_learnt(small):
    prepared = fitting.prepare(small)
    found = [
        run.fit_once(small.with_changes({"model": "cmf", "loss_weights": weights}), prepared)["test"]["auc"]
        for weights in (None, {"books": 1, "films": 1}, {"books": 0.1})
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.once
@pytest.mark.parametrize(
    ("model", "logged"),
    [
        pytest.param(
            "dadin",
            {"interest_weights": [f"films, {of}" for of in ("user", "history_films", "history_books")]},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "dacdr",
            {"attention_weights": [f"films, books_shown, {of}" for of in ("alpha", "beta")]},
            marks=pytest.mark.exhaustive,
        ),
        pytest.param("mmoe", {"gates": ["films, 1", "films, 2"]}, marks=pytest.mark.exhaustive),
        pytest.param(
            "mkt",
            {"gate_activity": ["cross"], "feature_importance": ["minutes"]},
            marks=pytest.mark.exhaustive,
        ),
        ("dnn", {}),
    ],
)
def test_what_a_report_draws_is_logged_every_epoch(model, logged, tmp_path):
    made = synthetic.synthesize(users=40, source_rows=200, target_rows=200, source_items=10, target_items=10)
    few = {"epochs": 1} if model == "mkt" else {}
    training = Training(batch_size=64, epochs=2)
    config = RunConfig(schema=made.schema, data=made.sources, model=model, training=training, first=few)
    prepared = fitting.seen(config, fitting.prepare(config))
    fitted = fitting.fit(config, prepared, tmp_path)
    assert sorted(looks.looks(fitted.model)) == sorted(logged)  # MKT's gates are layers, not what MMoE's are
    rows = len(prepared.parts["films"]["valid"])
    for quantity, names in logged.items():
        (file,) = (tmp_path / "logs" / quantity).glob("events*")
        found = {
            (event.step, value.tag): tf.make_ndarray(value.tensor)
            for event in tf.compat.v1.train.summary_iterator(str(file))
            for value in event.summary.value
        }
        for name in names:
            counts = [found[epoch, f"{quantity}/{name}"][:, 2].sum() for epoch in (1, 2)]
            assert counts[0] == counts[1] > 0
            if quantity not in ("attention_weights", "gate_activity"):
                assert counts[0] == rows


def test_a_learning_rate_may_be_a_whole_number():
    made = synthetic.synthesize(users=40, source_rows=100, target_rows=100, source_items=10, target_items=10)
    config = RunConfig(schema=made.schema, data=made.sources, model="lr", training=Training(learning_rate=1))
    model = fitting.build(config, fitting.seen(config, fitting.prepare(config)))
    assert float(model.optimizer.learning_rate) == 1.0


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A folder of a user's own: two logs, their schema and a run configuration."""
    folder = tmp_path_factory.mktemp("logs")
    synthetic.synthesize(users=40, source_rows=200, target_rows=300, source_items=20, target_items=10).write(
        folder
    )
    data = {name: f"{name}.csv" for name in ("books", "films")}
    training = {"batch_size": 64, "epochs": 1}
    config = {"schema": "schema.yaml", "data": data, "model": "lr", "training": training}
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def frames():
    made = synthetic.synthesize(users=40, source_rows=100, target_rows=200, source_items=10, target_items=10)
    return made.schema, made.frames


def _one_class(frame, rows):
    frame = frame.sort_values("time", ignore_index=True)
    frame.loc[rows, "click"] = 1
    return frame


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        (
            lambda f: _one_class(f, slice(130, 165)),
            {},
            "`val_auc` cannot choose .* there are not both clicks",
        ),
        (
            lambda f: f.assign(user=range(len(f))),
            {"monitor": "val_gauc"},
            "no user has both clicks and others",
        ),
        (lambda f: _one_class(f, slice(0, 139)), {}, "training rows of 'films' all have the label 1"),
        (lambda f: f, {"monitor": "val_rmse"}, "must be what is measured of 'films': val_auc, .* 'val_rmse'"),
        (lambda f: f, {"monitor": "val_auc@cold"}, "must be what is measured of 'films'"),
        (lambda f: f.head(3), {}, "leaves 'films' no validation rows"),
        (lambda f: f, {"dropout": 2}, "`dropout` must be a number of at least 0 and below 1. Received: 2"),
        (lambda f: f, {"model": "mkt", "first.monitor": "val_mae"}, "'val_mae'"),
    ],
    ids=[
        "valid of one class",
        "users of one class",
        "train of one class",
        "metric",
        "group",
        "3 rows",
        "model",
        "first",
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    frames, tmp_path, monkeypatch, change, given, message
):
    schema, rows = frames
    data = {"books": "books.csv", "films": "films.csv"}
    rows["books"].to_csv(tmp_path / "books.csv", index=False)
    change(rows["films"]).to_csv(tmp_path / "films.csv", index=False)
    config = RunConfig(schema, data, "dnn", domains="all", folder=str(tmp_path))
    config = config.with_changes({"batch_size": 2, **given})
    monkeypatch.setattr(keras.Model, "fit", None)
    with pytest.raises(InputError, match=message):
        run.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=message):  # what a comparison does
        fitting.fit(config, fitting.prepare(config), tmp_path / "fit")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["books.csv", "films.csv"]


def test_one_class_will_do_for_another_metric_than_auc(frames, tmp_path):
    schema, rows = frames
    data = {"films": {"data": _one_class(rows["films"], slice(130, 165))}}
    training = Training(batch_size=32, epochs=1, monitor="val_log_loss")
    config = RunConfig(schema.only("films"), data, "lr", training=training)
    history = fitting.fit(config, fitting.prepare(config), tmp_path).history
    assert np.isnan(history["val_auc"]).all() and np.isfinite(history["val_log_loss"]).all()
    with pytest.raises(InputError, match="cannot hold a DataFrame"):
        run.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def trained(logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "lr"
    run.train(RunConfig.load(logs / "run.yaml"), folder)
    return folder


def _files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.exhaustive
def test_a_run_is_discarded_only_when_the_new_one_can_be_trained(logs, trained, tmp_path):
    folder = tmp_path / "lr"
    shutil.copytree(trained, folder)
    before, config = _files(folder), RunConfig.load(logs / "run.yaml")
    (tmp_path / "bad.csv").write_text((logs / "films.csv").read_text().replace("click", "seen"))
    for wrong in (
        config.with_changes({"model": "dnn", "dropout": 2}),
        RunConfig(
            config.schema, {"books": str(logs / "books.csv"), "films": str(tmp_path / "bad.csv")}, "lr"
        ),
    ):
        with pytest.raises(ValueError, match="dropout|rate|lacks the column"):
            run.train(wrong, folder, overwrite=True)
        assert _files(folder) == before
    (folder / "first").mkdir()  # as a run of two stages leaves it
    (folder / "first" / "metrics.json").write_text("old")
    (folder / ".metrics.json.unfinished").write_text(
        "{"
    )  # as a process leaves it that is killed while it writes
    run.train(config.with_changes({"seed": 1}), folder, overwrite=True)
    assert RunConfig.load(folder / "config.yaml").seed == 1 and not (folder / "first").exists()
    assert {path.name for path in folder.iterdir()} <= {*folders.RUN, files.LOCK}
    assert not (folder / ".metrics.json.unfinished").exists()


@pytest.mark.exhaustive
@pytest.mark.once
def test_a_run_of_a_comparison_draws_no_histograms(small, monkeypatch):
    """Its folder is gone when it ends."""

    def none(*arguments, **settings):
        raise AssertionError("a histogram")

    monkeypatch.setattr(callbacks, "WeightHistogram", none)
    config = small.with_changes({"model": "cctl", "sync_every": 5})
    assert 0 <= run.fit_once(config, fitting.prepare(config))["test"]["auc"] <= 1


def test_a_folder_that_is_more_than_a_run_is_never_discarded(logs, trained, tmp_path):
    """A project of the user's own looks like one: its run configuration may be called config.yaml, too."""
    config = RunConfig.load(logs / "run.yaml")
    shutil.copytree(logs, tmp_path / "project")
    (tmp_path / "project" / "run.yaml").rename(tmp_path / "project" / "config.yaml")
    shutil.copytree(trained, tmp_path / "noted")
    (tmp_path / "noted" / "notes.txt").write_text("a year of work")
    for name, words in (("project", "no run of cdrzoo"), ("noted", "more than a run: notes.txt")):
        before = _files(tmp_path / name)
        with pytest.raises(InputError, match=words):
            run.train(config, tmp_path / name, overwrite=True)
        assert _files(tmp_path / name) == before


def test_a_run_is_not_discarded_for_one_that_is_made_from_it(logs, trained, tmp_path):
    folder = tmp_path / "lr"
    shutil.copytree(trained, folder)
    before, given = _files(folder), yaml.safe_load((logs / "run.yaml").read_text())
    data = {name: str(logs / f"{name}.csv") for name in ("books", "films")}
    for place, changed in {
        tmp_path / "schema": {"schema": str(folder / "schema.yaml"), "data": {"films": data["films"]}},
        tmp_path / "rows": {"data": {**data, "films": {"path": str(folder / "examples.parquet")}}},
        tmp_path / "pattern": {"data": {**data, "films": [str(tmp_path / "*" / "examples.parquet")]}},
    }.items():
        place.mkdir()
        text = yaml.safe_dump({**given, "schema": str(logs / "schema.yaml"), "data": data, **changed})
        (place / "run.yaml").write_text(text)
        with pytest.raises(InputError, match="lies in the run"):
            run.train(RunConfig.load(place / "run.yaml"), folder, overwrite=True)
    with pytest.raises(InputError, match="config.yaml, which lies in the run"):
        run.train(RunConfig.load(folder / "config.yaml"), folder, overwrite=True)
    assert _files(folder) == before


@pytest.mark.slow
def test_two_at_once_in_one_folder_are_refused(logs, tmp_path):
    config = RunConfig.load(logs / "run.yaml").with_changes({"model": "lr"})
    with files.lock(tmp_path / "run"):
        with pytest.raises(InputError, match="Another run is working"):
            run.train(config, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [files.LOCK]
    done = run.train(config, tmp_path / "run")  # a folder that holds nothing else is free
    assert done.metrics["test"]["auc"]
    (tmp_path / "run/notes.txt").touch()
    with pytest.raises(InputError, match=r"more than a run: notes\.txt\."):
        run.train(config, tmp_path / "run", overwrite=True)
