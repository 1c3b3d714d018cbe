"""Files as they are published, turned into Parquet once, a piece at a time."""

from __future__ import annotations

import contextlib
import gzip
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.data.preparation.keys import fingerprints
from cdrzoo.data.readers.paths import arrow_stream, clear_errors
from cdrzoo.errors import DataError, shown

ROWS = 65_536
"""Rows that are in memory at once."""
BLOCK = 1 << 24
"""Bytes of a CSV file that are."""


@dataclass(frozen=True)
class Published:
    """A file as its home page gives it out.

    Args:
        name: its name.
        size: how large it is, in words.
        home: where it is published.
        row: what a row holds, for messages.
    """

    name: str
    size: str
    home: str
    row: str

    def within(self, folder: str | pathlib.Path) -> pathlib.Path:
        """The file in a folder, or in a folder of that, plain or gzipped.

        Raises:
            DataError: it is not there; the message says what is wanted and where it is published.
        """
        folder = pathlib.Path(folder)
        names = {self.name, self.name.removesuffix(".gz"), f"{self.name.removesuffix('.gz')}.gz"}
        for depth in ("", "*/", "*/*/"):
            found = sorted(path for name in names for path in folder.glob(f"{depth}{name}"))
            if found:
                return found[0]
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) if folder.is_dir() else ""
        raise DataError(
            f"{folder} lacks {self.name} ({self.size}), which is published at {self.home}. Put it there, as it is "
            f"published. {f'The folder holds: {there}.' if there else 'The folder is empty or does not exist.'}"
        )


def csv_pieces(
    published: Published,
    folder: str | pathlib.Path,
    types: Mapping[str, pa.DataType],
    *,
    header: bool = True,
    delimiter: str = ",",
) -> Iterator[pa.Table]:
    """The wanted columns of a CSV file, at most `ROWS` rows at a time.

    Args:
        published: the file.
        folder: where it is.
        types: the wanted columns and their types; of a file without a header all its columns, in order.
        header: whether the first line names the columns.
        delimiter: what separates them.
    """
    from pyarrow import csv

    file = published.within(folder)
    with _as_published(published, file):
        reader = csv.open_csv(
            arrow_stream(file),
            read_options=csv.ReadOptions(block_size=BLOCK, column_names=None if header else list(types)),
            parse_options=csv.ParseOptions(delimiter=delimiter),
            convert_options=csv.ConvertOptions(
                column_types=dict(types), include_columns=list(types), strings_can_be_null=False
            ),
        )
        for batch in reader:
            table = pa.Table.from_batches([batch])
            for row in range(0, len(table), ROWS):
                yield table.slice(row, ROWS)


def line_pieces(
    published: Published,
    folder: str | pathlib.Path,
    parse: Callable[[str], tuple[Any, ...] | None],
    types: Mapping[str, pa.DataType],
) -> Iterator[pa.Table]:
    """What a function makes of each line of a text file, at most `ROWS` rows at a time; `None` leaves the line out."""
    file = published.within(folder)
    schema = pa.schema(list(types.items()))

    def table(rows: list[tuple[Any, ...]]) -> pa.Table:
        return pa.table(
            [
                pa.array(column, field.type)
                for column, field in zip(zip(*rows, strict=True), schema, strict=True)
            ],
            schema=schema,
        )

    rows: list[tuple[Any, ...]] = []
    opened = gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8")
    with _as_published(published, file), opened as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                parsed = parse(line.rstrip("\n"))
            except (ValueError, KeyError, IndexError, TypeError, SyntaxError) as error:
                raise DataError(
                    f"{file}, line {number} is not as published: {type(error).__name__}: {error}. "
                    f"Wanted: {published.row}. Received: {shown(line.strip()[:100])}."
                ) from None
            if parsed is not None:
                rows.append(parsed)
            if len(rows) == ROWS:
                yield table(rows)
                rows = []
        if rows:
            yield table(rows)


@contextlib.contextmanager
def _as_published(published: Published, file: pathlib.Path) -> Iterator[None]:
    try:
        with clear_errors(file):
            yield
    except (pa.ArrowInvalid, pa.ArrowKeyError, KeyError) as error:
        raise DataError(
            f"{file} is not as published: {' '.join(str(error).split())[:200]}. Wanted: {published.row}."
        ) from None
    except DataError as error:
        if "Wanted" in str(error) or "gzip" in str(error):
            raise
        raise DataError(f"{error} Wanted: {published.row}.") from None


def write(
    outputs: Mapping[str, pathlib.Path],
    pieces: Iterable[tuple[str, pa.Table]],
    raw: Sequence[pathlib.Path],
) -> None:
    """Writes pieces of several domains to one Parquet file each; what is there and was made of `raw` stays.

    What it was made of, place, size and time of change of each file, stands beside it: in the file it would make equal
    rows of two machines differ. A conversion that was stopped leaves nothing that looks like its result.
    """
    from pyarrow import parquet

    facts = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in raw]
    made_of = json.dumps(facts, indent=1) + "\n"
    records = {name: path.with_name(f"{path.name}.raw.json") for name, path in outputs.items()}
    if all(
        path.exists() and records[name].exists() and records[name].read_text(encoding="utf-8") == made_of
        for name, path in outputs.items()
    ):
        return
    begun = {name: path.with_name(f"{path.name}.part") for name, path in outputs.items()}
    writers: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        for name, table in pieces:
            if name not in writers:
                outputs[name].parent.mkdir(parents=True, exist_ok=True)
                writers[name] = stack.enter_context(parquet.ParquetWriter(str(begun[name]), table.schema))
            if len(table):
                writers[name].write_table(table)
    for name in outputs:
        if name not in writers or not parquet.read_metadata(str(begun[name])).num_rows:
            raise DataError(
                f"{', '.join(str(file) for file in raw)} gives no rows for {name!r}. Check what the domain is made "
                "of, and whether the file is whole."
            )
    for name, path in outputs.items():
        records[name].unlink(missing_ok=True)
        begun[name].replace(path)
        records[name].write_text(made_of, encoding="utf-8")


def read_pieces(path: pathlib.Path) -> Iterator[pa.Table]:
    """The rows of a converted file, a piece at a time."""
    from pyarrow import parquet

    for batch in parquet.ParquetFile(str(path)).iter_batches(ROWS):
        yield pa.Table.from_batches([batch])


def keys(column: pa.ChunkedArray) -> np.ndarray:
    """uint64 [n]: a hash of each value; it takes 8 bytes where a text takes many more."""
    values = column.to_numpy()
    return fingerprints([values if values.dtype == object else values.astype(np.int64)])


def some_users(table: pa.Table, share: float, column: str = "user_id") -> pa.Table:
    """The rows of a share of the users, chosen by a hash, so that all files of a dataset keep the same ones."""
    if not 0 < share <= 1:
        raise DataError(f"`users` must be a share above 0 and at most 1. Received: {shown(share)}.")
    if share == 1:
        return table
    return table.filter(pa.array(keys(table.column(column)) < np.uint64(int(share * 2**64) - 1)))


def shared_users(paths: Mapping[str, pathlib.Path], outputs: Mapping[str, pathlib.Path]) -> None:
    """Writes the rows of the users whom all files have."""
    of_all: np.ndarray | None = None
    for path in paths.values():
        found = np.unique(
            np.concatenate([np.unique(keys(piece.column("user_id"))) for piece in read_pieces(path)])
        )
        of_all = found if of_all is None else np.intersect1d(of_all, found, assume_unique=True)

    def pieces() -> Iterator[tuple[str, pa.Table]]:
        for name, path in paths.items():
            for piece in read_pieces(path):
                yield name, piece.filter(pa.array(np.isin(keys(piece.column("user_id")), of_all)))

    write(outputs, pieces(), list(paths.values()))


def number(what: str, text: str) -> int:
    """A domain that is named by its number."""
    if not str(text).isdigit():
        raise DataError(f"{what} is named by its number. Received: {shown(text)}.")
    return int(text)


def minutes(column: pa.ChunkedArray, where: str) -> pa.Array:
    """Unix seconds of times written as YYYYMMDDHHMM (or YYYYMMDD); the zone of the log is taken for UTC."""
    text = pc.cast(column, pa.string())
    longer = pc.if_else(
        pc.equal(pc.utf8_length(text), 8), pc.binary_join_element_wise(text, "0000", ""), text
    )
    try:
        stamps = pc.strptime(longer, format="%Y%m%d%H%M", unit="s")
    except pa.ArrowInvalid as error:
        raise DataError(f"{where} is not as published: {error}. Wanted: times as YYYYMMDDHHMM.") from None
    return pc.cast(stamps, pa.int64())
