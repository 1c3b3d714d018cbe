"""What is asked of a reader, and what it says when it cannot be had."""

from __future__ import annotations

import collections
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from cdrzoo.errors import LONGEST, DataError, shown
from cdrzoo.schema import Feature, Reading

CHUNK_ROWS = 65_536
"""Rows of a chunk."""
READ_AHEAD = 100
"""Rows of a format without a header that are looked at to learn its columns."""

USUAL = Reading()
_NAMED = 30
"""Columns that a message names."""

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
        is_id: of int64, `True`: an id, none of which is negative but -1 (missing); `False`: a number, which -1 cannot
            be, for it stands for a missing one; `None`: not known, anything goes.
        reading: how text becomes values.
        dated: of a time, whether text holds dates; `None`: as its first value says.
        size: of a vector, how many numbers it has.
    """

    column: str
    dtype: str
    many: bool = False
    is_id: bool | None = True
    reading: Reading = USUAL
    dated: bool | None = None
    size: int | None = None

    @classmethod
    def of(cls, feature: Feature, reading: Reading = USUAL) -> Wanted:
        """What a feature reads."""
        dtype = "float" if feature.dtype == "float32" else feature.dtype
        many, is_id = feature.ragged or feature.kind == "vector", feature.kind in ("id", "ids")
        return cls(feature.column, dtype, many, is_id, reading, size=feature.size)


@dataclasses.dataclass
class Values:
    """A column of Python values, as JSON gives them."""

    values: list[Any]

    def __len__(self) -> int:
        return len(self.values)


def require(wanted: Mapping[str, Wanted], names: Sequence[str], where: str) -> None:
    """Raises unless every wanted column is, once, among the names of those that `where` has."""
    count = collections.Counter(names)
    for want in wanted.values():
        if count[want.column] > 1:
            raise DataError(f"{where} has two columns {shown(want.column)}. Names must differ: rename one.")
        if want.column not in count:
            raise DataError(f"{where} lacks the column {shown(want.column)}. {_hint(want.column, names)}")


def _hint(column: str, names: Sequence[str]) -> str:
    together = ",".join(map(str, names[:1000]))[:100_000]
    # A comma is what is wrong where a name holds one.
    for delimiter in (";", "\t", "|", *([","] if any("," in str(name) for name in names) else [])):
        cells = [cell.strip().strip('"') for cell in together.split(delimiter)]
        if len(cells) > 1 and column in cells:
            written = '"\\t"' if delimiter == "\t" else f'"{delimiter}"'
            return (
                f"Its cells seem to be separated by {'a tab' if delimiter == chr(9) else repr(delimiter)}: add "
                f"`delimiter: {written}` where the data's path stands ({{path: ..., delimiter: {written}}}); of a "
                f"command `--delimiter {written}`."
            )
    lower = {str(name).lower()[:LONGEST]: str(name) for name in names}
    near = difflib.get_close_matches(column.lower(), list(lower), n=1)
    if not near:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        return f"It has: {', '.join(str(name)[:60] for name in names[:_NAMED]) or 'none'}{more}."
    found = lower[near[0]]
    if found != found.strip():  # YAML keeps outer blanks in quotes alone
        return f'Did you mean {found!r}, with its blanks? Set `column: "{found}"`, in quotes, or take the blanks out.'
    return f"Did you mean {shown(found)}? Set `column: {found[:LONGEST]}` or rename it."


def wrong(want: Wanted, where: str, row: int | None, received: str, wanted: str, fix: str = "") -> DataError:
    """What to raise where a value is not what is wanted; `row` rows of the file stand before it (`None`: unknown)."""
    at = "" if row is None else f", row {row + 1}"
    return DataError(
        f"{where}, column {want.column!r}{at}: {wanted} wanted. Received: {received}. {fix}".rstrip()
    )
