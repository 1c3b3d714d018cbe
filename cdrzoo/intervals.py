"""Standard errors and 95 % intervals of metrics, on NumPy arrays: what another choice of test users would change.

A metric of `n` rows is linearised: row `i` adds `psi_i` to it, and `sum_i psi_i = 0`. Rows of one user are alike, so
their `psi` are added up before they are squared:

    error^2 = size / (size - 1) sum_u (sum_{i of u} psi_i)^2

`size` is the number of users that the metric rests on: of the AUC those with a click or those without one, whichever
are fewer. The interval reaches so many standard errors as Student's t with `size - 1` degrees of freedom says. It says
nothing of the chance of training: that takes several seeds (`cdrzoo compare`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cdrzoo import metrics

Linear = tuple[str, float, np.ndarray, int]
"""Name of a metric, its value, `psi` of every row, and the users that it rests on."""


def evaluate(
    labels: Any, scores: Any, task: str, users: Any = None, groups: Any = None, weights: Any = None
) -> dict[str, dict[str, float]]:
    """Standard error and interval of every metric, over all rows and by group.

    Args:
        labels, scores, task, users, groups, weights: as of `cdrzoo.metrics.evaluate`. Without users every row stands
            for itself.

    Returns:
        `{metric: {"error": ..., "low": ..., "high": ...}}`, named as there; NaN where a metric or its error is not
        defined (one user says nothing of others). Of the ECE the bins and the side of each gap are taken as given.

    Reference:
        DeLong et al., "Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves",
        Biometrics 44, 1988; with several rows a user Obuchowski, "Nonparametric Analysis of Clustered ROC Curve Data",
        Biometrics 53, 1997.
    """
    labels, scores = (np.asarray(each, np.float64).reshape(-1) for each in (labels, scores))
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    codes = np.arange(len(labels)) if users is None else metrics.codes_of(np.asarray(users).reshape(-1))[0]
    found = {}
    for suffix, rows in metrics.masks_of(groups, len(labels)).items():
        counted = np.flatnonzero(weights[rows] > 0)
        y, said, weight = (each[rows][counted] for each in (labels, scores, weights))
        own = np.unique(codes[rows][counted], return_inverse=True)[1].reshape(-1)
        for name, value, psi, size in _linear(y, said, weight, own, task, users is not None):
            error = _error(psi, own, size)
            reach = _quantile(size) * error
            found[f"{name}{suffix}"] = {"error": error, "low": value - reach, "high": value + reach}
    return found


def _error(psi: np.ndarray, users: np.ndarray, size: int) -> float:
    if size < 2:
        return float("nan")
    sums = np.bincount(users, psi)
    return float(np.sqrt(size / (size - 1) * np.sum(sums**2)))


def _quantile(size: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.975, size - 1)) if size > 1 else float("nan")


def _linear(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray, users: np.ndarray, task: str, by_user: bool
) -> Iterator[Linear]:
    """Every metric of the task, linearised; `users` are numbers from 0."""
    count = int(users.max(initial=-1)) + 1
    if task == "rating":
        yield _mean("mae", np.abs(scores - labels), weights, count)
        _, squared, psi, size = _mean("mse", (scores - labels) ** 2, weights, count)
        root = np.sqrt(squared)
        yield "rmse", float(root), psi / (2 * root if root > 0 else 1.0), size
        return
    yield _auc(labels, scores, weights, users)
    if by_user:
        areas = metrics.auc_of_groups(users, count, labels, scores, weights)
        both = np.isfinite(areas)
        yield _mean("gauc", np.nan_to_num(areas)[users], weights * both[users], int(both.sum()))
    inside = np.clip(scores, metrics.CLIP, 1 - metrics.CLIP)
    loss = -np.where(labels == 1, np.log(inside), np.log1p(-inside))
    yield _mean("log_loss", loss, weights, count)
    bins = metrics.bins_of(scores, weights)
    sides = np.sign(np.bincount(bins, weights * (labels - scores), minlength=int(bins.max(initial=-1)) + 1))
    yield _mean("ece", sides[bins] * (labels - scores), weights, count)


def _mean(name: str, values: np.ndarray, weights: np.ndarray, size: int) -> Linear:
    total = weights.sum()
    if not total > 0:
        return name, float("nan"), np.zeros(len(values)), 0
    mean = float((weights * values).sum() / total)
    return name, mean, weights * (values - mean) / total, size


def _auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray, users: np.ndarray) -> Linear:
    """`psi` of a click: how far the share of the others below it is from the AUC; of another: of the clicks above."""
    of = {is_click: weights * (labels == is_click) for is_click in (0, 1)}
    total = {is_click: each.sum() for is_click, each in of.items()}
    if not min(total.values(), default=0) > 0:
        return "auc", float("nan"), np.zeros(len(labels)), 0
    block = np.unique(scores, return_inverse=True)[1].reshape(-1)  # rows of equal scores
    sums = {is_click: np.bincount(block, each) for is_click, each in of.items()}
    below = (np.cumsum(sums[0]) - sums[0] / 2)[block] / total[0]
    above = 1 - (np.cumsum(sums[1]) - sums[1] / 2)[block] / total[1]
    area = float((of[1] * below).sum() / total[1])
    psi = of[1] * (below - area) / total[1] + of[0] * (above - area) / total[0]
    return "auc", area, psi, min(len(np.unique(users[each > 0])) for each in of.values())
