"""What rows are to be prepared of, in which pieces they are read, and whether they are what was prepared before."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from cdrzoo.data import readers
from cdrzoo.data.encoder import Encoder
from cdrzoo.data.preparation import reading
from cdrzoo.data.preparation.sources import Source
from cdrzoo.data.preparation.splits import part_column, settle
from cdrzoo.data.rows.format import FORMAT
from cdrzoo.errors import DataError
from cdrzoo.files import is_path, is_remote, stamp
from cdrzoo.schema import Schema

PIECE_ROWS = 1 << 20
"""Rows of a Parquet file that one task reads, whole row groups."""
PARTITION_ROWS = 1 << 19
"""Rows of a partition at most, where memory would hold more: a kill costs no more than that."""
BASE = 450 << 20
"""Bytes of a process that holds no rows."""
UNPACKED, TEXT = 12.0, 4.0
"""Bytes in memory for a byte of a packed file that is joined, and of one of text."""
OVERHEAD = 3.0
"""Bytes of memory for each byte of a partition's columns, raw and encoded."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What rows are made of, as `prepare` takes it."""

    schema: Schema
    data: Mapping[str, Any]
    split: str | Mapping[str, Any] = "time"
    include_ties: bool = False
    history: str = "before"
    seed: int = 0
    slices: tuple[str, ...] = ()
    folder: str = "."
    since: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def part_column(self) -> str | None:
        """The column of a split that is given; `None` of any other."""
        return part_column(*settle(self.split, self.seed))


@dataclasses.dataclass(frozen=True)
class Piece:
    """Rows that one task reads.

    Args:
        domain: theirs.
        file: the number of their file among those of the domain.
        path: the file.
        groups: row groups of a Parquet file, or `None`: the whole file.
        first: rows of the file before them.
        stamp: size and time of the file when the plan was made.
    """

    domain: str
    file: int
    path: str
    groups: tuple[int, ...] | None
    first: int
    stamp: tuple[int, Any]


@dataclasses.dataclass(frozen=True)
class Work:
    """The whole plan.

    Args:
        settings: what is prepared.
        made_of: the same as JSON, with the stamps of all files.
        plans: what to read of every domain.
        pieces: of all domains.
        slots: users are kept in so many slots, by hash; a partition is some of them.
        partition_rows: rows of a partition at most.
        partitions: how many are wanted; `None`: as `partition_rows` says.
    """

    settings: Settings
    made_of: dict[str, Any]
    plans: dict[str, reading.Plan]
    pieces: tuple[Piece, ...]
    slots: int
    partition_rows: int
    partitions: int | None

    @property
    def key(self) -> str:
        """Hash of what is prepared."""
        return hashlib.sha256(json.dumps(self.made_of, sort_keys=True).encode()).hexdigest()

    def check_files(self) -> None:
        """Raises where a file, of rows or joined, is not as it was when the plan was made."""
        for source in self.made_of["data"].values():
            for path, *stamped in source["files"]:
                if json.loads(json.dumps(stamp(path))) != stamped:
                    raise DataError(f"{path} has changed since the preparation was begun. Start it anew.")

    def logs(self) -> dict[str, Any]:
        """Where they lie, as `prepare` takes it, from whatever folder."""
        found = {}
        for name, plan in self.plans.items():
            joins = [{**join, "path": _absolute(join["path"])} for join in plan.source.join]
            found[name] = {**_entries(plan.source), "path": _absolute(plan.source.path), "join": joins}
        return found


def work(
    settings: Settings, memory: int, jobs: int, partitions: int | None = None, extends: Encoder | None = None
) -> Work:
    """Looks at the files, of which a piece at a time is read later.

    Args:
        settings: what is prepared.
        memory: bytes for all processes together.
        jobs: processes.
        partitions: so many; default: as memory allows.
        extends: an encoder that the new one extends.

    Raises:
        DataError: the data is not in files, or a file lacks what is wanted.
    """
    schema = settings.schema
    plans = reading.plans(schema, settings.data, settings.folder, settings.part_column, settings.slices)
    files: dict[str, list[list[Any]]] = {}
    pieces: list[Piece] = []
    for name, plan in plans.items():
        for source in (
            plan.source,
            *(dataclasses.replace(plan.source, path=join.other) for join in plan.joins),
        ):
            if source.data is not None or not (
                isinstance(source.path, (list, tuple)) or is_path(source.path)
            ):
                raise DataError(
                    f"The data of domain {name!r} is a DataFrame. Rows are prepared to a folder from files: write it "
                    "to one (`frame.to_parquet`), or call `prepare`, which holds all rows in memory."
                )
        _check_joins(plan, memory / jobs)
        own = readers.files(plan.source.path)
        files[name] = [_stamped(file) for file in own]
        files[name] += [_stamped(file) for join in plan.joins for file in readers.files(join.other)]
        for number, file in enumerate(own):
            pieces += _pieces(name, number, file)
    row = max(_row_bytes(schema, plan) for plan in plans.values())
    room = max((memory / jobs - BASE) / (row * OVERHEAD), 4096)
    rows = int(min(PARTITION_ROWS, room))
    total = sum(size for of_domain in files.values() for _, size, _ in of_domain) / 20
    wanted = partitions or total / rows
    slots = 1 << min(max(int(wanted * 4).bit_length(), 4), 11)
    made_of = _made_of(settings, plans, files)
    if extends is not None:
        made_of["extends"] = {"numbers": extends.numbers, "schema": extends.schema.to_dict()}
    made_of = json.loads(json.dumps(made_of))
    return Work(settings, made_of, plans, tuple(pieces), slots, rows, partitions)


def _check_joins(plan: reading.Plan, room: float) -> None:
    """Raises where a joined file would take more than half of the bytes that a process may have."""
    for join in plan.joins:
        found = readers.files(join.other)
        size = sum(
            stamp(file)[0] * (UNPACKED if file.suffix in (".gz", ".parquet") else TEXT) for file in found
        )
        if size > room / 2:
            raise DataError(
                f"{join.other} is joined to the rows of {plan.domain.name!r}, and every process holds it: about "
                f"{size / 2**30:.1f} GB of the {room / 2**30:.1f} that it may have. Allow more memory or fewer jobs, "
                "or join it to the rows' files before."
            )


def _stamped(file: pathlib.Path) -> list[Any]:
    return [str(file), *stamp(file)]


def _pieces(domain: str, number: int, file: pathlib.Path) -> list[Piece]:
    """The pieces of a file: row groups of Parquet, any other file is one."""
    of_file = (domain, number, str(file))
    sizes = readers.group_rows(file)
    if sizes is None:
        return [Piece(*of_file, None, 0, stamp(file))]
    found: list[Piece] = []
    taken: list[int] = []
    first = rows = 0
    for group, size in enumerate(sizes):
        if taken and rows + size > PIECE_ROWS:
            found.append(Piece(*of_file, tuple(taken), first, stamp(file)))
            taken, first, rows = [], first + rows, 0
        taken.append(group)
        rows += size
    return [*found, Piece(*of_file, tuple(taken), first, stamp(file))]


def _row_bytes(schema: Schema, plan: reading.Plan) -> float:
    """Bytes of a row of a domain in memory: raw columns, windows, encoded ids and the copy that is written."""
    encoded = sum(4 * (f.values or 1) for f in plan.domain.tensors)
    return 24 * len(plan.own) + 32 * len(plan.domain.histories()) + 2 * encoded


def _absolute(path: Any) -> Any:
    if isinstance(path, (list, tuple)):
        return [_absolute(one) for one in path]
    return str(path) if is_remote(path) else str(pathlib.Path(path).absolute())


def _entries(source: Source) -> dict[str, Any]:
    return {f.name: getattr(source, f.name) for f in dataclasses.fields(source)}


def _made_of(
    settings: Settings, plans: Mapping[str, reading.Plan], files: Mapping[str, Sequence[list[Any]]]
) -> dict[str, Any]:
    by, arguments = settle(settings.split, settings.seed)
    data = {}
    for name, plan in plans.items():
        joins = [{"on": join.key.column, "delimiter": join.delimiter} for join in plan.joins]
        data[name] = {**_entries(plan.source), "path": None, "join": joins, "files": files[name]}
    return {
        "schema": settings.schema.to_dict(),
        "data": data,
        "split": {"by": by, **arguments},
        "include_ties": settings.include_ties,
        "history": settings.history,
        "seed": settings.seed,
        "slices": list(settings.slices),
        **({"since": dict(settings.since)} if settings.since else {}),
        "format": FORMAT,
    }


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first things in which two `made_of` differ, for messages; nothing where they are alike."""
    found = []
    for entry in now:
        if before.get(entry) == now[entry]:
            continue
        if entry != "data":
            found.append(f"`{entry}`")
            continue
        for domain, source in now["data"].items():
            old = before.get("data", {}).get(domain, {})
            files = {path: stamps for path, *stamps in old.get("files", [])}
            new = {path: stamps for path, *stamps in source["files"]}
            changed = [path for path in {**files, **new} if files.get(path) != new.get(path)]
            found += changed[:3] if changed else [f"`data` of {domain!r}"] if old != source else []
    return ", ".join(dict.fromkeys(found))
