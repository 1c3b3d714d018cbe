"""Lift: what a model gains over its twin on the same test rows, in total and by group, and the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo import metrics
from cdrzoo.evaluation.groups import groups_of
from cdrzoo.evaluation.statistics import LEVEL, RESAMPLES, Difference, bootstrap, holm, mark

PRIMARY = {"click": "auc", "rating": "rmse"}
"""The one metric that the verdict rests on, over all test rows."""


def measure(
    rows: pd.DataFrame,
    model: Any,
    twin: Any,
    task: str = "click",
    by: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Lift of every metric in total and by group, and the verdict.

    The verdict rests on one test: the primary metric over all rows. Groups are many looks at the same rows: their
    p-values are corrected by Holm, and they do not enter it.

    Args:
        rows: a test row a line: `label`, `weight`, if there are users `user`, and what `groups_of` takes.
        model: `[seeds, n]` scores of the cross-domain model.
        twin: `[seeds, n]` of its twin.
        task: `click` or `rating`.
        by: further columns to group by.
        resamples: of the bootstrap.

    Returns:
        `verdict`, `metric` (the primary one), `rows`, for clicks `clicks`, `users`, `lift` (`{metric: Difference as a
        mapping}`), `groups` (a mapping a group: `by`, `group`, `rows`, `clicks`, `users`, `lift`, `p_holm` of the
        primary metric), `lower` (how many groups are worse off) and `harmed` (how many of them significantly, after
        Holm).
    """
    users = rows["user"].to_numpy() if "user" in rows else None
    masks = {
        (title, name): mask
        for title, division in groups_of(rows, by).items()
        for name, mask in division.items()
    }
    keys = {f"{title}: {name}": mask for (title, name), mask in masks.items()}
    found = bootstrap(rows["label"], model, twin, task, users, keys, rows["weight"], resamples)
    metric = PRIMARY[task]
    corrected = holm([found[f"{metric}@{key}"].p for key in keys])
    groups: list[dict[str, Any]] = [
        {
            "by": title,
            "group": name,
            **_size(mask, rows, users, task),
            "lift": _lift(found, f"@{title}: {name}"),
            "p_holm": p,
        }
        for ((title, name), mask), p in zip(masks.items(), corrected)
    ]
    worse = [g for g in groups if metrics.merit(metric, g["lift"][metric]["difference"]) < 0]
    return {
        "verdict": verdict(found[metric], metric),
        "metric": metric,
        **_size(np.ones(len(rows), bool), rows, users, task),
        "lift": _lift(found),
        "groups": groups,
        "lower": len(worse),
        "harmed": sum(group["p_holm"] < LEVEL for group in worse),
    }


def _size(mask: np.ndarray, rows: pd.DataFrame, users: np.ndarray | None, task: str) -> dict[str, int | None]:
    return {
        "rows": int(mask.sum()),
        **({"clicks": int(rows["label"].to_numpy()[mask].sum())} if task == "click" else {}),
        "users": None if users is None else int(pd.Series(users[mask]).nunique()),
    }


def _lift(found: Mapping[str, Difference], suffix: str = "") -> dict[str, dict[str, float]]:
    """Every metric of all rows, or of the group that the suffix names."""
    return {name: dataclasses.asdict(found[f"{name}{suffix}"]) for name in found if "@" not in name}


def verdict(primary: Difference, metric: str) -> str:
    """`helps`, `harms` or `no difference`: the side of 0 on which the 95 % interval of the primary metric lies."""
    said = {"better": "helps", "worse": "harms", "": "no difference"}
    return said[mark(metric, primary.difference, primary.p)]


def calibration(labels: Any, scores: Any, weights: Any, bins: int = 10) -> list[dict[str, float]]:
    """Mean score and share of clicks of ten bins of equally many rows: what a calibration curve is drawn of."""
    order = np.argsort(np.asarray(scores), kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    labels, scores, weights = (np.asarray(each, np.float64) for each in (labels, scores, weights))
    return [
        {
            "score": float(np.average(scores[part], weights=weights[part])),
            "label": float(np.average(labels[part], weights=weights[part])),
            "rows": len(part),
        }
        for part in parts
        if weights[part].sum() > 0
    ]
