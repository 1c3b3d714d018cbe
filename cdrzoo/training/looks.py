"""What a trained model can be asked for beside its scores, and how it is counted and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

LOOKS = {
    "interest_weights": (
        "Interest weights",
        "How much each interest weighs for test rows, with a click and without.",
    ),
    "attention_weights": (
        "Attention weights",
        "Mean weight of a step of each history, by how many events ago it was (1: the last one). "
        "Alpha: attention of the domain; beta: of the candidate.",
    ),
    "gate_activity": ("Gate activity", "How far the gates are open for test rows: 0 shut, 1 open."),
    "feature_importance": (
        "Importance of fields",
        "The weight of each of the target's own fields for test rows.",
    ),
    "gates": (
        "Weights of the experts",
        "How much each expert weighs for test rows; a row's weights sum to 1.",
    ),
}
"""What a model can be asked for: method (`x` to nested `{name: [B] or [B, n]}`), title and caption."""


def looks(model: Any) -> list[str]:
    """What of `LOOKS` a model can be asked for."""
    return [name for name in LOOKS if callable(getattr(model, name, None))]


def flat(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, np.ndarray]]:
    """`(name, array)` of what is nested in mappings and tuples."""
    if isinstance(value, Mapping):
        return [pair for key, each in value.items() for pair in flat(each, (*path, str(key)))]
    if isinstance(value, tuple):
        return [pair for key, each in zip(("alpha", "beta"), value) for pair in flat(each, (*path, key))]
    return [(", ".join(path), np.asarray(value, np.float64))]


def by_column(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`{name: [B]}`: what is `[B, n]` has a name a column."""
    return {
        name if column is None else f"{name}, {column + 1}": v if column is None else v[:, column]
        for name, v in values.items()
        for column in (range(v.shape[1]) if v.ndim > 1 else [None])
    }


def counted(quantity: str, value: Any) -> dict[str, np.ndarray]:
    """What a histogram of one of `LOOKS` counts, by name: all steps that are not padded, all gates, else columns."""
    values = dict(flat(value))
    if quantity in ("attention_weights", "gate_activity"):
        return {name: v[v != 0] for name, v in values.items()}
    return by_column(values)
