"""The page of a comparison: every seed, differences to one model, table, groups and settings."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cdrzoo.evaluation.statistics import Paired
from cdrzoo.experiments.comparison import Comparison
from cdrzoo.report import cells, figures
from cdrzoo.report.rendering import render
from cdrzoo.training.config import RunConfig


def seeds(found: Comparison, metric: str) -> dict[str, list[float]]:
    """A metric of every run, by label."""
    return {
        label: [line["result"]["test"][metric] for line in found.results if line["label"] == label]
        for label in found.labels
    }


def settings(found: Comparison) -> list[cells.Row]:
    """What each model was trained with where it is not the shared configuration."""
    changes = {line["label"]: line["changes"] for line in reversed(found.results)}
    chosen = [
        {"model": label, **{k: v for k, v in changes[label].items() if k not in ("seed", "model")}}
        for label in found.labels
    ]
    names = dict.fromkeys(name for row in chosen for name in row)
    return [{name: str(row.get(name, "")) for name in names} for row in chosen]


def page(folder: pathlib.Path) -> str:
    """The page of one comparison."""
    found = Comparison.load(folder)
    of = found.about["config"]["schema"]["target"] if found.about else folder.name
    return render("comparison.html", title=f"Comparison on {of}", comparison=content(found))


def content(found: Comparison) -> dict[str, Any]:
    """What the template shows of a comparison."""
    metric, title = next(iter(found.columns.items()))
    rows = found.rows()
    for row in rows:
        if row["model"] in found.tests:
            row["difference"] = _difference(found.tests[row["model"]])
    return {
        "found": found,
        "title": title,
        "seeds": figures.seeds(seeds(found, metric), title),
        "forest": _forest(found, metric, title),
        "table": rows,
        "ranked": "p, Wilcoxon" in rows[-1],
        "groups": found.groups,
        "about_groups": found.about_groups(),
        "settings": settings(found),
        "schema": RunConfig.from_dict(found.about["config"]).schema if found.about else None,
        "result": found.results[0]["result"],
    }


def _forest(found: Comparison, metric: str, title: str) -> figures.Figure | None:
    if not found.tests:
        return None
    differences: dict[str, Mapping[str, float]] = {label: vars(test) for label, test in found.tests.items()}
    caption = f"Mean difference to {found.against} and its 95 % interval over seeds (paired t)"
    return figures.forest(differences, f"difference of {title}", metric, caption)


def _difference(test: Paired) -> str:
    interval = f" ({test.low:.4f}, {test.high:.4f})" if np.isfinite(test.low) else ""
    return f"{test.difference:+.4f}{interval}"
