"""Negatives for logs that hold only what users did: rows that did not happen, drawn beside those that did."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from cdrzoo.data.preparation.logs import Log, user_codes
from cdrzoo.data.preparation.sources import HOW
from cdrzoo.data.ragged import Ragged
from cdrzoo.errors import DataError

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


def add_negatives(log: Log, codes: np.ndarray, seed: int) -> Log:
    """The log with negatives drawn for each event of a part behind it.

    A part's negatives are drawn from what is known of the log by then: those of training rows among the items of
    training events that the user has not touched in one, those of valid also know its events, those of the test all.
    So an item that comes up in the test is not trained on as one that nobody wants.

    A negative has its event's user, time, weight and part, and its columns of every role but item; item columns come
    from the first of these events in which the drawn item stands.

    Args:
        log: the events.
        codes: the part of each, -1 for none (those get no negatives).
        seed: of the draws.
    """
    negatives = log.source.negatives
    if negatives is None:
        return log
    if log.user is None or log.item is None:
        raise DataError(
            f"Negatives for domain {log.domain.name!r} need its user and item. Set `user` and `item` in it."
        )
    if (log.y != 1).any():
        raise DataError(
            f"{log.where}: negatives are drawn for a log of positives, but row {int(np.argmax(log.y != 1)) + 1} "
            "is none. Drop such rows, or leave `negatives` out."
        )
    items, users = pd.factorize(log.item)[0], user_codes({log.domain.name: log})[log.domain.name]
    nobody = np.flatnonzero(users < 0)
    users[nobody] = len(users) + nobody  # each missing user is another one
    each, how = negatives.get("per_positive", 1), negatives.get("how", "uniform")
    name_seed = int.from_bytes(log.domain.name.encode()[:8], "little")  # domains draw independently
    events, rows_of_items = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for code in np.unique(codes[codes >= 0]).tolist():
        known = np.flatnonzero((codes >= 0) & (codes <= code))
        of = np.flatnonzero(codes[known] == code)
        number = pd.factorize(items[known])[0]
        drawn = sample_negatives(users[known], number, each, how, [seed, name_seed, code], of)
        first = known[np.unique(number, return_index=True)[1]]  # of each item a row where it stands
        events.append(np.repeat(known[of], each))
        rows_of_items.append(first[drawn.reshape(-1)])
    positives = np.concatenate(events)
    of_item = {f.column for f in log.domain.with_role("item")} | {log.domain.item}
    of_other = {f.column for f in log.domain.features if f.role != "item"} | {log.domain.user}
    rows = {
        column: np.concatenate([np.arange(len(log)), *(rows_of_items if column in of_item else events)])
        for column in (of_item | of_other | set(log.columns)) & set(log.columns)
    }
    both = np.concatenate([np.arange(len(log)), positives])
    is_event = np.arange(len(both)) < len(log)
    columns = {n: v.take(rows[n]) if isinstance(v, Ragged) else v[rows[n]] for n, v in log.columns.items()}
    users_of, items_of = log.user[both], log.item[rows[log.domain.item]]
    return dataclasses.replace(
        log,
        columns=columns,
        raw=np.where(is_event, log.raw[both], 0.0),
        y=np.where(is_event, log.y[both], 0.0).astype(np.float32),
        time=None if log.time is None else log.time[both],
        user=users_of,
        item=items_of,
        weight=None if log.weight is None else log.weight[both],
        part=None if log.part is None else log.part[both],
        event=both,
    )
