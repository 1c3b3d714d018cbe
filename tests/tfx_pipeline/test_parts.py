"""What needs no TFX: the configuration, the hash of the code."""

from __future__ import annotations

import ast
import contextlib
import pathlib
import shutil

import pytest
import yaml

from cdrzoo.errors import InputError
from tests.models.toys import toy_schema
from tfx_pipeline.code import code_hash
from tfx_pipeline.config import PipelineConfig

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
DATA = {"books": "books.csv", "films": "films.csv"}


def config(folder=".", run=None, **section):
    given = {"schema": toy_schema().to_dict(), "data": DATA, "model": "cctl", **(run or {})}
    return PipelineConfig.from_dict({**given, "pipeline": {"name": "films", **section}}, folder)


def test_defaults_and_paths(tmp_path):
    made = config(tmp_path)
    assert made.splits == ("books_train", "films_train", "films_valid", "films_test")
    assert made.thresholds == {"auc": {"min": 0.5, "worse_by": 0.01}}
    assert [stage.model for stage in made.stages] == ["cctl"]
    assert made.path("saved_models") == str(tmp_path / "saved_models")
    assert made.path("gs://bucket/root") == "gs://bucket/root"


def test_a_model_of_two_stages_and_one_of_the_target_alone():
    two = config(run={"model": "mkt", "first": {"epochs": 3}})
    assert [(stage.model, stage.training.epochs) for stage in two.stages] == [("mem", 3), ("mkt", 20)]
    alone = config(run={"model": "dnn"})
    assert alone.splits == ("films_train", "films_valid", "films_test")
    assert [domain.name for domain in alone.schema.domains] == ["films"]


def test_ready_examples_stand_in_for_data(tmp_path):
    given = {
        "schema": toy_schema().to_dict(),
        "pipeline": {"name": "films", "examples": "gs://bucket/examples"},
    }
    made = PipelineConfig.from_dict(given, tmp_path)
    assert made.path(made.examples) == "gs://bucket/examples" and set(made.run.data) == set(DATA)
    with pytest.raises(InputError, match="Leave `data` out"):
        PipelineConfig.from_dict({**given, "data": DATA}, tmp_path)


def test_the_built_in_configuration_is_one(tmp_path):
    shutil.copy(PROJECT / "tfx_pipeline" / "configs" / "films.yaml", tmp_path)
    from cdrzoo.data import synthetic

    synthetic.schema().save(tmp_path / "schema.yaml")
    assert PipelineConfig.load(tmp_path / "films.yaml").slices == ("row.users", "device")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pipelin": 1}, "unknown entry 'pipelin'"),
        ({"threshold": {}}, "Did you mean 'thresholds'"),
        ({"thresholds": {"aucc": {"min": 1}}}, "Did you mean 'auc'"),
        ({"thresholds": {"auc": {"max": 1}}}, "unknown entry 'max'"),
        ({"thresholds": {"log_loss": {"min": 1}}}, "unknown entry 'min'"),
        ({"thresholds": {"auc": {"min": "high"}}}, "must be a number"),
        ({"thresholds": {"auc": 0.6}}, "must be {min: NUMBER}"),
        ({"slices": ["devise"]}, "has no feature 'devise'"),
        ({"slices": "device"}, "list of texts"),
        ({"strategy": "mirored"}, "must be one of one_device"),
        ({"infer": ["films_tset"]}, "Did you mean 'films_test'"),
        ({"requests": 0}, "at least 1"),
        ({"tuner": {"search": {"dropout": [0.1]}, "trails": 2}}, "Did you mean 'trials'"),
        ({"tuner": {"trials": 2}}, "must be {search"),
        ({"statistics": "none.pbtxt"}, "names no file: .*none.pbtxt"),
        ({"name": "a/b"}, "of letters, digits"),
        ({"warm_start": "latest"}, "must be one of latest_blessed"),
        ({"warm_start": "latest_blessed", "root": "gs://bucket/root"}, "a `root` on this machine"),
    ],
)
def test_mistakes_are_named_before_any_work(given, message):
    with pytest.raises(InputError, match=message):
        config(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preparation": {"since": {"films": 1}}}, "and `since` out"),
        ({"warm_start_from": "runs/day1"}, "set `warm_start: latest_blessed`"),
        ({"forget_after": 3}, "`forget_after` is of runs that go on"),
        ({"training": {"group": {"books": "user"}}}, "no `group`"),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        config(run=given)


def test_groups_are_made_for_the_slices_that_are_measured():
    one = {"slices": ["minutes", "device"]}
    assert config(run=one).made_slices == ("row.slice.minutes",)
    assert config(run=one, slices=["row.users"]).made_slices == ()
    section = {"name": "films", "slices": ["minutes"], "examples": "ready"}
    given = {"schema": toy_schema().to_dict(), "model": "cctl", **one, "pipeline": section}
    assert PipelineConfig.from_dict(given).made_slices == ("row.slice.minutes",)


def test_a_section_is_wanted_and_named(tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"schema": toy_schema().to_dict(), "data": DATA}))
    with pytest.raises(InputError, match="section `pipeline`"):
        PipelineConfig.load(tmp_path / "run.yaml")
    with pytest.raises(InputError, match="lacks `name`"):
        PipelineConfig.from_dict({"schema": toy_schema().to_dict(), "data": DATA, "pipeline": {}})
    with pytest.raises(InputError, match="Did you mean 'model'"):
        config(run={"modle": "cctl"})


def test_callbacks_are_checked_before_rows_are_written(tmp_path):
    from tfx_pipeline.runners import run

    with pytest.raises(InputError, match="cannot be imported: No module named 'nowhere'"):
        run(config(run={"training": {"callbacks": ["nowhere.Logger"]}}, root=str(tmp_path / "root")))
    assert not (tmp_path / "root").exists()


def test_what_is_doubtful_about_the_rows_is_said_each_time_and_strict_refuses_it(
    tmp_path, monkeypatch, capsys
):
    from cdrzoo.data import synthetic
    from cdrzoo.data.rows import executors
    from tfx_pipeline import __main__, rows

    made = synthetic.synthesize(users=300, source_rows=2000, target_rows=1500)
    made.frames["films"]["device"] = " " + made.frames["films"]["device"]
    made.write(tmp_path)
    given = {
        "schema": "schema.yaml",
        "data": DATA,
        "slices": ["device", "minutes"],
        "pipeline": {"name": "films"},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given))
    assert PipelineConfig.load(tmp_path / "run.yaml").slices == ("device", "row.slice.minutes")
    monkeypatch.setattr(rows, "write", lambda path, pieces: path.touch())
    monkeypatch.setattr(rows, "serialized", lambda *arguments: [])
    monkeypatch.setattr(executors, "beam_workers", lambda flags: 1)
    command = ["examples", str(tmp_path / "run.yaml")]

    def stopped(function, todo):
        yield function(todo[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(executors, "beam", lambda flags: contextlib.nullcontext(stopped))
    with pytest.raises(KeyboardInterrupt):
        __main__.main(command)
    assert not list((tmp_path / "pipeline" / "examples").glob("[!.]*"))
    capsys.readouterr()
    monkeypatch.setattr(executors, "beam", lambda flags: executors.processes(1))
    assert __main__.main([*command, "--strict"]) == 2
    said = capsys.readouterr().err
    assert "Goes on where it was broken off" in said and "read: 1 of 2 are done already" in said
    assert "films, column 'device': 1,500 (100.0%) of the ids begin or end with a blank" in said
    for _ in range(2):
        assert __main__.main(command) == 0
        assert capsys.readouterr().err.count("warning: films, column 'device'") == 1
    assert __main__.main([*command, "--strict"]) == 2


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    root = tmp_path_factory.mktemp("code")
    for package in ("cdrzoo", "tfx_pipeline"):
        shutil.copytree(PROJECT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.mark.parametrize(
    ("edited", "trainer", "preprocessing"),
    [
        ("cdrzoo/layers/towers.py", True, False),  # of the model
        ("cdrzoo/models/cctl.py", True, False),
        ("cdrzoo/models/dadin.py", False, False),  # another model
        ("cdrzoo/optimizers.py", True, False),
        ("cdrzoo/data/graph.py", True, True),
        ("cdrzoo/schema/features.py", True, True),
        ("tfx_pipeline/preprocessing.py", True, True),
        ("tfx_pipeline/runners.py", False, False),
        ("cdrzoo/cli/main.py", False, False),
    ],
)
def test_an_edit_changes_the_hash_of_what_it_takes_part_in(copied, edited, trainer, preprocessing):
    def hashes():
        return (
            code_hash("tfx_pipeline.trainer", "cdrzoo.models.cctl", root=copied),
            code_hash("tfx_pipeline.preprocessing", root=copied),
        )

    before = hashes()
    text = (copied / edited).read_text()
    (copied / edited).write_text(text + "\n# edited\n")
    after = hashes()
    (copied / edited).write_text(text)
    assert (before[0] != after[0], before[1] != after[1]) == (trainer, preprocessing)
    assert hashes() == before


def test_tfx_is_imported_in_one_place():
    """Its inner modules are no public API: one file to mend when they move."""
    importing = {
        path.name
        for path in (PROJECT / "tfx_pipeline").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tfx")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "tfx" for alias in node.names))
    }
    assert importing == {"_tfx.py"}
