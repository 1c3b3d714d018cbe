"""Negatives for logs that hold only what users did: rows that did not happen, drawn beside those that did."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from cdrzoo.data.preparation.logs import Log, user_codes
from cdrzoo.data.preparation.sources import HOW
from cdrzoo.data.ragged import Ragged
from cdrzoo.data.raw import factorize
from cdrzoo.errors import DataError, shown

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
        raise DataError(f"Negatives are drawn {' or '.join(HOW)}. Received: {shown(how)}.")
    log = _Items(users.astype(np.int64), items, how, seed)
    of = np.repeat(log.users if rows is None else log.users[rows], per_positive)
    drawn = log.draw(len(of))
    open_ = np.arange(len(of))
    for _ in range(_ROUNDS):
        open_ = open_[log.touched_by(of[open_], drawn[open_])]
        if not len(open_):
            return drawn.reshape(-1, per_positive)
        drawn[open_] = log.draw(len(open_))
    for user in np.unique(of[open_]):  # the few users who touched nearly everything
        rows = open_[of[open_] == user]
        drawn[rows] = log.draw_untouched(user, len(rows))
    return drawn.reshape(-1, per_positive)


class _Items:
    """The items of a log, to be drawn from, and who touched which."""

    def __init__(self, users: np.ndarray, items: np.ndarray, how: str, seed: int | list[int]):
        self.users, self.how, self.count = users, how, int(items.max()) + 1
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.shares = np.cumsum(np.bincount(items, minlength=self.count)) / len(items)
        self.touched = np.unique(users * self.count + items)

    def draw(self, size: int) -> np.ndarray:
        """Items, whoever touched them."""
        uniform = self.random.random(size)
        if self.how == "uniform":
            return np.minimum((uniform * self.count).astype(np.int64), self.count - 1)
        return np.minimum(np.searchsorted(self.shares, uniform, side="right"), self.count - 1)

    def touched_by(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """bool [n]: whether each user touched the item."""
        keys = users * self.count + items
        at = np.minimum(np.searchsorted(self.touched, keys), len(self.touched) - 1)
        return self.touched[at] == keys

    def draw_untouched(self, user: int, size: int) -> np.ndarray:
        """Items of those that a user did not touch, all of which are looked at."""
        low, high = np.searchsorted(self.touched, [user * self.count, (user + 1) * self.count])
        free = np.setdiff1d(np.arange(self.count), self.touched[low:high] - user * self.count)
        if not len(free):
            raise DataError(
                f"A user touched all {self.count} items of the log, so no negative can be drawn for them. "
                "Leave the user out, or give labels instead of `negatives`."
            )
        shares = np.diff(self.shares, prepend=0.0) if self.how == "popularity" else np.ones(self.count)
        weights = np.cumsum(shares[free])
        return free[np.searchsorted(weights / weights[-1], self.random.random(size), side="right")]


def add_negatives(log: Log, codes: np.ndarray, seed: int) -> Log:
    """The log with negatives drawn for each event of a part behind it.

    A part's negatives are drawn from what is known of the log by then: those of training rows among the items of
    training events that the user has not touched in one, those of valid also know its events, those of the test all.
    So an item that comes up in the test is not trained on as one that nobody wants.

    A negative has its event's user, time, weight and part, and its columns of every role but item; item columns come
    from the first of these events in which the drawn item stands, as does what is the same in all rows of an item.

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
    positives, rows_of_items = _draws(log, codes, seed, **negatives)
    of_item = {f.column for f in log.domain.with_role("item")} | {log.domain.item}
    of_other = {f.column for f in log.domain.features if f.role != "item"} | {log.domain.user}
    rows = {
        column: np.concatenate([np.arange(len(log)), rows_of_items if column in of_item else positives])
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
        extra={
            name: values[rows[log.domain.item] if _is_of_item(values, log.item) else both]
            for name, values in log.extra.items()
        },
    )


def _is_of_item(values: np.ndarray, items: np.ndarray) -> bool:
    """Whether each item has one value: then a drawn item has it, too."""
    pairs = pd.DataFrame({"item": items, "value": values}).drop_duplicates()
    return bool(pairs["item"].is_unique)


def _draws(
    log: Log, codes: np.ndarray, seed: int, per_positive: int = 1, how: str = "uniform"
) -> tuple[np.ndarray, np.ndarray]:
    """Part by part: the row of each negative's event, and the first row in which the drawn item stands."""
    items, users = factorize(log.item)[0], user_codes({log.domain.name: log})[log.domain.name]
    nobody = np.flatnonzero(users < 0)
    users[nobody] = len(users) + nobody  # each missing user is another one
    name_seed = int.from_bytes(log.domain.name.encode()[:8], "little")  # domains draw independently
    events, rows_of_items = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for code in np.unique(codes[codes >= 0]).tolist():
        known = np.flatnonzero((codes >= 0) & (codes <= code))
        of = np.flatnonzero(codes[known] == code)
        number = factorize(items[known])[0]
        drawn = sample_negatives(users[known], number, per_positive, how, [seed, name_seed, code], of)
        first = known[np.unique(number, return_index=True)[1]]
        events.append(np.repeat(known[of], per_positive))
        rows_of_items.append(first[drawn.reshape(-1)])
    return np.concatenate(events), np.concatenate(rows_of_items)
