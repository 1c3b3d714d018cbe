"""Negatives for logs that hold only what users did: rows that did not happen, drawn beside those that did."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo.data.preparation.keys import uniform
from cdrzoo.data.preparation.logs import Log, user_codes
from cdrzoo.data.preparation.sources import HOW, Source
from cdrzoo.data.preparation.splits import PARTS
from cdrzoo.data.ragged import taken
from cdrzoo.data.raw import factorize
from cdrzoo.data.readers import Columns
from cdrzoo.data.readers.conversion import concatenate
from cdrzoo.errors import DataError, shown

_ROUNDS = 20  # of redrawing; rows that still fail then get an exact draw


def sample_negatives(
    users: np.ndarray,
    items: np.ndarray,
    per_positive: int,
    how: str = "uniform",
    seed: int | Sequence[int] = 0,
    rows: np.ndarray | None = None,
    numbers: np.ndarray | None = None,
    counts: np.ndarray | None = None,
) -> np.ndarray:
    """Draws, for every event, items that its user touched nowhere in the log.

    Draws are independent, so an item may come twice. Each follows from the seed, the number of its event, which of the
    event's draws it is, and how often it was drawn anew: the events of some users draw what they draw among all.

    Args:
        users: int [n], the user of each event, as numbers from 0.
        items: int [n], the item of each event, as numbers from 0.
        per_positive: negatives an event.
        how: `uniform` over the items of the log, or by `popularity` (as often as the item stands in the log).
        seed: the same seed, or seeds, draw the same items.
        rows: int [m], the events to draw for; default: all, m = n.
        numbers: int64 [n], numbers of the events; default: from 0.
        counts: int [items], how often each item stands in the whole log; default: as often as here.

    Returns:
        int64 [m, per_positive]: items.

    Raises:
        DataError: when a user touched every item.
    """
    if how not in HOW:
        raise DataError(f"Negatives are drawn {' or '.join(HOW)}. Received: {shown(how)}.")
    rows = np.arange(len(users)) if rows is None else rows
    of = np.repeat(rows, per_positive)
    number = of if numbers is None else numbers[of]
    which = np.tile(np.arange(per_positive), len(rows)) * (_ROUNDS + 1)
    log = _Items(users.astype(np.int64), items, np.bincount(items) if counts is None else counts, how)
    seeds = [seed] if isinstance(seed, int) else seed
    drawn, open_ = np.zeros(len(of), np.int64), np.arange(len(of))
    for turn in range(_ROUNDS):
        drawn[open_] = log.draw(uniform(seeds, number[open_], which[open_] + turn))
        open_ = open_[log.touched_by(users[of[open_]], drawn[open_])]
        if not len(open_):
            return drawn.reshape(-1, per_positive)
    for user in np.unique(users[of[open_]]):  # the few users who touched nearly everything
        left = open_[users[of[open_]] == user]
        drawn[left] = log.draw_untouched(user, uniform(seeds, number[left], which[left] + _ROUNDS))
    return drawn.reshape(-1, per_positive)


class _Items:
    """The items of a log, to be drawn from, and who touched which."""

    def __init__(self, users: np.ndarray, items: np.ndarray, counts: np.ndarray, how: str):
        self.how, self.count, self.counts = how, len(counts), counts
        self.shares = np.cumsum(counts) / max(counts.sum(), 1)
        self.touched = np.unique(users * self.count + items)

    def draw(self, uniform: np.ndarray) -> np.ndarray:
        """An item for each number of [0, 1), whoever touched it."""
        if self.how == "uniform":
            return np.minimum((uniform * self.count).astype(np.int64), self.count - 1)
        return np.minimum(np.searchsorted(self.shares, uniform, side="right"), self.count - 1)

    def touched_by(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """bool [n]: whether each user touched the item."""
        keys = users * self.count + items
        at = np.minimum(np.searchsorted(self.touched, keys), len(self.touched) - 1)
        return self.touched[at] == keys

    def draw_untouched(self, user: int, uniform: np.ndarray) -> np.ndarray:
        """Items of those that a user did not touch, all of which are looked at."""
        low, high = np.searchsorted(self.touched, [user * self.count, (user + 1) * self.count])
        free = np.setdiff1d(np.arange(self.count), self.touched[low:high] - user * self.count)
        if not len(free):
            raise DataError(
                f"A user touched all {self.count} items of the log, so no negative can be drawn for them. "
                "Leave the user out, or give labels instead of `negatives`."
            )
        weights = np.cumsum(self.counts[free] if self.how == "popularity" else np.ones(len(free)))
        return free[np.searchsorted(weights / weights[-1], uniform, side="right")]


@dataclasses.dataclass
class Catalogue:
    """The items that a part's negatives are drawn from, in the order in which they first stand in the log.

    Args:
        items: raw keys [m].
        first: int64 [m], the number of the first event of each.
        counts: int64 [m], events of each.
        columns: the columns of items at these first events.
        extra: further columns, likewise.
    """

    items: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    columns: Columns
    extra: dict[str, np.ndarray]

    @classmethod
    def of(cls, log: Log, rows: np.ndarray) -> Catalogue:
        """Of these events of a log."""
        codes, items = factorize(log.item[rows])
        first = rows[np.unique(codes, return_index=True)[1]] if len(rows) else rows
        return cls(
            items,
            log.row[first],
            np.bincount(codes, minlength=len(items)),
            {name: taken(log.columns[name], first) for name in sorted(of_items(log))},
            {name: values[first] for name, values in log.extra.items()},
        )

    @classmethod
    def merged(cls, pieces: Sequence[Catalogue]) -> Catalogue:
        """Of several pieces of a log."""
        items, first, counts = (
            np.concatenate([getattr(piece, name) for piece in pieces])
            for name in ("items", "first", "counts")
        )
        order = np.argsort(first, kind="stable")
        codes, distinct = factorize(items[order])
        at = order[np.unique(codes, return_index=True)[1]] if len(order) else order
        return cls(
            distinct,
            first[at],
            np.bincount(codes, counts[order], minlength=len(distinct)).astype(np.int64),
            {n: taken(concatenate([p.columns[n] for p in pieces]), at) for n in pieces[0].columns},
            {n: np.concatenate([p.extra[n] for p in pieces])[at] for n in pieces[0].extra},
        )


def of_items(log: Log) -> set[str]:
    """The columns of a log that belong to the item of a row."""
    return ({f.column for f in log.domain.inputs() if f.role == "item"} | {log.domain.item}) & set(
        log.columns
    )


def catalogues(log: Log, codes: np.ndarray) -> list[Catalogue]:
    """What the negatives of train, valid and test are drawn from: each knows what the ones before it know, too."""
    return [Catalogue.of(log, np.flatnonzero((codes >= 0) & (codes <= code))) for code in range(len(PARTS))]


def check_positives(log: Log) -> None:
    """Raises where negatives are to be drawn for rows that have no keys, or are none of positives."""
    if log.user is None or log.item is None:
        raise DataError(
            f"Negatives for domain {log.domain.name!r} need its user and item. Set `user` and `item` in it."
        )
    if log.domain.negatives_kept is not None:
        raise DataError(
            f"Domain {log.domain.name!r} says `negatives_kept`, the share of its log's own negatives, but negatives "
            "are drawn for it. Leave one of the two out."
        )
    if (log.y != 1).any():
        row = int(log.row[np.argmax(log.y != 1)]) + 1
        raise DataError(
            f"{log.where}: negatives are drawn for a log of positives, but row {row} is none. Drop such rows, or leave "
            "`negatives` out."
        )


def add_negatives(
    log: Log, codes: np.ndarray, seed: int, known: Sequence[Catalogue], of_item: Collection[str] = ()
) -> Log:
    """The log with negatives drawn for each event of a part behind it.

    A part's negatives are drawn from what is known of the log by then: those of training rows among the items of
    training events that the user has not touched in one, those of valid also know its events, those of the test all.
    So an item that comes up in the test is not trained on as one that nobody wants.

    A negative has its event's user, time, weight and part, and its columns of every role but item; item columns come
    from the first of these events in which the drawn item stands, as does what is the same in all rows of an item.

    Args:
        log: the events: all, or all of some users.
        codes: the part of each, -1 for none (those get no negatives).
        seed: of the draws.
        known: the `catalogues` of the whole log.
        of_item: further columns of the log that are the same in all rows of an item.
    """
    each, how = log.source.negatives.get("per_positive", 1), log.source.negatives.get("how", "uniform")
    users = user_codes({log.domain.name: log})[log.domain.name]
    nobody = np.flatnonzero(users < 0)
    users[nobody] = len(users) + nobody  # each missing user is another one
    name_seed = int.from_bytes(log.domain.name.encode()[:8], "little")  # domains draw independently
    events, drawn = [np.zeros(0, np.int64)], []
    for code, catalogue in enumerate(known):
        rows = np.flatnonzero((codes >= 0) & (codes <= code))
        of = np.flatnonzero(codes[rows] == code)
        items = pd.Index(catalogue.items, dtype=catalogue.items.dtype)
        number = items.get_indexer(pd.Index(log.item[rows], dtype=log.item.dtype))
        found = sample_negatives(
            users[rows], number, each, how, [seed, name_seed, code], of, log.row[rows], catalogue.counts
        )
        events.append(np.repeat(rows[of], each))
        drawn.append((catalogue, found.reshape(-1)))
    return _beside(log, np.concatenate(events), drawn, each, of_item)


def _beside(
    log: Log,
    positives: np.ndarray,
    drawn: Sequence[tuple[Catalogue, np.ndarray]],
    each: int,
    of_item: Collection[str],
) -> Log:
    """The log with the drawn items behind it; `positives` are their events."""
    both = np.concatenate([np.arange(len(log)), positives])
    is_event = np.arange(len(both)) < len(log)

    def of_drawn(values: Any, kind: str, name: str) -> Any:
        return concatenate([values, *(taken(getattr(c, kind)[name], at) for c, at in drawn)])

    items = of_items(log)
    columns = {
        name: of_drawn(values, "columns", name) if name in items else taken(values, both)
        for name, values in log.columns.items()
    }
    which = np.tile(np.arange(each), len(positives) // each)
    return dataclasses.replace(
        log,
        columns=columns,
        raw=np.where(is_event, log.raw[both], 0.0),
        y=np.where(is_event, log.y[both], 0.0).astype(np.float32),
        time=None if log.time is None else log.time[both],
        user=log.user[both],
        item=columns[log.domain.item],
        weight=None if log.weight is None else log.weight[both],
        part=None if log.part is None else log.part[both],
        event=both,
        row=np.concatenate([log.row, log.size + log.row[positives] * each + which]),
        further={name: np.where(is_event, values[both], 0.0) for name, values in log.further.items()},
        extra={
            name: of_drawn(values, "extra", name) if name in of_item else values[both]
            for name, values in log.extra.items()
        },
    )


def record(sources: Mapping[str, Source], seed: int) -> dict[str, Mapping[str, Any]]:
    """What a split records of the negatives of each domain that draws some."""
    return {
        f"negatives of {name}": {**source.negatives, "seed": seed}
        for name, source in sources.items()
        if source.negatives is not None
    }


def values_of_items(log: Log) -> dict[str, pd.DataFrame | None]:
    """For each further column its values, by item, where each item has one; else `None`."""
    found = {name: pd.DataFrame({"item": log.item, "value": values}) for name, values in log.extra.items()}
    return {name: of_one_value([pairs]) for name, pairs in found.items()}


def of_one_value(pieces: Sequence[pd.DataFrame | None]) -> pd.DataFrame | None:
    """The pairs of item and value of several pieces of a log, each once; `None` where an item has several values."""
    found = [piece for piece in pieces if piece is not None]
    if len(found) < len(pieces):
        return None
    pairs = pd.concat(found).drop_duplicates()
    return pairs if pairs["item"].is_unique else None
