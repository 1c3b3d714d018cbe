"""Parquet files."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping

import pandas as pd

from cdrzoo.data.readers.columns import Columns, Wanted
from cdrzoo.files import seekable


def header(file: pathlib.Path) -> list[str]:
    """The names of its columns."""
    from pyarrow import parquet

    return parquet.read_schema(seekable(file)).names


def read(
    file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None, group: int | None = None
) -> Iterator[tuple[Columns, int]]:
    """Raw columns in chunks of `rows` rows and how many rows came before; or those of one row group."""
    from pyarrow import parquet

    names = sorted({want.column for want in wanted.values()})
    if rows is None:
        table = parquet.read_table(seekable(file), columns=names)
        if len(table):
            yield {key: table.column(want.column) for key, want in wanted.items()}, 0
        return
    opened = parquet.ParquetFile(seekable(file))
    row = sum(opened.metadata.row_group(before).num_rows for before in range(group or 0))
    for batch in opened.iter_batches(rows, None if group is None else [group], columns=names):
        yield (
            {key: batch.column(batch.schema.get_field_index(want.column)) for key, want in wanted.items()},
            row,
        )
        row += len(batch)


def group_rows(file: pathlib.Path) -> list[int]:
    """The rows of each of its row groups."""
    from pyarrow import parquet

    metadata = parquet.ParquetFile(seekable(file)).metadata
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def as_written(file: pathlib.Path) -> pd.DataFrame:
    """Every column, as it stands there."""
    from pyarrow import parquet

    return parquet.read_table(seekable(file)).to_pandas(integer_object_nulls=True, ignore_metadata=True)
