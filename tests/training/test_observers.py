"""A user's own callbacks: named in a configuration; in a run, its first stage and a resumed one."""

from __future__ import annotations

import json

import keras
import pytest

from cdrzoo.data import synthetic
from cdrzoo.errors import InputError
from cdrzoo.training import fitting, observers, run
from cdrzoo.training.config import RunConfig, Training

MODULE = '''
import json, keras

class Logger(keras.callbacks.Callback):
    """A line an epoch; it remembers how many it wrote."""

    def __init__(self, path):
        super().__init__()
        self.path, self.lines = path, 0

    def get_state(self):
        return {"lines": self.lines}

    def set_state(self, state):
        self.lines = state["lines"]

    def on_epoch_end(self, epoch, logs=None):
        self.lines += 1
        line = {"model": self.run_config.model, "epoch": epoch + 1, "line": self.lines, "auc": logs["val_auc"]}
        with open(self.path, "a") as file:
            print(json.dumps(line), file=file)

class Stubborn(Logger):
    def get_state(self):
        return {"lines": object()}

def logger(path):
    return Logger(path)

def nothing():
    return "nothing"

NUMBER = 3
'''


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    made = synthetic.synthesize(users=60, source_rows=300, target_rows=300, source_items=10, target_items=10)
    made.write(folder)
    data = {domain: str(folder / f"{domain}.csv") for domain in made.frames}
    training = Training(batch_size=64, epochs=2, patience=2)
    arguments = {"units": [8]}
    return RunConfig(made.schema, data, "dnn", arguments, domains="target", training=training)


@pytest.fixture
def named(tmp_path, monkeypatch):
    """The callback as a configuration names it, of a module of the user's; it logs to log.jsonl."""
    (tmp_path / "my_logs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return {"name": "my_logs.Logger", "arguments": {"path": str(tmp_path / "log.jsonl")}}


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_they_are_written_and_read_and_belong_to_no_key(config):
    name = "keras.callbacks.CSVLogger"
    given = config.with_changes({"callbacks": [name, {"name": keras.callbacks.Callback}]})
    assert given.to_dict()["training"]["callbacks"] == [
        {"name": name},
        {"name": f"{keras.callbacks.Callback.__module__}.Callback"},
    ]
    assert Training(**given.to_dict()["training"]) == given.training
    assert given.identity() == config.identity()
    assert "callbacks" not in config.to_dict()["training"]
    two = config.with_changes({"model": "finetuned_dnn"})
    assert two.with_changes({"first.callbacks": [name]}).identity() == two.identity()
    assert two.with_changes({"callbacks": [name]}).first_stage().training.callbacks == [{"name": name}]


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ("my_logs.Logger", "must be a list"),
        ([3], "must be the dotted name"),
        (["Logger"], "must be the dotted name"),
        ([{"name": "a.b", "argument": {}}], "Did you mean 'arguments'"),
        ([{"name": "a.b", "arguments": [1]}], "must be the dotted name"),
    ],
)
def test_what_is_no_list_of_names_fails_at_once(callbacks, message):
    with pytest.raises(InputError, match=message):
        Training(callbacks=callbacks)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("my_logz.Logger", "No module named 'my_logz'.*PYTHONPATH"),
        ("my_logs.Loggr", "has no attribute 'Loggr'"),
        ("my_logs.NUMBER", "must be a class"),
        ("json.JSONDecoder", "must be a keras.callbacks.Callback"),
        ("my_logs.Logger", "missing a required argument: 'path'"),
        (
            {"name": "my_logs.Logger", "arguments": {"path": "x", "pth": 1}},
            "unexpected keyword argument 'pth'",
        ),
    ],
)
def test_what_cannot_be_made_fails_before_the_rows_are_read(config, entry, message, named, monkeypatch):
    monkeypatch.setattr(run, "prepare", lambda config: pytest.fail("rows were read"))
    with pytest.raises(InputError, match=message):
        run.train(config.with_changes({"callbacks": [entry]}), "nowhere")


def test_a_function_may_make_it(named):
    observers.check(given := [{"name": "my_logs.logger", "arguments": {"path": "x"}}])
    assert type(observers.make(given)[0]).__name__ == "Logger"
    with pytest.raises(InputError, match="must be a keras.callbacks.Callback"):
        observers.make([{"name": "my_logs.nothing"}])


@pytest.mark.exhaustive
def test_both_stages_log_and_so_does_one_that_was_made_already(config, named, tmp_path):
    import my_logs

    other = my_logs.Logger(str(tmp_path / "other.jsonl"))
    two = config.with_changes({"model": "finetuned_dnn", "domains": "all", "callbacks": [named]})
    done = run.train(two, tmp_path / "run", callbacks=[other])
    lines = logged(tmp_path)
    stages = {"source_dnn": done.metrics["first"], "finetuned_dnn": done.metrics}
    assert [line["model"] for line in lines] == [
        name for name, m in stages.items() for _ in range(m["epochs"])
    ]
    assert [line["line"] for line in lines if line["model"] == "finetuned_dnn"][0] == 1  # made anew
    assert lines[-1]["auc"] == done.history["val_auc"].iloc[-1]
    assert len((tmp_path / "other.jsonl").read_text().splitlines()) == len(lines)
    assert done.config.training.callbacks == [named]


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_what_it_remembers(config, named, tmp_path, monkeypatch):
    config = config.with_changes({"callbacks": [named], "epochs": 3})
    fit = keras.Model.fit

    def stopped(model, *args, callbacks, **kwargs):
        class Stop(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 2:
                    raise KeyboardInterrupt

        return fit(model, *args, callbacks=[*callbacks, Stop()], **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(keras.Model, "fit", stopped)
        run.train(config, tmp_path / "run")
    with pytest.raises(InputError, match="leave `settings` out"):
        run.train(None, tmp_path / "run", resume=True, settings={"epochs": 4})
    run.train(None, tmp_path / "run", resume=True, callbacks=[named])  # one that it has already
    assert [line["line"] for line in logged(tmp_path)] == [1, 2, 3]


def test_what_cannot_be_kept_is_said(config, named, tmp_path):
    stubborn = config.with_changes({"callbacks": [{**named, "name": "my_logs.Stubborn"}]})
    with pytest.raises(InputError, match="What Stubborn remembers as 'lines' cannot be kept"):
        fitting.fit(stubborn, fitting.seen(config, fitting.prepare(config)), tmp_path / "run")


@pytest.mark.exhaustive
def test_every_training_of_a_comparison_logs_and_what_is_kept_is_found_without_them(config, named, tmp_path):
    from cdrzoo.experiments.compare import compare

    settings = {"callbacks": [named], "epochs": 1}
    found = compare(config, "dnn", tmp_path / "compare", seeds=2, settings=settings)
    assert [(line["model"], line["line"]) for line in logged(tmp_path)] == [("dnn", 1)] * 2
    again = compare(config, "dnn", tmp_path / "compare", seeds=2, settings={"epochs": 1})
    assert len(logged(tmp_path)) == 2
    assert [line["key"] for line in again.results] == [line["key"] for line in found.results]
    assert "my_logs" not in (tmp_path / "compare" / "results.jsonl").read_text()
