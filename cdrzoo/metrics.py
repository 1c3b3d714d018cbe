"""Exact metrics of ranked and calibrated predictions, on NumPy arrays.

Keras's own AUC is an approximation over thresholds; what is reported here is scikit-learn's, and what it lacks (AUC
within users, calibration error) is computed as exactly. Every function takes flat arrays of `n` rows and gives a Python
float; a value that is not defined (an AUC where only one class occurs, a mean over no rows) is NaN, never an error.
Scores that are not finite are an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn import metrics as exact

from cdrzoo.errors import InputError, shown

__all__ = [
    "HIGHER_IS_BETTER",
    "auc",
    "auc_error",
    "better",
    "ece",
    "evaluate",
    "gauc",
    "log_loss",
    "mae",
    "rmse",
]


def __dir__() -> list[str]:
    return __all__


CLIP = 1e-7
"""Probabilities are kept this far from 0 and 1 in `log_loss`: about the spacing of float32 numbers just below 1."""

HIGHER_IS_BETTER = {"auc": True, "gauc": True, "log_loss": False, "ece": False, "mae": False, "rmse": False}
"""Direction of each metric; the part of a name after `@` is the group, that before a dot a further label."""


def better(name: str) -> str:
    """`"max"` or `"min"`: the `mode` in which EarlyStopping and ModelCheckpoint watch `name`, as in `val_auc@cold`."""
    metric = name.removeprefix("val_").partition("@")[0].rpartition(".")[2]
    if metric not in HIGHER_IS_BETTER:
        raise InputError(
            f"Unknown metric {name!r}. Metrics: {', '.join(HIGHER_IS_BETTER)}, each also as METRIC@GROUP and as "
            "LABEL.METRIC."
        )
    return "max" if HIGHER_IS_BETTER[metric] else "min"


def merit(name: str, value: float) -> float:
    """A value of the metric `name` as a number of which more is better: itself, or its negative."""
    return value if better(name) == "max" else -value


def best_first(values: Mapping[str, float], name: str) -> dict[str, float]:
    """Values of the metric `name`, the best first and NaN last."""
    return dict(sorted(values.items(), key=lambda item: (math.isnan(item[1]), -merit(name, item[1]))))


def auc(labels: Any, scores: Any, weights: Any = None) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one.

    `AUC = (sum over pairs of w+ w- ([s+ > s-] + [s+ = s-] / 2)) / (sum over pairs of w+ w-)`, the Mann-Whitney
    statistic. NaN when only one class occurs.

    Args:
        labels: `[n]`, 0 or 1.
        scores: `[n]`, any finite numbers.
        weights: `[n]`, not negative; default 1 each.
    """
    labels, scores, weights = _click_arrays(labels, scores, weights)
    counted = weights > 0
    if len(np.unique(labels[counted])) < 2:
        return float("nan")
    return float(exact.roc_auc_score(labels[counted], scores[counted], sample_weight=weights[counted]))


def auc_error(positives: int, negatives: int, area: float = 0.5) -> float:
    """Standard error of an AUC that is measured on so many rows of each class; NaN without rows of one.

    `sqrt((A (1 - A) + (n+ - 1) (Q1 - A^2) + (n- - 1) (Q2 - A^2)) / (n+ n-))` with `Q1 = A / (2 - A)` and
    `Q2 = 2 A^2 / (1 + A)`.

    Args:
        positives, negatives: rows of each class.
        area: the AUC itself, `A`; near 0.5, the default, the error is the largest.

    Reference:
        Hanley and McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve",
        Radiology 143, 1982, equation 2.
    """
    if not (positives and negatives):
        return float("nan")
    of_positives = (positives - 1) * (area / (2 - area) - area**2)
    of_negatives = (negatives - 1) * (2 * area**2 / (1 + area) - area**2)
    return math.sqrt((area * (1 - area) + of_positives + of_negatives) / (positives * negatives))


def gauc(labels: Any, scores: Any, users: Any, weights: Any = None) -> float:
    """AUC within each user, averaged over the users with both classes, weighted by their impressions.

    `GAUC = sum_u n_u AUC_u / sum_u n_u`, where `n_u` is the number of rows of user `u` (the sum of their weights, when
    weights are given). Users with one class are left out, and rows of which the user is missing; NaN when no user is
    left.

    Args:
        labels: `[n]`, 0 or 1.
        scores: `[n]`, any finite numbers.
        users: `[n]`, any hashable keys; None, NaN, "" and -1 are missing.
        weights: `[n]`, not negative; default 1 each.

    Reference:
        Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, section 6.3, equation 7.
    """
    labels, scores, weights = _click_arrays(labels, scores, weights)
    users = _flat("users", users, len(labels))
    codes, count = codes_of(users)
    areas = auc_of_groups(codes, count, labels, scores, weights)
    impressions = np.bincount(codes, weights, minlength=count)
    both = np.isfinite(areas)
    return _ratio(float(np.sum(areas[both] * impressions[both])), float(np.sum(impressions[both])))


def log_loss(labels: Any, scores: Any, weights: Any = None) -> float:
    """Mean of `-y ln p - (1 - y) ln(1 - p)`, natural logarithm, with `p` kept within `[CLIP, 1 - CLIP]`."""
    labels, scores, weights = _click_arrays(labels, scores, weights)
    _check_probabilities(scores)
    if not weights.sum() > 0:
        return float("nan")
    scores = np.clip(scores, CLIP, 1 - CLIP)
    return float(exact.log_loss(labels, scores, sample_weight=weights, labels=[0, 1]))


def ece(labels: Any, scores: Any, weights: Any = None, bins: int = 10, equal_mass: bool = True) -> float:
    """Expected calibration error: `sum_b (n_b / n) |mean label in b - mean score in b|`.

    Args:
        labels: `[n]`, 0 or 1.
        scores: `[n]`, probabilities.
        weights: `[n]`, not negative; default 1 each.
        bins: number of bins; default 10.
        equal_mass: `True`: bins of equal numbers of rows, cut at the quantiles; rows of equal scores stay together.
            `False`, the definition of Naeini et al.: bins of equal width on `[0, 1]`, the lower edge belonging to the
            bin. Where clicks are rare all rows are in the first of these, and what is wrong within it cancels out.

    Reference:
        Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015, "Experiments";
        Nixon et al., "Measuring Calibration in Deep Learning", CVPR Workshops 2019, section 3.3 (equal mass).
    """
    labels, scores, weights = _click_arrays(labels, scores, weights)
    _check_probabilities(scores)
    bin_of = bins_of(scores, weights, bins, equal_mass)
    gaps = np.abs(np.bincount(bin_of, weights * (labels - scores), minlength=bins))
    return _ratio(float(gaps.sum()), float(weights.sum()))


def bins_of(scores: np.ndarray, weights: np.ndarray, bins: int = 10, equal_mass: bool = True) -> np.ndarray:
    """The bin of each score, int64 [n], as `ece` cuts them: rows without weight cut nothing."""
    edges, counted = np.linspace(0, 1, bins + 1), scores[weights > 0]
    if equal_mass and len(counted):
        edges = np.quantile(counted, edges)
    return np.searchsorted(edges[1:-1], scores, side="right")


def mae(labels: Any, scores: Any, weights: Any = None) -> float:
    """Mean absolute error."""
    return _error(exact.mean_absolute_error, labels, scores, weights)


def rmse(labels: Any, scores: Any, weights: Any = None) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(_error(exact.mean_squared_error, labels, scores, weights)))


def evaluate(
    labels: Any, scores: Any, task: str, users: Any = None, groups: Any = None, weights: Any = None
) -> dict[str, float]:
    """Every metric of the task, over all rows and by group.

    Args:
        labels: `[n]`, 0 or 1 for clicks, finite numbers for ratings.
        scores: `[n]`, probabilities for clicks, values for ratings.
        task: `"click"` (auc, log_loss, ece and, with `users`, gauc) or `"rating"` (mae, rmse).
        users: `[n]`, the user of each row.
        groups: `[n]`, the name of the group of each row, or `{name: [n] booleans}`, where groups may overlap.
        weights: `[n]`, not negative; default 1 each.

    Returns:
        Flat names to numbers: `auc`, `gauc`, ..., and `auc@cold`, ... for a group `cold`.
    """
    labels, scores, weights = _arrays(labels, scores, weights)
    users = None if users is None else _flat("users", users, len(labels))
    result = {}
    for name, rows in masks_of(groups, len(labels)).items():
        some = labels[rows], scores[rows], weights[rows]
        if task == "click":
            result[f"auc{name}"] = auc(*some)
            if users is not None:
                result[f"gauc{name}"] = gauc(some[0], some[1], users[rows], some[2])
            result[f"log_loss{name}"] = log_loss(*some)
            result[f"ece{name}"] = ece(*some)
        elif task == "rating":
            result[f"mae{name}"] = mae(*some)
            result[f"rmse{name}"] = rmse(*some)
        else:
            raise InputError(f"`task` must be 'click' or 'rating'. Received: {shown(task)}.")
    return result


def masks_of(groups: Any, rows: int) -> dict[str, Any]:
    """What `evaluate` measures: by the end of its name (nothing, or `@group`) which of so many rows."""
    masks: dict[str, Any] = {"": slice(None)}
    if isinstance(groups, Mapping):
        masks |= {
            f"@{name}": _flat(f"group {name!r}", mask, rows).astype(bool) for name, mask in groups.items()
        }
    elif groups is not None:
        groups = _flat("groups", groups, rows).astype(str)
        masks |= {f"@{name}": groups == name for name in np.unique(groups)}
    return masks


def auc_of_groups(
    codes: np.ndarray, count: int, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """AUC of each of `count` groups, `[count]`, in one sort; NaN where a group lacks a class."""
    order = np.lexsort((scores, codes))
    codes, scores, labels, weights = codes[order], scores[order], labels[order], weights[order]
    # A block is a run of equal scores within a group: its positives beat all negatives of the group before the block
    # and half of those in it.
    first = np.ones(len(codes), bool)
    first[1:] = (codes[1:] != codes[:-1]) | (scores[1:] != scores[:-1])
    block = np.cumsum(first) - 1
    blocks = int(first.sum())
    positive = np.bincount(block, weights * labels, minlength=blocks)
    negative = np.bincount(block, weights * (1 - labels), minlength=blocks)
    owner = codes[first]
    positives = np.bincount(owner, positive, minlength=count)
    negatives = np.bincount(owner, negative, minlength=count)
    before_group = np.cumsum(negatives) - negatives
    before_block = np.cumsum(negative) - negative - before_group[owner]
    won = np.bincount(owner, positive * (before_block + negative / 2), minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(positives * negatives > 0, won / (positives * negatives), np.nan)


def codes_of(keys: np.ndarray) -> tuple[np.ndarray, int]:
    """Users as whole numbers from 0 in order of appearance, and how many differ; each missing one by himself.

    Missing are None, NaN, and what stands for it in rows of cdrzoo, "" and -1: nobody knows who these are, they are not
    one user with many rows.
    """
    import pandas

    codes = pandas.factorize(keys, use_na_sentinel=False)[0]  # hashes: faster than sorting strings
    missing = np.flatnonzero(pandas.isna(keys) | (keys == (-1 if keys.dtype.kind in "iuf" else "")))
    codes[missing] = len(keys) + missing
    codes, unique = pandas.factorize(codes)
    return codes, len(unique)


def _flat(what: str, values: Any, rows: int | None = None) -> np.ndarray:
    values = np.asarray(values)
    values = values.reshape(-1) if values.ndim != 1 else values
    if rows is not None and len(values) != rows:
        raise InputError(f"`{what}` must have one entry a row: {rows}. Received: {len(values)}.")
    return values


def _arrays(labels: Any, scores: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = _flat("labels", labels).astype(np.float64)
    scores = _flat("scores", scores, len(labels)).astype(np.float64)
    weights = (
        np.ones(len(labels)) if weights is None else _flat("weights", weights, len(labels)).astype(np.float64)
    )
    for what, values in (("labels", labels), ("scores", scores), ("weights", weights)):
        wrong = int(np.sum(~np.isfinite(values)))
        if wrong:
            hint = " The model has diverged: lower the learning rate." if what == "scores" else ""
            raise InputError(
                f"`{what}` must be finite numbers. Received: {wrong} of {len(values)} are not.{hint}"
            )
    if np.any(weights < 0):
        raise InputError(f"`weights` must not be negative. Received: {weights.min():g}.")
    return labels, scores, weights


def _click_arrays(labels: Any, scores: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels, scores, weights = _arrays(labels, scores, weights)
    wrong = labels[(labels != 0) & (labels != 1)]
    if len(wrong):
        raise InputError(
            f"Labels of clicks must be 0 or 1. Received: {wrong[0]:g}. Set a `threshold` in the schema."
        )
    return labels, scores, weights


def _check_probabilities(scores: np.ndarray) -> None:
    wrong = scores[(scores < 0) | (scores > 1)]
    if len(wrong):
        raise InputError(f"Scores of clicks must be probabilities from 0 to 1. Received: {wrong[0]:g}.")


def _error(function: Any, labels: Any, scores: Any, weights: Any) -> float:
    labels, scores, weights = _arrays(labels, scores, weights)
    return float(function(labels, scores, sample_weight=weights)) if weights.sum() > 0 else float("nan")


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else float("nan")
