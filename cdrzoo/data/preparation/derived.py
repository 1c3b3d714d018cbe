"""Features that are made of times and of the user's events before the row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cdrzoo.data.readers import Columns
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature

_CALENDAR: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hour": lambda seconds: seconds // 3600 % 24,
    "weekday": lambda seconds: (seconds // 86400 + 3) % 7,  # 1970-01-01 was a Thursday
}
_SECONDS = 1e11
"""Unix seconds are fewer until the year 5138; milliseconds are more since 1973."""


def calendar(domain: Domain, time: np.ndarray | None, where: str) -> Columns:
    """The columns of hours and weekdays, int64 [n].

    Args:
        domain: its features say which.
        time: Unix seconds [n], or `None`.
        where: what the rows were read from.
    """
    found: Columns = {}
    for feature in domain.features:
        if feature.derive in _CALENDAR:
            if time is None:
                raise _no_time(feature, domain)
            if len(time) and time.max() > _SECONDS:
                raise DataError(
                    f"{where}: {feature.derive} of {feature.name!r} wants times in Unix seconds. Received: "
                    f"{time.max():.15g}. Give seconds (milliseconds divided by 1000), or a column of your own."
                )
            found[feature.column] = _CALENDAR[feature.derive](np.floor(time).astype(np.int64))
    return found


def recency(
    times: tuple[np.ndarray, np.ndarray], order: np.ndarray, starts: np.ndarray, stops: np.ndarray
) -> np.ndarray:
    """float32 [n]: the time since the last event of each row's window; NaN where there is none.

    Args:
        times: of the rows [n], and of the events.
        order, starts, stops: as `windows` gives them.
    """
    rows, events = times
    if not len(order):
        return np.full(len(rows), np.nan, np.float32)
    last = events[order[np.maximum(stops - 1, 0)]]
    return np.where(stops > starts, rows - last, np.nan).astype(np.float32)


def mean(
    vectors: np.ndarray, length: int, order: np.ndarray, starts: np.ndarray, stops: np.ndarray
) -> np.ndarray:
    """float32 [n, size]: the mean of the last `length` vectors of each row's window; zeros where there is none.

    Newest first, so that the sum does not depend on what else is in the log.

    Args:
        vectors: float32 [m, size], of the events; zeros are missing, and count for nothing.
        length: how many events are looked at.
        order, starts, stops: as `windows` gives them.
    """
    total, seen = np.zeros((len(starts), vectors.shape[1])), np.zeros(len(starts), np.int64)
    for back in range(1, length + 1):
        rows = np.flatnonzero(stops - back >= starts)
        if not len(rows):
            break
        found = vectors[order[stops[rows] - back]]
        total[rows] += found
        seen[rows] += found.any(axis=1)
    return (total / np.maximum(seen, 1)[:, None]).astype(np.float32)


def _no_time(feature: Feature, domain: Domain) -> DataError:
    return DataError(
        f"{feature.derive} of {feature.name!r} is made of times, but domain {domain.name!r} has none. Set "
        "`time: COLUMN` in the schema."
    )
