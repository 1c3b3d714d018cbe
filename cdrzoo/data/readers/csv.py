"""CSV files, with a header."""

from __future__ import annotations

import codecs
import csv
import io
import pathlib
from collections.abc import Iterator, Mapping

import pandas as pd
import pyarrow as pa

from cdrzoo.data.readers.columns import Columns, Wanted, distinct
from cdrzoo.data.readers.paths import arrow_stream, opened
from cdrzoo.errors import DataError


def header(file: pathlib.Path) -> list[str]:
    """The names of its columns."""
    with opened(file) as stream:
        if stream.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(
                f"{file} is UTF-16 text, by its first two bytes. Convert it to UTF-8, for example with "
                "iconv -f UTF-16 -t UTF-8, or save it as CSV UTF-8."
            )
        rows = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
        names = next(filter(None, rows), None)
    if names is None:
        raise DataError(f"{file} is empty. Check how it was written.")
    return names


def read(file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None) -> Iterator[tuple[Columns, int]]:
    """Raw columns in chunks of `rows` rows (`None`: as is fastest), and how many rows came before."""
    from pyarrow.csv import ConvertOptions, ParseOptions, read_csv

    names = sorted({want.column for want in wanted.values()})
    # Everything as text first: '007' stays what it is, and a bad number can be named with its row.
    table = read_csv(
        arrow_stream(file),
        parse_options=ParseOptions(newlines_in_values=True),
        convert_options=ConvertOptions(
            include_columns=names, column_types={name: pa.string() for name in names}
        ),
    )
    for row in range(0, len(table), rows or max(len(table), 1)):
        part = table.slice(row, rows)
        yield {key: part.column(want.column) for key, want in wanted.items()}, row


def as_written(file: pathlib.Path) -> pd.DataFrame:
    """Every column, as it stands there."""
    names = {name: Wanted(name, "string") for name in distinct(header(file), file)}
    columns = [array for array, _ in read(file, names, None)]
    return pd.DataFrame(
        {name: columns[0][name].to_numpy() for name in names} if columns else {}, dtype=object
    )
