"""The ids of a table: text as Arrow holds it, or int64. Those of a large one are found by sorted hashes.

An index of pandas finds an id in half the time, and takes some 100 bytes for each besides, for it holds Python's text.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.data.raw import factorize

INDEXED = 1 << 20
"""Ids up to which there is an index."""
_AT_ONCE = 1 << 20
"""Ids that are Python objects at one time."""


class Vocabulary:
    """The ids of a table in their order; of a large one an id takes its text, and 20 bytes.

    Args:
        ids: int64 [n], or text, as an array of objects or of Arrow; each once.
    """

    def __init__(self, ids: Any):
        numbers = isinstance(ids, np.ndarray) and ids.dtype.kind in "iu"
        text = not numbers and not isinstance(ids, (pa.Array, pa.ChunkedArray))
        self.ids: Any = pa.array(ids, pa.large_string()) if text else ids
        self.is_text = not numbers
        self._index: pd.Index | None = None
        self._sorted: tuple[np.ndarray, np.ndarray, int] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def chunks(self) -> Iterator[np.ndarray]:
        """The ids in their order, some at a time: arrays of objects, or of int64."""
        for low in range(0, len(self), _AT_ONCE):
            yield _objects(self.ids[low : low + _AT_ONCE]) if self.is_text else self.ids[low : low + _AT_ONCE]

    def array(self) -> np.ndarray:
        """All ids: an array of objects, or of int64."""
        return _objects(self.ids) if self.is_text else self.ids

    def same(self, other: Vocabulary) -> bool:
        """Whether the other one has the same ids at the same places."""
        if len(self) != len(other) or self.is_text != other.is_text:
            return False
        return all(np.array_equal(one, two) for one, two in zip(self.chunks(), other.chunks(), strict=True))

    def find(self, keys: np.ndarray) -> np.ndarray:
        """int32 [n]: the place of each of `keys`, text or int64; -1 of one that is not here."""
        if len(self) <= INDEXED:
            if self._index is None:
                self._index = pd.Index(self.array(), dtype=object if self.is_text else np.int64)
            # With a dtype, else pandas 3 converts the texts to its own and back.
            return self._index.get_indexer(pd.Index(keys, dtype=keys.dtype)).astype(np.int32)
        codes, distinct = factorize(keys)
        hashes, order, longest = self._hashed()
        wanted = _hashes(distinct)
        found = np.full(len(distinct), -1, np.int32)
        at = np.searchsorted(hashes, wanted)
        open_ = np.arange(len(distinct))
        for _ in range(longest):  # several ids may have one hash
            open_ = open_[at[open_] < len(hashes)]
            open_ = open_[hashes[at[open_]] == wanted[open_]]
            places = order[at[open_]]
            same = np.ones(len(open_), bool)
            if self.is_text:
                same = _objects(self.ids.take(pa.array(places))) == distinct[open_]
            found[open_[same]] = places[same]
            open_ = open_[~same]
            at[open_] += 1
        return found[codes]

    def find_any(self, keys: np.ndarray) -> np.ndarray:
        """The same of keys that may be of the other type: there none is here."""
        if self.is_text != (keys.dtype.kind not in "iu"):
            return np.full(len(keys), -1, np.int32)
        return self.find(keys)

    def _hashed(self) -> tuple[np.ndarray, np.ndarray, int]:
        """The hashes of all ids, sorted; the place of each; and how many have one hash at most."""
        if self._sorted is None:
            hashes = np.empty(len(self), np.uint64)
            for number, chunk in enumerate(self.chunks()):
                hashes[number * _AT_ONCE : number * _AT_ONCE + len(chunk)] = _hashes(chunk)
            order = np.argsort(hashes, kind="stable").astype(np.int32)
            hashes = hashes[order]
            starts = np.flatnonzero(np.diff(hashes, prepend=~hashes[:1]) != 0)
            longest = int(np.diff(starts, append=len(hashes)).max(initial=0))
            self._sorted = hashes, order, longest
        return self._sorted

    def broken(self) -> str | None:
        """An id that holds a line break, if there is one: a file holds an id a line."""
        if not self.is_text or not len(self):
            return None
        at = pc.index(pc.match_substring_regex(self.ids, "[\r\n]"), True).as_py()
        return None if at < 0 else self.ids[at].as_py()

    def write(self, path: str | pathlib.Path) -> None:
        """Writes the ids, one a line."""
        with open(path, "w", encoding="utf-8", newline="") as file:
            for chunk in self.chunks():
                file.write("\n".join(map(str, chunk.tolist())) + "\n")

    @classmethod
    def read(cls, path: pathlib.Path, numbers: bool) -> Vocabulary:
        """Reads what `write` wrote.

        Raises:
            ValueError: it holds something else.
        """
        text = path.read_bytes()
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
        offsets = np.concatenate([[0], ends - np.arange(len(ends))]).astype(np.int64)
        text = text[: ends[-1] if len(ends) else 0].translate(None, b"\n")
        ids = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(text))
        ids.validate(full=True)
        return cls(ids.cast(pa.int64()).to_numpy() if numbers else ids)


@dataclasses.dataclass(frozen=True)
class Keys:
    """A column of keys as numbers: `codes`, whole numbers [n], say where each stands among the `distinct` ones."""

    codes: np.ndarray
    distinct: Vocabulary

    def numbers(self) -> np.ndarray:
        """The codes, and -1 of a key that is missing: users as metrics tell them apart, without a text a row."""
        ids = self.distinct.ids
        nobody = pc.index(ids, "").as_py() if self.distinct.is_text else np.flatnonzero(ids == -1)[:1]
        return np.where(np.isin(self.codes, nobody), -1, self.codes)


def _objects(array: Any) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False), object)


def _hashes(ids: np.ndarray) -> np.ndarray:
    """uint64 [n]: of text a hash, a number is its own."""
    if ids.dtype != object:
        return ids.astype(np.int64).view(np.uint64)
    return pd.util.hash_array(ids, categorize=False)
