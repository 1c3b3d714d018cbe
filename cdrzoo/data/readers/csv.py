"""CSV files, with a header."""

from __future__ import annotations

import codecs
import csv
import io
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from cdrzoo.data.readers.columns import Columns, Wanted
from cdrzoo.data.readers.paths import arrow_stream, opened
from cdrzoo.errors import DataError, shown

LONGEST_ROW = 2**26
"""Bytes of a row."""
BLOCK = 2**24
"""Bytes of a file that is read in chunks, that are looked at together."""


def header(file: pathlib.Path, delimiter: str | None = None) -> list[str]:
    """The names of its columns."""
    with opened(file) as stream:
        if stream.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(
                f"{file} is UTF-16 text, by its first two bytes. Convert it to UTF-8, for example with "
                "iconv -f UTF-16 -t UTF-8, or save it as CSV UTF-8."
            )
        rows = csv.reader(_text(stream), delimiter=_delimiter(file, delimiter))
        names = next(filter(None, rows), None)
    if names is None:
        raise DataError(f"{file} is empty. Check how it was written.")
    return names


def read(
    file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None, delimiter: str | None = None
) -> Iterator[tuple[Columns, int]]:
    """Raw columns in chunks of at most `rows` rows (`None`: all, as is fastest), and how many rows came before."""
    names, delimiter = sorted({want.column for want in wanted.values()}), _delimiter(file, delimiter)
    before = 0
    for table in [_table(file, names, delimiter)] if rows is None else _streamed(file, names, delimiter):
        for row in range(0, len(table), rows or max(len(table), 1)):
            part = table.slice(row, rows)
            yield {key: part.column(want.column) for key, want in wanted.items()}, before + row
        before += len(table)


def as_written(file: pathlib.Path, delimiter: str | None = None) -> pd.DataFrame:
    """Every column, as it stands there."""
    names = header(file, delimiter)
    table = _table(file, names, _delimiter(file, delimiter), every=True)
    frame = pd.DataFrame({place: table.column(place).to_numpy() for place in range(len(names))}, dtype=object)
    return frame.set_axis(names, axis=1)


def _delimiter(file: pathlib.Path, given: str | None) -> str:
    return given or ("\t" if file.name.endswith((".tsv", ".tsv.gz")) else ",")


def _text(stream: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _options(names: list[str], delimiter: str, every: bool, block: int | None) -> dict[str, Any]:
    from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions

    # Everything as text first: '007' stays what it is, and a bad number can be named with its row.
    return {
        "read_options": ReadOptions(block_size=block),
        "parse_options": ParseOptions(delimiter=delimiter, newlines_in_values=True),
        "convert_options": ConvertOptions(
            include_columns=None if every else names, column_types={name: pa.string() for name in names}
        ),
    }


def _table(file: pathlib.Path, names: list[str], delimiter: str, every: bool = False) -> pa.Table:
    """All rows."""
    from pyarrow.csv import read_csv

    def read(block: int | None = None) -> pa.Table:
        return read_csv(arrow_stream(file), **_options(names, delimiter, every, block))

    try:
        table = read()
    except pa.ArrowInvalid as error:
        _look_at_lines(file, delimiter)
        if "straddling" not in str(error):  # a row of more than Arrow's block of 1 MB
            raise
        table = read(LONGEST_ROW)
    if _lines_more(file, len(table) + 1):
        _look_at_lines(file, delimiter)
    return table


def _streamed(file: pathlib.Path, names: list[str], delimiter: str) -> Iterator[pa.Table]:
    """The same rows, those of a block at a time, of which few are in memory."""
    from pyarrow.csv import open_csv

    done = 0
    for block in (BLOCK, LONGEST_ROW):
        row = 0
        try:
            for batch in open_csv(arrow_stream(file), **_options(names, delimiter, False, block)):
                row += len(batch)
                if row > done:
                    yield pa.Table.from_batches([batch.slice(max(len(batch) - (row - done), 0))])
                    done = row
            break
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error) or block == LONGEST_ROW:
                _look_at_lines(file, delimiter)
                raise
    if _lines_more(file, done + 1):
        _look_at_lines(file, delimiter)


def _lines_more(file: pathlib.Path, records: int) -> bool:
    """Whether it has more lines than these, and a quote: a cell may hold line breaks."""
    quotes, lines, last = False, 0, b""
    with opened(file) as stream:
        while block := stream.read(1 << 20):
            quotes = quotes or b'"' in block
            lines += block.count(b"\n")
            last = block[-1:]
    return quotes and lines + (last != b"\n") > records


def _look_at_lines(file: pathlib.Path, delimiter: str) -> None:
    """Raises where a row has too few cells, too many, or takes in lines that look like rows of their own.

    A quote that opens a cell and is closed rows later, or never, swallows what lies between; by the rules of CSV that
    is one cell. Text of several lines is told from it by its lines: they have not as many cells as the header.
    """
    taken: list[str] = []

    def lines(text: io.TextIOWrapper) -> Iterator[str]:
        for line in text:
            taken.append(line)
            yield line

    limit = csv.field_size_limit(sys.maxsize)
    try:
        with opened(file) as stream:
            names: list[str] = []
            end, row = 0, 0
            for cells in csv.reader(lines(_text(stream)), delimiter=delimiter):
                spanned, start, end = taken.copy(), end + 1, end + len(taken)
                taken.clear()
                if not cells:
                    continue
                if names:
                    row += 1
                    _check_row(file, delimiter, names, row, cells, spanned, start, end)
                names = names or cells
    finally:
        csv.field_size_limit(limit)


def _check_row(
    file: pathlib.Path,
    delimiter: str,
    names: list[str],
    row: int,
    cells: list[str],
    spanned: list[str],
    start: int,
    end: int,
) -> None:
    where = (
        f"{file}, row {row} (line {start})" if start == end else f"{file}, row {row} (lines {start} to {end})"
    )
    like_rows = [_count(line, delimiter) == len(names) for line in spanned]
    wrong = len(cells) != len(names)
    if len(spanned) > 1 and (all(like_rows) if len(names) > 1 and not wrong else wrong):
        place = next(place for place, cell in enumerate(cells) if "\n" in cell or "\r" in cell)
        column = f"column {shown(names[place])}" if place < len(names) else f"cell {place + 1}"
        raise DataError(
            f"{where}: a quote opens a cell in {column} that takes in {len(spanned) - 1} more lines, which look like "
            'rows of their own. Remove the quote; if it belongs to the text write it twice, in a cell in quotes ("a '
            '""b"" c").'
        )
    if wrong:
        more = (
            "Remove what is behind the last column, or name it in the header."
            if len(cells) > len(names)
            else ""
        )
        raise DataError(
            f"{where}: cells, one a column, {len(names)} wanted. Received: {len(cells)}. "
            + (more or "A cell, or a quote around text with a delimiter, is missing.")
        )


def _count(line: str, delimiter: str) -> int:
    """Cells of a line by itself: whole cells in quotes are cells, a single quote is nothing."""
    return re.sub(r'"[^"]*"', "", line).count(delimiter) + 1
