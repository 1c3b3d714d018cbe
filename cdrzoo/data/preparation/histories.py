"""Histories: what a row's user did before the row, in any domain."""

from __future__ import annotations

from typing import Literal

import numpy as np


def windows(
    event_users: np.ndarray,
    event_times: np.ndarray | None,
    users: np.ndarray,
    times: np.ndarray | None,
    include_ties: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every row the events of its user strictly before its time, as a window over the sorted events.

    Sorting once and searching twice replaces a loop over rows; a row costs two numbers, however long its history.

    Args:
        event_users: int [m], numbers from 0; -1 (nobody) is listed for nobody.
        event_times: [m], or `None`: all events of the user, in the order given.
        users: int [n], the rows' users; -1 gives an empty window.
        times: [n], or `None` like `event_times`.
        include_ties: events at the row's own time are in the window too.

    Returns:
        order: int64 [m'], the events by user, time and place in the log (oldest first).
        starts, stops: int64 [n], row `i` lists `order[starts[i]:stops[i]]`.
    """
    listed = np.flatnonzero(event_users >= 0)
    event_users = event_users[listed].astype(np.int64)
    users = users.astype(np.int64)
    side: Literal["left", "right"]
    if event_times is None or times is None:
        event_ranks, ranks, size = np.zeros(len(listed), np.int64), np.zeros(len(users), np.int64), 1
        side = "right"
    else:
        distinct, inverse = np.unique(np.concatenate([event_times[listed], times]), return_inverse=True)
        inverse = inverse.reshape(-1).astype(np.int64)
        event_ranks, ranks, size = inverse[: len(listed)], inverse[len(listed) :], max(len(distinct), 1)
        side = "right" if include_ties else "left"
    keys = event_users * size + event_ranks
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    # Searching in sorted order walks memory once; it is several times faster than searching at random.
    by_key = np.argsort(users * size + ranks, kind="stable")
    starts, stops = np.empty(len(users), np.int64), np.empty(len(users), np.int64)
    starts[by_key] = np.searchsorted(keys, (users * size)[by_key], side="left")
    stops[by_key] = np.searchsorted(keys, (users * size + ranks)[by_key], side=side)
    nobody = users < 0
    starts[nobody] = stops[nobody] = 0
    return listed[order], starts, stops
