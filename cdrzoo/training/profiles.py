"""What encoded rows look like, in few numbers: what a run keeps of its training rows, to hold newer ones against."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cdrzoo import files
from cdrzoo.data import Part
from cdrzoo.schema import FIRST_KNOWN, PADDING, Domain, Feature

PROFILE = "profile.json"
"""The file of a run that has the profile of its training rows."""
COMMON = 1000
"""Ids of a feature that are counted one by one."""
BINS = 10
"""Bins of a number, of equally many training rows."""


def write(prepared: Any, folder: pathlib.Path) -> None:
    """Writes the profiles of a run's training rows, by domain; not of rows that are not held in memory."""
    if prepared.held:
        found = {d.name: profile(d, prepared.parts[d.name]["train"]) for d in prepared.schema.domains}
        files.write(folder / PROFILE, json.dumps({"domains": found}) + "\n")


def profile(domain: Domain, part: Part, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The profile of a domain's rows, as JSON holds it.

    Args:
        domain: the domain.
        part: its encoded rows.
        like: the profile of other rows, whose bins and common ids are to be counted.

    Returns:
        `rows`, `label` (the mean) and `features`: of ids `missing` and `unknown` (shares of rows, of sequences shares
        of steps), `ids` (rows of the table, the common ones) and `shares` of these and, last, of the others; of numbers
        `mean`, `edges` (the inner ones) and `shares` of the bins.
    """
    features = {}
    for f in domain.features:
        before = like["features"][f.name] if like else None
        values = part.x[f.name]
        features[f.name] = _ids(values, f.kind, before) if f.is_id else _number(_one(values, f), before)
    weight = part.weight if part.weight is not None and part.weight.sum() else None
    label = float(np.average(part.y[:, 0], weights=weight)) if len(part) else None
    return {"rows": len(part), "label": label, "features": features}


def _one(values: np.ndarray, feature: Feature) -> np.ndarray:
    """One number a row: of a vector its length, of a number of several columns the first."""
    if feature.kind == "vector":
        return np.linalg.norm(values, axis=1)
    return values.reshape(len(values), -1)[:, 0]


def _ids(values: np.ndarray, kind: str, like: Mapping[str, Any] | None) -> dict[str, Any]:
    given = values.reshape(-1)
    missing = float((values.reshape(len(values), -1) == PADDING).all(axis=1).mean()) if len(values) else 0.0
    given = given[given != PADDING]
    counts = np.bincount(given, minlength=FIRST_KNOWN).astype(np.float64)
    if like is None:
        common = np.argsort(-counts, kind="stable")[:COMMON]
        ids = np.sort(common[counts[common] > 0])
    else:
        ids = np.array(like["ids"], np.int64)
    inside = np.where(ids < len(counts), counts[np.minimum(ids, len(counts) - 1)], 0.0)
    total = max(counts.sum(), 1.0)
    return {
        "missing": missing,
        "unknown": float(counts[1] / total),
        "ids": ids.tolist(),
        "shares": [*(inside / total).tolist(), float((counts.sum() - inside.sum()) / total)],
    }


def _number(values: np.ndarray, like: Mapping[str, Any] | None) -> dict[str, Any]:
    values = values.astype(np.float64)
    if like:
        edges = like["edges"]
    else:
        edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS)).tolist() if len(values) else []
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return {
        "mean": float(values.mean()) if len(values) else 0.0,
        "edges": edges,
        "shares": (counts / max(len(values), 1)).tolist(),
    }


def divergence(one: Any, two: Any) -> float:
    """The Jensen-Shannon divergence of two distributions, `[n]` shares each, to base 2: 0 (alike) to 1 (apart).

    Reference: Lin, Divergence Measures Based on the Shannon Entropy (IEEE Transactions on Information Theory, 1991),
    eq. 3.4. It is the measure of TensorFlow Data Validation's drift comparator.
    """
    p, q = (np.asarray(each, np.float64) for each in (one, two))
    middle = (p + q) / 2

    def bits(of: np.ndarray) -> float:
        there = of > 0
        return float((of[there] * np.log2(of[there] / middle[there])).sum())

    return (bits(p) + bits(q)) / 2
