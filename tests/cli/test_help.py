"""`--help`: every command in its group, whole sentences, every default, an example each."""

from __future__ import annotations

import argparse
import re

import pytest

from cdrzoo.cli.main import GROUPS, _parser


def leaves(parser: argparse.ArgumentParser, name: str = ""):
    """`(name, parser)` of every command that does something."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for part, found in action.choices.items():
            yield from leaves(found, f"{name} {part}".strip())
    if not below:
        yield name, parser


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


PARSERS = dict(leaves(_parser()))
commands = pytest.mark.parametrize("name", PARSERS)


def test_every_command_stands_in_a_group_with_a_whole_sentence():
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted({name.split()[0] for name in PARSERS})
    text = _parser().format_help()
    for group, names in GROUPS.items():
        assert f"\n{group}:\n" in text
        for name in names:
            said = re.search(rf"^  {name} +(\S.*(?:\n {{14}}.*)*)", text, re.M)
            assert said and re.fullmatch(r"[A-Z][^.].*\.", " ".join(said[1].split())), name
    assert max(map(len, text.splitlines())) <= 100


@commands
def test_a_command_has_an_example_and_says_each_option_and_default(name):
    parser = PARSERS[name]
    assert max(map(len, parser.format_help().splitlines())) <= 100
    assert f"\n  cdrzoo {name}" in parser.description
    text = " ".join(parser.format_help().split())
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        assert action.help and action.help[0].isupper() and action.help.endswith("."), action.dest
        if action.option_strings and action.default is not False and action.default not in (None, []):
            shown = f"Default: {action.default}." if "efault" not in action.help else action.help
            assert " ".join(shown.split()) in text, action.dest


def test_progress_says_model_seed_epoch_best_and_time_left(capsys):
    from cdrzoo.cli.common import progress

    def line(label, seed, auc):
        result = {"validation": {"auc": auc}, "best_epoch": 3}
        return {"label": label, "changes": {"seed": seed}, "result": result}

    lines = [line("dnn", 0, 0.61), line("cctl", 0, 0.64), line("dnn", 1, float("nan")), line("cctl", 1, 0.63)]
    assert list(progress(iter(lines), 4, "training")) == lines
    first, *said = capsys.readouterr().out.splitlines()
    assert first == "training: 4 runs" and len(said) == 4
    assert said[3].startswith("training 4/4  cctl  seed 1  epoch 3  val_auc 0.6300  best 0.6400  0 s left")


def test_of_a_run_that_takes_long_it_is_told_where_it_is(monkeypatch):
    """The first run of a comparison trains for an hour, and nobody knows whether it does anything."""
    from cdrzoo.experiments import told

    now, said = [0.0], []
    monkeypatch.setattr(told.time, "monotonic", lambda: now[0])
    one = told.Told("training", 4, said.append)
    news = {"label": "cctl", "seed": 0, "first": False, "epochs": 4}
    place = {"epoch": 2, "step": 5, "steps": 10, "metric": "val_auc", "value": 0.61}
    for now[0] in (2.0, 30.0, 32.0):  # the second time it is worth a line
        one.hear({**news, **place})
    assert said == [
        "training 1/4  cctl  seed 0  epoch 2/4  step 5/10  val_auc 0.6100  at most 5 min left"
    ]  # 1.5 epochs took 30 s, 14.5 are left
    now[0] = 60.0
    one.line({"label": "cctl", "changes": {"seed": 0}, "result": {"validation": {"auc": 0.64}}})
    now[0] = 80.0
    one.hear({**news, "seed": 1, "epoch": 1, "step": None, "steps": None})
    assert said[1:] == [
        "training 2/4  cctl  seed 1  epoch 1/4  best 0.6400  3 min left"
    ]  # 3 x 60 s less 20 s
