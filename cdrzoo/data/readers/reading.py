"""Reading any source: whole, in chunks, or as it stands there.

A format is a file with three functions: `header(file)` gives the names of its columns, `read(file, wanted, rows)` raw
columns in chunks with the number of rows before each, `as_written(file)` a DataFrame of every column.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from cdrzoo.data.readers import csv, jsonl, parquet, tfrecord
from cdrzoo.data.readers.columns import CHUNK_ROWS, Columns, Wanted, distinct, require
from cdrzoo.data.readers.conversion import concatenate, convert
from cdrzoo.data.readers.frame import from_pandas
from cdrzoo.data.readers.paths import clear_errors, files, format_of
from cdrzoo.errors import DataError

_READERS: dict[str, Any] = {"csv": csv, "parquet": parquet, "jsonl": jsonl, "tfrecord": tfrecord}


def read(source: Any, wanted: Mapping[str, Wanted], where: str = "The DataFrame") -> Columns:
    """Reads the wanted columns whole.

    Args:
        source: a DataFrame, or a path: a file, a pattern such as `part-*.parquet`, a folder, or a list of files.
        wanted: the columns, under the names they are to have in the result.
        where: what a DataFrame is called in messages.

    Returns:
        The columns by name.

    Raises:
        DataError: on whatever is wrong with the file, a column or a value.
    """
    if isinstance(source, pd.DataFrame):
        require(wanted, list(source.columns), where)
        if not len(source):
            raise DataError(f"{where} has no rows. At least one is needed.")
        return {key: from_pandas(source[want.column], want, where) for key, want in wanted.items()}
    parts = list(chunks(source, wanted, rows=None))
    return {key: concatenate([part[key] for part in parts]) for key in wanted}


def chunks(path: Any, wanted: Mapping[str, Wanted], rows: int | None = CHUNK_ROWS) -> Iterator[Columns]:
    """Reads the wanted columns in chunks of at most `rows` rows (`None`: as is fastest).

    Parquet, JSON lines and TFRecord are held in memory a chunk at a time; CSV a file at a time.
    """
    for file in files(path):
        count = 0
        for chunk in file_chunks(file, wanted, rows):
            count += len(next(iter(chunk.values())))
            yield chunk
        if not count:
            raise DataError(f"{file} has no rows. At least one is needed; check how it was written.")


def file_chunks(
    file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None = CHUNK_ROWS, group: int | None = None
) -> Iterator[Columns]:
    """The chunks of one file; of a Parquet file those of one row group, if `group` says which."""
    with clear_errors(file):
        require(wanted, column_names(file), str(file))
        which = {} if group is None else {"group": group}
        found = _READERS[format_of(file)].read(file, wanted, rows, **which)
        for arrays, row in found:
            yield {key: convert(arrays[key], want, str(file), row) for key, want in wanted.items()}


def row_groups(file: pathlib.Path) -> list[int | None]:
    """The row groups of a Parquet file; `[None]` for a format that has none."""
    if format_of(file) != "parquet":
        return [None]
    with clear_errors(file):
        return [*parquet.row_groups(file)]


def as_written(source: Any) -> pd.DataFrame:
    """Every column of a DataFrame or of files as it stands there: nothing is converted, of CSV all is text."""
    if isinstance(source, pd.DataFrame):
        return source
    frames = []
    for file in files(source):
        with clear_errors(file):
            frames.append(_READERS[format_of(file)].as_written(file))
    return pd.concat(frames, ignore_index=True)


def column_names(source: Any) -> list[str]:
    """The columns of a DataFrame or of a (first) file."""
    if isinstance(source, pd.DataFrame):
        return [str(name) for name in source.columns]
    file = files(source)[0]
    with clear_errors(file):
        return distinct(_READERS[format_of(file)].header(file), file)
