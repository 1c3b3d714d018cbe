"""What is said of the rows of a part: how many, of how many users, their labels, times and a hash of their content."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from cdrzoo.data.preparation.keys import fingerprints, totals
from cdrzoo.data.preparation.logs import Log
from cdrzoo.data.raw import factorize, missing
from cdrzoo.data.statistics import ExactSum


@dataclasses.dataclass
class Tally:
    """Of some rows of one domain. Those of pieces that share no user add up to that of the whole.

    Args:
        rows: how many.
        users: distinct ones, the missing left out; `None` where rows have no users.
        nobody: whether a user is missing.
        labels, weights, weighted: sums of labels, of weights, and of both multiplied; a row without one weighs 1.
        first, last: times, `None` where there are none.
        content: `totals` of their fingerprints.
        further: of every label behind the first two sums over the rows that have it: of weights times labels, and of
            weights.
    """

    rows: int
    users: int | None
    nobody: bool
    labels: ExactSum
    weights: ExactSum
    weighted: ExactSum
    first: float | None
    last: float | None
    content: tuple[int, int]
    further: dict[str, tuple[ExactSum, ExactSum]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, log: Log, keys: np.ndarray, rows: np.ndarray) -> Tally:
        """Of rows of a log; `keys` are the fingerprints of all its rows."""
        y = log.y[rows].astype(np.float64)
        weight = np.ones(len(rows)) if log.weight is None else log.weight[rows]
        times = None if log.time is None or not len(rows) else log.time[rows]
        users, nobody = None, False
        if log.user is not None:
            distinct = factorize(log.user[rows])[1]
            nobody = bool(missing(distinct).any())
            users = len(distinct) - nobody
        return cls(
            rows=len(rows),
            users=users,
            nobody=nobody,
            labels=ExactSum.of(y),
            weights=ExactSum.of(weight),
            weighted=ExactSum.of(weight * y),
            first=None if times is None else float(times.min()),
            last=None if times is None else float(times.max()),
            content=totals(keys[rows]),
            further={name: _known(values[rows], weight) for name, values in log.labels.items()},
        )

    def __add__(self, other: Tally) -> Tally:
        firsts, lasts = (
            [time for time in times if time is not None]
            for times in ((self.first, other.first), (self.last, other.last))
        )
        return Tally(
            rows=self.rows + other.rows,
            users=None if self.users is None or other.users is None else self.users + other.users,
            nobody=self.nobody or other.nobody,
            labels=self.labels + other.labels,
            weights=self.weights + other.weights,
            weighted=self.weighted + other.weighted,
            first=min(firsts, default=None),
            last=max(lasts, default=None),
            content=tuple((a + b) % 2**64 for a, b in zip(self.content, other.content)),  # type: ignore[arg-type]
            further={
                name: (one[0] + other.further[name][0], one[1] + other.further[name][1])
                for name, one in self.further.items()
            },
        )

    def mean(self) -> float | None:
        """The mean label, by weight; `None` where there is none."""
        return float(self.weighted.exactly() / self.weights.exactly()) if self.weights.units else None

    def means(self, domain: str) -> dict[str, float | None]:
        """The mean of every label by the output that it is of (`Domain.outputs`)."""
        further = {
            f"{domain}.{name}": float(of.exactly() / weights.exactly()) if weights.units else None
            for name, (of, weights) in self.further.items()
        }
        return {domain: self.mean(), **further}

    def summary(self) -> dict[str, Any]:
        """What a split records."""
        if not self.rows:
            return {"rows": 0, "users": 0, "label": None, "first": None, "last": None}
        return {
            "rows": self.rows,
            "users": None if self.users is None else self.users + self.nobody,
            "label": round(float(self.labels.exactly() / self.rows), 6),
            "first": self.first,
            "last": self.last,
        }


def _known(values: np.ndarray, weight: np.ndarray) -> tuple[ExactSum, ExactSum]:
    known = ~np.isnan(values)
    return ExactSum.of(weight[known] * values[known].astype(np.float64)), ExactSum.of(weight[known])


def tallies(log: Log, codes: np.ndarray, parts: int) -> list[Tally]:
    """Of each part: the rows whose code it is."""
    keys = fingerprints(log.key_columns())
    return [Tally.of(log, keys, np.flatnonzero(codes == code)) for code in range(parts)]
