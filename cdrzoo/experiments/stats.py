"""Paired comparison of two models over the same seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise InputError(
            f"A paired test wants one number a seed of both models. Received: {one.size} and {two.size}. "
            "Run both with the same seeds."
        )
    both = np.isfinite(one) & np.isfinite(two)
    differences = (one - two)[both]
    seeds, nan = len(differences), float("nan")
    mean = float(differences.mean()) if seeds else nan
    if seeds < 2:
        return Paired(seeds, mean, nan, nan, nan, nan, nan, "fewer than two seeds")
    std = float(differences.std(ddof=1))
    # Rounding alone makes equal differences of numbers near 1 vary by about 1e-16.
    if np.ptp(differences) <= 1e-12 * max(1.0, float(np.abs(one[both]).max())):
        if abs(mean) <= 1e-12:
            return Paired(seeds, mean, 0.0, mean, mean, 0.0, 1.0)
        return Paired(seeds, mean, 0.0, nan, nan, nan, nan, "the difference does not vary over seeds")
    from scipy import stats

    error = std / math.sqrt(seeds)
    reach = float(stats.t.ppf(0.975, seeds - 1)) * error
    t = mean / error
    return Paired(seeds, mean, std, mean - reach, mean + reach, t, float(2 * stats.t.sf(abs(t), seeds - 1)))


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
