"""The page of a backtest: every day, by arm, and what each arm costs."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cdrzoo.evaluation.lift import PRIMARY
from cdrzoo.evaluation.statistics import holm, mark
from cdrzoo.experiments.backtest import Backtest, measures
from cdrzoo.experiments.tables import SIGNS, TITLES, p_text
from cdrzoo.metrics import better
from cdrzoo.report import figures
from cdrzoo.report.cells import Cell, Row, Table, number, signed
from cdrzoo.report.rendering import render

NAMES = {**TITLES, "calibration": "calibration"}


def page(folder: pathlib.Path) -> str:
    """The page of a backtest, finished or not."""
    found = Backtest.load(folder)
    result, days = found.result, found.days
    metrics = measures(result)
    drawn = [
        figures.by_day(
            {arm: of[name].tolist() for arm, of in days.groupby("arm", sort=False)},
            NAMES[name],
            1.0 if name == "calibration" else None,
        )
        for name in metrics
    ]
    return render(
        "backtest.html",
        title=f"Backtest of {result['target']}: {len(result['days'])} day{'s'[: len(result['days']) - 1]}",
        headline=headline(found.table, result),
        result=result,
        metric=NAMES[PRIMARY[result["task"]]],
        drawn=drawn,
        arms=arm_rows(found.table, result),
        tables=[day_rows(days, name, result["arms"]) for name in metrics],
        rows=sum(next(iter(day["arms"].values()))["rows"] for day in result["days"]),
        next=what_next(found),
    )


def headline(table: pd.DataFrame, result: Mapping[str, Any]) -> str:
    """The answer: the arm that was best, and the cheapest."""
    metric = PRIMARY[result["task"]]
    best, cheap = best_arm(table, metric), table["seconds"].idxmin()
    costs = f"Cheapest: {cheap}, {table['seconds'][cheap]:.0f} seconds"
    if best is None:
        return f"{NAMES[metric]} is not defined on any day. {costs}."
    said = f"Best over all days: {best}, mean {NAMES[metric]} {number(table[metric][best])}."
    if best == cheap:
        return f"{said} It is the cheapest, too: {table['seconds'][cheap]:.0f} seconds."
    return f"{said} {costs}, {NAMES[metric]} {number(table[metric][cheap]) or 'not defined'}."


def best_arm(table: pd.DataFrame, metric: str) -> str | None:
    """The arm with the best mean; `None` if it is not defined on any day."""
    known = table[metric].dropna()
    if known.empty:
        return None
    return str(known.idxmax() if better(metric) == "max" else known.idxmin())


def what_next(found: Backtest) -> list[tuple[str, Sequence[Any]]]:
    """What to do with the answer: a sentence and a command each."""
    best = best_arm(found.table, PRIMARY[found.result["task"]])
    if best is None:
        return []
    run = found.last(best)
    return [
        ("Export the last day's model of the best arm.", ["export", run, "--to", "saved_models/NAME"]),
        ("Before the next day: do its rows still fit the model?", ["drift", run, "NEXT_DAY.yaml"]),
        ("Go on with it.", ["train", "NEXT_DAY.yaml", "--from", run, "--out", "RUN"]),
    ]


def arm_rows(table: pd.DataFrame, result: Mapping[str, Any]) -> Table:
    """A line an arm, the best first: means over days, a test against the first arm of all, and what it costs."""
    metric, first = PRIMARY[result["task"]], result["arms"][0]
    others = table.index != first
    p = pd.Series(holm(table["p"][others]), table.index[others])
    rows: list[Row] = []
    for arm, row in table.sort_values(metric, ascending=better(metric) == "min").to_dict("index").items():
        kind = mark(metric, row["difference"], p.get(arm, math.nan))
        sign = SIGNS["against" if arm == first else kind]
        shown = Cell(number(row[metric]) + sign, kind if rows else f"{kind} best".strip())
        rows.append(
            {
                "arm": arm,
                **{NAMES[name]: number(row[name]) for name in measures(result)},
                NAMES[metric]: shown,
                "difference": "" if arm == first else signed(row["difference"]),
                "p, Holm": "" if arm == first else p_text(p[arm]),
                "seconds": f"{row['seconds']:.0f}",
            }
        )
    return Table("Means over days, the best arm first, and seconds of all trainings", rows)


def day_rows(days: pd.DataFrame, metric: str, arms: Sequence[str]) -> Table:
    """A line a day, a column an arm."""
    lines = []
    for at, (_, of) in enumerate(days.groupby("day"), 1):
        by = of.set_index("arm")
        rows, label = by["rows"].iloc[0], by["mean label"].iloc[0]
        line = {"day": str(at), "rows": f"{rows:,}", "mean label": f"{label:.4f}"}
        lines.append(line | {arm: number(by[metric][arm]) for arm in arms})
    name = NAMES[metric]
    return Table(f"{name[:1].upper()}{name[1:]} of every day", lines)
