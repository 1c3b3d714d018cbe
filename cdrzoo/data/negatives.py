"""Sampled negatives for logs that hold only what users did."""

from __future__ import annotations

import numpy as np

from cdrzoo.errors import DataError

HOW = ("uniform", "popularity")
_ROUNDS = 20  # of redrawing; rows that still fail then get an exact draw


def sample_negatives(
    users: np.ndarray,
    items: np.ndarray,
    per_positive: int,
    how: str = "uniform",
    seed: int | list[int] = 0,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Draws, for every event, items that its user touched nowhere in the log.

    Draws are independent, so an item may come twice.

    Args:
        users: int [n], the user of each event, as numbers from 0.
        items: int [n], the item of each event, as numbers from 0.
        per_positive: negatives an event.
        how: `uniform` over the items of the log, or by `popularity` (as often as the item stands in the log).
        seed: the same seed draws the same items.
        rows: int [m], the events to draw for; default: all, m = n.

    Returns:
        int64 [m, per_positive]: items.

    Raises:
        DataError: when a user touched every item.
    """
    if how not in HOW:
        raise DataError(f"Negatives are drawn {' or '.join(HOW)}. Received: {how!r}.")
    count = int(items.max()) + 1
    random = np.random.Generator(np.random.PCG64(seed))
    shares = np.cumsum(np.bincount(items, minlength=count)) / len(items)
    touched = np.unique(users.astype(np.int64) * count + items)

    def draw(size: int) -> np.ndarray:
        uniform = random.random(size)
        if how == "uniform":
            return np.minimum((uniform * count).astype(np.int64), count - 1)
        return np.minimum(np.searchsorted(shares, uniform, side="right"), count - 1)

    of = np.repeat(users.astype(np.int64) if rows is None else users[rows].astype(np.int64), per_positive)
    drawn = draw(len(of))
    open_ = np.arange(len(of))
    for _ in range(_ROUNDS):
        keys = of[open_] * count + drawn[open_]
        at = np.minimum(np.searchsorted(touched, keys), len(touched) - 1)
        open_ = open_[touched[at] == keys]
        if not len(open_):
            return drawn.reshape(-1, per_positive)
        drawn[open_] = draw(len(open_))
    popularity = np.diff(shares, prepend=0.0)
    for user in np.unique(of[open_]):  # the few users who touched nearly everything
        low, high = np.searchsorted(touched, [user * count, (user + 1) * count])
        free = np.setdiff1d(np.arange(count), touched[low:high] - user * count)
        if not len(free):
            raise DataError(
                f"A user touched all {count} items of the log, so no negative can be drawn for him. "
                "Leave the user out, or give labels instead of `negatives`."
            )
        rows = open_[of[open_] == user]
        weights = np.cumsum(popularity[free] if how == "popularity" else np.ones(len(free)))
        drawn[rows] = free[np.searchsorted(weights / weights[-1], random.random(len(rows)), side="right")]
    return drawn.reshape(-1, per_positive)
