"""What is done to a piece of a log, to a partition of its users, or to a shard: pure functions, on whatever machine."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import resource
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cdrzoo.data import readers
from cdrzoo.data.encoder import Encoder
from cdrzoo.data.looked import Looked
from cdrzoo.data.preparation.assignment import (
    Facts,
    only_training,
    ordered,
    parts_of,
    ranked,
    trained_since,
)
from cdrzoo.data.preparation.examples import array, arrow, fixed, raw_columns
from cdrzoo.data.preparation.joins import Joined
from cdrzoo.data.preparation.keys import counted, drawn
from cdrzoo.data.preparation.logs import Log, add_histories
from cdrzoo.data.preparation.negatives import (
    Catalogue,
    add_negatives,
    catalogues,
    check_positives,
    values_of_items,
)
from cdrzoo.data.preparation.reading import log_of
from cdrzoo.data.preparation.splits import PARTS, codes_of
from cdrzoo.data.preparation.tallies import Tally, tallies
from cdrzoo.data.raw import factorize, missing, occurrences
from cdrzoo.data.readers.conversion import time_kind
from cdrzoo.data.rows import spill
from cdrzoo.data.rows.format import EXAMPLES, GROUP_ROWS, LABEL, SLICE, layout
from cdrzoo.data.rows.plan import PIECE_ROWS, Piece
from cdrzoo.data.rows.state import KNOWN, State, load, save
from cdrzoo.data.statistics import Counts, Statistics
from cdrzoo.errors import DataError
from cdrzoo.files import home, stamp

_CHUNK_ROWS = 1 << 18


@dataclasses.dataclass
class Done:
    """What is said of a task.

    Args:
        rows: that it read.
        processor: seconds of processor time.
        memory: bytes that its process has ever held.
    """

    rows: int
    processor: float
    memory: int


Does = Callable[[State, int, pathlib.Path], tuple[Any, int]]
"""Does the task of a number with a folder for its files; gives what it found, and the rows that it read."""


def run(task: tuple[str, str, int], does: Does | None = None) -> Done:
    """Does a task, once: a folder of its own, with `result.pkl` in it, says that it is done.

    Args:
        task: the folder of the work, the stage and the number of the task.
        does: what is done. Default: that of `STAGES`.
    """
    folder, stage, number = task
    start = time.process_time()
    state = _state(folder, stage, stamp(pathlib.Path(folder, KNOWN)))
    place = state.place(stage, number)
    if not place.exists():
        scratch = place.with_name(f"{place.name}.{uuid.uuid4().hex}")
        scratch.mkdir(parents=True)
        try:
            result, rows = (does or STAGES[stage])(state, number, scratch)
            save(scratch / "result.pkl", result)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            save(scratch / "done.pkl", Done(rows, time.process_time() - start, memory))
            os.replace(scratch, place)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            if not place.exists():  # else another attempt was faster
                raise
    return load(place / "done.pkl")


@functools.lru_cache(maxsize=1)
def _state(folder: str, stage: str, written: tuple[int, int]) -> State:
    """Read once a process and stage; a worker that outlives a preparation reads that of the next anew."""
    return State(pathlib.Path(folder))


# Reading --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Read:
    """What the reading of a piece found.

    Args:
        rows: how many.
        slots: of each file of rows those of each slot.
        joins: what each join found.
        times: the kinds of its times (`time_kind`).
        runs: files of sorted values that it was given, of `PIECE_ROWS` rows or little more each.
    """

    rows: int
    slots: list[np.ndarray]
    joins: tuple[Joined, ...]
    times: set[str]
    runs: int


def read(state: State, number: int, scratch: pathlib.Path) -> tuple[Read, int]:
    """Reads and checks a piece, and writes its rows, those of a slot together."""
    piece = state.work.pieces[number]
    if stamp(piece.path) != piece.stamp:
        raise DataError(f"{piece.path} has changed since the preparation was begun. Start it anew.")
    found: list[np.ndarray] = []
    joins: tuple[Joined, ...] | None = None
    run, runs, kinds = spill.Run(), 0, set()
    for log in _chunks(state, piece):
        keys = _slots(state, log)
        order = np.argsort(keys, kind="stable")
        ends = np.searchsorted(keys[order], np.arange(state.work.slots), side="right")
        table = spill.table_of(log, order)
        found.append(spill.write(scratch / f"{len(found):05d}.arrow", table, ends))
        joins = log.joins if joins is None else tuple(a + b for a, b in zip(joins, log.joins))
        ranked = piece.domain == state.schema.target
        order_of = ordered(state.schema, {piece.domain: log}, state.by, state.arguments) if ranked else None
        run.add(log, order_of)
        if log.time is not None:
            kinds.add(time_kind(log.time))
        if run.rows >= PIECE_ROWS:  # a file that is read as one piece may be longer than memory
            run.save(scratch, runs)
            run, runs = spill.Run(), runs + 1
    rows = int(sum(map(np.sum, found)))
    if not rows:
        raise DataError(f"{piece.path} has no rows. At least one is needed; check how it was written.")
    run.save(scratch, runs)
    return Read(rows, found, joins or (), kinds, runs + 1), rows


def _chunks(state: State, piece: Piece) -> Any:
    """The logs of the chunks of a piece; rows are numbered from the start of the file."""
    plan, before = state.work.plans[piece.domain], piece.first
    column = state.work.settings.part_column
    for group in piece.groups or (None,):
        for columns in readers.file_chunks(
            home(piece.path), plan.own, _CHUNK_ROWS, group, plan.source.delimiter
        ):
            log = log_of(plan, columns, state.sides(piece.domain), piece.path, before)
            if plan.source.negatives is not None:
                check_positives(log)
            if column is not None and log.part is not None:
                codes_of(log.part, state.arguments, piece.path, before)
            before += len(log)
            yield log


def _slots(state: State, log: Log) -> np.ndarray:
    """int64 [n]: the slot of each row, by its user; that of a row without one by its number.

    Users lie in the order of the hashes by which a split ranks them.
    """
    keys = counted([1], log.row)
    if log.user is not None:
        known = ~missing(log.user)
        seed = state.arguments["seed"] if state.by in ("users", "resample") else 0
        keys[known] = drawn([log.user[known]], seed)
    return (keys >> np.uint64(65 - state.work.slots.bit_length())).astype(np.int64)


# Partitions -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Users:
    """Of a partition: users that a split ranks, and whether a training row would be shown what is held out."""

    ranked: int
    only_training: bool


def users(state: State, number: int, scratch: pathlib.Path) -> tuple[Users, int]:
    """Looks at users and times alone."""
    logs = state.logs(number, keys=True)
    if state.by in ("last", "given"):
        codes = parts_of(state.schema, logs, state.by, state.arguments, Facts())
        found = Users(0, only_training(state.by, logs, codes, state.work.settings.include_ties))
    else:
        found = Users(len(ranked(state.schema, logs, state.by, state.arguments)), True)
    return found, sum(map(len, logs.values()))


@dataclasses.dataclass
class Items:
    """Of the items of a partition, by domain: what negatives are drawn from, and the values of further columns."""

    catalogues: dict[str, list[Catalogue]]
    values: dict[str, dict[str, pd.DataFrame | None]]


def items(state: State, number: int, scratch: pathlib.Path) -> tuple[Items, int]:
    """Looks at the items that stand in the events of a partition."""
    logs = state.logs(number)
    codes = parts_of(state.schema, logs, state.by, state.arguments, state.known.facts[number])
    found = Items({}, {})
    for name, log in logs.items():
        if log.source.negatives is not None:
            found.catalogues[name] = catalogues(log, codes[name])
            found.values[name] = values_of_items(log)
    return found, sum(map(len, logs.values()))


def built(state: State, number: int) -> tuple[dict[str, Log], dict[str, np.ndarray]]:
    """The rows of a partition, with negatives and histories, and their parts: what `prepare` makes of all rows.

    `count` and `encode` both make them: so no files of them are needed between.
    """
    settings, known = state.work.settings, state.known
    logs = state.logs(number)
    codes = parts_of(state.schema, logs, state.by, state.arguments, known.facts[number])
    for name, log in logs.items():
        if log.source.negatives is not None:
            logs[name] = add_negatives(
                log, codes[name], settings.seed, known.catalogues[name], known.of_item[name]
            )
            codes[name] = codes[name][logs[name].event]
    add_histories(state.schema, logs, codes, settings.include_ties, settings.history, known.only_training)
    return logs, trained_since(logs, codes, settings.since)


@dataclasses.dataclass
class Tallied:
    """What the rows of a partition add up to.

    Args:
        tallies: of each domain's parts.
        looked: by domain what is looked at to say what is doubtful.
    """

    tallies: dict[str, list[Tally]]
    looked: dict[str, Looked]


def _tallied(state: State, logs: dict[str, Log], codes: dict[str, np.ndarray]) -> dict[str, Any]:
    whole = {name: dataclasses.replace(log, joins=state.known.joins[name]) for name, log in logs.items()}
    return {
        "tallies": {name: tallies(log, codes[name], len(PARTS)) for name, log in logs.items()},
        "looked": {name: Looked.of(state.schema, log) for name, log in whole.items()},
    }


@dataclasses.dataclass
class Learnt(Tallied):
    """With what encoder and shards are made of.

    Args:
        statistics: of each domain's training rows.
        items: by domain and part the items of the rows.
        events: the items of the target's training events.
        first: by domain and part the numbers of the first rows.
    """

    statistics: dict[str, Statistics] = dataclasses.field(default_factory=dict)
    items: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)
    events: Counts = dataclasses.field(default_factory=Counts)
    first: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)


def keys_of(domain: str, part: str, rows: np.ndarray) -> np.ndarray:
    """uint64 [n], by which the rows of a part are ordered: training rows at random, others by their numbers."""
    return counted([zlib.crc32(domain.encode())], rows) if part == "train" else rows.astype(np.uint64)


def count(state: State, number: int, scratch: pathlib.Path) -> tuple[Learnt, int]:
    """What split, encoder and shards are made of."""
    logs, codes = built(state, number)
    learning, found = Encoder(state.schema), Learnt(**_tallied(state, logs, codes))
    for at, (name, log) in enumerate(logs.items()):
        trained = np.flatnonzero(codes[name] == 0)
        found.statistics[name] = learning.statistics(name, log.take(trained))
        for code, part in enumerate(PARTS):
            rows = np.flatnonzero(codes[name] == code)
            np.save(scratch / f"{at}-{part}.npy", np.sort(keys_of(name, part, log.row[rows])))
            found.first[name, part] = np.sort(log.row[rows])[:EXAMPLES]
            if log.item is not None:
                found.items[name, part] = factorize(log.item[rows])[1]
        if name == state.schema.target and log.item is not None:
            found.events.add(log.item[log.happened(trained)])
    return found, sum(map(len, logs.values()))


@dataclasses.dataclass
class Encoded:
    """The rows of each shard, by domain and part, and the files of raw rows."""

    rows: dict[tuple[str, str], np.ndarray]


def encode(state: State, number: int, scratch: pathlib.Path) -> tuple[Encoded, int]:
    """Encodes the rows of a partition and writes them, those of a shard together."""
    logs, codes = built(state, number)
    found = Encoded({})
    for at, (name, log) in enumerate(logs.items()):
        groups = _groups(state, logs, codes) if name == state.schema.target else {}
        for part, rows, keys, x in _parts(state, log, codes[name]):
            table = _encoded(log, rows, x).append_column("key", pa.array(keys))
            for column, values in groups.items():
                table = table.append_column(column, array(values[rows]))
            ends = np.append(np.searchsorted(keys, state.known.bounds[name, part]), len(keys))
            found.rows[name, part] = spill.write(scratch / f"{at}-{part}.arrow", table, ends)
            raw = rows[log.row[rows] <= state.known.examples[name, part]]
            raw = raw[np.argsort(log.row[raw])]
            examples = arrow(raw_columns(log.domain, log, raw))
            spill.write(
                scratch / f"{at}-{part}-raw.arrow",
                examples.append_column("@row", pa.array(log.row[raw])),
                np.array([len(raw)]),
            )
    return found, sum(map(len, logs.values()))


def _parts(
    state: State, log: Log, codes: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    """Each part of a log: its rows in their order, by what they are ordered, and their features.

    All are encoded at once: each part's histories lie in the events of all, which would be looked up for each.
    """
    name, placed = log.domain.name, {}
    for code, part in enumerate(PARTS):
        rows = np.flatnonzero(codes == code)
        keys = keys_of(name, part, log.row[rows])
        order = np.argsort(keys)
        placed[part] = rows[order], keys[order]
    x = state.encoder.encode(name, log.take(np.concatenate([rows for rows, _ in placed.values()])))
    start = 0
    for part, (rows, keys) in placed.items():
        own = {feature: values[start : start + len(rows)] for feature, values in x.items()}
        if part != "train":
            own |= state.encoder.served(name, len(rows))
        start += len(rows)
        yield part, rows, keys, own


def _encoded(log: Log, rows: np.ndarray, x: dict[str, np.ndarray]) -> pa.Table:
    """The columns of a shard at these rows, with these features."""
    ids, numbers = ([x[name].reshape(len(rows), width) for name, width in of] for of in layout(log.domain))
    columns: dict[str, pa.Array] = {}
    if ids:
        columns["ids"] = fixed(np.concatenate(ids, 1))
    if numbers:
        columns["numbers"] = fixed(np.concatenate(numbers, 1))
    columns["label"] = pa.array(log.y[rows])
    columns |= {LABEL + name: pa.array(values[rows]) for name, values in log.labels.items()}
    if log.weight is not None:
        columns["weight"] = pa.array(log.weight[rows].astype(np.float32))
    for name in ("user", "item"):
        values = getattr(log, name)
        if values is not None:
            columns[name] = array(values[rows])
    if log.time is not None:
        columns["time"] = pa.array(log.time[rows])
    columns["row"] = pa.array(log.row[rows])
    return pa.table(columns)


def _groups(state: State, logs: dict[str, Log], codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Further columns of the target: training events of each row's user and item, and what is grouped by."""
    target = logs[state.schema.target]
    found: dict[str, np.ndarray] = {}
    none = np.zeros(len(target), np.int64)
    if target.user is not None:
        seen = {}
        for name, log in logs.items():
            trained = log.happened(np.flatnonzero(codes[name] == 0))
            seen[name] = none if log.user is None else occurrences(log.user[trained], target.user)
        found["target_rows"] = seen.pop(state.schema.target).astype(np.int32)
        found["source_rows"] = sum(seen.values(), none).astype(np.int32)
    if target.item is not None and state.known.events is not None:
        found["item_rows"] = state.known.events.reindex(target.item, fill_value=0).to_numpy(np.int32)
    return found | {SLICE + column: target.values(column) for column in state.work.settings.slices}


# Rows that are not encoded --------------------------------------------------------------------------------------

Write = Callable[[dict[str, Log], dict[str, np.ndarray], pathlib.Path, str], None]
"""Writes the rows of a partition, by domain with the numbers of their parts, to a folder; the last is its name."""


def raw(write: Write, state: State, number: int, scratch: pathlib.Path) -> tuple[Tallied, int]:
    """Has the rows of a partition written, and puts what was written into the folder of all, file by file."""
    logs, codes = built(state, number)
    made = scratch / "made"
    made.mkdir()
    write(logs, codes, made, f"{number:05d}")
    for path in sorted(made.rglob("*")):
        to = state.folder.parent / path.relative_to(made)
        if path.is_dir():
            to.mkdir(exist_ok=True)
        else:
            os.replace(path, to)
    shutil.rmtree(made)
    return Tallied(**_tallied(state, logs, codes)), sum(map(len, logs.values()))


# Shards ---------------------------------------------------------------------------------------------------------


def shards(state: State) -> list[tuple[str, str, int]]:
    """Domain, part and number of every shard."""
    return [
        (domain, part, shard)
        for (domain, part), bounds in state.known.bounds.items()
        if state.known.examples[domain, part] >= 0
        for shard in range(len(bounds) + 1)
    ]


def shard_path(domain: str, part: str, shard: int) -> str:
    """The file of a shard in the folder of the rows."""
    return f"parts/{domain}/{part}/{shard:05d}.parquet"


def write(state: State, number: int, scratch: pathlib.Path) -> tuple[int, int]:
    """Gathers the rows of a shard, and writes them in their order."""
    from pyarrow import parquet

    domain, part, shard = shards(state)[number]
    at = list(state.work.plans).index(domain)
    tables = []
    for partition in range(len(state.known.partitions)):
        rows = _rows_of(state, partition).rows[domain, part]
        path = state.place("encode", partition) / f"{at}-{part}.arrow"
        tables.append(spill.read(path, rows, range(shard, shard + 1)))
    table = pa.concat_tables(tables)
    table = table.take(pa.array(np.argsort(np.asarray(table["key"])))).drop(["key"])
    path = state.folder.parent / shard_path(domain, part, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = [name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)]
    parquet.write_table(
        table, str(scratch / "rows"), row_group_size=GROUP_ROWS, compression="zstd", use_dictionary=text
    )
    os.replace(scratch / "rows", path)
    return len(table), len(table)


@functools.lru_cache(maxsize=4096)
def _rows_of(state: State, partition: int) -> Encoded:
    return state.result("encode", partition)


STAGES: dict[str, Does] = {
    "read": read,
    "users": users,
    "items": items,
    "count": count,
    "encode": encode,
    "write": write,
}
"""By name, in their order."""
