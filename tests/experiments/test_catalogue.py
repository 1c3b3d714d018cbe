"""The reader of experiments: what a file may say, and that a mistake is said with its place before any long work."""

from __future__ import annotations

import pytest

from cdrzoo import cli, models
from cdrzoo.errors import InputError
from cdrzoo.experiments import catalogue, search
from cdrzoo.experiments.entries import check_names
from cdrzoo.experiments.reproduce import configuration, reproduce

FILE = """
shared: {cctl: &cctl {model: cctl, pooling: mean, sync_every: 50}}
experiments:
  mine:
    title: My logs
    dataset: synthetic
    models:
      DNN: dnn:domains=all
      CCTL: *cctl
      CCTL w/o REN: {<<: *cctl, ren_weight: 0}
      MKT: {model: mkt, first: {gamma: 0.5, learning_rate: 1e-3}}
    settings: {epochs: 2, optimizer: adagrad}
    seeds: 3
    parts:
      "0.9": {pair: {transfer: 0.9}}
      harmful: {pair: {transfer: -0.9}, seeds: 1, against: CCTL, published: {CCTL: {auc: 0.7}}}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(FILE)
    return path


def test_parts_take_what_stands_at_their_experiment(file):
    parts = catalogue.experiments(file)["mine"].parts
    assert {name: (part.seeds, part.against, part.pair) for name, part in parts.items()} == {
        "0.9": (3, None, {"transfer": 0.9}),
        "harmful": (1, "CCTL", {"transfer": -0.9}),
    }
    assert parts["0.9"].models == {
        "DNN": {"model": "dnn", "domains": "all"},
        "CCTL": {"model": "cctl", "pooling": "mean", "sync_every": 50},
        "CCTL w/o REN": {"model": "cctl", "pooling": "mean", "sync_every": 50, "ren_weight": 0},
        "MKT": {"model": "mkt", "first.gamma": 0.5, "first.learning_rate": 0.001},
    }
    for entry in parts["0.9"].entries:
        check_names(entry)
    assert list(catalogue.find("mine/harmful", file).parts) == ["harmful"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("experiments:", "experiment:", ["unknown entry 'experiment'", "'experiments'"]),
        ("    title: My logs\n", "", ["experiment 'mine'", "`title`"]),
        ("  mine:", "  a/b:", ["without '/'", "'a/b'"]),
        ("seeds: 3", "sedes: 3", ["experiment 'mine'", "'sedes'", "Did you mean 'seeds'"]),
        ("seeds: 1", "sedes: 1", ["part 'harmful'", "'sedes'", "Did you mean 'seeds'"]),
        ("seeds: 3", "seeds: 0", ["part '0.9'", "`seeds`", "at least 1"]),
        ("seeds: 3", "search: many", ["`search`", "'many'"]),
        ('"0.9": {', "0.9: {", ["put a number in quotes", "0.9"]),
        ("dataset: synthetic", "dataset: synthetc", ["`dataset`", "Did you mean 'synthetic'"]),
        ("dataset: synthetic", "folder: here", ["`dataset`, or `run`"]),
        ("dataset: synthetic", "run: run.yaml", ["With `run`", "leave out pair"]),
        ("dnn:domains=all", "dn:domains=all", ["model 'DNN'", "Did you mean 'dnn'"]),
        ("dnn:domains=all", "[dnn]", ["model 'DNN'", "text, or a mapping"]),
        ("{model: mkt,", "{modle: mkt,", ["model 'MKT'", "lacks `model`"]),
        ("first: {gamma: 0.5, learning_rate: 1e-3}", "first: 1", ["`first`", "a mapping"]),
        ("optimizer: adagrad", "optimizer: adagard", ["`optimizer`", "'adagard'"]),
        ("epochs: 2", "epoch_s: 2", ["`settings`", "Did you mean 'epochs'"]),
        ("against: CCTL", "against: CCLT", ["`against`", "'CCLT'", "Did you mean 'CCTL'"]),
        ("against: CCTL", "searched: CCTL", ["`searched`", "a list of labels"]),
        ("against: CCTL", "searched: [CCLT]", ["`searched`", "'CCLT'", "Did you mean 'CCTL'"]),
        ("{CCTL: {auc: 0.7}}", "{CTCL: {auc: 0.7}}", ["`published`", "'CTCL'"]),
        ("{auc: 0.7}", "{acu: 0.7}", ["'acu'", "Did you mean 'auc'"]),
        ("{auc: 0.7}", "{auc: high}", ["`auc` of 'CCTL'", "must be a number"]),
        ("{transfer: 0.9}", "{trnasfer: 0.9}", ["`pair`", "Did you mean 'transfer'"]),
        ("{transfer: 0.9}", "{}", ["`pair` lacks 'transfer'"]),
        ("pair: {transfer: 0.9}", "pair: {transfer: 0.9}, beta: 2", ["`beta`", "between 0 and 1"]),
        ("    models:", "    models: {}\n    note:", ["`note`"]),
        ("*cctl, ren", "*ctcl, ren", ["mine.yaml", "not valid YAML", "ctcl"]),
    ],
)
def test_a_mistake_in_a_file_is_said_with_its_place(file, old, new, words):
    assert FILE.count(old) >= 1
    file.write_text(FILE.replace(old, new, 1))
    with pytest.raises(InputError) as raised:
        catalogue.experiments(file)
    assert "mine.yaml" in str(raised.value)
    for word in words:
        assert word in str(raised.value)


def test_a_misspelt_argument_is_said_before_files_are_made(file, tmp_path):
    for old, new, words in (
        ("ren_weight", "ren_wieght", "'CCTL w/o REN'.*'ren_wieght'.*Did you mean 'ren_weight'"),
        ("gamma", "gama", "'MKT'.*'first.gama'.*Did you mean 'first.gamma'"),
    ):
        file.write_text(FILE.replace(old, new))
        with pytest.raises(InputError, match=words):
            reproduce("mine", None, tmp_path / "out", catalogue=file)
    file.write_text(FILE.replace("seeds: 1", "settings: {width: 0}"))
    with pytest.raises(InputError, match="`width`"):
        reproduce("mine", None, tmp_path / "out", catalogue=file)
    assert not (tmp_path / "out" / "mine").exists()


def test_rows_of_a_run_configuration_in_place_of_a_public_dataset(tmp_path, capsys):
    assert cli.main(["synthesize", str(tmp_path / "demo")]) == 0
    file = tmp_path / "mine.yaml"
    text = "experiments: {mine: {title: Mine, run: demo/run.yaml, models: {LR: lr}, settings: {epochs: 1}}}"
    file.write_text(text)
    part = catalogue.find("mine", file).parts[""]
    config = configuration(part, None, tmp_path / "rows").with_changes(part.entries[0].changes)
    assert (config.model, config.training.epochs, config.training.batch_size) == ("lr", 1, 128)
    assert config.paths()[-1].is_relative_to(tmp_path / "demo")
    capsys.readouterr()
    assert cli.main(["reproduce", "--list", "--catalogue", str(file)]) == 0
    assert capsys.readouterr().out.split() == ["mine", "Mine", "(run.yaml,", "1", "models)"]
    assert cli.main(["reproduce", "min", "--catalogue", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "Did you mean 'mine'" in capsys.readouterr().err


def test_what_a_search_tries_is_data():
    assert {"learning_rate", "dropout", "width", "weight_decay", "source_ratio"} == set(search.space())
    assert all(isinstance(values, list) and len(values) == 3 for values in search.space().values())


def test_reports_call_a_model_as_the_tables_do():
    for label, settings in catalogue.experiments()["ctr_ciao_01_02"].parts[""].models.items():
        called = models.card(settings["model"]).called(settings.get("domains"))
        assert called.partition(", ")[0] == label.partition(", ")[0].partition(" w/o ")[0]
    assert models.card("dnn").called("all") == "DNN, all domains"
    assert models.card("mv_dnn").called("all") == "MV-DNN"
