"""Tables of the backtests in docs/results/backtests: a folder a pair of logs, a `backtest.json` a seed."""

from __future__ import annotations

import functools
import json
from typing import Any

from cdrzoo.experiments.backtest import Backtest, measures
from cdrzoo.report.backtest import NAMES, arm_rows
from cdrzoo.report.cells import Cell
from docs.render.results import FOLDER, markdown

BACKTESTS = FOLDER / "backtests"


@functools.cache
def load(name: str) -> Backtest:
    """The backtest of some logs; of several seeds the mean of every number."""
    files = sorted((BACKTESTS / name).glob("*.json"))
    seeds = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return Backtest(BACKTESTS / name, {**seeds[0], "days": _mean([seed["days"] for seed in seeds])})


def _mean(found: list[Any]) -> Any:
    """The mean of things that are built alike."""
    if isinstance(found[0], dict):
        return {name: _mean([one[name] for one in found]) for name in found[0]}
    if isinstance(found[0], list):
        return [_mean(list(each)) for each in zip(*found, strict=True)]
    return sum(found) / len(found)


def arms(name: str) -> str:
    """A row an arm, the best first: means over periods, and the seconds of all its trainings."""
    one = load(name)
    table = arm_rows(one.table, one.result)
    cells = [{column: _text(value) for column, value in row.items()} for row in table.rows]
    return markdown(list(cells[0]), [list(row.values()) for row in cells])


def _text(cell: Any) -> str:
    if isinstance(cell, Cell):
        return f"**{cell.text}**" if "best" in cell.kind.split() else cell.text
    return str(cell)


def periods(name: str) -> str:
    """A table a measure: a row a period, a column an arm."""
    one = load(name)
    days = [day["arms"] for day in one.result["days"]]
    tables = []
    for metric in measures(one.result):
        rows = [
            [
                str(at),
                f"{next(iter(day.values()))['rows']:,.0f}",
                *(f"{of[metric]:.3f}" for of in day.values()),
            ]
            for at, day in enumerate(days, 1)
        ]
        title = NAMES[metric]
        tables += [f"{title[0].upper()}{title[1:]}:", markdown(["period", "rows", *one.result["arms"]], rows)]
    return "\n\n".join(tables)
