"""The page of a backtest: every day, by arm, and what each arm costs."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cdrzoo.experiments.backtest import Backtest, measures, primary
from cdrzoo.experiments.tables import TITLES, p_text
from cdrzoo.metrics import better
from cdrzoo.report import figures
from cdrzoo.report.cells import Table
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
        title=f"Backtest of {result['target']}: {len(result['days'])} days",
        headline=headline(found.table, result),
        result=result,
        metric=NAMES[primary(result)],
        drawn=drawn,
        arms=arm_rows(found.table, result),
        tables=[day_rows(days, name, result["arms"]) for name in metrics],
        rows=sum(next(iter(day["arms"].values()))["rows"] for day in result["days"]),
    )


def headline(table: pd.DataFrame, result: Mapping[str, Any]) -> str:
    """The answer: the arm that was best, and the cheapest."""
    metric = primary(result)
    best = table[metric].idxmax() if better(metric) == "max" else table[metric].idxmin()
    cheap = table["seconds"].idxmin()
    return (
        f"Best over all days: {best}, mean {NAMES[metric]} {table[metric][best]:.4f}. Cheapest: {cheap}, "
        f"{table['seconds'][cheap]:.0f} seconds, {NAMES[metric]} {table[metric][cheap]:.4f}."
    )


def arm_rows(table: pd.DataFrame, result: Mapping[str, Any]) -> Table:
    """A line an arm: means over days, and what it costs."""
    metric, first = primary(result), result["arms"][0]
    rows = [
        {
            "arm": arm,
            **{NAMES[name]: f"{row[name]:.4f}" for name in measures(result)},
            f"{NAMES[metric]}, less {first}": "" if arm == first else f"{row['difference']:+.4f}",
            "p": "" if arm == first else p_text(row["p"]),
            "seconds": f"{row['seconds']:.0f}",
        }
        for arm, row in table.to_dict("index").items()
    ]
    return Table("Means over days, and seconds of all trainings", rows)


def day_rows(days: pd.DataFrame, metric: str, arms: Sequence[str]) -> Table:
    """A line a day, a column an arm."""
    lines = []
    for number, (_, of) in enumerate(days.groupby("day")):
        by = of.set_index("arm")
        rows, label = by["rows"].iloc[0], by["mean label"].iloc[0]
        line = {"day": str(number + 1), "rows": f"{rows:,}", "mean label": f"{label:.4f}"}
        lines.append(line | {arm: f"{by[metric][arm]:.4f}" for arm in arms})
    return Table(f"{NAMES[metric]} of every day", lines)
