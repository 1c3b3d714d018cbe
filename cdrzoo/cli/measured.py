"""Metrics as a table: a row a metric, a column a slice, and what simple means reach beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cdrzoo.evaluation.floors import floors
from cdrzoo.schema.overview import Block, as_text
from cdrzoo.training import groups

if TYPE_CHECKING:
    from cdrzoo.training.run import Run

WIDTH, CELL = 100, 6
"""Characters of a line, and of a number, at most."""


def table(
    run: Run, part: str, metrics: Mapping[str, float], intervals: Mapping[str, Mapping[str, float]]
) -> str:
    """The metrics of a part's rows by slice, below how many rows there are; of the test the floors by the first metric.

    Args:
        run: the run.
        part: `test` or `valid`.
        metrics: of these rows, by `name` and `name@slice`.
        intervals: of the metrics, likewise (see `cdrzoo.intervals`).
    """
    prepared = run.rows
    slices = groups.of_rows(prepared, part)
    names = [name for name in metrics if "@" not in name]
    rows: dict[str, dict[str, str]] = {}
    for group, counted in groups.sizes(prepared, part, slices).items():
        for what, count in counted.items():
            rows.setdefault(what, {})["" if group == "all" else group] = f"{count:,}"
    reach = {name: (each["high"] - each["low"]) / 2 for name, each in intervals.items()}
    for name in names:
        rows[name] = _cells(metrics, name)
        rows[f"{name} ±"] = _cells(reach, name)
    if part == "test":
        simple = floors(prepared, slices)
        rows |= {f"{names[0]} of the {floor}": _cells(found, names[0]) for floor, found in simple.items()}
    text = as_text(
        Block(
            "",
            ["", "all", *some],
            [[name, *(cells.get(each, "") for each in ("", *some))] for name, cells in rows.items()],
        )
        for some in _side_by_side(list(slices), max(map(len, rows)))
    )
    others = "users" if prepared.schema.target_domain.user else "rows"
    said = f"half of the 95 % interval over other {others}; of the chance of training it says nothing."
    return f"{text}\n\n±: {said}"


def _side_by_side(slices: list[str], name: int) -> list[list[str]]:
    """The slices in tables of at most `WIDTH` characters, where the names of rows have so many."""
    tables: list[list[str]] = [[]]
    room = start = WIDTH - name - len("  all     ") - 2
    for each in slices:
        room -= (wide := max(len(each), CELL) + 2)
        if room < 0 and tables[-1]:
            tables.append([])
            room = start - wide
        tables[-1].append(each)
    return tables


def _cells(metrics: Mapping[str, float], name: str) -> dict[str, str]:
    found = {key.partition("@")[2]: value for key, value in metrics.items() if key.partition("@")[0] == name}
    return {key: "-" if value != value else f"{value:.4f}" for key, value in found.items()}
