"""What an encoder remembers of ids from day to day, beside their rows."""

from __future__ import annotations

import dataclasses
import io
import pathlib

import numpy as np
import pandas as pd

from cdrzoo.data.raw import factorize
from cdrzoo.files import seekable


@dataclasses.dataclass
class Waiting:
    """Ids that have been seen too seldom to get a row: the ids, how often, and the day of the last time, [n] each."""

    ids: np.ndarray
    counts: np.ndarray
    days: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, counts: np.ndarray, day: int) -> Waiting:
        """Ids that were all seen on one day."""
        return cls(ids, counts, np.full(len(ids), day, np.int32))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, at: np.ndarray) -> Waiting:
        """Some of them."""
        return Waiting(self.ids[at], self.counts[at], self.days[at])

    def and_those(self, other: Waiting) -> Waiting:
        """Both, each id once: the most frequent first, equals in their own order."""
        if not len(self) and not len(other):
            return other
        codes, ids = factorize(np.concatenate([self.ids, other.ids]).astype(other.ids.dtype))
        counts = np.bincount(codes, np.concatenate([self.counts, other.counts])).astype(np.int64)
        days = np.zeros(len(ids), np.int32)
        np.maximum.at(days, codes, np.concatenate([self.days, other.days]))
        order = np.argsort(ids, kind="stable")
        order = order[np.argsort(-counts[order], kind="stable")]
        return Waiting(ids[order], counts[order], days[order])


@dataclasses.dataclass
class Ledger:
    """What is remembered of the ids of one table.

    Args:
        seen: int32 [known ids], the day on which each was last seen in a training row; the first training is day 0.
        waiting: the ids without a row.
    """

    seen: np.ndarray
    waiting: Waiting

    @classmethod
    def new(cls, known: int, rare: tuple[np.ndarray, np.ndarray]) -> Ledger:
        """After the first training: of so many known ids, and of those that were too `rare`, with their counts."""
        return cls(np.zeros(known, np.int32), Waiting.of(*rare, 0))

    def save(self, folder: pathlib.Path, table: str) -> None:
        """Writes `TABLE.seen.npy` and `TABLE.waiting.parquet`, where they say anything."""
        folder.mkdir(exist_ok=True)
        if self.seen.any():
            np.save(folder / f"{table}.seen.npy", self.seen)
        if len(self.waiting):
            frame = pd.DataFrame(dataclasses.asdict(self.waiting))
            frame.to_parquet(folder / f"{table}.waiting.parquet", index=False)

    @classmethod
    def load(cls, folder: pathlib.Path, table: str, known: int, numbers: bool) -> Ledger:
        """Reads what `save` wrote; of encoders of old nothing is remembered."""
        kind = np.dtype(np.int64) if numbers else np.dtype(object)
        found = cls.new(known, (np.zeros(0, kind), np.zeros(0, np.int64)))
        if (path := folder / f"{table}.seen.npy").exists():
            found.seen = np.load(io.BytesIO(path.read_bytes()))
            if found.seen.shape != (known,):
                raise ValueError(f"{path.name} is of {len(found.seen)} ids, the vocabulary has {known}")
        if (path := folder / f"{table}.waiting.parquet").exists():
            frame = pd.read_parquet(seekable(path))
            ids = np.asarray(frame["ids"], kind)
            found.waiting = Waiting(ids, frame["counts"].to_numpy(), frame["days"].to_numpy())
        return found
