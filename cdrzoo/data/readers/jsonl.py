"""JSON lines: one object a line."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd

from cdrzoo.data.readers.columns import READ_AHEAD, Columns, Values, Wanted
from cdrzoo.data.readers.paths import opened
from cdrzoo.errors import DataError, shown


def header(file: pathlib.Path, wanted: Collection[str] = ()) -> list[str]:
    """The names of its columns, by its first rows; by all where those lack one that is wanted."""
    names: dict[str, None] = {}
    for number, row in enumerate(_rows(file)):
        if number >= READ_AHEAD and all(name in names for name in wanted):
            break
        names.update(dict.fromkeys(row))
    if not names:
        raise DataError(f"{file} has no rows. At least one is needed; check how it was written.")
    return list(names)


def read(file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None) -> Iterator[tuple[Columns, int]]:
    """Raw columns in chunks of `rows` rows (`None`: as is fastest), and how many rows came before."""
    found: dict[str, list[Any]] = {key: [] for key in wanted}
    count = start = 0
    for row in _rows(file):
        for key, want in wanted.items():
            found[key].append(row.get(want.column))
        count += 1
        if rows is not None and count - start == rows:
            yield {key: Values(values) for key, values in found.items()}, start
            found, start = {key: [] for key in wanted}, count
    if count > start:
        yield {key: Values(values) for key, values in found.items()}, start


def as_written(file: pathlib.Path) -> pd.DataFrame:
    """Every column, as it stands there."""
    return pd.DataFrame(list(_rows(file)), dtype=object)


def _rows(file: pathlib.Path) -> Iterator[dict[str, Any]]:
    with opened(file) as stream:
        for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_object)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{file}, line {number} is not JSON: {error.msg}. One object a line is wanted."
                ) from None
            except _Twice as error:
                raise DataError(f"{file}, line {number}: the key {error} stands twice. Keep one.") from None
            except RecursionError:
                raise DataError(f"{file}, line {number} is nested too deep. Write it flatter.") from None
            except ValueError:  # Python reads no longer ones, for that takes the square of the time
                raise DataError(
                    f"{file}, line {number} holds a number of more than 4,000 digits. Write it as text."
                ) from None
            if not isinstance(row, dict):
                raise DataError(
                    f"{file}, line {number} holds a {type(row).__name__}. One object a line is wanted."
                )
            yield row


class _Twice(Exception):
    """A key stands twice in an object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(shown(next(name for name in names if names.count(name) > 1)))
    return found
