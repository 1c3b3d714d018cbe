"""Scores of the target's rows, and what they are measured by: of one label or of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from cdrzoo import traffic
from cdrzoo.errors import InputError
from cdrzoo.schema import Schema

Outcome = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]
"""Labels, scores and sample weights (None if there are none), each `[n]`."""


def target_outputs(model: Any, data: Any) -> dict[str, Outcome]:
    """`target_scores` of every output of the target; a label that is missing weighs 0."""
    target = model.schema.target_domain
    parts: dict[str, list[Any]] = {key: [] for key in target.outputs}
    for x, y, *weights in data:
        found = model.predict_on_batch({target.name: x[target.name]})
        if target.negatives_kept:
            served = model.served_outputs({key: np.asarray(found[key]) for key in parts})
            found = {key: served[label.name] for key, label in target.outputs.items()}
        for key, pieces in parts.items():
            # Under a distribution strategy every replica scores the whole batch.
            scores = np.asarray(found[key])[: len(y[key])]
            weight = weights[0].get(key) if weights and weights[0] else None
            given = None if weight is None else np.ravel(weight)
            weight = traffic.row_weights(np.ravel(y[target.name]), given, target.negatives_kept)
            weight = np.ones(len(scores)) if weight is None else weight
            pieces.append([np.ravel(y[key]), np.ravel(scores), weight])
    if not parts[target.name]:
        raise InputError("There are no rows to score: the dataset gave no batch.")
    outcomes = {}
    for key, pieces in parts.items():
        labels, scores, weight = (np.concatenate(column) for column in zip(*pieces, strict=True))
        outcomes[key] = labels, scores, weight if (weight != 1).any() else None
    return outcomes


def by_label(
    schema: Schema, outcomes: dict[str, Outcome], *measures: Callable[..., dict[str, Any]], **how: Any
) -> Any:
    """What each measure says of every output, in one mapping a measure: `auc`, and `LABEL.auc` of a further label.

    Args:
        schema: whose target is measured.
        outcomes: of `target_outputs`.
        measures: such as `cdrzoo.metrics.evaluate`.
        how: their `users` and `groups`.
    """
    made: list[dict[str, Any]] = [{} for _ in measures]
    for key, label in schema.target_domain.outputs.items():
        labels, scores, weights = outcomes[key]
        prefix = "" if key == schema.target else f"{label.name}."
        for found, measure in zip(made, measures):
            values = measure(labels, scores, label.task, weights=weights, **how)
            found.update({f"{prefix}{name}": value for name, value in values.items()})
    return made


def finite(outcomes: Iterable[Outcome]) -> bool:
    """Whether all scores are finite."""
    return all(np.isfinite(scores).all() for _, scores, _ in outcomes)
