"""The page of a run, and what the page of a transfer report shows of one: curves, attention, data."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo import files, models
from cdrzoo.evaluation import lift
from cdrzoo.experiments.tables import TITLES
from cdrzoo.report import cells, figures
from cdrzoo.report.figures import Figure
from cdrzoo.report.rendering import render
from cdrzoo.training.config import RunConfig
from cdrzoo.training.looks import LOOKS, flat, looks

ROWS = 1024
"""Test rows that a model is asked about."""


def page(folder: pathlib.Path) -> str:
    """The page of a finished run."""
    from cdrzoo.training import folders

    config, result = folders.read_config(folder), folders.read_json(folder, "metrics.json")
    curves = learning_curves(folder)
    model, prepared = trained(folder)
    return render(
        "run.html",
        title=f"{models.card(config.model).title} on {config.schema.target}",
        config=config,
        result=result,
        metrics=metric_rows(result),
        curves=curves,
        calibration=calibration(config, model, prepared),
        selector=selector(folder),
        looks=attention(config, model, prepared),
        data=data(config, folder),
        commands=[["train", folder / "config.yaml", "--out", "NEW_FOLDER"]],
    )


def trained(folder: pathlib.Path) -> tuple[Any, Any]:
    """The model of a run and its rows."""
    from cdrzoo.training.run import load_run

    run = load_run(folder)
    return run.model, run.rows


def metric_rows(result: Mapping[str, Any]) -> list[cells.Row]:
    """A line a part and group, a column a metric; of test rows how many, and half of the metric's 95 % interval."""
    sizes, intervals = result.get("groups", {}), result.get("intervals", {})
    rows: list[cells.Row] = []
    for part in ("validation", "test"):
        found: dict[str, dict[str, str]] = {}
        for name, value in result[part].items():
            metric, _, group = name.partition("@")
            cell = f"{value:.4f}" if np.isfinite(value) else ""
            reach = intervals[name]["high"] - value if part == "test" and name in intervals else np.nan
            found.setdefault(group or "all", {})[TITLES[metric]] = cell + (
                f" ± {reach:.4f}" if np.isfinite(reach) else ""
            )
        for group, of_group in found.items():
            counts = {"number": "", "clicks": ""} if "clicks" in sizes.get("all", {}) else {"number": ""}
            if part == "test":
                counts |= {
                    {"rows": "number"}.get(what, what): f"{count:,}"
                    for what, count in sizes.get(group, {}).items()
                }
            rows.append({"rows": f"{part}, {group}", **(counts if sizes else {}), **of_group})
    return rows


def learning_curves(folder: pathlib.Path) -> list[Figure]:
    """Every term that was logged, of both stages where there are two."""
    from cdrzoo.training import folders

    curves = []
    for stage, prefix in (("first", "first stage: "), (".", "")):
        if (folder / stage / "history.csv").exists():
            history = folders.read_history(folder / stage)
            best = folders.read_json(folder / stage, "metrics.json")["best_epoch"]
            terms = [name for name in history.columns if name != "epoch"]
            curves += [figures.curve(history, term, best, f"{prefix}{term}") for term in terms]
    return curves


def calibration(config: RunConfig, model: Any, prepared: Any) -> Figure | None:
    """Of the test rows; `None` for ratings."""
    from cdrzoo.training import callbacks, measuring

    if config.schema.target_domain.task != "click":
        return None
    labels, scores, weights = callbacks.target_scores(model, prepared.test(measuring.EVALUATION_ROWS))
    points = lift.calibration(labels, scores, np.ones(len(labels)) if weights is None else weights)
    return figures.calibration({models.card(config.model).cls: points}, "Ten bins of equally many test rows")


def selector(folder: pathlib.Path) -> list[Figure]:
    """How CCTL weighed the rows of each source; empty for other models."""
    path = folder / "logs" / "selector_weights.csv"
    if not path.exists():
        return []
    with files.reading(path, "Remove it; the page is then made without."):
        rows_of = dict(list(pd.read_csv(path)[["epoch", "name", "low", "high", "count"]].groupby("name")))
    return [figures.selector(rows, name) for name, rows in rows_of.items()]


def attention(config: RunConfig, model: Any, prepared: Any) -> list[tuple[str, str, Figure]]:
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
    parts = [
        {
            "part": f"{domain}, {part}",
            "rows": cells.count(found["rows"]),
            "users": cells.count(found["users"]),
            "mean label": "" if found["label"] is None else f"{found['label']:.4f}",
        }
        for domain, parts in split["parts"].items()
        for part, found in parts.items()
        if found["rows"]
    ]
    return {"split": split, "parts": parts, "schema": config.schema}
