"""What is looked at of a domain's rows before it is said what is doubtful; that of several pieces adds up."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from cdrzoo.data.preparation.joins import Joined
from cdrzoo.data.preparation.logs import Log
from cdrzoo.data.preparation.sources import Source, wanted
from cdrzoo.data.ragged import Ragged
from cdrzoo.data.raw import MISSING, factorize
from cdrzoo.schema import Domain, Schema

WORDS = {"null", "(null)", "nan", "none", "na", "<na>", "n/a", "#n/a", "nil", "nat", "\\n", "undefined"}
"""What other programs write for a missing value."""
FEW_USERS = 100
"""Values of a key that are few for many rows each."""

_ODD = re.compile(r"""\A[\s\[{"'(]|\Ab['"]|[\s\]}]\Z|[\r\n\v\f\x85\u2028\u2029]""")
"""Whether any of the three that follow may fit: most ids are looked at once."""
PATTERNS = {
    "blank": re.compile(r"\A\s|\s\Z"),
    "break": re.compile(r"[\r\n\v\f\x85\u2028\u2029]"),
    "quoted": re.compile(r"""\A[\[{"].*|.*[\]}]\Z|\A(b?'.*'|b".*"|\(.*\))\Z""", re.DOTALL),
}
_OTHER = re.compile(r"[,;|\t]")

Place = tuple[int, int]
"""The number of a row, and which of its ids."""


@dataclasses.dataclass
class Cells:
    """Cells that are alike: how many, the first of them, and where it stands."""

    count: int
    first: Place
    value: str

    def __add__(self, other: Cells) -> Cells:
        first = min(self, other, key=lambda one: one.first)
        return Cells(self.count + other.count, first.first, first.value)


@dataclasses.dataclass
class Column:
    """A column of ids.

    Args:
        longest: ids of a row at most; `None` of a column of one id a row.
        single: rows of one id.
        other: ids with a character that may separate ids, where no row of the piece has several.
        cells: text ids, the missing left out.
        words: those that may say that a value is missing, by the text.
        odd: those that a pattern of `PATTERNS` fits, by its name.
    """

    longest: int | None = None
    single: int = 0
    other: dict[str, Cells] = dataclasses.field(default_factory=dict)
    cells: int = 0
    words: dict[str, Cells] = dataclasses.field(default_factory=dict)
    odd: dict[str, Cells] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, values: Any, rows: np.ndarray, text: bool) -> Column:
        """Of the values of rows with these numbers."""
        found = cls()
        flat, stops = values, np.arange(1, len(rows) + 1)
        if isinstance(values, Ragged):
            lengths = values.lengths()
            flat, stops = values.values, np.cumsum(lengths)
            found.longest, found.single = int(lengths.max(initial=0)), int((lengths == 1).sum())
        if flat.dtype != object or not (text or found.longest == 1):
            return found
        codes, distinct = factorize(flat)
        first = np.empty(len(distinct), np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
        counts = np.bincount(codes, minlength=len(distinct))

        def note(into: dict[str, Cells], name: str, at: int) -> None:
            row = int(np.searchsorted(stops, first[at], "right"))
            new = Cells(int(counts[at]), (int(rows[row]), int(first[at])), distinct[at])
            into[name] = into[name] + new if name in into else new

        for at, value in enumerate(distinct.tolist()):
            if found.longest == 1 and isinstance(value, str) and _OTHER.search(value):
                note(found.other, "other", at)
            if not text or value == MISSING["string"]:
                continue
            found.cells += int(counts[at])
            if value.strip().lower() in WORDS:
                note(found.words, value, at)
            for name in PATTERNS if _ODD.search(value) else ():
                if PATTERNS[name].search(value):
                    note(found.odd, name, at)
        return found

    def __add__(self, other: Column) -> Column:
        longest = None if self.longest is None or other.longest is None else max(self.longest, other.longest)
        return Column(
            longest,
            self.single + other.single,
            _sums(self.other, other.other),
            self.cells + other.cells,
            _sums(self.words, other.words),
            _sums(self.odd, other.odd),
        )


def _sums(one: dict[str, Cells], other: dict[str, Cells]) -> dict[str, Cells]:
    return {
        name: one[name] + other[name] if name in one and name in other else (one.get(name) or other[name])
        for name in {**one, **other}
    }


@dataclasses.dataclass
class Looked:
    """The rows of a domain.

    Args:
        domain, source: theirs.
        joins: what each join found.
        rows: how many.
        columns: those that anything needs, by name.
        keys: by column the distinct values of what may be a key; `None`: not few.
        times: the first and the last, `None` without times.
    """

    domain: Domain
    source: Source
    joins: tuple[Joined, ...]
    rows: int
    columns: dict[str, Column]
    keys: dict[str, frozenset[Any] | None]
    times: tuple[Any, Any] | None

    @classmethod
    def of(cls, schema: Schema, log: Log) -> Looked:
        """Of the rows of a log."""
        columns = {
            column: Column.of(log.columns[column], log.row, want.dtype == "string")
            for column, want in wanted(schema, log.domain, log.source).items()
            if want.size is None
        }
        ids = [
            f.column
            for role in ("item", "user")
            if getattr(log.domain, role) is None  # else it is known which column is the key
            for f in log.domain.with_role(role)
            if f.kind == "id" and f.cross is None
        ]
        keys = {column: _few(log.columns[column]) for column in ids}
        if log.user is not None:
            keys[str(log.domain.user)] = _few(log.user)
        times = None if log.time is None or not len(log) else (log.time.min(), log.time.max())
        return cls(log.domain, log.source, log.joins, len(log), columns, keys, times)

    def __add__(self, other: Looked) -> Looked:
        columns = {name: one + other.columns[name] for name, one in self.columns.items()}
        keys = {name: _union(one, other.keys[name]) for name, one in self.keys.items()}
        both = [each for each in (self.times, other.times) if each is not None]
        times = (min(low for low, _ in both), max(high for _, high in both)) if both else None
        return dataclasses.replace(self, rows=self.rows + other.rows, columns=columns, keys=keys, times=times)


def _few(keys: np.ndarray) -> frozenset[Any] | None:
    distinct = factorize(keys)[1]
    return frozenset(distinct.tolist()) if len(distinct) < FEW_USERS else None


def _union(one: frozenset[Any] | None, other: frozenset[Any] | None) -> frozenset[Any] | None:
    if one is None or other is None or len(one | other) >= FEW_USERS:
        return None
    return one | other
