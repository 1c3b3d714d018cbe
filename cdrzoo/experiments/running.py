"""The trainings of a comparison: here, or in processes side by side that each prepare the data once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import pathlib
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from cdrzoo import memory
from cdrzoo.errors import Diverged
from cdrzoo.experiments.results import Results, Task, key_of
from cdrzoo.training.config import RunConfig

_worker: dict[str, Any] = {}
"""What a process that trains holds: configuration, rows, the folder of the first stages, and who hears of it."""


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
    # A process does not wait for room: what finds none is not told.
    _worker["news"] = news = context.Queue(100)
    with concurrent.futures.ProcessPoolExecutor(
        jobs, context, initializer=_start_aside, initargs=(config, firsts, news)
    ) as processes:
        yield processes


def _start_aside(config: RunConfig, firsts: pathlib.Path, news: Any) -> None:
    def hear(said: dict[str, Any]) -> None:
        with contextlib.suppress(queue.Full):
            news.put_nowait(said)

    memory.keep()
    news.cancel_join_thread()
    _worker["hear"] = hear
    start(config, firsts)


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
    folder = _worker["firsts"] / key_of(first) if first else None
    try:
        return run.fit_once(config, _worker["prepared"], folder, own=[_heard(config)])
    except Diverged as error:
        seconds = time.perf_counter() - begin
        return {"validation": {"auc": math.nan}, "failed": str(error), "seconds": seconds}


def train_first(config: RunConfig) -> None:
    """Trains a first stage, for the second stages that will ask for it."""
    from cdrzoo.training import fitting

    with contextlib.suppress(Diverged):  # the second stage's run says so
        rows = fitting.seen(config, _worker["prepared"])
        fitting.fit_first(config, rows, _worker["firsts"] / key_of(config), own=[_heard(config, first=True)])


def _train_aside(task: Task) -> dict[str, Any]:
    _worker["label"] = task.label
    return train(task.changes)


def _heard(config: RunConfig, first: bool = False) -> Any:
    """The callback that tells where a training is to those who hear of it."""
    from cdrzoo.training.progress import Whereabouts

    def hear(place: dict[str, Any]) -> None:
        label = config.model if first else _worker.get("label", config.model)
        stage = first or callback.run_config is not config
        _worker.get("hear", _unheard)({"label": label, "seed": config.seed, "first": stage, **place})

    callback = Whereabouts(hear)
    return callback


def _unheard(news: dict[str, Any]) -> None:
    """Nobody listens."""


class Runs:
    """The trainings of tasks. Iterated over, it trains them and yields the line of each.

    Those that are done already come as they are; new ones are kept as they end.

    Attributes:
        hear: is told where a training is, every few seconds; see `cdrzoo.experiments.told.Told.hear`.

    Raises:
        Diverged: a run of a seed did, when all others are done.
        Exception: of a run that failed, when those beside it are done and kept; the rest is not begun.
    """

    def __init__(
        self, tasks: Sequence[Task], results: Results, processes: concurrent.futures.Executor | None
    ):
        self.tasks, self.results, self.processes = tasks, results, processes
        self.hear: Callable[[dict[str, Any]], None] = _unheard
        self._failed: list[Exception] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        todo = []
        for task in self.tasks:
            if (line := self.results.find(task)) is not None:
                yield line
            elif self.processes is None:
                _worker.update(hear=self.hear, label=task.label)
                yield from self._keep(task, train(task.changes))
            else:
                todo.append(task)
        if self.processes is not None:
            yield from self._side_by_side(todo, self.processes)
        if self._failed:
            raise self._failed[-1]

    def _side_by_side(
        self, tasks: Sequence[Task], processes: concurrent.futures.Executor
    ) -> Iterator[dict[str, Any]]:
        # No two processes train the same first stage, nor does the second wait for the first.
        stages = (self.results.config.with_changes(task.changes).first_stage() for task in tasks)
        firsts = {key_of(first): first for first in stages if first}.values()
        for future in self._ended([processes.submit(train_first, first) for first in firsts]):
            future.result()
        waiting = {processes.submit(_train_aside, task): task for task in tasks}
        try:
            for future in self._ended(waiting):
                if future.cancelled():
                    continue
                try:
                    yield from self._keep(waiting[future], future.result())
                except Exception as error:  # what is being trained beside it is kept, the rest is not begun
                    self._failed.append(error)
                    for other in waiting:
                        other.cancel()
        finally:
            for future in waiting:
                future.cancel()

    def _ended(self, futures: Iterable[concurrent.futures.Future]) -> Iterator[concurrent.futures.Future]:
        """The futures as they end. In between it is heard where they are."""
        waiting, news = set(futures), _worker.get("news")
        while waiting:
            ended, waiting = concurrent.futures.wait(waiting, 1, concurrent.futures.FIRST_COMPLETED)
            while news and not news.empty():
                self.hear(news.get())
            yield from ended

    def _keep(self, task: Task, result: dict[str, Any]) -> list[dict[str, Any]]:
        """The line, written; none of a seed that diverged, which is told when the others are done."""
        if "failed" in result and task.stage != "search":
            self._failed.append(
                Diverged(f"{task.label} with seed {task.changes['seed']}: {result['failed']}")
            )
            return []
        return [self.results.keep(task, result)]
