"""Simple baselines that a neural model must beat: smoothed means of items and users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cdrzoo import metrics, traffic
from cdrzoo.data import Prepared
from cdrzoo.schema import Domain

STRENGTH = 5.0
"""A mean over n rows is drawn to its prior as if it had been seen in so many rows more."""


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
    part, test = prepared.parts[target.name]["test"], prepared.keys(target.name, "test")
    labels = part.y[:, 0]
    clip = (0.0, 1.0) if target.task == "click" else (None, None)
    kept = target.negatives_kept or 1
    weights = traffic.row_weights(labels, None, target.negatives_kept)
    found = {
        name: traffic.prior_correction(score.clip(*clip).to_numpy(), kept)
        for name, score in _scores(prepared, test).items()
    }
    return {
        name: metrics.evaluate(labels, score, target.task, part.user, groups, weights)
        for name, score in found.items()
    }


def _scores(prepared: Prepared, test: pd.DataFrame) -> dict[str, pd.Series]:
    """What each predictor says of the test rows."""
    target = prepared.schema.target_domain
    train, labels = prepared.keys(target.name, "train"), prepared.parts[target.name]["train"].y[:, 0]
    scores = {}
    if target.task == "rating":
        scores["target mean"] = pd.Series(float(np.mean(labels)), index=test.index)
    if target.item is None:
        return scores
    base, items = _item_means(train["item"], labels)
    of_items = scores["item mean"] = test["item"].map(items).fillna(base)
    if target.user is None:
        return scores
    offsets = _offsets(train["user"], labels - train["item"].map(items))
    own = test["user"].map(offsets).fillna(0.0)
    scores["item + user mean"] = of_items + own
    sources = [source for source in prepared.schema.sources if source.user and source.item]
    if sources:
        from_source = _from_sources(prepared, sources, test["user"])
        scores["item + source user mean"] = of_items + from_source
        scores["item + user + source user mean"] = of_items + own + from_source
    return scores


def _from_sources(prepared: Prepared, sources: Sequence[Domain], users: pd.Series) -> pd.Series:
    """The users' offsets in the sources that know them, the mean over these; else 0."""
    sums, counts = 0.0, 0.0
    for source in sources:
        rows, labels = prepared.keys(source.name, "train"), prepared.parts[source.name]["train"].y[:, 0]
        _, means = _item_means(rows["item"], labels)
        known = users.map(_offsets(rows["user"], labels - rows["item"].map(means)))
        sums, counts = sums + known.fillna(0.0), counts + known.notna()
    return sums / np.maximum(counts, 1)


def _item_means(items: pd.Series, labels: np.ndarray) -> tuple[float, pd.Series]:
    mean = float(np.mean(labels))
    sums = pd.Series(np.asarray(labels), index=items.to_numpy()).groupby(level=0).agg(["sum", "count"])
    return mean, (sums["sum"] + STRENGTH * mean) / (sums["count"] + STRENGTH)


def _offsets(users: pd.Series, residuals: pd.Series) -> pd.Series:
    sums = pd.Series(np.asarray(residuals), index=users.to_numpy()).groupby(level=0).agg(["sum", "count"])
    return sums["sum"] / (sums["count"] + STRENGTH)
