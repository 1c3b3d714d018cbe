"""The example in a docstring runs and prints what stands there."""

from __future__ import annotations

import doctest
import functools
import inspect

import pytest

from cdrzoo import layers, models
from cdrzoo.data import synthetic
from tests.models.conformance import each_case

prepare = functools.cache(synthetic.prepare)


def run(one, name: str, monkeypatch) -> int:
    """Runs the examples of a docstring, which share their logs, and says how many lines they are."""
    monkeypatch.setattr(synthetic, "prepare", prepare)
    found = doctest.DocTestParser().get_doctest(one.__doc__, {}, name, None, 0)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(
        found, out=report.append
    )
    assert not report, "".join(report)
    return len(found.examples)


@pytest.mark.slow
@each_case()
def test_of_a_model(case, monkeypatch):
    assert run(models.card(case.name).load(), case.name, monkeypatch)


PARTS = ("Args:", "Call arguments", "Returns:", "Logged", "Reference:", "Example:")


@each_case(own=None)
def test_a_models_docstring_has_its_parts_in_order(case):
    text = inspect.getdoc(models.card(case.name).load())
    found = [part for line in text.splitlines() for part in PARTS if line.startswith(part)]
    both = "Call arguments and returns:" in text
    assert found == [part for part in PARTS if not (both and part == "Returns:")]


@pytest.mark.parametrize("name", layers.__all__)
def test_of_a_layer(name, monkeypatch):
    run(getattr(layers, name), name, monkeypatch)


def test_of_the_logs_that_all_of_them_start_from(monkeypatch):
    assert run(synthetic.prepare, "prepare", monkeypatch)
