"""The page of a search: the best settings of each model, and every trial."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from typing import Any

from cdrzoo.experiments import results, search, tune
from cdrzoo.experiments.tables import COLUMNS
from cdrzoo.report.cells import Axis, Mark, Plot, Row, Table, direction, number, with_best
from cdrzoo.report.rendering import render


def is_search(folder: pathlib.Path) -> bool:
    """Whether a folder is that of `cdrzoo tune`: it has trials, and no comparison goes on there."""
    if not (folder / results.LINES).exists() or (folder / results.ABOUT).exists():
        return False
    lines = results.kept(folder / results.LINES)
    return bool(lines) and all(line["stage"] == "search" for line in lines)


def page(folder: pathlib.Path) -> str:
    """The page of a search."""
    trials: dict[str, list[dict[str, Any]]] = {}
    for line in results.kept(folder / results.LINES):
        trials.setdefault(line["label"], []).append(line)
    best = {label: _by_merit(lines)[0] for label, lines in trials.items()}
    best = dict(sorted(best.items(), key=lambda item: search.merit(_validation(item[1])), reverse=True))
    first, line = next(iter(best.items()))
    metric = (
        "rmse" if any("rmse" in _validation(each) for lines in trials.values() for each in lines) else "auc"
    )
    columns = COLUMNS["rating" if metric == "rmse" else "click"]
    return render(
        "search.html",
        title="Search for settings",
        headline=f"{first} is first: {columns[metric]} {number(_validation(line)[metric]) or 'not defined'} on "
        f"validation rows, the best of its {len(trials[first])} trials.",
        best=_best(best, trials, metric, columns[metric]),
        trials={label: _trials(lines, columns, metric) for label, lines in trials.items()},
        next=[
            (f"Train {label} with its best settings.", ["train", path, "--out", "RUN"])
            for label in best
            if (path := tune.best_run(folder, label)).exists()
        ],
        result=line["result"] if "versions" in line["result"] else None,
    )


def _best(
    best: Mapping[str, Mapping[str, Any]], trials: Mapping[str, list[dict[str, Any]]], metric: str, title: str
) -> Table:
    """A line a model: its best trial among all of them, and the settings of that."""
    axis = Axis.of(_validation(line).get(metric, math.nan) for lines in trials.values() for line in lines)
    plot = f"{title}, every trial, {direction(metric)}"
    rows: list[Row] = []
    for label, line in best.items():
        values = [_validation(each).get(metric, math.nan) for each in trials[label]]
        own = _validation(line).get(metric, math.nan)
        marks = [Mark("seed", f"trial {i}: {value:.4f}", at=value) for i, value in enumerate(values, 1)]
        row: Row = {"model": label, plot: Plot(axis, [*marks, Mark("mean", f"best: {own:.4f}", at=own)])}
        rows.append({**row, title: number(own), "trials": str(len(values)), "settings": _settings(line)})
    return Table(f"{title} on validation rows, best first", with_best(rows, title, metric), {plot: axis})


def _trials(lines: list[dict[str, Any]], columns: Mapping[str, str], metric: str) -> Table:
    """A line a trial, best first."""
    rows: list[Row] = []
    for line in _by_merit(lines):
        cells = {title: number(_validation(line).get(name, math.nan)) for name, title in columns.items()}
        rows.append({"settings": _settings(line), **cells, "seconds": f"{line['result']['seconds']:.1f}"})
    for name, title in columns.items():
        rows = with_best(rows, title, name)
    return Table(f"Trials of {lines[0]['label']} on validation rows, best first", rows)


def _validation(line: Mapping[str, Any]) -> Mapping[str, float]:
    """Metrics of the validation rows; of a trial that diverged an `auc` that is NaN."""
    return line["result"]["validation"]


def _by_merit(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trials, best first."""
    return sorted(lines, key=lambda line: search.merit(_validation(line)), reverse=True)


def _settings(line: Mapping[str, Any]) -> str:
    """What a trial changed."""
    changes = {name: value for name, value in line["changes"].items() if name not in ("model", "seed")}
    return ", ".join(f"{name}={value}" for name, value in changes.items()) or "as it stands"
