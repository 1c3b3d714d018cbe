"""Runs that go on with one another, from logs to an export: what is trained on, what stays, and what is refused."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
import yaml

from cdrzoo import cli, models
from cdrzoo.data import synthetic
from cdrzoo.errors import InputError
from cdrzoo.evaluation.transfer import transfer
from cdrzoo.training import callbacks, descent, fitting, folders, run
from cdrzoo.training.config import RunConfig

DAY = 86_400
FAST = {"batch_size": 64, "epochs": 2, "patience": 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with logs of 200 days."""
    folder = tmp_path_factory.mktemp("continual")
    made = synthetic.synthesize(
        users=300, source_rows=1500, target_rows=1200, source_items=30, target_items=20
    )
    return made.write(folder)


def config(home, day, **changes) -> RunConfig:
    """Trains on what was there on a day; the test are the twenty days after the next ten."""
    begin = 1_600_000_000
    cuts = [begin + day * DAY, begin + (day + 10) * DAY, begin + (day + 30) * DAY]
    given = {"schema": "schema.yaml", "data": {n: f"{n}.csv" for n in ("books", "films")}, "model": "dnn"}
    given |= {"arguments": {"units": [4]}, "split": {"by": "time", "cuts": cuts}, "training": FAST}
    return RunConfig.from_dict(given, home).with_changes(changes)


@pytest.fixture(scope="module")
def first(home):
    return run.train(config(home, 80), home / "runs/first")


@pytest.fixture(scope="module")
def second(home, first):
    return run.train(config(home, 120, warm_start_from="runs/first", forget_after=1), home / "runs/second")


def test_a_run_goes_on_where_another_one_ended(home, first, second):
    assert second.config.preparation["since"] == {
        name: parts["train"]["last"]
        for name, parts in folders.read_json(first.folder, "split.json")["parts"].items()
    }
    parts = folders.read_json(second.folder, "split.json")["parts"]["films"]
    assert parts["train"]["first"] > second.config.preparation["since"]["films"]
    before, after = first.encoder, second.encoder
    for table, ids in before.vocabularies.items():
        if not after.growth[table]["taken"]:
            np.testing.assert_array_equal(after.vocabularies[table][: len(ids)], ids)
    assert after.growth["user"]["admitted"] > 0 and after.numbers == before.numbers
    assert after.schema.target_domain.mean == before.schema.target_domain.mean
    assert int(second.model.optimizer.iterations) > int(first.model.optimizer.iterations)


@pytest.mark.slow
def test_an_id_that_is_gone_gives_its_row_to_a_new_one(home, tmp_path):
    how = {"forget_after": 1, "epochs": 1}
    one = run.train(config(home, 20, epochs=1), tmp_path / "one")
    two = run.train(config(home, 60, warm_start_from=str(one.folder), **how), tmp_path / "two")
    given = descent.settled(config(home, 100, warm_start_from=str(two.folder), **how))
    prepared = fitting.prepare(given)
    before, after = two.encoder.vocabularies["user"], prepared.encoder.vocabularies["user"]
    kept = after[: len(before)] == before
    assert (~kept).sum() == prepared.encoder.growth["user"]["taken"] > 0
    was, now = (
        next(np.asarray(w) for w in model.weights if "user" in w.path)[2 : 2 + len(before)]
        for model in (two.model, fitting.build(given, prepared))
    )
    np.testing.assert_array_equal(now[kept], was[kept])
    assert (now[~kept] != was[~kept]).any()


def test_before_the_first_step_its_scores_are_those_of_the_run_before(first, second):
    model = fitting.build(second.config, second.rows)
    one, two = (
        callbacks.target_scores(m, fitting.prepare(second.config, run_.encoder).test())[1]
        for m, run_ in ((first.model, first), (model, second))
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_it_is_exported_as_the_next_version_with_its_line(first, second, home, capsys):
    for each in (first, second):
        path = each.export(home / "models/films")
    assert path.name == "2" and second.verify(path).ok
    card = json.loads((path / "assets.extra/model_card.json").read_text())
    assert [one["run"] for one in card["split"]["descent"]] == ["first"]
    assert cli.main(["verify", str(path), "--run", str(second.folder)]) == 0
    assert "descends from" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stopped_run_that_goes_on_ends_as_if_it_had_not_been_stopped(home, second, monkeypatch):
    write, folder = callbacks.Resume._write, home / "runs/stopped"

    def stop(self, epoch):
        write(self, epoch)
        raise KeyboardInterrupt

    given = config(home, 120, warm_start_from="runs/first", forget_after=1)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(callbacks.Resume, "_write", stop)
        run.train(given, folder)
    resumed = run.train(None, folder, resume=True)
    for one, two in zip(second.model.variables, resumed.model.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_what_cannot_go_on_is_said_before_rows_are_read(home, first, monkeypatch):
    monkeypatch.setattr(RunConfig, "prepare", lambda self, encoder=None: pytest.fail("rows were read"))
    said = {
        "is of the model 'dnn', the configuration is of 'lr'": {"model": "lr", "arguments": {}},
        "`arguments.units` is \\[4\\] there and \\[5\\] here": {"units": [5]},
        "saw the target alone, the configuration says all domains": {"domains": "all"},
        "tables.user.width is 8 there and 16 here": {"width": 16},
        "holds no finished run": {"warm_start_from": "runs/nowhere"},
        "lie in one another": {},
    }
    for message, changes in said.items():
        given = config(home, 120, **{k: v for k, v in changes.items() if k != "arguments"})
        given = given.with_changes({"warm_start_from": changes.get("warm_start_from", "runs/first")})
        folder = home / ("runs/first" if "lie in" in message else "runs/new")
        with pytest.raises(InputError, match=message):
            run.train(given, folder, overwrite="lie in" in message)
    with pytest.raises(InputError, match="Leave `finetune` out"):
        config(home, 120, warm_start_from="a", finetune="b")


def test_rows_must_be_newer_and_the_run_before_the_same(home, first, second, tmp_path):
    with pytest.raises(InputError, match="No training row of 'films' comes after"):
        run.train(config(home, 80, warm_start_from="runs/first"), tmp_path / "new")
    shutil.copytree(first.folder, tmp_path / "first")
    (tmp_path / "first/model.keras").write_bytes(b"another")
    with pytest.raises(InputError, match="was trained anew since"):
        descent.check_line(config(home, 120, warm_start_from=str(tmp_path / "first")), second.folder)


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", ["ctnet", "finetuned_dnn", "mkt", "emcdr", "cctl", "sscdr"])
def test_stages_go_on_one_after_the_other(home, model, tmp_path):
    arguments: dict[str, Any] = {"epochs": 1, "model": model}
    arguments |= {"first.epochs": 1} if models.card(model).after else {}
    one = run.train(config(home, 80, **arguments), tmp_path / "first")
    two = run.train(config(home, 120, **arguments, warm_start_from=str(one.folder)), tmp_path / "second")
    assert np.isfinite(list(two.metrics["test"].values())).any()
    stages = (
        [folders.read_model(each.folder / "first/model.keras") for each in (one, two)]
        if "first" in two.metrics
        else []
    )
    moved = [
        not np.array_equal(a, b) for a, b in zip(*(s.get_weights() for s in stages)) if a.shape == b.shape
    ]
    assert not stages or any(moved) != (model == "finetuned_dnn")
    two.verify(two.export(tmp_path / "served"))


@pytest.mark.slow
def test_the_command_names_the_run(home, first, capsys):
    given = config(home, 120).to_dict()
    (home / "day2.yaml").write_text(yaml.safe_dump({**given, "schema": "schema.yaml"}))
    command = [
        "train",
        str(home / "day2.yaml"),
        "--from",
        str(first.folder),
        "--out",
        str(home / "runs/third"),
    ]
    assert cli.main([*command, "--set", "forget_after=3", "--set", "epochs=1"]) == 0
    said = capsys.readouterr().out
    assert "vocabularies:" in said and "user: " in said and " new" in said


@pytest.mark.exhaustive
@pytest.mark.once
def test_a_transfer_report_trains_the_twin_along_the_same_line(home, tmp_path):
    first = run.train(config(home, 80, domains="all", epochs=1), tmp_path / "first")
    given = config(home, 120, domains="all", epochs=1, warm_start_from=str(first.folder))
    second = run.train(given, tmp_path / "second")
    transfer(second.folder, tmp_path / "report", seeds=1)
    twin, before = (
        folders.read_config(tmp_path / "report/runs" / name) for name in ("twin-seed-0", "twin-seed-0-before")
    )
    assert twin.domains == before.domains == "target" and before.warm_start_from is None
    assert twin.warm_start_from == str((tmp_path / "report/runs/twin-seed-0-before").resolve())
    assert twin.preparation["since"] == second.config.preparation["since"]
