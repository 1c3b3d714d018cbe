"""Simple baselines that a neural model must beat: smoothed means of items and users."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from cdrzoo import metrics, traffic
from cdrzoo.data import Prepared
from cdrzoo.data.vocabulary import Keys, Vocabulary
from cdrzoo.training import groups as groups_of

STRENGTH = 5.0
"""A mean over n rows is drawn to its prior as if it had been seen in so many rows more."""
AT_ONCE = 1 << 20
"""Rows that are summed up at once."""


def floors(prepared: Prepared, groups: Mapping[str, np.ndarray] | None = None) -> dict[str, dict[str, float]]:
    """Metrics of the test rows for simple predictors, each the sum of a mean and offsets of training rows.

    - for ratings, `target mean`: the mean of the target's rows;
    - `item mean`: the item's mean label, drawn to the mean of all rows;
    - `+ user`: and the user's mean offset from that in the target;
    - `+ source user`: and, whether the former is there or not, his mean offset from the item means of the sources.

    Rows without items or users have no such means: what rests on them is left out. Sums are clipped to [0, 1] for
    clicks.

    Args:
        prepared: the rows.
        groups: booleans of test rows by name, for metrics by group as well (see `metrics.evaluate`).
    """
    target = prepared.schema.target_domain
    part = prepared.parts[target.name]["test"]
    labels, users = part.y[:, 0], groups_of.users(prepared)
    clip = (0.0, 1.0) if target.task == "click" else (-np.inf, np.inf)
    kept = target.negatives_kept or 1
    weights = traffic.row_weights(labels, None, target.negatives_kept)
    found = {
        name: traffic.prior_correction(np.clip(score, *clip), kept)
        for name, score in _scores(prepared).items()
    }
    return {
        name: metrics.evaluate(labels, score, target.task, users, groups, weights)
        for name, score in found.items()
    }


def _scores(prepared: Prepared) -> dict[str, np.ndarray]:
    """What each predictor says of the test rows."""
    target = prepared.schema.target_domain
    rows = len(prepared.parts[target.name]["test"])
    scores = {}
    if target.task == "rating":
        labels = prepared.parts[target.name]["train"].y[:, 0]
        scores["target mean"] = np.full(rows, float(np.mean(labels)))
    if target.item is None:
        return scores
    learnt = _Means.of(prepared, target.name)
    of_items = scores["item mean"] = learnt.items.at(prepared.key(target.name, "test", "item"), learnt.mean)[
        0
    ]
    if learnt.users is None:
        return scores
    users = prepared.key(target.name, "test", "user")
    own, _ = learnt.users.at(users, 0.0)
    scores["item + user mean"] = of_items + own
    sums, counts, sources = np.zeros(rows), np.zeros(rows), 0
    for source in prepared.schema.sources:
        if source.item and (means := _Means.of(prepared, source.name).users) is not None:
            offsets, known = means.at(users, 0.0)
            sums, counts, sources = sums + offsets, counts + known, sources + 1
    if sources:
        from_source = sums / np.maximum(counts, 1)
        scores["item + source user mean"] = of_items + from_source
        scores["item + user + source user mean"] = of_items + own + from_source
    return scores


@dataclasses.dataclass
class _ByKey:
    """Means by key, each drawn to a prior."""

    keys: Vocabulary
    means: np.ndarray

    @classmethod
    def of(cls, keys: Keys, values: Callable[[slice], np.ndarray], prior: float) -> _ByKey:
        """Of rows with these keys; `values` gives those of some rows, for an array of all is large."""
        sums, counts = np.zeros(len(keys.distinct)), np.zeros(len(keys.distinct), np.int64)
        for low in range(0, len(keys.codes), AT_ONCE):
            rows = slice(low, low + AT_ONCE)
            np.add.at(sums, keys.codes[rows], values(rows))
            np.add.at(counts, keys.codes[rows], 1)
        return cls(keys.distinct, (sums + STRENGTH * prior) / (counts + STRENGTH))

    def at(self, keys: Keys, otherwise: float) -> tuple[np.ndarray, np.ndarray]:
        """The mean of each row's key, `otherwise` of one without, and which have one."""
        places = self.keys.find_any(keys.distinct.array())[keys.codes]
        known, found = places >= 0, np.full(len(places), otherwise)
        found[known] = self.means[places[known]]
        return found, known


@dataclasses.dataclass
class _Means:
    """The mean of a domain's training rows, those of items, and how far users are from these."""

    mean: float
    items: _ByKey
    users: _ByKey | None

    @classmethod
    def of(cls, prepared: Prepared, domain: str) -> _Means:
        """Of a domain that has items."""
        labels = prepared.parts[domain]["train"].y[:, 0]
        mean = float(np.mean(labels)) if len(labels) else math.nan  # a source may have no row yet
        keys = prepared.key(domain, "train", "item")
        items = _ByKey.of(keys, lambda rows: labels[rows], mean)
        if prepared.schema.domain(domain).user is None:
            return cls(mean, items, None)
        users = prepared.key(domain, "train", "user")
        return cls(
            mean, items, _ByKey.of(users, lambda rows: labels[rows] - items.means[keys.codes[rows]], 0.0)
        )
