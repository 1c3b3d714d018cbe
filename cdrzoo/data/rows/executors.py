"""Who does the tasks of a stage. Each executor takes a function and tasks, and gives results as they come."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from cdrzoo.errors import DataError

Executor = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


def processes(jobs: int) -> Executor:
    """So many processes of this machine; one does without a process of its own."""

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        if jobs == 1 or len(tasks) == 1:
            yield from map(function, tasks)
            return
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(min(jobs, len(tasks)), context) as pool:
            futures = [pool.submit(function, task) for task in tasks]
            try:
                for future in concurrent.futures.as_completed(futures):
                    yield future.result()
            except concurrent.futures.process.BrokenProcessPool:
                raise DataError(
                    "A process was ended from outside, mostly for want of memory. Start the preparation again, it goes "
                    "on where it was, with fewer jobs or less memory for each."
                ) from None
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    return run
