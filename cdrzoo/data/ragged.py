"""Rows of different length over one flat array: how sequences stand before they are padded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_ROWS_AT_A_TIME = 65_536  # bounds the scratch memory of a gather to a few tens of MB


@dataclasses.dataclass
class Ragged:
    """Row `i` is `values[starts[i]:stops[i]]` without position `skip[i]`.

    Rows may overlap: the histories of all rows of a log are windows over one array of events, so they cost two
    numbers a row, whatever their length.

    Args:
        values: [m], flat, oldest first within a row.
        starts: int64 [n].
        stops: int64 [n].
        skip: int64 [n], a position to leave out (the row's own event), or -1; `None`: nothing is left out.
        coded: of text that was read so, the values as numbers, int32 [m], and the distinct ones: to look up one text
            is enough then for all that are equal. `None`: not known.
    """

    values: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    skip: np.ndarray | None = None
    coded: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of_codes(
        cls, codes: np.ndarray, distinct: np.ndarray, starts: np.ndarray, stops: np.ndarray
    ) -> Ragged:
        """Rows of `distinct[codes]`."""
        return cls(distinct[codes], starts, stops, coded=(codes, distinct))

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence[Any] | None], dtype: Any = object) -> Ragged:
        """From a column of lists or arrays; `None` is an empty row."""
        parts = [() if row is None or isinstance(row, float) else row for row in rows]
        lengths = np.fromiter((len(part) for part in parts), np.int64, len(parts))
        stops = np.cumsum(lengths)
        values = np.empty(int(lengths.sum()), dtype)
        for part, start, stop in zip(parts, stops - lengths, stops, strict=True):
            if start < stop:
                values[start:stop] = part
        return cls(values, stops - lengths, stops)

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: np.ndarray) -> Ragged:
        """The rows at these positions; position -1 gives an empty row."""
        rows = np.asarray(rows)
        starts, stops = self.starts[rows], self.stops[rows]
        if len(rows) and rows.min() < 0:
            starts, stops = np.where(rows < 0, 0, starts), np.where(rows < 0, 0, stops)
        return dataclasses.replace(
            self, starts=starts, stops=stops, skip=None if self.skip is None else self.skip[rows]
        )

    def map(self, change: Any) -> Ragged:
        """The same rows over `change(values)`, which looks at each value by itself."""
        if self.coded is None:
            return dataclasses.replace(self, values=change(self.values))
        codes, distinct = self.coded
        return dataclasses.replace(self, values=change(distinct)[codes], coded=None)

    def compress(self, present: np.ndarray) -> Ragged:
        """The rows without the values that are not present."""
        if present.all():
            return self
        before = np.concatenate([[0], np.cumsum(present)])
        skip = self.skip
        if skip is not None:
            kept = (skip >= 0) & present[np.maximum(skip, 0)] if len(present) else np.zeros(len(skip), bool)
            skip = np.where(kept, before[np.maximum(skip, 0)], -1)
        coded = self.coded and (self.coded[0][present], self.coded[1])
        return Ragged(self.values[present], before[self.starts], before[self.stops], skip, coded)

    def reached(self) -> Ragged:
        """The rows without the values that none of them reaches: those of other rows, of which these were taken."""
        return self.compress(self.occurrences(len(self.values)) > 0)

    def _skipping(self) -> np.ndarray:
        if self.skip is None:
            return np.zeros(len(self), bool)
        return (self.skip >= self.starts) & (self.skip < self.stops)

    def lengths(self) -> np.ndarray:
        """int64 [n], the length of every row."""
        return self.stops - self.starts - self._skipping()

    def last(self, length: int, padding: Any = 0) -> np.ndarray:
        """[n, length]: the last `length` values of every row, left-aligned, then `padding`."""
        out = np.full((len(self), length), padding, self.values.dtype)
        if not len(self.values):
            return out
        steps = np.arange(length)
        skipping, kept = self._skipping(), np.minimum(self.lengths(), length)
        for low in range(0, len(self), _ROWS_AT_A_TIME):
            rows = slice(low, low + _ROWS_AT_A_TIME)
            at = (self.stops[rows] - kept[rows])[:, None] + steps
            if self.skip is not None:  # what lies at or before the skipped position moves one to the left
                at -= skipping[rows, None] & (at <= self.skip[rows, None])
            inside = steps < kept[rows, None]
            out[rows] = np.where(inside, self.values[np.where(inside, at, 0)], out[rows])
        return out

    def occurrences(self, length: int) -> np.ndarray:
        """int64 [m]: in how many rows each value is one of the last `length`."""
        skipping = self._skipping()
        starts = np.maximum(self.starts, self.stops - length)
        if self.skip is not None:  # a row that skips inside its window reaches one further back
            inside = skipping & (self.skip >= starts)
            starts = np.maximum(self.starts, starts - inside)
        size = len(self.values) + 1
        counts = np.cumsum(np.bincount(starts, minlength=size) - np.bincount(self.stops, minlength=size))[:-1]
        if self.skip is not None:
            counts -= np.bincount(self.skip[inside], minlength=size)[:-1]
        return counts

    def flat(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """The last `length` values of every row one after the other, and how many each row has."""
        lengths = np.minimum(self.lengths(), length)
        stops = np.cumsum(lengths)
        places = np.arange(lengths.sum()) + np.repeat(self.stops - stops, lengths)
        if self.skip is not None:  # as in `last`
            places -= places <= np.repeat(np.where(self._skipping(), self.skip, -1), lengths)
        return self.values[places], lengths

    def to_lists(self, length: int | None = None) -> np.ndarray:
        """Object [n]: every row as an array of its values (its last `length`)."""
        out = np.empty(len(self), object)
        skips = self.skip if self.skip is not None else np.full(len(self), -1)
        for i, (start, stop, skip) in enumerate(zip(self.starts, self.stops, skips, strict=True)):
            row = self.values[start:stop]
            if start <= skip < stop:
                row = np.delete(row, skip - start)
            out[i] = row if length is None else row[-length:]
        return out


def taken(values: Any, rows: np.ndarray) -> Any:
    """The rows, int64 [n], of a column, be it sequences or an array."""
    return values.take(rows) if isinstance(values, Ragged) else values[rows]


def in_step(columns: Sequence[Ragged], padding: Any) -> list[Ragged]:
    """Columns of the same events over flat arrays of one layout; a column that is shorter in a row is padded behind."""
    first = columns[0]
    if all(
        len(one.values) == len(first.values)
        and np.array_equal(one.starts, first.starts)
        and np.array_equal(one.stops, first.stops)
        and (one.skip is first.skip or np.array_equal(one.skip, first.skip))
        for one in columns[1:]
    ):
        return list(columns)
    longest = max(int(one.lengths().max(initial=0)) for one in columns)
    starts = np.arange(len(first)) * longest
    return [Ragged(one.last(longest, padding).reshape(-1), starts, starts + longest) for one in columns]
