"""What encoded rows look like, in few numbers: what a run keeps of its training rows, to hold newer ones against."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cdrzoo import files
from cdrzoo.data import Part
from cdrzoo.data.statistics import KEPT, Spread
from cdrzoo.schema import FIRST_KNOWN, PADDING, Domain, Feature

PROFILE = "profile.json"
"""The file of a run that has the profile of its training rows."""
COMMON = 1000
"""Ids of a feature that are counted one by one."""
BINS = 10
"""Bins of a number, of equally many training rows."""


def write(prepared: Any, folder: pathlib.Path) -> None:
    """Writes the profiles of a run's training rows, by domain; those in a folder are read once, never held."""
    found = {d.name: profile(d, prepared.parts[d.name]["train"].blocks()) for d in prepared.schema.domains}
    files.write(folder / PROFILE, json.dumps({"domains": found}) + "\n")


def profile(domain: Domain, blocks: Iterable[Part], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The profile of a domain's rows, as JSON holds it; one pass, and no block is kept.

    Args:
        domain: the domain.
        blocks: its encoded rows, in pieces of any size.
        like: the profile of other rows, whose bins and common ids are to be counted.

    Returns:
        `rows`, `label` (the mean) and `features`: of ids `missing` and `unknown` (shares of rows, of sequences shares
        of steps), `ids` (rows of the table, the common ones) and `shares` of these and, last, of the others; of numbers
        `mean`, `edges` (the inner ones) and `shares` of the bins.
    """
    counted: dict[str, _Ids | _Numbers] = {
        f.name: (_Ids if f.is_id else _Numbers)(like["features"][f.name] if like else None)
        for f in domain.features
    }
    rows, clicks, weighted, weights = 0, 0.0, 0.0, 0.0
    for part in blocks:
        if not len(part):
            continue
        for f in domain.features:
            counted[f.name].add(part.x[f.name] if f.is_id else _one(part.x[f.name], f))
        y = part.y[:, 0].astype(np.float64)
        weight = np.ones(len(y)) if part.weight is None else part.weight.astype(np.float64)
        rows, clicks = rows + len(y), clicks + float(y.sum())
        weighted, weights = weighted + float(y @ weight), weights + float(weight.sum())
    label = (weighted / weights if weights else clicks / rows) if rows else None
    return {"rows": rows, "label": label, "features": {name: of.result() for name, of in counted.items()}}


def _one(values: np.ndarray, feature: Feature) -> np.ndarray:
    """One number a row: of a vector its length, of a number of several columns the first."""
    if feature.kind == "vector":
        return np.linalg.norm(values, axis=1)
    return values.reshape(len(values), -1)[:, 0]


class _Ids:
    """Occurrences of the rows of a table."""

    def __init__(self, like: Mapping[str, Any] | None):
        self.like, self.rows, self.missing = like, 0, 0
        self.counts = np.zeros(FIRST_KNOWN, np.int64)

    def add(self, values: np.ndarray) -> None:
        self.rows += len(values)
        self.missing += int((values.reshape(len(values), -1) == PADDING).all(axis=1).sum())
        given = values[values != PADDING]
        if len(given) and given.max() >= len(self.counts):
            self.counts = np.concatenate(
                [self.counts, np.zeros(given.max() + 1 - len(self.counts), np.int64)]
            )
        np.add.at(self.counts, given, 1)  # a table may be large, a block small

    def result(self) -> dict[str, Any]:
        counts = self.counts
        if self.like is None:
            common = np.argsort(-counts, kind="stable")[:COMMON]
            ids = np.sort(common[counts[common] > 0])
        else:
            ids = np.array(self.like["ids"], np.int64)
        inside = np.where(ids < len(counts), counts[np.minimum(ids, len(counts) - 1)], 0)
        total = max(int(counts.sum()), 1)
        return {
            "missing": self.missing / max(self.rows, 1),
            "unknown": float(counts[1] / total),
            "ids": ids.tolist(),
            "shares": [*(inside / total).tolist(), float((counts.sum() - inside.sum()) / total)],
        }


class _Numbers:
    """How numbers lie: in the bins of other rows, or in bins of their own."""

    def __init__(self, like: Mapping[str, Any] | None):
        self.like, self.rows, self.total, self.spread = like, 0, 0.0, Spread()
        self.counts = np.zeros(len(like["edges"]) + 1 if like else 0, np.int64)

    def add(self, values: np.ndarray) -> None:
        values = values.astype(np.float64)
        self.rows, self.total = self.rows + len(values), self.total + float(values.sum())
        if self.like:
            places = np.searchsorted(self.like["edges"], values, side="left")
            self.counts += np.bincount(places, minlength=len(self.counts))
        else:
            self.spread.add(values)

    def result(self) -> dict[str, Any]:
        edges, counts = (self.like["edges"], self.counts) if self.like else _bins(self.spread)
        rows = max(self.rows, 1)
        return {"mean": self.total / rows, "edges": edges, "shares": (counts / rows).tolist()}


def _bins(spread: Spread) -> tuple[list[float], np.ndarray]:
    """The inner edges of bins of equally many numbers, and how many there are in each.

    A spread tells numbers apart by their first bits. An edge is the largest number with the bits of the last in its
    bin, so that no number is counted in another bin than its bits.
    """
    keys, counts = spread.counts.merged()
    keys = keys.astype(np.int64)
    if not len(keys):
        return [], np.zeros(1, np.int64)
    order = np.argsort(keys.view(np.float64))
    keys, counts = keys[order], counts[order]
    upto = np.cumsum(counts)
    last = keys[np.searchsorted(upto, upto[-1] * np.arange(1, BINS) / BINS)]
    edges = np.unique(np.where(last < 0, last, last | ~KEPT).view(np.float64))
    places = np.searchsorted(edges, keys.view(np.float64), side="left")
    return edges.tolist(), np.bincount(places, counts, minlength=len(edges) + 1)


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
