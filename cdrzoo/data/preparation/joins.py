"""Files whose columns are added to the rows of a log by key."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo.data import readers
from cdrzoo.data.ragged import Ragged
from cdrzoo.data.raw import missing
from cdrzoo.data.readers import Columns, Wanted
from cdrzoo.errors import DataError


@dataclasses.dataclass(frozen=True)
class Joining:
    """A file whose columns are added to the rows by key.

    Args:
        other: the file, or a DataFrame.
        key: its key, which the rows have, too.
        taken: the columns that it gives.
        delimiter: of its cells.
    """

    other: Any
    key: Wanted
    taken: dict[str, Wanted]
    delimiter: str | None


@dataclasses.dataclass(frozen=True)
class Joined:
    """What a join found for the rows of a log.

    Args:
        name: of the file that was joined.
        on: the key's column.
        rows: of the log.
        blank: how many of them have no key; these find nothing.
        found: how many found their key there.
        lost: a key of the log that does not stand there, or `None`.
        known: a key that does, or `None`.
    """

    name: str
    on: str
    rows: int
    blank: int
    found: int
    lost: Any
    known: Any

    def __add__(self, other: Joined) -> Joined:
        lost = self.lost if self.lost is not None else other.lost
        rows, blank, found = self.rows + other.rows, self.blank + other.blank, self.found + other.found
        return Joined(self.name, self.on, rows, blank, found, lost, self.known)


@dataclasses.dataclass(frozen=True)
class Side:
    """A file that is joined, in memory.

    Args:
        name: of the file.
        key: its key.
        index: the keys.
        columns: what it gives, with what was wanted of each.
    """

    name: str
    key: Wanted
    index: pd.Index
    columns: dict[str, tuple[Any, Wanted]]

    @classmethod
    def read(cls, join: Joining) -> Side:
        """Reads it."""
        frame = "The joined DataFrame"
        name = frame if isinstance(join.other, pd.DataFrame) else str(join.other)
        found = readers.read(join.other, {**join.taken, "@on": join.key}, frame, join.delimiter)
        index = pd.Index(found.pop("@on"), dtype="int64" if join.key.dtype == "int64" else object)
        if not index.is_unique:
            twice = index[index.duplicated()][0]
            raise DataError(
                f"{name} has several rows with {join.key.column} {twice!r}. One a key is wanted: keep one."
            )
        return cls(name, join.key, index, {c: (found[c], want) for c, want in join.taken.items()})

    def at(self, keys: np.ndarray) -> tuple[Columns, Joined]:
        """Its columns at these keys, and what was found of them; a missing key finds nothing."""
        at = self.index.get_indexer(keys)
        blank = _is_missing(keys)
        at[blank] = -1
        columns = {
            column: _take_or_missing(values, at, want) for column, (values, want) in self.columns.items()
        }
        lost = keys[(at < 0) & ~blank][:1].tolist() or [None]
        known = self.index[~_is_missing(self.index.to_numpy())][:1].tolist() or [None]
        found = int((at >= 0).sum())
        return columns, Joined(
            self.name, self.key.column, len(keys), int(blank.sum()), found, lost[0], known[0]
        )


def _is_missing(keys: np.ndarray) -> np.ndarray:
    if keys.dtype.kind == "f":
        return np.isnan(keys)
    return missing(keys)


def _take_or_missing(values: Any, at: np.ndarray, want: Wanted) -> Any:
    if isinstance(values, Ragged):
        return values.take(at)
    taken = values[at]
    if want.size is not None:
        taken[at < 0] = 0.0
        return taken
    taken[at < 0] = {"string": "", "text": "", "int64": -1}.get(want.dtype, np.nan)
    return taken
