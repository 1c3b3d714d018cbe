"""The run configuration: what a person writes is checked before any work, and comes back as it was."""

import dataclasses

import pytest
import yaml

from cdrzoo import models
from cdrzoo.errors import InputError
from cdrzoo.experiments.entries import Entry
from cdrzoo.training.config import RunConfig, Training
from tests.models.toys import toy_schema

DATA = {"books": "books.csv", "films": {"path": "films.csv", "join": [{"path": "items.csv", "on": "item"}]}}


def config(**changes):
    return RunConfig(**{"schema": toy_schema(), "data": DATA, **changes})


def test_yaml_round_trip_keeps_everything_and_makes_paths_absolute(tmp_path):
    one = config(model="dnn", arguments={"units": [8]}, width=16, training=Training(batch_size=64), seed=3)
    one.schema.save(tmp_path / "schema.yaml")
    text = yaml.safe_dump({**one.to_dict(), "schema": "schema.yaml", "data": DATA})
    (tmp_path / "run.yaml").write_text(text)
    two = RunConfig.load(tmp_path / "run.yaml")
    assert two.to_dict() == {
        **one.to_dict(),
        "data": {
            "books": str(tmp_path / "books.csv"),
            "films": {
                "path": str(tmp_path / "films.csv"),
                "join": [{"path": str(tmp_path / "items.csv"), "on": "item"}],
            },
        },
    }
    assert RunConfig.from_dict(two.to_dict()).to_dict() == two.to_dict()


def test_a_small_number_is_a_number_wherever_it_is_written(tmp_path):
    config().schema.save(tmp_path / "schema.yaml")
    text = "schema: schema.yaml\ndata: {books: b.csv, films: f.csv}\nmodel: dnn\ntraining: {learning_rate: 1e-2}\n"
    (tmp_path / "run.yaml").write_text(text)
    assert RunConfig.load(tmp_path / "run.yaml").training.learning_rate == 0.01
    assert Entry.parse("dnn:learning_rate=1e-3").changes["learning_rate"] == 0.001
    with pytest.raises(InputError, match="not valid YAML"):
        Entry.parse("dnn:units=[8")


def test_changes_find_their_place():
    changed = config().with_changes({"model": "dnn", "width": 4, "learning_rate": 0.1, "dropout": 0.5})
    assert (changed.model, changed.domains, changed.width) == ("dnn", "target", 4)
    assert changed.training.learning_rate == 0.1 and changed.arguments == {"dropout": 0.5}
    tuned = config(arguments={"sync_every": 5})
    assert tuned.with_changes({"model": "dnn"}).arguments == {} and tuned.with_changes({"seed": 1}).arguments
    assert config(model="dnn", domains="all").with_changes({"model": "dnn"}).domains == "all"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"modle": "dnn"}, "Did you mean 'model'"),
        ({"model": "dnnn"}, "Did you mean 'dnn'"),
        ({"training": {"learning_rat": 1}}, "Did you mean 'learning_rate'"),
        ({"training": {"learning_rate": 0}}, "above 0"),
        ({"training": {"batch_size": 0}}, "at least 1"),
        ({"training": {"optimizer": "adamm"}}, "must be one of"),
        ({"training": {"loss_weights": {"filmz": 0.5}}}, "no domain 'filmz'.*Did you mean 'films'"),
        *(
            ({"training": {"loss_weights": wrong}}, "a number above 0, for example {books: 0.5}. Received")
            for wrong in (0.5, ["books"], {"books": 0}, {"books": -1}, {"books": "much"}, {"books": True})
        ),
        *(
            ({"training": {"loss_weights": {"books": float(text)}}}, f"Received: {{'books': {text}}}")
            for text in ("nan", "inf")
        ),
        ({"data": {"books": "a.csv"}}, "says nothing of domain 'films'"),
        ({"data": {**DATA, "filmz": "a.csv"}}, "Did you mean 'films'"),
        ({"domains": "target"}, "learns from a source"),
        ({"domains": "both"}, "'all' or 'target'"),
        ({"schema": 5}, "`schema` must be a file's name or a mapping"),
        ({"model": 5}, "`model` must be"),
        ({"training": [1]}, "`training` must be a mapping"),
        ({"arguments": "units"}, "`arguments` must be a mapping"),
        ({"split": ["time"]}, "`split` must be a word or a mapping"),
        ({"preparation": ["seed"]}, "`preparation` must be a mapping"),
        ({"preparation": {"histroy": "others"}}, "Did you mean 'history'"),
        ({"preparation": {"split": "random"}}, "`preparation` has an unknown entry 'split'"),
        ({"finetune": 5}, "`finetune` must be a run's folder"),
        ({"width": "wide"}, "`width` must be a whole number"),
        *(({"seed": seed}, "`seed` must be a whole number") for seed in ("x", "1", 1.5, -1, True, 2**32)),
        ({"training": {"learning_rate": "fast"}}, "`learning_rate` must be a number above 0"),
        ({"training": {"learning_rate": float("inf")}}, "`learning_rate` must be a finite number above 0"),
        *(
            ({"training": {"weight_decay": w}}, "`weight_decay` must be a number of at least 0")
            for w in ("a", -1)
        ),
        ({"training": {"source_ratio": "1"}}, "`source_ratio` must be a number"),
        ({"training": {"mixed_precision": "maybe"}}, "`mixed_precision` must be true or false"),
        ({"training": {"xla": "perhaps"}}, "`xla` must be true or false"),
        ({"training": {"monitor": "auc"}}, "such as val_auc. Received: 'auc'"),
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(InputError, match=message):
        RunConfig.from_dict({"schema": toy_schema().to_dict(), "data": DATA, **given})


def test_what_is_left_empty_is_the_default():
    names = ("training", "arguments", "split", "preparation", "first", "seed", "width", "domains")
    given = {"schema": toy_schema().to_dict(), "data": DATA, "model": "mkt"}
    empty = RunConfig.from_dict({**given, **dict.fromkeys(names)})
    assert empty == RunConfig.from_dict(given) and empty.split == "time"
    assert config().with_changes({"batch_size": None, "xla": None}).training == Training()


def test_an_argument_the_model_does_not_have_is_named():
    with pytest.raises(InputError, match="Did you mean 'sync_every'"):
        config(arguments={"sync_evry": 10}).model_arguments()
    for wrong in (64, [0], [8.5], ["a"], None):
        with pytest.raises(InputError, match=r"`units` of the model 'dnn' .* such as \[256, 128, 32\]"):
            config(model="dnn", arguments={"units": wrong}).model_arguments()
    with pytest.raises(InputError, match="unknown entry 'pretrained'"):
        config(model="mkt", arguments={"pretrained": "mem.keras"}).model_arguments()


def test_a_first_stage_is_set_as_the_second_but_for_what_is_said_of_it(tmp_path):
    two = config(model="mkt", first={"gamma": 0, "epochs": 7}, training=Training(batch_size=64), width=4)
    two = two.with_changes({"first.learning_rate": 0.1, "learning_rate": 0.2, "units": [8]})
    first = two.first_stage()
    assert (first.model, first.arguments, first.width, first.first) == ("mem", {"gamma": 0}, 4, {})
    assert first.training == Training(batch_size=64, epochs=7, learning_rate=0.1)
    assert two.training == Training(batch_size=64, learning_rate=0.2) and two.arguments == {"units": [8]}
    assert RunConfig.from_dict(two.to_dict()).first_stage().to_dict() == first.to_dict()
    assert two.with_changes({"model": "cctl"}).first == {}
    assert config(model="cctl").first_stage() is None and "first" not in config().to_dict()
    assert two.model_arguments() == {"units": [8]}


def test_what_is_finetuned_is_relative_to_the_file_and_belongs_to_its_model(tmp_path):
    config(model="dacdr").schema.save(tmp_path / "schema.yaml")
    given = {"schema": "schema.yaml", "data": DATA, "model": "dacdr", "finetune": "runs/old"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**given, "arguments": {"like": "films"}}))
    one = RunConfig.load(tmp_path / "run.yaml")
    assert one.to_dict()["finetune"] == str(tmp_path / "runs/old") and "finetune" not in config().to_dict()
    assert one.model_arguments() == {"like": "films"}
    assert one.with_changes({"model": "dnn"}).finetune is None
    assert one.with_changes({"finetune": None}).finetune is None
    with pytest.raises(InputError, match="unknown entry 'units'"):
        one.with_changes({"units": [8]}).model_arguments()


def test_what_makes_a_run_another():
    same = ({"learning_rate": 0.001}, {"steps_per_execution": 16}, {"batch_size": 256}, {"loss_weights": {}})
    other = ({"learning_rate": 0.01}, {"batch_size": 64}, {"seed": 1}, {"width": 8}, {"units": [4]})
    other += ({"loss_weights": {"books": 0.5}}, {"slices": ["device"]})
    one = config(model="dnn")
    assert (
        "slices" not in one.identity() and one.identity()["training"] == {}
    )  # a new setting leaves the runs of before as they were
    assert all(one.with_changes(changes).identity() == one.identity() for changes in same)
    assert all(one.with_changes(changes).identity() != one.identity() for changes in other)


def test_loss_weights_are_set_as_any_setting_and_of_either_stage():
    two = config(model="mkt").with_changes({"loss_weights": {"books": 2}})
    assert two.training.loss_weights == two.first_stage().training.loss_weights == {"books": 2.0}
    assert RunConfig.from_dict(two.to_dict()).training == two.training
    two = two.with_changes({"first.loss_weights": {"books": 0.5}, "loss_weights": None})
    assert (two.training.loss_weights, two.first_stage().training.loss_weights) == (None, {"books": 0.5})
    with pytest.raises(InputError, match="no domain 'bookz'"):
        two.with_changes({"first.loss_weights": {"bookz": 0.5}})


@pytest.mark.parametrize("epoch", ["source", 0, True, 2.0])
def test_an_epoch_is_a_pass_or_a_number_of_steps(epoch):
    assert [Training(epoch=each).epoch for each in ("target", "longest", 500)] == ["target", "longest", 500]
    with pytest.raises(InputError, match="'target', 'longest' or a number of steps"):
        Training(epoch=epoch)


def test_a_first_stage_may_have_a_first_stage(monkeypatch):
    third = dataclasses.replace(models.card("mkt"), name="third", after="mkt")
    monkeypatch.setattr(models.cards, "CARDS", (*models.CARDS, third))
    chain = config(model="third", first={"dropout": 0.5, "first.gamma": 0})
    assert chain.first_stage().arguments == {"dropout": 0.5}
    assert chain.first_stage().first_stage().arguments == {"gamma": 0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "mkt", "first": {"epochs": 0}}, "at least 1"),
        ({"model": "mkt", "first": {"training": {"epochs": 1}}}, "by their plain names"),
        ({"model": "mkt", "first": {"model": "dnn"}}, "the first stage, mem"),
        ({"model": "mkt", "first": ["gamma"]}, "must be a mapping"),
        ({"model": "mkt", "first": {"domains": "target"}}, "its domains are the second's"),
        ({"model": "mkt", "first": {"gama": 1}}, "'mem' has an unknown entry 'gama'. Did you mean 'gamma'"),
        ({"model": "cctl", "first": {"epochs": 1}}, "trained in one stage"),
    ],
)
def test_mistakes_in_a_first_stage_are_named(given, message):
    with pytest.raises(InputError, match=message):
        RunConfig.from_dict({"schema": toy_schema().to_dict(), "data": DATA, **given}).model_arguments()


def test_a_switch_of_a_model_is_true_or_false():
    """`no` of a YAML file is text, and text would pass for true."""
    config = RunConfig(toy_schema(), DATA, "nfm", {"batch_norm": "no"})
    with pytest.raises(
        InputError, match="`batch_norm` of the model 'nfm' must be true or false. Received: 'no'"
    ):
        config.model_arguments()
    assert dataclasses.replace(config, arguments={"batch_norm": False}).model_arguments()


def test_slices_are_a_list_of_columns():
    one = config(model="dnn").with_changes({"slices": ["hour", "site", "hour"]})
    assert one.slices == ("hour", "site") and RunConfig.from_dict(one.to_dict()).slices == one.slices
    for wrong in ("hour", [5], [""], {"hour": 1}):
        with pytest.raises(InputError, match="`slices` must be a list of columns of the target. Received:"):
            one.with_changes({"slices": wrong})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"domains": "all"},
            "'domains': it is a setting of the run. Write it .* beside `model` and `arguments`",
        ),
        ({"split": "random"}, "'split': it is a setting of the run"),
        ({"epochs": 3}, "'epochs': it is a setting of the training. Write it .* under `training`"),
        ({"unit": [8]}, "Did you mean 'units'"),
        ({"units": [10**9]}, "whole numbers from 1 to 65536"),
        ({"dropout": float("nan")}, "must be a finite number"),
    ],
)
def test_what_is_no_argument_of_the_model_is_shown_its_place(arguments, message):
    with pytest.raises(InputError, match=message):
        config(model="dnn", arguments=arguments).model_arguments()
