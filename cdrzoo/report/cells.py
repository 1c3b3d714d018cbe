"""What stands in the tables of a page: text, whether it is set apart, and small plots on the scale of a column."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cdrzoo import metrics


@dataclass(frozen=True)
class Cell:
    """A cell that is set apart: `kind` are words among `better`, `worse`, `against`, `best` and `simple`, or empty."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Axis:
    """A scale.

    Args:
        low: its left end.
        high: its right end.
        ticks: where its lines are, and what they say.
        guides: further lines, `{kind: value}`.
    """

    low: float
    high: float
    ticks: Mapping[float, str] = field(default_factory=dict)
    guides: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[float], guides: Mapping[str, float] | None = None) -> Axis:
        """One that holds all values and guides that are numbers."""
        lines = {kind: value for kind, value in (guides or {}).items() if math.isfinite(value)}
        inside = [value for value in (*values, *lines.values()) if math.isfinite(value)]
        if not inside:
            return cls(0.0, 1.0)
        from matplotlib.ticker import MaxNLocator

        low, high = min(inside), max(inside)
        room = 0.06 * (high - low) or 0.01
        low, high = low - room, high + room
        found = [v for v in MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high) if low < v < high]
        digits = max(0, -math.floor(math.log10(min(np.diff(found), default=1.0)) + 1e-9))
        return cls(low, high, {float(v): f"{v:.{digits}f}" for v in found}, lines)

    def at(self, value: float) -> str:
        """Where a value is, from the left."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"


@dataclass(frozen=True)
class Mark:
    """A point of a plot, or the bar from `low` to `high`.

    Args:
        kind: its class in the style sheet.
        says: what it shows when it is pointed at.
        at: of the point; `None`: there is none.
        low: of the bar; `None`: there is none.
        high: likewise.
        line: from above, of the height of the row.
    """

    kind: str
    says: str
    at: float | None = None
    low: float | None = None
    high: float | None = None
    line: str = "50%"


@dataclass(frozen=True)
class Plot:
    """A row of a plot, in a cell; numbers that are not finite are left out."""

    axis: Axis
    marks: Sequence[Mark]

    @property
    def shown(self) -> list[Mark]:
        """What can be drawn."""
        return [
            mark
            for mark in self.marks
            if all(math.isfinite(v) for v in (mark.at, mark.low, mark.high) if v is not None)
        ]


Row = Mapping[str, "str | Cell | Plot"]
"""A line of a table: `{title of the column: cell}`; all lines of one have the same titles, the first is its name."""


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        caption: what it shows.
        rows: its lines.
        axes: scales of the columns that hold plots, by title.
        kind: `text` where its cells are no numbers.
    """

    caption: str
    rows: Sequence[Row]
    axes: Mapping[str, Axis] = field(default_factory=dict)
    kind: str = ""


def plot_interval(axis: Axis, values: Mapping[str, float], kind: str) -> Plot:
    """A difference with its interval, as those of `Difference` and `Paired`."""
    says = f"{values['difference']:+.4f}, 95 % interval {interval(values)}"
    return Plot(
        axis,
        [
            Mark(f"bar {kind}", says, low=values["low"], high=values["high"]),
            Mark(f"dot {kind}", says, at=values["difference"]),
        ],
    )


def axis_of_intervals(found: Iterable[Mapping[str, float]]) -> Axis:
    """A scale for differences and their intervals, with a line at 0; intervals that are far wider go beyond it."""
    values = [(each["difference"], each["low"], each["high"]) for each in found]
    reaches = [high - difference for difference, _, high in values if math.isfinite(high)]
    most = 3 * float(np.median(reaches)) if reaches else 0.0
    shown = [
        value
        for difference, low, high in values
        for value in (difference, max(low, difference - most), min(high, difference + most))
    ]
    return Axis.of(shown, guides={"zero": 0.0})


def direction(metric: str) -> str:
    """Which side of 0 is to the better."""
    return "right is better" if metrics.better(metric) == "max" else "left is better"


def interval(values: Mapping[str, float]) -> str:
    """The 95 % interval of a difference; empty where there is none."""
    return f"{values['low']:+.4f} to {values['high']:+.4f}" if math.isfinite(values["low"]) else ""


def signed(value: float) -> str:
    """A difference; empty where there is none."""
    return f"{value:+.4f}" if math.isfinite(value) else ""


def number(value: float) -> str:
    """A metric; empty where there is none."""
    return f"{value:.4f}" if math.isfinite(value) else ""


def count(number: int | None) -> str:
    """A number of rows or users; empty where it is not known."""
    return "" if number is None else f"{number:,}"


def with_best(rows: Sequence[Row], column: str, metric: str) -> list[Row]:
    """The rows, the best number of a column of a metric set apart; there is no best of one, and no simple one is."""
    values = [_value(row.get(column, "")) if _of_a_model(row) else math.nan for row in rows]
    merits = [-math.inf if math.isnan(value) else metrics.merit(metric, value) for value in values]
    if sum(map(math.isfinite, merits)) < 2:
        return list(rows)
    best = merits.index(max(merits))
    return [{**row, column: _set_apart(row[column])} if i == best else row for i, row in enumerate(rows)]


def _of_a_model(row: Row) -> bool:
    name = next(iter(row.values()))
    return not (isinstance(name, Cell) and "simple" in name.kind)


def _value(cell: str | Cell | Plot) -> float:
    """The number that a cell begins with."""
    if isinstance(cell, Plot):
        return math.nan
    text = (cell.text if isinstance(cell, Cell) else cell).partition(" ")[0]
    try:
        return float(text)
    except ValueError:
        return math.nan


def _set_apart(cell: str | Cell | Plot) -> Cell:
    if isinstance(cell, Cell):
        return dataclasses.replace(cell, kind=f"{cell.kind} best".strip())
    assert isinstance(cell, str)
    return Cell(cell, "best")
