"""Paired comparison of two models: over seeds, over test rows, and over both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cdrzoo import metrics
from cdrzoo.errors import InputError


@dataclass(frozen=True)
class Paired:
    """Outcome of `paired`: `first - second` over seeds.

    Args:
        seeds: number of pairs that count (both numbers finite).
        difference: mean of the differences; NaN without a pair.
        std: their sample standard deviation; NaN with fewer than two pairs.
        low: lower end of the 95 % confidence interval of the mean difference; NaN where `p` is undefined.
        high: its upper end.
        t: the t statistic; NaN where it is not defined.
        p: two-sided p-value; NaN where it is not defined.
        note: why `p` is not defined, else empty.
    """

    seeds: int
    difference: float
    std: float
    low: float
    high: float
    t: float
    p: float
    note: str = ""


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Two-sided paired t-test: `t = mean(d) / (std(d) / sqrt(n))` with `n - 1` degrees of freedom.

    The i-th numbers of both belong to the same seed and split; a pair with a number that is not finite is left out.
    With fewer than two pairs nothing can be tested: `p` is NaN. When all differences are equal the seeds say nothing
    about chance: `p` is 1 where they are all zero, else NaN (not 0).

    Args:
        first: the metric of one model, a number a seed.
        second: the metric of the other, same seeds, same order.

    Raises:
        InputError: the two are not equally long.
    """
    one, two = _pairs(first, second)
    differences = one - two
    seeds, nan = len(differences), float("nan")
    mean = float(differences.mean()) if seeds else nan
    if seeds < 2:
        return Paired(seeds, mean, nan, nan, nan, nan, nan, "fewer than two seeds")
    std = float(differences.std(ddof=1))
    # Rounding alone makes equal differences of numbers near 1 vary by about 1e-16.
    if np.ptp(differences) <= 1e-12 * max(1.0, float(np.abs(one).max())):
        if abs(mean) <= 1e-12:
            return Paired(seeds, mean, 0.0, mean, mean, 0.0, 1.0)
        return Paired(seeds, mean, 0.0, nan, nan, nan, nan, "the difference does not vary over seeds")
    from scipy import stats

    error = std / math.sqrt(seeds)
    reach = float(stats.t.ppf(0.975, seeds - 1)) * error
    t = mean / error
    return Paired(seeds, mean, std, mean - reach, mean + reach, t, float(2 * stats.t.sf(abs(t), seeds - 1)))


def _pairs(first: Sequence[float], second: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of which both numbers are finite."""
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise InputError(
            f"A paired test wants one number a seed of both models. Received: {one.size} and {two.size}. "
            "Run both with the same seeds."
        )
    both = np.isfinite(one) & np.isfinite(two)
    return one[both], two[both]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of several p-values for having tested several models; NaN stays NaN and does not count.

    Reference:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    p = np.asarray(p_values, np.float64)
    order = [i for i in np.argsort(p) if np.isfinite(p[i])]
    corrected = np.full(len(p), np.nan)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, float(p[i]) * (len(order) - rank)))
        corrected[i] = largest
    return corrected.tolist()


LEVEL = 0.05
"""Below it a p-value is called significant; of several tests, the corrected one."""


def mark(metric: str, difference: float, p: float) -> str:
    """`better` or `worse` where a difference in a metric is significant, else empty: what every page marks.

    Args:
        metric: what it is of; of some less is better.
        difference: first minus second.
        p: its p-value, corrected (`holm`) if others were tested beside it; NaN is not significant.
    """
    if not p < LEVEL:
        return ""
    return "better" if metrics.merit(metric, difference) > 0 else "worse"


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test over seeds; it asks for no normal distribution.

    Pairs as in `paired`; differences of zero are left out, equal ones share their rank. It is exact, and with `n`
    differences no p-value is below `2 / 2**n`: six are the fewest that can fall below 0.05. 1 where all differences are
    zero, NaN without a pair.

    Reference:
        Wilcoxon, "Individual Comparisons by Ranking Methods", Biometrics Bulletin 1, 1945.
    """
    one, two = _pairs(first, second)
    differences = np.round(one - two, 12)  # rounding alone makes equal ones vary by about 1e-16
    if not len(differences):
        return float("nan")
    from scipy.stats import rankdata

    differences = differences[differences != 0]
    # SciPy's own test is exact or not by its version where a difference is zero or ranks are shared. Twice a rank is
    # whole, shared or not: the chance of every sum of the positive ones, each as likely positive as negative.
    doubled = np.rint(2 * rankdata(np.abs(differences))).astype(np.int64)
    chance = np.ones(1)
    for rank in doubled.tolist():
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    positive = int(doubled[differences > 0].sum())
    tail = min(positive, int(doubled.sum()) - positive)
    return min(1.0, 2 * float(chance[: tail + 1].sum()))


@dataclass(frozen=True)
class Difference:
    """A metric of two scorers on the same rows, and `first - second` with what is uncertain about it.

    Args:
        first: the metric of the first, the mean over seeds.
        second: of the second.
        difference: `first - second`.
        rows_error: its standard error over other test rows (or users).
        seeds_error: its standard error over other trainings; NaN with one seed, whose noise nobody knows.
        low: lower end of the 95 % confidence interval; NaN where there is none.
        high: its upper end.
        p: two-sided p-value; NaN where there is none.
    """

    first: float
    second: float
    difference: float
    rows_error: float
    seeds_error: float
    low: float
    high: float
    p: float


def _difference(first: float, second: float, *errors: tuple[float, float]) -> Difference:
    """Interval and p-value from independent errors over rows and, if known, over seeds: `(standard error, freedom)`.

    The interval reaches `sqrt(sum_i (t_i error_i)^2)`, with `t_i` the quantile of Student's t with the freedom of each:
    at least 95 % whatever the ratio of the two, where Welch's approximation falls short with two or three seeds.

    Reference:
        Banerjee, "Approximate Confidence Interval for Linear Functions of Means of k Populations when the Population
        Variances are not Equal", Sankhya 22, 1960.
    """
    from scipy import optimize, stats

    def reach(p: float) -> float:
        return math.hypot(*(error * float(stats.t.isf(p / 2, freedom)) for error, freedom in errors))

    difference = first - second
    low = high = p = math.nan
    if all(np.isfinite(error) and freedom > 0 for error, freedom in errors):
        low, high = difference - reach(0.05), difference + reach(0.05)
        if difference == 0:
            p = 1.0
        elif reach(_TINY) > abs(difference):
            p = float(optimize.brentq(lambda p: reach(p) - abs(difference), _TINY, 1.0, xtol=_TINY))
        else:
            p = _TINY
    rows, seeds = (*(error for error, _ in errors), math.nan)[:2]
    return Difference(first, second, difference, rows, seeds, low, high, p)


_TINY = 1e-12
"""No p-value is said to be smaller."""


def delong(labels: Any, first: Any, second: Any) -> Difference:
    """DeLong's test of the difference of two AUCs on the same rows, which must be independent of one another.

    A positive row's placement is the share of the negatives below it (ties count half), a negative's the share of the
    positives above it; the covariance of the two scorers' placements gives that of their AUCs. O(n log n).

    Args:
        labels: `[n]`, 0 or 1, at least two rows of each class.
        first: `[n]`, scores of one model.
        second: `[n]`, of the other.

    Reference:
        DeLong et al., "Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves",
        Biometrics 44, 1988; by ranks: Sun and Xu, "Fast Implementation of DeLong's Algorithm", IEEE Signal Processing
        Letters 21, 2014, algorithm 2.
    """
    from scipy.stats import rankdata

    positive = np.asarray(labels) == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise InputError(f"DeLong's test wants two rows of each class. Received: {m} positive, {n} negative.")
    above, below, areas = [], [], []
    for scores in (np.asarray(first, np.float64), np.asarray(second, np.float64)):
        ranks = rankdata(scores)
        above.append((ranks[positive] - rankdata(scores[positive])) / n)
        below.append(1 - (ranks[~positive] - rankdata(scores[~positive])) / m)
        areas.append(float(above[-1].mean()))
    contrast = np.array([1.0, -1.0])
    variance = contrast @ (np.cov(above) / m + np.cov(below) / n) @ contrast
    return _difference(areas[0], areas[1], (math.sqrt(max(variance, 0.0)), math.inf))


RESAMPLES = 500
"""Default number of resamples: the standard error is then known to about 3 %."""

_CELLS = 2_000_000
"""Numbers a batch of resamples may hold."""


def bootstrap(
    labels: Any,
    first: Any,
    second: Any,
    task: str = "click",
    users: Any = None,
    groups: Mapping[str, Any] | None = None,
    weights: Any = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Difference]:
    """Differences of every metric of two models on the same rows, by a paired bootstrap.

    Users are drawn with replacement, each with all their rows, and both models are measured on what was drawn; rows of
    one user are alike, and an interval that took them for independent would be too narrow. The standard deviation over
    resamples is the error over rows. With several trainings the metric is the mean over them, and their own spread is
    the error over seeds; the interval covers both (it counts what rows and seeds do together twice, and so is wide
    rather than narrow).

    The freedom of an error is one less than the number of users that it rests on: for the AUC those with a click or
    those without one, whichever are fewer, for gauc those with both. With 1 % clicks that, not the number of rows, is
    how little is known; with a single such user there is no interval.

    Args:
        labels: `[n]`, 0 or 1 for clicks, values for ratings.
        first: `[n]` scores of one model, or `[seeds, n]`.
        second: the same of the other; its i-th training belongs to the first's.
        task: `"click"` (auc, gauc, log_loss, ece) or `"rating"` (mae, rmse).
        users: `[n]`, who is drawn; default: each row by itself, and no gauc.
        groups: `{name: [n] booleans}`: the same for some of the rows, as `metric@name`.
        weights: `[n]`, not negative; default 1 each.
        resamples: how many.
        seed: of the draws.

    Returns:
        `{metric: Difference}`, named as those of `cdrzoo.metrics.evaluate`.

    Reference:
        Field and Welsh, "Bootstrapping Clustered Data", Journal of the Royal Statistical Society B 69, 2007, section 2
        (draws of whole clusters).
    """
    labels = np.asarray(labels, np.float64)
    scores = _aligned(len(labels), first, second)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    cluster = np.arange(len(labels)) if users is None else metrics.codes_of(np.asarray(users))[0]
    masks = {"": np.ones(len(labels), bool)}
    masks |= {f"@{name}": np.asarray(mask, bool) for name, mask in (groups or {}).items()}
    parts = {
        name: _samples(mask, labels, scores, task, weights, cluster, users is not None)
        for name, mask in masks.items()
        if mask.any()
    }
    over_rows = _resampled(parts, _draws(cluster, resamples, seed))
    return {
        f"{metric}{name}": _bootstrapped(one, two, over_rows[f"{metric}{name}"], both[0][0].sizes[metric])
        for name, (drawn, both) in parts.items()
        for metric, (one, two) in _exact(both, len(drawn)).items()
    }


def _aligned(rows: int, *scores: Any) -> list[np.ndarray]:
    """Scores as `[seeds, rows]`, if they belong to each other and to the rows."""
    one, two = (np.atleast_2d(np.asarray(each, np.float64)) for each in scores)
    if one.shape != two.shape or one.shape[1] != rows:
        raise InputError(
            f"Both models must score each of the {rows} rows, in as many trainings. "
            f"Received: {one.shape} and {two.shape}."
        )
    return [one, two]


def _samples(mask, labels, scores, task, weights, cluster, by_user):
    """Of some of the rows: the clusters that they are of, and of both models what each training scored."""
    drawn, own = np.unique(cluster[mask], return_inverse=True)
    rows = (labels[mask], weights[mask], own, len(drawn))
    return drawn, [[_Sample(task, *rows, s[mask], by_user) for s in each] for each in scores]


def _draws(cluster: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each cluster is drawn, `[some resamples, clusters]`, until there are `resamples`."""
    random = np.random.default_rng(seed)
    clusters = int(cluster.max()) + 1 if len(cluster) else 0
    step = max(1, _CELLS // max(len(cluster), clusters, 1))
    for low in range(0, resamples, step):
        times = min(step, resamples - low)
        places = random.integers(clusters, size=(times, clusters)) + clusters * np.arange(times)[:, None]
        yield np.bincount(places.ravel(), minlength=times * clusters).reshape(times, clusters)


def _resampled(parts: Mapping[str, Any], draws: Iterator[np.ndarray]) -> dict[str, np.ndarray]:
    """`[resamples]` by metric and part: the difference on what was drawn, the mean over trainings."""
    found: dict[str, list[np.ndarray]] = {}
    for counts in draws:
        for name, (drawn, both) in parts.items():
            for metric, values in _lifts(both, counts[:, drawn].astype(np.float64)).items():
                found.setdefault(f"{metric}{name}", []).append(values.mean(axis=1))
    return {name: np.concatenate(values) for name, values in found.items()}


def _bootstrapped(first: np.ndarray, second: np.ndarray, resampled: np.ndarray, size: int) -> Difference:
    """The difference of two models.

    Args:
        first: `[seeds]`, a metric of the first on all rows.
        second: of the other.
        resampled: `[resamples]`, the mean difference over seeds on what was drawn.
        size: users that the metric rests on.
    """
    defined, seeds = resampled[np.isfinite(resampled)], len(first)
    # The variance of a resample is (size - 1) / size of what it estimates.
    error = float(defined.std(ddof=1)) * math.sqrt(size / (size - 1)) if len(defined) > 1 < size else math.nan
    errors = [(error, size - 1.0)]
    if seeds > 1:
        errors.append((float((first - second).std(ddof=1)) / math.sqrt(seeds), seeds - 1.0))
    return _difference(float(first.mean()), float(second.mean()), *errors)


def _lifts(both: Sequence[Sequence[_Sample]], counts: np.ndarray) -> dict[str, np.ndarray]:
    """`{metric: [resamples, seeds]}` of first minus second."""
    one, two = ([sample.metrics(counts) for sample in each] for each in both)
    return {metric: np.stack([a[metric] - b[metric] for a, b in zip(one, two)], axis=1) for metric in one[0]}


def _exact(both: Sequence[Sequence[_Sample]], clusters: int) -> dict[str, list[np.ndarray]]:
    """`{metric: [seeds] of either model}` on all rows."""
    once = np.ones((1, clusters))
    one, two = ([sample.metrics(once) for sample in each] for each in both)
    return {m: [np.concatenate([found[m] for found in each]) for each in (one, two)] for m in one[0]}


class _Sample:
    """What one model scored, summed up so that its metrics under any numbers of draws are cheap.

    All but the AUC are ratios of sums over users. For the AUC the rows are sorted once.
    """

    def __init__(self, task, labels, weights, cluster, clusters, scores, by_user):
        def sums(values):
            return np.bincount(cluster, weights * values, minlength=clusters)

        self.task = task
        self.weight = sums(np.ones(len(labels)))
        self.sizes = dict.fromkeys(("mae", "rmse", "log_loss", "ece"), clusters)  # users each metric rests on
        if task == "rating":
            self.absolute, self.squared = sums(np.abs(scores - labels)), sums((scores - labels) ** 2)
            return
        inside = np.clip(scores, metrics.CLIP, 1 - metrics.CLIP)
        self.loss = sums(-np.where(labels == 1, np.log(inside), np.log1p(-inside)))
        bins = metrics.bins_of(scores, weights)
        self.gaps = np.stack([sums((labels - scores) * (bins == b)) for b in range(10)], axis=1)
        self.sizes["auc"] = min(np.count_nonzero(sums(labels == is_click)) for is_click in (0, 1))
        self.area = None
        if by_user:
            areas = metrics.auc_of_groups(cluster, clusters, labels, scores, weights)
            self.area = np.nan_to_num(areas), np.isfinite(areas)
            self.sizes["gauc"] = np.count_nonzero(self.area[1])
        order = np.argsort(scores, kind="stable")
        self.starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
        self.cluster = cluster[order]
        self.positive, self.negative = (weights * labels)[order], (weights * (1 - labels))[order]

    def metrics(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """`{metric: [resamples]}` when user u is drawn `counts[:, u]` times; NaN where it is not defined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            rows = counts @ self.weight
            if self.task == "rating":
                return {
                    "mae": counts @ self.absolute / rows,
                    "rmse": np.sqrt(counts @ self.squared / rows),
                }
            found = {"auc": self._auc(counts)}
            if self.area is not None:
                area, defined = self.area
                found["gauc"] = counts @ (self.weight * area) / (counts @ (self.weight * defined))
            found["log_loss"] = counts @ self.loss / rows
            found["ece"] = np.abs(counts @ self.gaps).sum(axis=1) / rows
            return found

    def _auc(self, counts: np.ndarray) -> np.ndarray:
        drawn = counts[:, self.cluster]
        # Rows of equal scores are one block: its positives beat the negatives below it, and half of its own.
        positive = np.add.reduceat(drawn * self.positive, self.starts, axis=1)
        negative = np.add.reduceat(drawn * self.negative, self.starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        return (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
