"""The costs that the table of models shows are those of the models."""

from __future__ import annotations

import pytest

from benchmarks import costs as benchmark
from cdrzoo.models import CARDS, costs
from tests.models.conformance import each_case


def test_every_model_has_its_cost_in_the_order_of_the_cards():
    assert list(costs()) == [card.name for card in CARDS]
    assert costs()["dnn"] == {"parameters": 1.0, "step": 1.0}
    assert all(cost["step"] > 0 for cost in costs().values())


@pytest.fixture(scope="module")
def base():
    return benchmark.parameters("dnn")


@pytest.mark.once
@each_case(quick=False)
def test_parameters_are_what_the_models_hold(case, base):
    """If not, run `python -m benchmarks.costs NAME`: the time of its step will have changed, too."""
    assert costs()[case.name]["parameters"] == round(benchmark.parameters(case.name) / base, 2)
