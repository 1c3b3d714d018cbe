"""Simple baselines that a neural model must beat: smoothed means of items and users."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cdrzoo import metrics
from cdrzoo.data import Prepared

STRENGTH = 5.0
"""A mean over n rows is drawn to its prior as if it had been seen in so many rows more."""


def floors(prepared: Prepared) -> dict[str, dict[str, float]]:
    """Metrics of the test rows for simple predictors, each the sum of a mean and offsets of training rows.

    - for ratings, `target mean`: the mean of the target's rows;
    - `item mean`: the item's mean label, drawn to the mean of all rows;
    - `+ user`: and the user's mean offset from that in the target;
    - `+ source user`: and, whether the former is there or not, his mean offset from the item means of the sources.

    Sums are clipped to [0, 1] for clicks.
    """
    target = prepared.schema.target_domain
    train, test = prepared.frame(target.name, "train"), prepared.frame(target.name, "test")
    item, user = target.item, target.user
    base, items = _item_means(train[item], prepared.parts[target.name]["train"].y[:, 0])
    of_items = test[item].map(items).fillna(base)
    offsets = _offsets(train[user], prepared.parts[target.name]["train"].y[:, 0] - train[item].map(items))
    own = test[user].map(offsets)
    scores = {"item mean": of_items, "item + user mean": of_items + own.fillna(0.0)}
    if target.task == "rating":
        scores = {"target mean": pd.Series(base, index=test.index), **scores}
    sums, counts = 0.0, 0.0
    for source in prepared.schema.sources:
        rows = prepared.frame(source.name, "train")
        labels = prepared.parts[source.name]["train"].y[:, 0]
        _, means = _item_means(rows[source.item], labels)
        known = test[user].map(_offsets(rows[source.user], labels - rows[source.item].map(means)))
        sums, counts = sums + known.fillna(0.0), counts + known.notna()
    if prepared.schema.sources:
        from_source = sums / np.maximum(counts, 1)
        scores["item + source user mean"] = of_items + from_source
        scores["item + user + source user mean"] = of_items + own.fillna(0.0) + from_source
    labels = prepared.parts[target.name]["test"].y[:, 0]
    users = prepared.parts[target.name]["test"].user
    clip = (0.0, 1.0) if target.task == "click" else (None, None)
    return {
        name: metrics.evaluate(labels, score.clip(*clip).to_numpy(), target.task, users=users)
        for name, score in scores.items()
    }


def _item_means(items: pd.Series, labels: np.ndarray) -> tuple[float, pd.Series]:
    mean = float(np.mean(labels))
    sums = pd.Series(np.asarray(labels), index=items.to_numpy()).groupby(level=0).agg(["sum", "count"])
    return mean, (sums["sum"] + STRENGTH * mean) / (sums["count"] + STRENGTH)


def _offsets(users: pd.Series, residuals: pd.Series) -> pd.Series:
    sums = pd.Series(np.asarray(residuals), index=users.to_numpy()).groupby(level=0).agg(["sum", "count"])
    return sums["sum"] / (sums["count"] + STRENGTH)
