"""Reading any source: whole, in chunks, or as it stands there.

A format is a file with three functions: `header(file)` gives the names of its columns, `read(file, wanted, rows)` raw
columns in chunks with the number of rows before each, `as_written(file)` a DataFrame of every column.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cdrzoo.data.readers import csv, jsonl, parquet, tfrecord
from cdrzoo.data.readers.columns import CHUNK_ROWS, Columns, Wanted, require
from cdrzoo.data.readers.conversion import concatenate, convert, dated
from cdrzoo.data.readers.frame import from_pandas
from cdrzoo.data.readers.paths import clear_errors, files, format_of, partition
from cdrzoo.errors import DataError, shown
from cdrzoo.files import home, is_path

_READERS: dict[str, Any] = {"csv": csv, "parquet": parquet, "jsonl": jsonl, "tfrecord": tfrecord}


def _options(file: pathlib.Path, delimiter: str | None) -> dict[str, Any]:
    return {"delimiter": delimiter} if format_of(file) == "csv" else {}


def read(
    source: Any, wanted: Mapping[str, Wanted], where: str = "The DataFrame", delimiter: str | None = None
) -> Columns:
    """Reads the wanted columns whole.

    Args:
        source: a DataFrame, or a path: a file, a pattern such as `part-*.parquet`, a folder, or a list of files.
        wanted: the columns, under the names they are to have in the result.
        where: what a DataFrame is called in messages.
        delimiter: what stands between the cells of a CSV file; default: a comma, in `.tsv` a tab.

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
    parts = list(chunks(source, wanted, None, delimiter))
    named = str(source) if is_path(source) else ", ".join(map(str, source))
    return {
        key: concatenate([part[key] for part in parts], f"{named}, column {want.column!r}")
        for key, want in wanted.items()
    }


def chunks(
    path: Any, wanted: Mapping[str, Wanted], rows: int | None = CHUNK_ROWS, delimiter: str | None = None
) -> Iterator[Columns]:
    """Reads the wanted columns in chunks of at most `rows` rows (`None`: as is fastest).

    No more than a chunk is held in memory; of a row group of Parquet its columns.
    """
    for file in files(path):
        count = 0
        for chunk in file_chunks(file, wanted, rows, delimiter=delimiter):
            count += len(next(iter(chunk.values())))
            yield chunk
        if not count:
            raise DataError(f"{file} has no rows. At least one is needed; check how it was written.")


def file_chunks(
    file: pathlib.Path,
    wanted: Mapping[str, Wanted],
    rows: int | None = CHUNK_ROWS,
    group: int | None = None,
    delimiter: str | None = None,
) -> Iterator[Columns]:
    """The chunks of one file; of a Parquet file those of one row group, if `group` says which."""
    with clear_errors(file):
        columns = {want.column for want in wanted.values()}
        require(wanted, column_names(file, columns, delimiter), str(file))
        options = _options(file, delimiter) | ({} if group is None else {"group": group})
        own = _own_names(file, columns, delimiter)
        inside = {key: want for key, want in wanted.items() if want.column in own}
        inside = inside or {"@rows": Wanted(own[0], "string")}
        folders, read = partition(file), _READERS[format_of(file)].read
        for arrays, row in read(file, inside, rows, **options):
            size = len(next(iter(arrays.values())))
            for key in wanted.keys() - inside.keys():
                arrays[key] = pa.array([folders[wanted[key].column]] * size, pa.string())
            for key, want in wanted.items():
                if (
                    want.dtype == "time" and want.dated is None
                ):  # by the first rows of the file, not of the chunk
                    head = arrays
                    if row and key in inside:
                        head, _ = next(read(file, {key: want}, rows, **_options(file, delimiter)))
                    told = dated(head[key], want.reading.missing)
                    wanted = {**wanted, key: dataclasses.replace(want, dated=told)}
            yield {key: convert(arrays[key], want, str(file), row) for key, want in wanted.items()}


def row_groups(file: pathlib.Path) -> list[int | None]:
    """The row groups of a Parquet file; `[None]` for a format that has none."""
    rows = group_rows(file)
    return [None] if rows is None else [*range(len(rows))]


def group_rows(file: pathlib.Path) -> list[int] | None:
    """The rows of each row group of a Parquet file; `None` for a format that has none."""
    if format_of(file) != "parquet":
        return None
    with clear_errors(file):
        return parquet.group_rows(file)


def as_written(source: Any, delimiter: str | None = None) -> pd.DataFrame:
    """Every column of a DataFrame or of files as it stands there: nothing is converted, of CSV all is text."""
    if isinstance(source, pd.DataFrame):
        return source
    frames = []
    for file in files(source):
        with clear_errors(file):
            frames.append(_READERS[format_of(file)].as_written(file, **_options(file, delimiter)))
    return pd.concat(frames, ignore_index=True)


def cells(
    path: Any, columns: Collection[str], rows: np.ndarray, delimiter: str | None = None
) -> dict[str, np.ndarray]:
    """The text of some rows, as it stands in CSV files: of the columns that all of them have.

    Args:
        path: as in `read`.
        columns: names of columns.
        rows: int64 `[n]`, places of rows, counted through all files.
        delimiter: as in `read`.

    Returns:
        `{column: object [n]}`; nothing of files of another format.
    """
    found = files(path)
    if any(format_of(file) != "csv" for file in found):
        return {}
    names = set(columns).intersection(*(csv.header(file, delimiter) for file in found))
    text = {name: np.empty(len(rows), object) for name in names}
    start = 0
    for file in found if names else ():
        with clear_errors(file):
            wanted = {name: Wanted(name, "string") for name in names}
            for part, _ in csv.read(file, wanted, None, delimiter):
                size = len(next(iter(part.values())))
                inside = (rows >= start) & (rows < start + size)
                for name, values in part.items():
                    text[name][inside] = values.take(pa.array(rows[inside] - start)).to_pylist()
                start += size
    return text


def column_names(source: Any, wanted: Collection[str] = (), delimiter: str | None = None) -> list[str]:
    """The columns of a DataFrame or of a (first) file, its partitions' included.

    Args:
        source: as in `read`.
        wanted: columns that are looked for: where a file has no header, and its first rows lack one, all are read.
        delimiter: as in `read`.
    """
    if isinstance(source, pd.DataFrame):
        return [str(name) for name in source.columns]
    file, *others = files(source)
    if is_path(source) and home(source).is_dir():
        _one_kind(home(source), file, others, delimiter)
    with clear_errors(file):
        names = _own_names(file, wanted, delimiter)
        return [*names, *(name for name in partition(file) if name not in names)]


def _one_kind(
    folder: pathlib.Path, file: pathlib.Path, others: Sequence[pathlib.Path], delimiter: str | None
) -> None:
    """Raises where a folder holds files of several kinds: they are no parts of one log."""

    def kind(one: pathlib.Path) -> tuple[str, frozenset[str]]:
        form = format_of(one)
        if form in ("jsonl", "tfrecord"):  # whose rows need not have all columns
            return form, frozenset()
        with clear_errors(one):
            return form, frozenset(_READERS[form].header(one, **_options(one, delimiter)))

    first = kind(file)
    for other in others:
        if (second := kind(other)) != first:
            why = "their formats differ"
            if first[0] == second[0]:
                why = f"one alone has the column {shown(min(first[1] ^ second[1]))}"
            raise DataError(
                f"The folder {folder} holds files of several kinds: {file.name} and {other.name}; {why}. Name those "
                f"that are wanted: a file, a pattern such as {folder / 'part-*'}{file.suffix}, or a list."
            )


def _own_names(file: pathlib.Path, wanted: Collection[str], delimiter: str | None) -> list[str]:
    reader = _READERS[format_of(file)]
    if format_of(file) in ("jsonl", "tfrecord"):
        return reader.header(file, set(wanted) - partition(file).keys())
    return reader.header(file, **_options(file, delimiter))
