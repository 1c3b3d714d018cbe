"""Rows prepared to a folder, stage by stage; whatever a stage has done is not done again."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cdrzoo import files
from cdrzoo.data.encoder import Encoder
from cdrzoo.data.preparation.assignment import need_times
from cdrzoo.data.preparation.prepared import check_arguments
from cdrzoo.data.preparation.splits import PARTS, Split, settle
from cdrzoo.data.rows import combine, elsewhere, tasks
from cdrzoo.data.rows.executors import Executor, Run, processes
from cdrzoo.data.rows.format import FILE, DomainRows, PartRows, Rows, layout
from cdrzoo.data.rows.plan import Settings, Work, difference, work
from cdrzoo.data.rows.progress import Progress
from cdrzoo.data.rows.state import BEGUN, KNOWN, WORK, Known, State, code, save
from cdrzoo.errors import DataError

MEMORY = 4 << 30
"""Bytes for all processes together."""


def prepare_to(
    out: str | pathlib.Path,
    settings: Settings,
    *,
    memory: int = MEMORY,
    jobs: int = 1,
    partitions: int | None = None,
    executor: Executor | None = None,
    say: Callable[[str], None] = lambda text: None,
    extends: Encoder | None = None,
) -> Rows:
    """Prepares rows to a folder; one that was begun and broken off goes on where it was.

    Users are divided into partitions by a hash; each is prepared by itself, by the functions that `prepare` takes for
    all of them, so that the rows are the same to the bit. Between the stages stands on the disk what one found.

    Args:
        out: the folder. What goes to another file system (`s3://bucket/rows`) is made in a temporary folder first.
        settings: what is prepared.
        memory: bytes for all processes together; partitions are made so small.
        jobs: processes.
        partitions: so many, whatever the memory.
        executor: who does the tasks (`executors`); default: so many processes.
        say: is told how far it is.
        extends: the encoder of a trained model that takes on a new domain (`extend`).

    Returns:
        What `prepared.json` says. Where it is there already, of the same data and settings, nothing is done.

    Raises:
        DataError: on whatever is wrong with the data, or the folder holds other rows.
    """
    out = files.home(out)
    plan = _plan(settings, memory, jobs, partitions, extends)
    if (out / FILE).exists():
        return _there(out, plan, say)
    if files.is_remote(out) and executor is not None:
        raise DataError(
            f"{out} is in another file system: its rows are made by processes of this machine, in a temporary folder. "
            "For a cluster name a folder that every machine sees, such as a bucket that is mounted."
        )
    made = elsewhere.scratch(out) if files.is_remote(out) else out
    if (made / FILE).exists():  # by a start that was ended while it copied
        _there(made, plan, lambda text: None)
    else:
        with _working(made, plan, say) as folder, executor or processes(jobs) as run:
            rows = _made(made, Stages(folder, run, say, list(tasks.STAGES)), extends)
        if made is out:
            return rows
    elsewhere.move(made, out, say)
    return Rows.load(out)


def write_raw(
    out: str | pathlib.Path,
    settings: Settings,
    write: tasks.Write,
    *,
    memory: int = MEMORY,
    jobs: int = 1,
    partitions: int | None = None,
    executor: Executor | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Split, list[str]]:
    """The same rows, not encoded, written to a folder by a function of one's own: what a pipeline begins with.

    Args:
        write: writes the rows of a partition to files that its name tells from those of others. It is called in the
            processes of the executor, so it must be one that they can import.

    The other arguments are those of `prepare_to`.

    Returns:
        The split, without its `parts`, and what is doubtful about the rows.
    """
    out = pathlib.Path(out)
    plan = _plan(settings, memory, jobs, partitions)
    with _working(out, plan, say) as folder, executor or processes(jobs) as run:
        stage = Stages(folder, run, say, ["read", "users", "items", "raw"])
        stage.do("raw", stage.assign(), functools.partial(tasks.raw, write))
        split = combine.split_of(stage.state, "raw")
        return split, combine.warnings_of(stage.state, split, "raw")


def _plan(
    settings: Settings, memory: int, jobs: int, partitions: int | None, extends: Encoder | None = None
) -> Work:
    """The plan; raises where it cannot be one."""
    check_arguments(
        settings.schema,
        settings.split,
        settings.include_ties,
        settings.history,
        settings.seed,
        settings.slices,
        settings.since,
    )
    plan = work(settings, memory, jobs, partitions, extends)
    timed = {name: "@time" in each.own for name, each in plan.plans.items()}
    need_times(timed, settle(settings.split, settings.seed)[0])
    return plan


@contextlib.contextmanager
def _working(out: pathlib.Path, plan: Work, say: Callable[[str], None]) -> Iterator[pathlib.Path]:
    """Gives the folder of the work, which goes when the work is done."""
    out.mkdir(parents=True, exist_ok=True)
    with files.lock(out), files.writing(f"Free space on the disk of {out}, then start it again: it goes on."):
        folder = _begun(out, plan, say)
        yield folder
        shutil.rmtree(folder)


def _there(out: pathlib.Path, plan: Work, say: Callable[[str], None]) -> Rows:
    """What was prepared before, if it is what is wanted."""
    found = Rows.load(out)
    if found.key != plan.key:
        raise DataError(
            f"{out} holds rows that were prepared of something else: {difference(found.made_of, plan.made_of)} "
            "differs. Choose a new folder, or remove this one."
        )
    if not found.logs and not files.is_remote(out):  # of an older version
        found = dataclasses.replace(found, logs=plan.logs())
        found.save(out)
    say(f"{out} holds these rows already.")
    return found


def _begun(out: pathlib.Path, plan: Work, say: Callable[[str], None]) -> pathlib.Path:
    """The folder of the work: that of an attempt before, or a new one."""
    folder = out / WORK
    now = {"code": code(), "made_of": plan.made_of}
    begun = (folder / "plan.pkl").exists()
    if begun:
        before = _before(folder)
        if before == now:
            say("Goes on where it was broken off.")
            for left in folder.glob("*/*.*"):  # of tasks that were killed
                shutil.rmtree(left)
            return folder
        same = before.get("code") == now["code"]
        changed = difference(before["made_of"], plan.made_of) if same else "cdrzoo"
        say(f"Starts anew: {changed} has changed since it was broken off.")
    others = [path.name for path in out.iterdir() if path.name != files.LOCK]
    if others == [WORK] and not any(folder.glob("[!.]*")):  # killed before the plan stood there
        begun = True
    if others and not begun:
        raise DataError(
            f"{out} holds {others[0]!r} and no prepared rows. Choose a new folder, or empty this one."
        )
    for path in out.iterdir():
        if path.name != files.LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.mkdir()
    save(folder / "plan.pkl", plan)
    files.write(folder / BEGUN, json.dumps(now))
    return folder


def _before(folder: pathlib.Path) -> dict[str, Any]:
    """What an attempt before was of; nothing where an older version does not say it."""
    return json.loads((folder / BEGUN).read_text(encoding="utf-8")) if (folder / BEGUN).exists() else {}


class Stages:
    """The stages of a work, one after the other.

    Args:
        folder: of the work.
        run: of the executor.
        say: is told how far it is.
        names: of the stages that there may be.
    """

    def __init__(self, folder: pathlib.Path, run: Run, say: Callable[[str], None], names: list[str]):
        self.state, self.run, self.progress = State(folder), run, Progress(say, names)
        self.state.known = Known()

    def do(self, name: str, count: int, does: tasks.Does | None = None) -> None:
        """Does the tasks of a stage that have not been done; `does`: in the place of what `tasks.STAGES` says."""
        folder = self.state.folder
        save(folder / KNOWN, self.state.known)
        left = (number for number in range(count) if not self.state.place(name, number).exists())
        todo = [(str(folder), name, number) for number in left]
        self.progress.begin(name, count, len(todo))
        one = functools.partial(tasks.run, does=does) if does else tasks.run
        for done in self.run(one, todo) if todo else ():
            self.progress.done(done)

    def assign(self) -> int:
        """Reads the logs, and finds what each partition must know of the others; gives how many there are."""
        state = self.state
        self.do("read", len(state.work.pieces))
        state.work.check_files()
        combine.after_read(state)
        size = len(state.known.partitions)
        if state.by in ("users", "resample", "last", "given"):
            self.do("users", size)
            combine.after_users(state)
        if any(plan.source.negatives is not None for plan in state.work.plans.values()):
            self.do("items", size)
            combine.after_items(state)
        return size


def _made(out: pathlib.Path, stage: Stages, extends: Encoder | None) -> Rows:
    """All stages, one after the other."""
    state, size = stage.state, stage.assign()
    stage.do("count", size)
    split, encoder, items = combine.after_count(state, out, extends)
    stage.do("encode", size)
    stage.do("write", len(tasks.shards(state)))
    encoder.schema.save(out / "schema.yaml")
    (out / "split.json").write_text(json.dumps(split.to_dict(), indent=2) + "\n", encoding="utf-8")
    _examples(out, state)
    rows = _rows(state, split, items)
    rows.save(out)
    return rows


def _rows(state: State, split: Split, items: dict[tuple[str, str], int]) -> Rows:
    """What `prepared.json` says."""
    shards: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for number, (domain, part, shard) in enumerate(tasks.shards(state)):
        rows = state.result("write", number)
        shards.setdefault((domain, part), []).append((tasks.shard_path(domain, part, shard), rows))
    domains = {}
    for name, plan in state.work.plans.items():
        parts = {
            part: PartRows(
                rows=tally.rows,
                shards=tuple(shards.get((name, part), ())),
                labels=float(tally.labels),
                users=tally.users,
                items=items.get((name, part)),
            )
            for part, tally in split.tallies[name].items()
        }
        ids, numbers = layout(plan.domain)
        domains[name] = DomainRows(ids, numbers, plan.source.weight is not None, parts)
    work, slices = state.work, tuple(state.work.settings.slices)
    doubts = tuple(combine.warnings_of(state, split, "count"))
    return Rows(work.key, work.made_of, split.to_dict(), slices, domains, doubts, work.logs())


def _examples(out: pathlib.Path, state: State) -> None:
    """Writes the first raw rows of each part."""
    import pyarrow as pa
    from pyarrow import parquet

    for at, name in enumerate(state.work.plans):
        (out / "examples" / name).mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            pieces = []
            for partition in range(len(state.known.partitions)):
                path = state.place("encode", partition) / f"{at}-{part}-raw.arrow"
                with pa.memory_map(str(path)) as file:
                    pieces.append(pa.ipc.open_file(file).read_all())
            table = pa.concat_tables(pieces)
            table = table.take(pa.array(np.argsort(np.asarray(table["@row"])))).drop(["@row"])
            parquet.write_table(table, str(out / "examples" / name / f"{part}.parquet"))
