"""Two replicas train every model as one device does with the same batch."""

from __future__ import annotations

import pytest

from tests.models.conformance import each_case
from tests.models.replicas import answers

OWN = ("emcdr", "star")
"""A mean, and statistics, of a model's own over the rows of a batch; the others that have them come last."""


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with answers(tmp_path_factory.mktemp("replicas") / "log") as ask:
        yield ask


@pytest.mark.once
@each_case(own=(), quick=False, soon=OWN)
def test_a_model_trains_and_logs_on_two_replicas_as_on_one_device(case, ask):
    assert ask(case.name)["differences"] == []


@pytest.mark.once
@pytest.mark.exhaustive
@pytest.mark.parametrize("what", ["callbacks", "uneven", "windows"])
def test_two_replicas_validate_share_odd_rows_and_end_windows_as_one_device_does(what, ask):
    assert ask(what)["differences"] == []
