"""The page of a run, and what the page of a transfer report shows of one: curves, attention, data."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo import files, models
from cdrzoo.evaluation import lift
from cdrzoo.evaluation.floors import floors
from cdrzoo.experiments.tables import TITLES, title_of
from cdrzoo.metrics import best_first, merit
from cdrzoo.report import figures
from cdrzoo.report.cells import Axis, Cell, Mark, Plot, Row, Table, count, direction, number
from cdrzoo.report.figures import Figure
from cdrzoo.report.rendering import render
from cdrzoo.training import groups
from cdrzoo.training.config import RunConfig
from cdrzoo.training.looks import LOOKS, flat, looks

ROWS = 1024
"""Test rows that a model is asked about."""


def page(folder: pathlib.Path) -> str:
    """The page of a finished run."""
    from cdrzoo.training import folders

    config, result = folders.read_config(folder), folders.read_json(folder, "metrics.json")
    model, prepared = trained(folder)
    simple, sizes = beside(prepared)
    return render(
        "run.html",
        title=f"{models.card(config.model).called(config.domains)} on {config.schema.target}",
        headline=headline(result["test"], simple),
        config=config,
        result=result,
        test=test_rows(result, simple, sizes),
        validation=metric_rows(result["validation"], "Metrics on validation rows, which chose the epoch"),
        curves=learning_curves(folder, config.schema.target),
        calibration=calibration(config, model, prepared),
        selector=selector(folder),
        looks=attention(config, model, prepared),
        data=data(config, folder),
        next=what_next(config, folder),
        commands=[["train", folder / "config.yaml", "--out", "NEW_FOLDER"]],
    )


def trained(folder: pathlib.Path) -> tuple[Any, Any]:
    """The model of a run and its rows."""
    from cdrzoo.training.run import load_run

    run = load_run(folder)
    return run.model, run.rows


def beside(prepared: Any) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    """What simple means reach on the test rows, in total and by group, and rows and clicks of each group."""
    return floors(prepared, groups.of_rows(prepared)), groups.sizes(prepared)


def headline(test: Mapping[str, float], simple: Mapping[str, Mapping[str, float]]) -> str:
    """The answer: the metric, and what it is worth beside the best of the simple means."""
    metric = primary(test)
    text = f"{TITLES[metric]} {number(test[metric]) or 'is not defined'} on the test rows."
    name, floor = _best(simple, metric)
    if not np.isfinite([test[metric], floor]).all():
        return text
    difference = merit(metric, test[metric] - floor)
    worth = f"{abs(difference):.4f} {'better' if difference > 0 else 'worse'} than"
    return f"{text} That is {worth} the best of the simple means, {name} ({floor:.4f})."


def primary(test: Mapping[str, float]) -> str:
    """The metric that verdicts rest on."""
    return next(metric for metric in lift.PRIMARY.values() if metric in test)


def _best(simple: Mapping[str, Mapping[str, float]], metric: str) -> tuple[str, float]:
    """The name and the metric of the best of the simple means; NaN if none has a number."""
    found = {name: each[metric] for name, each in simple.items() if np.isfinite(each.get(metric, np.nan))}
    return next(iter(best_first(found, metric).items()), ("", np.nan))


def test_rows(
    result: Mapping[str, Any],
    simple: Mapping[str, Mapping[str, float]],
    sizes: Mapping[str, Mapping[str, int]],
) -> Table:
    """A line a group: how large it is, the metric beside the best of the simple means, and the other metrics."""
    test, reach = result["test"], result.get("intervals", {})
    metric = primary(test)
    table = metric_rows(test, "Metrics on test rows, and the best of the simple means", reach)
    names = [str(row["group"]) for row in table.rows]
    keys = [metric if name == "all" else f"{metric}@{name}" for name in names]
    best = [_best(simple, key) for key in keys]
    values = [test.get(key, np.nan) for key in keys]
    axis = Axis.of([*values, *(floor for _, floor in best)])
    plot = f"{TITLES[metric]}, {direction(metric)}"
    rows: list[Row] = []
    for name, key, value, (which, floor), row in zip(names, keys, values, best, table.rows):
        marks = [
            Mark("floor", f"{which}: {floor:.4f}", at=floor),
            Mark("dot first", f"this run: {value:.4f}", at=value),
        ]
        if key in reach:
            low, high = reach[key]["low"], reach[key]["high"]
            marks.insert(0, Mark("bar first", f"95 % interval {low:.4f} to {high:.4f}", low=low, high=high))
        mean = {f"{TITLES[metric]} of the best mean": number(floor)} if simple else {}
        rest = {title: cell for title, cell in row.items() if title not in ("group", TITLES[metric])}
        counts = {what: count(sizes.get(name, {}).get(what)) for what in sizes["all"]}
        first: Row = {"group": name, **counts, plot: Plot(axis, marks), TITLES[metric]: row[TITLES[metric]]}
        rows.append({**first, **mean, **rest})
    return Table(table.caption, rows, {plot: axis})


def metric_rows(
    found: Mapping[str, float], caption: str, reach: Mapping[str, Mapping[str, float]] | None = None
) -> Table:
    """A line a group, a column a metric, with half of its 95 % interval where that is given."""
    rows: dict[str, dict[str, str | Cell | Plot]] = {}
    for name, value in found.items():
        metric, _, group = name.partition("@")
        half = (reach or {}).get(name, {}).get("high", np.nan) - value
        text = number(value) + (f" ± {half:.4f}" if np.isfinite(half) else "")
        rows.setdefault(group or "all", {"group": group or "all"})[title_of(metric)] = text
    titles = list(rows["all"])
    return Table(caption, [{title: row.get(title, "") for title in titles} for row in rows.values()])


def what_next(config: RunConfig, folder: pathlib.Path) -> list[tuple[str, Sequence[Any]]]:
    """What to do with the run: a sentence and a command each."""
    alone = config.domains == "target" or len(config.schema.domains) < 2
    told = [] if alone else [("Ask what the sources gave it.", ["transfer", folder, "--out", "REPORT"])]
    own = config.model + (
        ":domains=all" if not alone and models.card(config.model).domains == "target" else ""
    )
    others = ["--models", ",".join(dict.fromkeys(["lr", "dnn", own])), "--seeds", 3]
    return [
        *told,
        (
            "Compare it with others, on several seeds.",
            ["compare", folder / "config.yaml", *others, "--out", "COMPARISON"],
        ),
        ("Export it, then prove the export.", ["export", folder, "--to", "saved_models/NAME"]),
        ("", ["verify", "saved_models/NAME/1", "--run", folder]),
    ]


def learning_curves(folder: pathlib.Path, target: str) -> list[Figure]:
    """Every term that was logged, of both stages where there are two."""
    from cdrzoo.training import folders

    curves = []
    for stage, prefix in (("first", "first stage: "), (".", "")):
        if (folder / stage / "history.csv").exists():
            history = folders.read_history(folder / stage)
            best = folders.read_json(folder / stage, "metrics.json")["best_epoch"]
            curves += figures.curves(history, best, target, prefix)
    return curves


def calibration(config: RunConfig, model: Any, prepared: Any) -> Figure | None:
    """Of the test rows; `None` for ratings."""
    from cdrzoo.training import callbacks, measuring

    if config.schema.target_domain.task != "click":
        return None
    labels, scores, weights = callbacks.target_scores(model, prepared.test(measuring.EVALUATION_ROWS))
    points = lift.calibration(labels, scores, np.ones(len(labels)) if weights is None else weights)
    return figures.calibration(
        {models.card(config.model).called(config.domains): points}, "Ten bins of equally many test rows"
    )


def selector(folder: pathlib.Path) -> list[Figure]:
    """How CCTL weighed the rows of each source; empty for other models."""
    path = folder / "logs" / "selector_weights.csv"
    if not path.exists():
        return []
    with files.reading(path, "Remove it; the page is then made without."):
        rows_of = dict(list(pd.read_csv(path)[["epoch", "name", "low", "high", "count"]].groupby("name")))
    return [figures.selector(rows, name) for name, rows in rows_of.items()]


def attention(config: RunConfig, model: Any, prepared: Any) -> list[tuple[str, str, Figure | Table]]:
    """What only a model and its rows can tell (interests, attention, gates): title, caption and figure of each."""
    target = config.schema.target_domain
    part = prepared.parts[target.name]["test"]
    x = {target.name: part.first(ROWS)}
    clicked = part.y[:ROWS, 0] > 0.5 if target.task == "click" else None
    return [
        (*LOOKS[name], figures.look(dict(flat(getattr(model, name)(x))), name, clicked))
        for name in looks(model)
    ]


def data(config: RunConfig, folder: pathlib.Path) -> dict[str, Any]:
    """What the data section shows: the split, its parts, the schema."""
    from cdrzoo.training import folders

    split = folders.read_json(folder, "split.json")
    parts: list[Row] = [
        {
            "part": f"{domain}, {part}",
            "rows": count(found["rows"]),
            "users": count(found["users"]),
            "mean label": "" if found["label"] is None else f"{found['label']:.4f}",
        }
        for domain, parts in split["parts"].items()
        for part, found in parts.items()
        if found["rows"]
    ]
    table = Table("Rows of each part of each domain", parts)
    return {"split": split, "parts": table, "schema": config.schema}
