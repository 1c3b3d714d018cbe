"""Whatever a label, a column or a domain is called, every kind of page says just that, and does nothing else."""

from __future__ import annotations

import ast
import dataclasses
import json
import pathlib
import re
import types

import numpy as np
import pandas as pd
import pytest
import yaml

import cdrzoo.report
from cdrzoo import files
from cdrzoo.report import pages, run
from cdrzoo.training.config import RunConfig
from tests.models.toys import toy_schema
from tests.report.test_report import alone, write_selector

pytest.importorskip("matplotlib")

HOSTILE = (
    """<script>alert("1")</script><b onclick='f()'>&amp;{{ 7777 * 9999 }}{% include 'page.html' %}$x_$"""
)
FOLDER = HOSTILE.replace("/", "_")
REPORT = pathlib.Path(cdrzoo.report.__file__).parent


def named(what: str) -> str:
    """A name that is known again."""
    return f"{what} {HOSTILE}"


def lift(value: float) -> dict[str, float]:
    return {"first": 0.6, "second": 0.6 - value, "difference": value, "low": value, "high": value, "p": 0.01}


def config() -> RunConfig:
    """Of hostile columns, files and settings; names of domains and features are words, the schema sees to that."""
    schema = toy_schema()
    domains = [
        dataclasses.replace(
            domain,
            features=tuple(dataclasses.replace(f, column=named(f.name)) for f in domain.features),
            label=named("label"),
        )
        for domain in schema.domains
    ]
    data = {domain.name: {"path": f"{FOLDER}.csv", "separator": "\t"} for domain in domains}
    return RunConfig(
        schema=dataclasses.replace(schema, domains=tuple(domains)),
        data=data,
        domains="all",
        arguments={"units": [named("unit")]},
    )


def result(**more) -> dict[str, object]:
    """What `metrics.json` says of a run."""
    test = {
        "auc": 0.6,
        "gauc": 0.5,
        "log_loss": 0.7,
        "ece": 0.1,
        **{f"{metric}@{named('group')}": 0.5 for metric in ("auc", "gauc", "log_loss", "ece")},
    }
    return {
        "test": test,
        "validation": test,
        "versions": {named("library"): named("version")},
        "split": {"name": named("split"), "hash": named("hash")},
        "parameters": 1234,
        "seconds": 2.0,
        "best_epoch": 1,
        "epochs": 2,
        "model": "dnn",
        "seed": 0,
        **more,
    }


def write_run(folder: pathlib.Path) -> None:
    """The folder of a finished run, but for its model."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config().to_dict()))
    (folder / "metrics.json").write_text(json.dumps(result()))
    part = {"rows": 3, "users": 2, "label": 0.5}
    split = {
        "name": named("split"),
        "hash": named("hash"),
        "parts": {named("domain"): {"train": part}},
        "data": {},
    }
    (folder / "split.json").write_text(json.dumps(split))
    history = pd.DataFrame({"epoch": [1, 2], named("term"): [0.5, 0.4]})
    history.to_csv(folder / "history.csv", index=False)
    write_selector(folder, named("source"))


class Model:
    """What can be asked of a model, without one."""

    def gates(self, x):
        return {named("gates"): np.full((4, 2), 0.5)}

    def attention_weights(self, x):
        return {named("attention"): np.eye(4)}

    def gate_activity(self, x):
        return {named("activity"): np.full((4, 2), 0.5)}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder for runs whose models and rows are stubs."""
    y = np.array([[0.0], [1.0], [0.0], [1.0]])
    part = types.SimpleNamespace(x={}, y=y, first=lambda rows: {})
    prepared = types.SimpleNamespace(parts={"films": {"test": part}})
    monkeypatch.setattr(run, "trained", lambda folder: (Model(), prepared))
    monkeypatch.setattr(run, "calibration", lambda *run: None)  # names no name
    monkeypatch.setattr(run, "beside", lambda rows: ({named("mean"): {"auc": 0.55}}, {"all": {"rows": 4}}))
    return tmp_path


def write_comparison(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)
    labels = ("dnn", named("model"))
    lines = [
        {
            "key": f"{label} {seed}",
            "stage": "seed",
            "label": label,
            "changes": {"seed": seed, "model": "dnn", named("setting"): named("value")},
            "result": result(test={**result()["test"], "auc": 0.6 + 0.01 * seed + 0.1 * (label != "dnn")}),
        }
        for label in labels
        for seed in (0, 1)
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    about = {
        "command": ["compare", named("argument")],
        "config": config().to_dict(),
        "against": "dnn",
        "floors": {named("floor"): {"auc": 0.5}},
        "groups": {named("group"): 7},
        "runs": [[line["label"], line["key"]] for line in lines],
    }
    (folder / "comparison.json").write_text(json.dumps(about, default=str))


def a_run(folder):
    write_run(folder / FOLDER)
    return (
        folder / FOLDER,
        "group mean library version split hash domain term source gates attention activity unit",
    )


def a_comparison(folder):
    write_comparison(folder / FOLDER)
    return folder / FOLDER, "model setting value library version split floor group argument unit"


def a_collection(folder):
    for name in ("one", "two"):
        write_comparison(folder / f"{name} {FOLDER}" / FOLDER)
    return folder, "one two model setting value library version split floor group argument unit"


def a_transfer(folder):
    for name in ("model", "twin"):
        write_run(folder / f"{name} {FOLDER}")
    described = {"model": "dnn", "domains": "all"}
    measured = {
        "verdict": "helps",
        "metric": "auc",
        "task": "click",
        "rows": 4,
        "users": 2,
        "lift": {"auc": lift(0.1), "gauc": lift(-0.1)},
        "groups": [
            {
                "by": named("column"),
                "group": named("value"),
                "rows": 2,
                "users": 1,
                "lift": {"auc": lift(0.1), "gauc": lift(-0.1)},
                "p_holm": 0.02,
            }
        ],
        "lower": 0,
        "harmed": 0,
        "target": named("target"),
        "sources": [named("source")],
        "model": described,
        "twin": {**described, "domains": "target"},
        "why": named("why"),
        "seeds": 1,
        "resamples": 10,
        "runs": {role: [str(folder / f"{role} {FOLDER}")] for role in ("model", "twin")},
        "calibration": {role: [{"score": 0.5, "label": 0.5, "rows": 4}] for role in ("model", "twin")},
        "split": {"name": named("split"), "hash": named("hash")},
        "versions": {named("library"): named("version")},
    }
    (folder / "transfer.json").write_text(json.dumps(measured))
    return (
        folder,
        "column value target source why split hash library version term gates attention activity unit",
    )


@pytest.mark.parametrize("kind", [a_run, a_comparison, a_collection, a_transfer])
def test_a_page_says_them_and_does_nothing_else(kind, made):
    folder, names = kind(made)
    path = pages.report(folder)
    page = alone(path.read_text())
    # YAML and the command line quote in their own ways, hashes are cut.
    cut = {"hash": 16, "unit": 17, "argument": 17, "one": 12, "two": 12}
    for name in names.split():
        wanted = FOLDER if name in ("one", "two") else HOSTILE
        assert f"{name} {wanted}"[: cut.get(name)] in page.text, name
    assert "77762223" not in page.text and page.text.count("<!doctype") == 0
    assert not [name for name in page.attributes if name.startswith("on")]
    assert files.is_page(path) and pages.report(folder) == path  # written again over itself


def test_captions_say_them_to_a_screen_reader(made):
    folder, _ = a_run(made)
    page = alone(pages.report(folder).read_text())
    assert named("term") in page.attributes["aria-label"]


def test_cold_and_warm_are_explained_where_rows_have_users(made):
    folder, _ = a_run(made)
    assert "Cold: users" not in alone(pages.report(folder).read_text()).text
    test = result()["test"]
    test |= {f"{name}@cold": 0.5 for name in ("auc", "gauc", "log_loss", "ece")}
    (folder / "metrics.json").write_text(json.dumps(result(test=test, validation=test)))
    assert "Cold: users" in alone(pages.report(folder).read_text()).text


def test_pages_of_earlier_versions_are_pages(tmp_path):
    """Written over, and removed with their run; a page of somebody else's is not."""
    page = tmp_path / "page.html"
    page.write_text(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>DNN on films</title>\n<style>\n:root { color-scheme: light; }\n* { box-sizing: border-box; }\n"
    )
    assert files.is_page(page)
    page.write_text("<!doctype html>\n<title>Mine</title>\n<style>\n* { color: red; }\n</style>")
    assert not files.is_page(page)


def test_html_is_written_by_templates_alone():
    """One value is not escaped: what matplotlib drew, and escaped."""
    for path in REPORT.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        nodes = list(ast.walk(ast.parse(source)))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        texts = {
            node.value
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        }
        known = {"figures.py": {"<svg "}, "rendering.py": {'<h2 id="([^"]*)">(.*?)</h2>'}}  # the latter reads
        assert {t for t in texts if re.search("<[a-z/!]", t)} == known.get(path.name, set()), path.name
        assert "Markup" not in source, path.name
    templates = "".join(path.read_text(encoding="utf-8") for path in REPORT.glob("templates/*.html"))
    assert re.findall(r"[\w.]+ *\| *safe|autoescape", templates) == ["drawn.svg | safe"]
