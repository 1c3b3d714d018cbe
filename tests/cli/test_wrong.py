"""Commands and configurations that mean nothing are refused on a line or two, before TensorFlow starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from cdrzoo import cli
from cdrzoo.data import synthetic

SIZES = {"users": 60, "source_rows": 600, "target_rows": 400, "source_items": 30, "target_items": 20}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder with two small logs, their schema and a run configuration."""
    folder = tmp_path_factory.mktemp("demo")
    synthetic.synthesize(**SIZES).write(folder)
    data = {name: f"{name}.csv" for name in ("books", "films")}
    (folder / "run.yaml").write_text(yaml.safe_dump({"schema": "schema.yaml", "data": data, "model": "dnn"}))
    return folder


@pytest.fixture
def refused(demo, monkeypatch, capsys):
    """What a command says that must be refused, in the folder `demo`, without TensorFlow."""
    from cdrzoo.cli import common, experiments, export, serving, training

    def no_tensorflow():
        raise AssertionError("TensorFlow was started")

    monkeypatch.chdir(demo)
    for module in (common, experiments, export, serving, training):
        monkeypatch.setattr(module, "start_tensorflow", no_tensorflow)

    def run(*arguments):
        try:
            code = cli.main(list(arguments))
        except SystemExit as error:  # of argparse
            code = error.code
        said = capsys.readouterr().err
        assert code == 2 and "Traceback" not in said
        return said

    return run


TRAIN = ("train", "run.yaml", "--out", "out")
CHECK = ("schema", "check", "schema.yaml", "--data", "films=films.csv", "--data")
COMPARE = ("compare", "run.yaml", "--models", "lr", "--out", "out")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tune", "run.yaml", "--set", "seed=7", "--out", "out"), "leave out `seed`"),
        (("tune", "run.yaml", "--set", "model=lr", "--out", "out"), "`model` names one"),
        ((*COMPARE, "--set", "seed=7"), "leave out `seed`"),
        (("train", "books.csv", "--out", "out"), "books.csv holds rows, by its ending"),
        ((*CHECK, "books=run.yaml"), "run.yaml is a configuration"),
        ((*CHECK, "books=."), "seems to hold the rows of 'films'"),
        (("serve", "nowhere"), "nowhere is no folder"),
        (("export", "nowhere", "--to", "out"), "nowhere holds no finished run"),
        (("verify", "out/1", "--run", "nowhere"), "nowhere holds no finished run"),
        (("evaluate", "nowhere"), "nowhere holds no finished run"),
        (("predict", "nowhere", "--input", "films.csv"), "nowhere is no folder. Give a version folder"),
        (("predict", ".", "--input", "nothing.csv"), "nothing.csv does not exist"),
        (("schema", "check", "run.yaml", "--delimiter", ";"), "give --data, too"),
        ((*COMPARE, "--jobs", "-4"), "--jobs: it must be a whole number from 1 to 256. Received: -4"),
        ((*COMPARE, "--search", "-1"), "--search: it must be a whole number from 0"),
        ((*COMPARE, "--seeds", "0"), "--seeds: it must be a whole number from 1"),
        ((*COMPARE, "--seeds", "²"), "--seeds: it must be a whole number from 1"),
        ((*COMPARE, "--seeds", "1_0"), "--seeds: it must be a whole number from 1"),
        ((*COMPARE, "--seed", "77"), "unrecognized arguments: --seed"),
        ((*COMPARE, "--seeds", "2", "--seeds", "3"), "--seeds: it is given twice"),
        (("tune", "run.yaml", "--out", "out", "--trials", "1e3"), "--trials: it must be a whole number"),
        (("synthesize", "new", "--seed", "-1"), "--seed: it must be a whole number from 0 to 4294967295"),
        (("synthesize", "new", "--transfer", "nan"), "--transfer: it must be a finite number"),
        (("synthesize", "new", "--transfer", "1.5"), "--transfer: it must be a number of at least -1 and of at most 1"),
        (("export", "out", "--to", "to", "--version", "9" * 20), "--version: it must be a whole number from 0"),
        (("serve", ".", "--port", "65536"), "--port: it must be a whole number from 0 to 65535"),
        (("serve", ".", "--rest-port", "-1"), "--rest-port: it must be a whole number from 0"),
        (("serve", ".", "--seconds", "inf"), "--seconds: it must be a finite number above 0"),
        ((*TRAIN, "--model", ""), "An argument is empty, at '--model'"),
        ((*TRAIN, "--model="), "An argument is empty, at '--model='"),
        (("train", "run.yaml", "--out", ""), "An argument is empty, at '--out'"),
        ((*TRAIN, "--set", "epochs="), "must read NAME=VALUE"),
        ((*TRAIN, "--set", "epochs=1", "--set", "epochs=2"), "says 'epochs' twice"),
        ((*TRAIN, "--model", "lr", "--set", "model=dnn"), "name two models"),
        ((*TRAIN, "--set", "width=1000000000"), "`width` must be a whole number from 1 to 65536"),
        ((*TRAIN, "--set", "batch_size=99999999999"), "`batch_size` must be a whole number from 1 to"),
        ((*TRAIN, "--set", "learning_rate=.inf"), "`learning_rate` must be a finite number"),
        (("schema", "check", "schema.yaml", "--data", "books=a", "--data", "books=b"), "says 'books' twice"),
        (("label", ".", "films", "a=²"), "A label names the number of a version"),
        (("label", ".", "films", "a b=1"), "A label is part of paths"),
        (("label", ".", "films", "stable=1", "stable=1"), "says 'stable' twice"),
        (("train", "~/no such run.yaml", "--out", "out"), os.path.expanduser("~/no such run.yaml")),
        (("train", "run.yaml", "--out", "o\udcff"), "is not UTF-8"),
        (("synthesize", "run.yaml/new"), "a file where a folder is wanted"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_refused(refused, arguments, said):
    assert said in refused(*arguments)


def changed(change):
    """A change of the schema, as a change of the whole configuration."""

    def change_schema(config):
        schema = yaml.safe_load(open("schema.yaml", encoding="utf-8"))
        change(schema)
        config["schema"] = schema

    return change_schema


def films(schema):
    return schema["domains"]["films"]


def renamed(name):
    return changed(lambda s: films(s)["features"][0].update(name=name, column="user"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["data"].update(books=[]), "The data of domain 'books' must be a path"),
        (lambda c: c["data"].update(books=5), "The data of domain 'books' must be a path"),
        (lambda c: c["data"].update(books={"path": []}), "The data of domain 'books' must be a path"),
        (lambda c: c.update(epochs=2), "under `training`"),
        (lambda c: c.update(training={"seed": 2}), "beside `model`"),
        (lambda c: c.update(split={"by": "random", "fractions": [1, 2, 3]}), "`fractions` must be three numbers"),
        (lambda c: c.update(split={"by": "given", "column": "device"}), "one of train, valid, test wanted"),
        (changed(lambda s: s.update(domains=None)), "`domains` must be a mapping"),
        (changed(lambda s: s.update(domains="films")), "`domains` must be a mapping"),
        (changed(lambda s: s["domains"].update(films="x")), "Entry 'films' of `domains` must be a mapping"),
        (changed(lambda s: s["tables"].update(user=5)), "Entry 'user' of `tables` must be a mapping"),
        (changed(lambda s: s["tables"]["user"].update(width=10**9)), "from 1 to 65536"),
        (changed(lambda s: films(s).update(features="user")), "`features` of domain 'films' must be a list"),
        (changed(lambda s: films(s).update(threshold="x")), "`threshold` of domain 'films' must be a number"),
        (changed(lambda s: films(s).update(threshold=float("nan"))), "must be a finite number"),
        (changed(lambda s: films(s).update(label=None)), "`label` of domain 'films'"),
        (changed(lambda s: films(s).update(time=True)), "`time` of domain 'films' must be text"),
        (changed(lambda s: films(s)["features"][0].update(column=5)), "`column` of feature"),
        (changed(lambda s: films(s)["features"][0].update(table=["user"])), "`table` of feature"),
        (renamed("größe"), "cannot be served: TensorFlow names inputs with ASCII"),
        (renamed("_user"), "cannot be served"),
        (renamed("class"), "a word of Python's own"),
        (renamed("k"), "`rank` asks by that name"),
        (renamed("Item"), "TensorFlow does not tell"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused(refused, tmp_path, change, said):
    config = yaml.safe_load(open("run.yaml", encoding="utf-8"))
    config["data"] = {name: os.path.abspath(path) for name, path in config["data"].items()}
    change(config)
    if isinstance(config["schema"], str):
        config["schema"] = os.path.abspath(config["schema"])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert said in refused("train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out"))


def test_a_port_that_is_taken(refused):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for option in ("--port", "--rest-port"):
            assert f"Port {port} of 127.0.0.1 cannot be used" in refused("serve", ".", option, port)


def shell(command):
    """Runs the command line, as `cdrzoo` in `command`, with a shell."""
    return subprocess.run(
        ["bash", "-c", f'cdrzoo() {{ "{sys.executable}" -m cdrzoo.cli "$@"; }}; set -o pipefail; {command}'],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("cdrzoo models >&-", 0, ""),
        ("cdrzoo models 2>&-", 0, ""),
        ("cdrzoo models >/dev/full", 2, "error: No space left on device. Free space"),
        ("cdrzoo models --markdown | true", 141, ""),
    ],
)
def test_streams_that_are_closed_or_full(command, code, said):
    done = shell(command)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert done.stderr.startswith(said) and (done.returncode == code or code == 141)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("dnn:dropout=0.1:dropout=0.2", "sets 'dropout' twice"),
        ("dnn:dropout=", "must read name=value"),
        ("dnn:seed=3", "sets 'seed'"),
        ("dnn:model=lr", "sets 'model'"),
        ("lr,,dnn", "There is no model ''"),
    ],
)
def test_an_entry_that_means_nothing_is_refused(models, said):
    from cdrzoo.errors import InputError
    from cdrzoo.experiments.entries import read_entries

    with pytest.raises(InputError, match=said):
        read_entries(models)
