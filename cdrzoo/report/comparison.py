"""The page of a comparison: who is best, every seed, differences to one model, all metrics, groups and settings."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from cdrzoo.experiments import tables
from cdrzoo.experiments.comparison import Comparison
from cdrzoo.metrics import best_first
from cdrzoo.models import card
from cdrzoo.report.cells import (
    Axis,
    Cell,
    Mark,
    Plot,
    Row,
    Table,
    axis_of_intervals,
    direction,
    interval,
    number,
    plot_interval,
    signed,
    with_best,
)
from cdrzoo.report.rendering import render
from cdrzoo.training.config import RunConfig


def page(folder: pathlib.Path) -> str:
    """The page of one comparison."""
    found = Comparison.load(folder)
    of = found.about["config"]["schema"]["target"] if found.about else folder.name
    return render("comparison.html", title=f"Comparison on {of}", comparison=content(found))


def content(found: Comparison) -> dict[str, Any]:
    """What the template shows of a comparison."""
    title = next(iter(found.columns.values()))
    table = all_metrics(found)
    return {
        "found": found,
        "title": title,
        "headline": headline(found),
        "ranking": ranking(found),
        "table": table,
        "ranked": "p, Wilcoxon" in table.rows[-1],
        "groups": by_group(found),
        "about_groups": found.about_groups(),
        "settings": settings(found),
        "schema": RunConfig.from_dict(found.about["config"]).schema if found.about else None,
        "result": found.results[0]["result"],
        "next": what_next(found),
    }


def headline(found: Comparison) -> str:
    """The answer: who is best, and how many are significantly better or worse than the one tested against."""
    metric, title = next(iter(found.columns.items()))
    means, marks = found.ranked(), list(found.marks.values())
    best, mean = next(iter(means.items()))
    text = f"{best} is first: {title} {number(mean) or 'not defined'}"
    spread = np.std(found.scores(best, metric), ddof=1) if len(found.scores(best, metric)) > 1 else math.nan
    text += f" ± {spread:.4f}." if math.isfinite(spread) else "."
    if len(means) == 1:
        return text.replace(" is first", "")
    if not found.tests:
        return f"{text} Nothing is tested: there is no model to test against."
    if not any(math.isfinite(p) for p in found.corrected.values()):
        return f"{text} Nothing can be tested with the seeds that are here."
    against = "it" if best == found.against else f"{found.against} ({number(means[str(found.against)])})"
    better, worse = marks.count("better"), marks.count("worse")
    of = f"{better} of {len(found.tests)} models"
    return f"{text} Significantly better than {against}: {of}; significantly worse: {worse}."


def ranking(found: Comparison) -> Table:
    """A line a model, best first, simple baselines among them: every seed, the mean, the difference and its test."""
    metric, title = next(iter(found.columns.items()))
    floors = {name: floor[metric] for name, floor in found.floors.items() if metric in floor}
    means = found.ranked()
    axis = Axis.of(
        [v for label in means for v in found.scores(label, metric)] + list(floors.values()),
        {"against": means[str(found.against)]} if found.tests else {},
    )
    lifts = axis_of_intervals(map(vars, found.tests.values()))
    every, difference = f"{title}, every seed", f"difference to {found.against}, {direction(metric)}"
    rows: list[Row] = []
    cells = {row["model"]: row for row in found.rows()}
    for label, mean in best_first({**means, **floors}, metric).items():
        kind = found.marks.get(label, "simple")
        row: dict[str, str | Cell | Plot] = {
            "model": Cell(label, kind if kind in ("against", "simple") else "")
        }
        row[every] = (
            _seeds(found, label, axis)
            if label in means
            else Plot(axis, [Mark("floor", f"{mean:.4f}", at=mean)])
        )
        row[title] = Cell(cells[label][title] + tables.SIGNS.get(kind, ""), kind)
        if found.tests:
            test = found.tests.get(label)
            row[difference] = plot_interval(lifts, vars(test), kind) if test else Plot(lifts, [])
            row["difference"] = signed(test.difference) if test else ""
            row["95 % interval"] = interval(vars(test)) if test else ""
            row["p, Holm"] = tables.p_text(found.corrected[label]) if test else ""
        rows.append(row)
    caption = f"{title} on test rows, best first"
    return Table(caption, with_best(rows, title, metric), {every: axis, difference: lifts})


def _seeds(found: Comparison, label: str, axis: Axis) -> Plot:
    metric = next(iter(found.columns))
    runs = tables.by_label(found.results)[label]
    dots = [
        Mark("seed", f"seed {seed}: {run['test'][metric]:.4f}", at=run["test"][metric])
        for seed, run in runs.items()
    ]
    mean = found.ranked()[label]
    return Plot(axis, [*dots, Mark("mean", f"mean {mean:.4f}", at=mean)])


def all_metrics(found: Comparison) -> Table:
    """The table as `cdrzoo compare` prints it, best model first, simple baselines below."""
    rows: list[Row] = []
    cells = {row["model"]: row for row in found.rows()}
    for label in (*found.ranked(), *found.floors):
        row: dict[str, str | Cell | Plot] = {
            **cells[label],
            "model": Cell(label, "" if label in found.labels else "simple"),
        }
        if label in found.tests:
            test = found.tests[label]
            bounds = f" ({test.low:.4f}, {test.high:.4f})" if math.isfinite(test.low) else ""
            row["difference"] = f"{test.difference:+.4f}{bounds}"
        rows.append(row)
    for metric, title in found.columns.items():
        rows = with_best(rows, title, metric)
    return Table("All metrics on test rows, mean and standard deviation over seeds", rows)


def by_group(found: Comparison) -> dict[str, Table]:
    """`{title of a metric: its table by group}`, models best first, the best of a group set apart."""
    metrics = {title: metric for metric, title in tables.TITLES.items()}
    made = {}
    for title, lines in found.groups.items():
        cells = {line["model"]: line for line in lines}
        counts = [name for name in cells if name not in found.labels]
        rows: list[Row] = [{**cells[name], "model": Cell(name, "simple")} for name in counts]
        rows += [cells[label] for label in found.ranked()]
        for group in [name for name in lines[0] if name != "model"]:
            rows = with_best(rows, group, metrics[title])
        made[title] = Table(f"{title} by group", rows)
    return made


def settings(found: Comparison) -> Table:
    """What each model was trained with where it is not the shared configuration."""
    changes = {line["label"]: line["changes"] for line in reversed(found.results)}
    chosen = [
        {"model": label, **{k: v for k, v in changes[label].items() if k not in ("seed", "model")}}
        for label in found.ranked()
    ]
    names = dict.fromkeys(name for row in chosen for name in row)
    rows = [{name: str(row.get(name, "")) for name in names} for row in chosen]
    return Table("Settings of each model, where they are not the shared ones", rows, kind="text")


def what_next(found: Comparison) -> list[tuple[str, Sequence[str]]]:
    """What to do with the answer: a sentence and a command each."""
    best = next(iter(found.ranked()))
    changes = dict(next(line["changes"] for line in found.results if line["label"] == best))
    model, _ = changes.pop("model", None), changes.pop("seed", None)
    command = found.about.get("command", [])
    if model is None or len(command) < 2 or command[0] != "compare":
        return []
    settings = [word for name, value in changes.items() for word in ("--set", f"{name}={_plain(value)}")]
    steps = [
        (
            f"Train {best} with its settings.",
            ["train", command[1], "--model", model, *settings, "--out", "RUN"],
        )
    ]
    if changes.get("domains", card(model).domains) == "all":
        steps.append(("Ask what the sources gave it, and whom.", ["transfer", "RUN", "--out", "REPORT"]))
    return [*steps, ("Export it for serving.", ["export", "RUN", "--to", "saved_models/NAME"])]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
