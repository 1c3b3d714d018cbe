"""The bench of mechanisms: of each plant what a part of a model does, between a bound and the target alone."""

from __future__ import annotations

from collections.abc import Mapping

from cdrzoo.data import planted
from cdrzoo.experiments import tables
from cdrzoo.experiments.catalogue import Part
from cdrzoo.experiments.comparison import Comparison

ORACLE = ", oracle"
"""Ends the name of a part that says what another part could reach."""
WITHOUT = " w/o "
"""Stands in a label between a model and the part that it lacks."""


def rows(parts: Mapping[str, Part], made: Mapping[str, Comparison]) -> list[dict[str, str]]:
    """A row each for the parts of an experiment that have an oracle beside them.

    Args:
        parts: of the experiment; of a plant the first model that is not `against` is the one without the mechanism.
        made: what their runs found, as far as they are done.

    Returns:
        Of each row the plant, what is left out of the full model, the AUC of the true probabilities, the first metric
        of the oracle's model, the full model, the one without and the DNN of the target, the difference that leaving
        it out makes, and its p after Holm's correction for all rows.
    """
    plants = [name for name in made if name + ORACLE in parts and parts[name].against]
    left_out = {
        name: next(label for label in parts[name].models if label != parts[name].against) for name in plants
    }
    tests = {name: made[name].tests[left_out[name]] for name in plants}
    p = tables.corrected(tests)
    found = []
    for name in plants:
        one, full, without = made[name], str(parts[name].against), left_out[name]
        oracle = made.get(name + ORACLE)
        alone = next((run["label"] for run in one.results if run["result"]["domains"] == "target"), None)
        found.append(
            {
                "plant": name,
                "without": without.partition(WITHOUT)[2] or without,
                "bound": f"{planted.bayes(str(parts[name].pair['plant'])):.4f}",
                "done by hand": _cell(oracle, next(iter(parts[name + ORACLE].models))),
                "full model": f"{_cell(one, full)}, {full}",
                "without it": _cell(one, without),
                "target alone": _cell(one, alone),
                "difference": f"{tests[name].difference:+.4f}",
                "p, Holm": tables.p_text(p[name]) or tests[name].note,
            }
        )
    return found


def _cell(one: Comparison | None, label: str | None) -> str:
    """Mean and deviation of the first metric; empty where there is none."""
    return "" if one is None or label is None else tables.spread(one.scores(label, next(iter(one.columns))))
