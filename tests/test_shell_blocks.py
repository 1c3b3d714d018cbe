"""What the README and docs have a reader type: every command is one that there is, and the README's session runs."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import re
import shlex

import pytest

from cdrzoo import cli
from cdrzoo.data import datasets, synthetic
from cdrzoo.documents import dump_yaml, load_mapping, load_yaml
from cdrzoo.experiments import catalogue
from cdrzoo.experiments.entries import Entry, check_names, read_entries

PROJECT = pathlib.Path(__file__).resolve().parent.parent
DOCS = sorted(page for page in (PROJECT / "docs").rglob("*.md") if page.name != "README.md")
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", PROJECT / "saved_models" / "README.md", *DOCS]
BLOCK = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.S | re.M)
PROGRAMS = ("cdrzoo ", "python ", "make ")
OWN = ("mine", "planted")
"""Experiments that a page makes itself."""


def commands(page: pathlib.Path) -> list[list[str]]:
    """The commands of a page that are the project's own, each as its words."""
    lines = [
        line
        for language, block in BLOCK.findall(page.read_text(encoding="utf-8"))
        if language in ("", "bash", "sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    parts = (part for line in lines if line.startswith(PROGRAMS) for part in line.split(" && "))
    return [shlex.split(part.split(" > ")[0], comments=True) for part in parts]


COMMANDS = [
    pytest.param(words, id=f"{page.relative_to(PROJECT)}: {' '.join(words)[:60]}")
    for page in PAGES
    for words in commands(page)
]


def settings(given: list[str]) -> dict[str, object]:
    return {name: load_yaml(value, name) for name, _, value in (each.partition("=") for each in given)}


@pytest.mark.parametrize("words", COMMANDS)
def test_the_command_is_one_that_there_is(words):
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert next(word for word in words[1:] if "=" not in word) in targets
        return
    if words[0] == "python":
        there = importlib.util.find_spec(words[2]) if words[1] == "-m" else (PROJECT / words[1]).exists()
        assert there
        return
    words = ["dnn" if word == "NAME" else word for word in words]
    if words[1].startswith("-"):
        return
    arguments = importlib.import_module("cdrzoo.cli.main")._parser().parse_args(words[1:])
    entries = read_entries(arguments.models) if getattr(arguments, "models", None) else []
    if words[1] == "train" and arguments.model:
        entries = [Entry("the command", {"model": arguments.model, **settings(arguments.set)})]
    for entry in entries:
        check_names(entry)
    if words[1] == "dataset":
        assert arguments.name in datasets.__all__
    if words[1] == "reproduce" and arguments.name and arguments.name not in OWN:
        assert catalogue.find(arguments.name)


def test_there_are_commands_of_every_kind():
    there = {words.values[0][1] for words in COMMANDS if words.values[0][0] == "cdrzoo"}
    wanted = "compare dataset export label predict report reproduce schema serve synthesize train transfer tune verify"
    assert there >= set(wanted.split())


@pytest.mark.exhaustive
@pytest.mark.once
def test_the_session_of_the_readme(tmp_path, monkeypatch, capsys):
    """As it stands there, on fewer rows and for an epoch."""
    pytest.importorskip("matplotlib", reason="needs the extra `report`")
    lines = commands(PROJECT / "README.md")
    start = next(at for at, words in enumerate(lines) if words[1] == "synthesize")
    session = [words[1:] for words in lines[start : start + 6]]
    assert [words[0] for words in session] == "synthesize train transfer export verify predict".split()
    monkeypatch.chdir(tmp_path)
    few = {"users": 120, "source_rows": 1500, "target_rows": 900, "source_items": 60, "target_items": 40}
    make = synthetic.synthesize
    monkeypatch.setattr(synthetic, "synthesize", lambda transfer, **given: make(transfer, **given, **few))
    for words in session:
        assert cli.main(words) == 0, words
        if words[0] == "synthesize":
            run = load_mapping("demo/run.yaml")
            run["training"]["epochs"] = 1
            pathlib.Path("demo/run.yaml").write_text(dump_yaml(run))
    assert pathlib.Path("runs/transfer/report.html").exists()
    out = capsys.readouterr().out
    assert "verified" in out and len(re.findall(r"^ *0\.\d+ ", out, re.M)) >= 5
