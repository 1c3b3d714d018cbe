"""Rows on the disk between two stages: files of Arrow, cut into pieces that are read one by one."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cdrzoo.data.preparation.examples import array, coded_texts, texts
from cdrzoo.data.preparation.labels import labels
from cdrzoo.data.preparation.logs import Log
from cdrzoo.data.preparation.reading import Plan
from cdrzoo.data.preparation.selection import Ordered
from cdrzoo.data.ragged import Ragged, taken
from cdrzoo.data.readers import Columns

_COLUMN, _EXTRA, _LABEL = "column ", "extra ", "label "


def write(path: pathlib.Path, table: pa.Table, ends: np.ndarray) -> np.ndarray:
    """Writes a table in pieces; gives the rows of each.

    Args:
        path: a new file.
        table: the rows, those of a piece together.
        ends: int64 [pieces], where each ends.
    """
    rows = np.diff(ends, prepend=0)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema, options=options) as writer:
        table = table.combine_chunks()
        for end, size in zip(ends.tolist(), rows.tolist(), strict=True):
            if size:
                writer.write_table(table.slice(end - size, size).combine_chunks(), max_chunksize=size)
    return rows


def read(
    path: pathlib.Path, rows: np.ndarray, pieces: range, columns: Sequence[str] | None = None
) -> pa.Table:
    """Some pieces that lie together of a file of `write`.

    Args:
        path: the file.
        rows: what `write` gave.
        pieces: which.
        columns: which columns; default all.
    """
    batches = np.concatenate([[0], np.cumsum(rows > 0)])
    with pa.memory_map(str(path)) as file:
        schema = pa.ipc.open_file(file).schema
        fields = None if columns is None else [schema.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        reader = pa.ipc.open_file(file, options=options)
        found = [reader.get_batch(at) for at in range(batches[pieces.start], batches[pieces.stop])]
        return pa.Table.from_batches(found, reader.schema)


class Run:
    """Rows whose times, and whose values that a split orders them by, are sorted together."""

    def __init__(self) -> None:
        self.rows, self.orders, self.times = 0, [], []  # type: ignore[var-annotated]

    def add(self, log: Log, order: Ordered | None) -> None:
        """The rows of a chunk."""
        self.rows += len(log)
        self.orders += [] if order is None else [order]
        self.times += [] if log.time is None else [log.time]

    def save(self, folder: pathlib.Path, number: int) -> None:
        """Writes them, sorted."""
        if self.orders:
            columns = [[getattr(o, name) for o in _by_row(self.orders)] for name in ("values", "rows")]
            one = Ordered.of(*map(np.concatenate, columns))
            np.save(folder / f"values-{number}.npy", one.values)
            np.save(folder / f"rows-{number}.npy", one.rows)
        if self.times:
            np.save(folder / f"times-{number}.npy", np.sort(np.concatenate(self.times)))


def _by_row(orders: Sequence[Ordered]) -> list[Ordered]:
    """Each in the order of its rows."""
    return [Ordered(o.values[at], o.rows[at]) for o in orders for at in [np.argsort(o.rows)]]


def names(plan: Plan) -> list[str]:
    """The columns of `table_of` that users and their times are read off."""
    found = ["row", "raw", *(name for name in ("time", "part") if f"@{name}" in plan.own)]
    return [*found, *([_COLUMN + plan.domain.user] if plan.domain.user is not None else [])]


def table_of(log: Log, order: np.ndarray) -> pa.Table:
    """The events of a log, as they were read, in this order of its rows."""
    found = {"row": log.row, "raw": log.raw, "time": log.time, "weight": log.weight, "part": log.part}
    found |= {_COLUMN + name: values for name, values in log.columns.items()}
    found |= {_EXTRA + name: values for name, values in log.extra.items()}
    found |= {_LABEL + name: values for name, values in log.further.items()}
    # Before they are Arrow's, whose lists of text are slow to take.
    return pa.table({name: _arrow(taken(v, order)) for name, v in found.items() if v is not None})


def log_of(
    plan: Plan, tables: Iterable[tuple[pa.Table, int]], where: str, size: int, fractions: bool = False
) -> Log:
    """The log of events that were written, in the order of their numbers.

    Args:
        plan: of the domain.
        tables: pieces, and the number of the first row of the file that each was read from.
        where: what the rows were read from.
        size: rows of the whole log.
        fractions: whether times are float64 in some piece, and so in all.
    """
    parts = [
        table.set_column(0, "row", pa.array(np.asarray(table["row"]) + before)) for table, before in tables
    ]
    if fractions:
        at = parts[0].schema.get_field_index("time")
        parts = [table.set_column(at, "time", table["time"].cast(pa.float64())) for table in parts]
    table = pa.concat_tables(parts)
    rows = np.asarray(table["row"])
    found = {name: _values(table[name]) for name in table.column_names}
    if (np.diff(rows) < 0).any():
        order = np.argsort(rows, kind="stable")
        found = {name: _laid(taken(values, order)) for name, values in found.items()}
    domain = plan.domain
    columns: Columns = {
        name[len(_COLUMN) :]: values for name, values in found.items() if name.startswith(_COLUMN)
    }
    return Log(
        domain=domain,
        source=plan.source,
        columns=columns,
        raw=found["raw"],
        y=labels(domain, found["raw"], where),
        time=found.get("time"),
        user=None if domain.user is None else columns[domain.user],
        item=None if domain.item is None else columns.get(domain.item),
        weight=found.get("weight"),
        part=found.get("part"),
        event=np.arange(len(table)),
        row=found["row"],
        size=size,
        extra={name[len(_EXTRA) :]: values for name, values in found.items() if name.startswith(_EXTRA)},
        further={name[len(_LABEL) :]: values for name, values in found.items() if name.startswith(_LABEL)},
    )


def _arrow(values: Any) -> pa.Array:
    if not isinstance(values, Ragged):
        return array(values)
    flat, lengths = values.flat(values.lengths().max(initial=0))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.LargeListArray.from_arrays(pa.array(offsets), array(flat))


def _laid(values: Any) -> Any:
    """The same; sequences lie in the order of their rows."""
    if not isinstance(values, Ragged):
        return values
    laid = values if values.coded is None else Ragged(values.coded[0], values.starts, values.stops)
    flat, lengths = laid.flat(laid.lengths().max(initial=0))
    stops = np.cumsum(lengths)
    if values.coded is None:
        return Ragged(flat, stops - lengths, stops)
    return Ragged.of_codes(flat, values.coded[1], stops - lengths, stops)


def _values(column: pa.ChunkedArray) -> Any:
    """What was written: numbers, texts that share a string where they are equal, or sequences."""
    if pa.types.is_fixed_size_list(column.type):
        pieces = [np.asarray(chunk.flatten()) for chunk in column.chunks]
        whole = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        return whole.reshape(-1, column.type.list_size)
    if pa.types.is_large_list(column.type):
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        lengths = [np.diff(np.asarray(chunk.offsets)) for chunk in chunks] or [np.zeros(0, np.int64)]
        stops = np.cumsum(np.concatenate(lengths))
        flat = pa.chunked_array([chunk.flatten() for chunk in chunks], column.type.value_type)
        starts = stops - np.concatenate(lengths)
        if pa.types.is_string(flat.type):
            return Ragged.of_codes(*coded_texts(flat), starts, stops)
        return Ragged(_values(flat), starts, stops)
    return texts(column) if pa.types.is_string(column.type) else np.array(column.to_numpy())
