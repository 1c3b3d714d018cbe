"""The trainings of a comparison: here, or in processes side by side that each prepare the data once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from cdrzoo.errors import Diverged
from cdrzoo.experiments.results import Results, Task, key_of
from cdrzoo.training.config import RunConfig

_worker: dict[str, Any] = {}
"""What a process that trains holds: configuration, rows, and the folder of the first stages."""


@contextlib.contextmanager
def pool(config: RunConfig, firsts: pathlib.Path, jobs: int) -> Iterator[concurrent.futures.Executor | None]:
    """A pool of processes; `None` for one job, which runs here. First stages go to the folder `firsts`."""
    if jobs < 2:
        start(config, firsts)
        yield None
        return
    # TensorFlow would give every process a thread for each core.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        jobs, context, initializer=start, initargs=(config, firsts)
    ) as processes:
        yield processes


def start(config: RunConfig, firsts: pathlib.Path) -> None:
    """Prepares the rows in the process that trains."""
    from cdrzoo.training import fitting

    _worker.update(config=config, prepared=fitting.prepare(config), firsts=firsts)


def rows() -> Any:
    """The rows that this process trains on."""
    return _worker["prepared"]


def train(changes: dict[str, Any]) -> dict[str, Any]:
    """What a run of the changed configuration reports; one that diverged a `failed` instead of test metrics."""
    from cdrzoo.training import run

    config = _worker["config"].with_changes(changes)
    first, begin = config.first_stage(), time.perf_counter()
    try:
        return run.fit_once(config, _worker["prepared"], _worker["firsts"] / key_of(first) if first else None)
    except Diverged as error:
        seconds = time.perf_counter() - begin
        return {"validation": {"auc": math.nan}, "failed": str(error), "seconds": seconds}


def train_first(config: RunConfig) -> None:
    """Trains a first stage, for the second stages that will ask for it."""
    from cdrzoo.training import fitting

    with contextlib.suppress(Diverged):  # the second stage's run says so
        rows = fitting.seen(config, _worker["prepared"])
        fitting.fit_first(config, rows, _worker["firsts"] / key_of(config))


def run(
    tasks: Sequence[Task], results: Results, processes: concurrent.futures.Executor | None
) -> Iterator[dict[str, Any]]:
    """Yields the line of every task, those that are done already first; new ones are kept as they end.

    Raises:
        Diverged: a run of a seed did, when all others are done.
        Exception: of a run that failed, when those beside it are done and kept; the rest is not begun.
    """
    failed: list[Exception] = []
    todo = []
    for task in tasks:
        if (line := results.find(task)) is not None:
            yield line
        elif processes is None:
            yield from _keep(results, task, train(task.changes), failed)
        else:
            todo.append(task)
    if processes is not None:
        yield from _side_by_side(todo, results, processes, failed)
    if failed:
        raise failed[-1]


def _side_by_side(
    tasks: Sequence[Task], results: Results, processes: concurrent.futures.Executor, failed: list[Exception]
) -> Iterator[dict[str, Any]]:
    # No two processes train the same first stage, nor does the second wait for the first.
    stages = (results.config.with_changes(task.changes).first_stage() for task in tasks)
    list(processes.map(train_first, {key_of(first): first for first in stages if first}.values()))
    waiting = {processes.submit(train, task.changes): task for task in tasks}
    try:
        for future in concurrent.futures.as_completed(waiting):
            if future.cancelled():
                continue
            try:
                yield from _keep(results, waiting[future], future.result(), failed)
            except Exception as error:  # what is being trained beside it is kept, the rest is not begun
                failed.append(error)
                for other in waiting:
                    other.cancel()
    finally:
        for future in waiting:
            future.cancel()


def _keep(
    results: Results, task: Task, result: dict[str, Any], failed: list[Exception]
) -> list[dict[str, Any]]:
    """The line, written; none of a seed that diverged, which is told when the others are done."""
    if "failed" in result and task.stage != "search":
        failed.append(Diverged(f"{task.label} with seed {task.changes['seed']}: {result['failed']}"))
        return []
    return [results.keep(task, result)]
