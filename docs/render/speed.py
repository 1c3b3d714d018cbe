"""The tables and the chart of the pages on speed, made from what `python -m benchmarks` has measured."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from cdrzoo import models
from docs.render.chart import STYLE
from docs.render.results import FOLDER, markdown

FILE = FOLDER / "speed.jsonl"
LIBRARIES = ("cdrzoo", "deepctr", "torch-rechub", "FuxiCTR")
SHAPES = {"fields": "", "histories": ", histories"}
PRODUCTS = ("afm", "xdeepfm", "fibinet", "dcn", "din")
"""Attention and crosses: the models of which the goal asks more with small tables."""
GOALS = {1_000: 1.0, 100_000: 2.0, 1_000_000: 4.0}
"""By rows of the tables: how often cdrzoo's step is to fit into that of the fastest peer."""
LEFT, ROW, TOP, WIDTH = 165, 17, 74, 620


@functools.cache
def measured() -> list[dict[str, Any]]:
    """What was measured, by rows of the tables, shape, model and day."""
    found = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    order = [card.name for card in models.CARDS]

    def place(one: dict[str, Any]) -> tuple:
        return one["rows"], list(SHAPES).index(one["shape"]), order.index(one["model"]), one["day"]

    return sorted(found, key=place)


def cells() -> list[dict[str, Any]]:
    """The last day of each cell."""
    return list({(one["rows"], one["shape"], one["model"]): one for one in measured()}.values())


def compared(rows: int | None = None) -> list[dict[str, Any]]:
    """The cells with a peer; of tables of so many rows."""
    return [one for one in cells() if len(one["libraries"]) > 1 and rows in (None, one["rows"])]


def ahead(cell: dict[str, Any], of: str = "ms") -> float:
    """How often cdrzoo's step fits into the fastest peer's."""
    ours, *others = (cell["libraries"][name][of] for name in LIBRARIES if name in cell["libraries"])
    return min(others) / ours


def title(cell: dict[str, Any]) -> str:
    return models.card(cell["model"]).cls + SHAPES[cell["shape"]]


def rows_of(number: int) -> str:
    return f"{number // 1_000_000} million" if number >= 1_000_000 else f"{number // 1000} thousand"


def number(value: float) -> str:
    """Two digits at least, without those that the spread makes meaningless."""
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def table(rows: str) -> str:
    """Milliseconds on the clock with tables of so many rows."""

    def share(cell: dict[str, Any]) -> str:
        return f"{cell['gflop'] / (cell['libraries']['cdrzoo']['ms'] / 1e3) / cell['gflops']:.0%}"

    return _table(
        rows,
        lambda of: f"{number(of['ms'])} [{number(of['from'])} to {number(of['to'])}]",
        {"ahead": lambda cell: f"{ahead(cell):.1f}", "of the product": share},
    )


def processor(rows: str) -> str:
    """Milliseconds of processor time with tables of so many rows."""
    return _table(rows, lambda of: number(of["cpu"]), {"ahead": lambda cell: f"{ahead(cell, 'cpu'):.1f}"})


def memory(rows: str) -> str:
    """The peak of memory that training took, in MB."""
    return _table(rows, lambda of: f"{of['mb']:,}", {})


def _table(
    rows: str,
    shown: Callable[[dict[str, Any]], str],
    further: Mapping[str, Callable[[dict[str, Any]], str]],
) -> str:
    """A row a model that a peer has: what is shown of each library, and further columns of the cell."""
    found = [
        [
            title(cell),
            *(shown(cell["libraries"][name]) if name in cell["libraries"] else "" for name in LIBRARIES),
            *(column(cell) for column in further.values()),
        ]
        for cell in compared(int(rows))
    ]
    return markdown(["model", *LIBRARIES, *further], found)


def goals() -> str:
    """What was to be reached, and which models reach it."""
    lines = []
    for rows, goal in GOALS.items():
        asked: dict[float, list] = {}
        for cell in compared(rows):
            more = rows == 1_000 and cell["model"] in PRODUCTS
            asked.setdefault(1.5 if more else goal, []).append(cell)
        for least, of in asked.items():
            ratios = [(title(cell), ahead(cell), ahead(cell, "cpu")) for cell in of]
            reached = [f"{sum(one[at] >= least for one in ratios)} of {len(of)}" for at in (1, 2)]
            missed = [f"{name} {cpu:.2f}" for name, _, cpu in ratios if cpu < least]
            lines.append([rows_of(rows), f"{least:g}", *reached, ", ".join(missed) or "none"])
    heading = [
        "rows of a table",
        "goal",
        "reach it on the clock",
        "in processor time",
        "miss it in processor time",
    ]
    return markdown(heading, lines)


def days() -> str:
    """Of the cells that were measured on several days, what each day says."""
    of: dict[tuple, dict[str, str]] = {}
    for one in measured():
        if len(one["libraries"]) > 1:
            ratios = f"{ahead(one):.2f}, {ahead(one, 'cpu'):.2f}"
            of.setdefault((rows_of(one["rows"]), title(one)), {})[one["day"]] = ratios
    every = sorted({one["day"] for one in measured()})
    lines = [[*cell, *(found.get(day, "") for day in every)] for cell, found in of.items() if len(found) > 1]
    return markdown(["rows of a table", "model", *every], lines)


def growth() -> str:
    """cdrzoo's step beside the rows of the tables, for the models that were measured with ten million."""
    largest = [cell for cell in cells() if cell["rows"] == 10_000_000]
    sizes = sorted({cell["rows"] for cell in cells()})
    lines = []
    for last in largest:
        of = {
            one["rows"]: one["libraries"]["cdrzoo"]["cpu"]
            for one in measured()
            if [one[what] for what in ("model", "shape", "day")]
            == [last[what] for what in ("model", "shape", "day")]
        }
        steps = [number(of[rows]) if rows in of else "" for rows in sizes]
        lines.append([title(last), *steps, f"{of[10_000_000] / of[10_000]:.2f}"])
    return markdown(["model", *map(rows_of, sizes), "10 million in steps of 10 thousand"], lines)


def environment() -> str:
    """The machines of the days, and the versions of the last cell."""
    last = json.loads(FILE.read_text(encoding="utf-8").splitlines()[-1])
    versions = markdown(["library", "version"], sorted(map(list, last["versions"].items())))
    of_days: dict[str, list[dict[str, Any]]] = {}
    for one in measured():
        of_days.setdefault(one["day"], []).append(one)
    rows = []
    for day, found in sorted(of_days.items()):
        products = [one["gflops"] for one in found]
        machine = found[0]["machine"].rpartition(", load")[0]
        rows.append([day, machine, f"{min(products):.0f} to {max(products):.0f}", str(len(found))])
    machines = markdown(["day", "machine", "its product of matrices, GFLOP a second", "cells"], rows)
    return f"{machines}\n\n{versions}"


def chart() -> str:
    """A bar a cell: how often cdrzoo's step fits into that of the fastest peer, from 1 on, in powers of two."""
    found = compared()
    values = [ahead(cell, of) for cell in found for of in ("ms", "cpu")]
    low, high = math.floor(math.log2(min(*values, 1))), math.ceil(math.log2(max(*values, 2)))
    sizes = sorted({cell["rows"] for cell in found})
    bottom = TOP + ROW * (len(found) + len(sizes))

    def x(value: float) -> float:
        return round(LEFT + (math.log2(value) - low) / (high - low) * (WIDTH - LEFT - 40), 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 24}" role="img" '
        'aria-labelledby="t d">',
        '<title id="t">How often a step of cdrzoo fits into a step of the fastest peer</title>',
        f'<desc id="d">From {min(values[1::2]):.1f} to {max(values[1::2]):.1f} times in processor time, over '
        f"{len(found)} models and sizes of tables.</desc>",
        STYLE,
        '<text x="8" y="16">A step of the fastest peer, in steps of cdrzoo</text>',
        '<text x="8" y="33" class="small">Bar: in processor time. Circle: on the clock. To the right of 1 cdrzoo is '
        "faster.</text>",
    ]
    for power in range(low, high + 1):
        at, kind = x(2**power), "zero" if not power else "grid"
        lines.append(f'<line x1="{at}" x2="{at}" y1="{TOP - 20}" y2="{bottom}" class="{kind}"/>')
        lines.append(
            f'<text x="{at}" y="{bottom + 16}" text-anchor="middle" class="small">{2.0**power:g}</text>'
        )
    y = TOP - ROW
    for rows in sizes:
        lines.append(f'<text x="8" y="{y + 13}" class="small">tables of {rows_of(rows)} rows</text>')
        y += ROW
        for cell in compared(rows):
            value, other = ahead(cell, "cpu"), ahead(cell)
            kind = "source" if value >= 1 else "target"
            start, width = min(x(1), x(value)), round(abs(x(value) - x(1)), 1)
            lines += [
                f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{title(cell)}</text>',
                f'<rect x="{start}" y="{y + 4}" width="{width}" height="{ROW - 8}" class="{kind}"/>',
                f'<circle cx="{x(other)}" cy="{y + ROW / 2}" r="3" class="{kind}"/>',
                f'<text x="{max(map(x, (value, other, 1))) + 8}" y="{y + 13}" class="small">{value:.1f}</text>',
            ]
            y += ROW
    return "\n".join([*lines, "</svg>"]) + "\n"
