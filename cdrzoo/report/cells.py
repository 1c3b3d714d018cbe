"""Cells of the tables: numbers as text, and whether one is to the better or to the worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cdrzoo import metrics


@dataclass(frozen=True)
class Cell:
    """A cell that is set apart: `kind` is `better`, `worse` or empty."""

    text: str
    kind: str


Row = Mapping[str, str | Cell]
"""A line of a table: `{title of the column: cell}`; all lines of one have the same titles."""


def kind(metric: str, difference: float, low: float, high: float) -> str:
    """Whether a difference is one to the better or the worse; empty if its interval has 0 in it, or there is none."""
    if not low * high > 0:
        return ""
    return "better" if (difference > 0) == metrics.HIGHER_IS_BETTER[metric] else "worse"


def lift(metric: str, values: Mapping[str, float]) -> Cell:
    """The cell of a `Difference`."""
    difference, low, high = (values[name] for name in ("difference", "low", "high"))
    text = f"{difference:+.4f}" if np.isfinite(difference) else ""
    return Cell(text, kind(metric, difference, low, high))


def interval(values: Mapping[str, float]) -> str:
    """The 95 % interval of a `Difference`."""
    return f"{values['low']:+.4f} to {values['high']:+.4f}"


def count(number: int | None) -> str:
    """A number of rows or users; empty where it is not known."""
    return "" if number is None else f"{number:,}"
