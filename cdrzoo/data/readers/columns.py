"""What is asked of a reader, and what it says when it cannot be had."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from cdrzoo.errors import DataError
from cdrzoo.schema import Feature

SEPARATOR = "|"
"""What joins the ids of a sequence in a cell of a CSV file, unless a spec says otherwise."""

CHUNK_ROWS = 65_536
"""Rows of a chunk."""
READ_AHEAD = 100
"""Rows of a format without a header that are looked at to learn its columns."""

Columns = dict[str, Any]
"""Raw column to values: object (str), int64 or float arrays, or `Ragged` for sequences."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A column to read.

    Args:
        column: its name in the file.
        dtype: `string`, `text` (anything, as text), `int64`, `float` (float32, NaN where missing), `finite` (float64,
            none missing) or `time` (none missing or negative; a date becomes Unix seconds).
        many: whether it holds a sequence of ids.
        is_id: whether a negative number other than -1 (missing) is an error.
        separator: what joins the ids of a sequence in a cell of text.
    """

    column: str
    dtype: str
    many: bool = False
    is_id: bool = True
    separator: str = SEPARATOR

    @classmethod
    def of(cls, feature: Feature, separator: str = SEPARATOR) -> Wanted:
        """What a feature reads."""
        dtype = "float" if feature.dtype == "float32" else feature.dtype
        return cls(feature.column, dtype, feature.kind == "ids", feature.kind != "number", separator)


@dataclasses.dataclass
class Values:
    """A column of Python values, as JSON gives them."""

    values: list[Any]


def require(wanted: Mapping[str, Wanted], names: Sequence[str], where: str) -> None:
    """Raises unless every wanted column is among the names of those that `where` has."""
    for want in wanted.values():
        if want.column not in names:
            lower = {str(name).lower(): str(name) for name in names}
            near = difflib.get_close_matches(want.column.lower(), list(lower), n=1)
            hint = (
                f"Did you mean {lower[near[0]]!r}? Set `column: {lower[near[0]]}` or rename it."
                if near
                else f"It has: {', '.join(map(str, names)) or 'none'}."
            )
            raise DataError(f"{where} lacks the column {want.column!r}. {hint}")


def distinct(names: list[str], where: Any) -> list[str]:
    """The names, none of which may stand twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{where} has two columns {twice[0]!r}. Names must differ: rename one.")
    return names


def wrong(want: Wanted, where: str, row: int | None, received: str, wanted: str, fix: str = "") -> DataError:
    """What to raise where a value is not what is wanted; `row` rows of the file stand before it (`None`: unknown)."""
    at = "" if row is None else f", row {row + 1}"
    return DataError(
        f"{where}, column {want.column!r}{at}: {wanted} wanted. Received: {received}. {fix}".rstrip()
    )
