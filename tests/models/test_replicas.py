"""Two replicas train every model as one device does with the same batch."""

from __future__ import annotations

import pytest

from tests.models.cases import CASES
from tests.models.replicas import answers

SOON = ("dnn", "emcdr", "star")
"""The plainest, and models with a mean, and statistics, of their own over the rows of a batch; the others come last."""
MARKS = {True: pytest.mark.slow, False: pytest.mark.exhaustive}


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with answers(tmp_path_factory.mktemp("replicas") / "log") as ask:
        yield ask


@pytest.mark.once
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=MARKS[case.name in SOON]) for case in CASES]
)
def test_a_model_trains_and_logs_on_two_replicas_as_on_one_device(case, ask):
    assert ask(case.name)["differences"] == []


@pytest.mark.once
@pytest.mark.exhaustive
@pytest.mark.parametrize("what", ["callbacks", "uneven", "windows", "gone on"])
def test_two_replicas_validate_share_odd_rows_end_windows_and_go_on_as_one_device_does(what, ask):
    assert ask(what)["differences"] == []
