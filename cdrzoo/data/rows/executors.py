"""Who does the tasks of a stage. An executor takes a function and tasks, and gives results as they come.

Tasks know one another by files alone, so that an executor does no more than spread them. It may try a task twice.
On a cluster every machine sees the data and the folder of the rows under the same paths.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.process
import contextlib
import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cdrzoo.errors import DataError, InputError, shown

Run = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
Executor = contextlib.AbstractContextManager[Run]
"""Is entered once; what it gives then does the tasks of each stage."""


def executor(name: str, jobs: int, address: str | None = None, flags: Sequence[str] = ()) -> Executor:
    """By its name: `processes`, `beam`, `dask` or `spark`.

    Args:
        name: which.
        jobs: processes of this machine, where no address says that there are others.
        address: of Dask's scheduler or Spark's master.
        flags: Beam's options, as its command line takes them, without the dashes.
    """
    if flags and name != "beam":
        raise InputError(
            f"`--beam` is of --executor beam; {name} takes no flags. Received: {shown(flags[0])}."
        )
    if address and name not in ("dask", "spark"):
        raise InputError(f"`--address` is of --executor dask or spark; {name} has none.")
    if name in _LIBRARIES:
        _import(*_LIBRARIES[name])
    if name == "beam":
        flags = flags or [f"direct_num_workers={jobs}", "direct_running_mode=multi_processing"]
        return beam([f"--{flag}" for flag in flags])
    return {"dask": dask, "spark": spark}[name](jobs, address) if name != "processes" else processes(jobs)


_LIBRARIES = {
    "beam": ("apache_beam", "apache-beam"),
    "dask": ("distributed", "dask[distributed]"),
    "spark": ("pyspark", "pyspark"),
}


@contextlib.contextmanager
def processes(jobs: int) -> Iterator[Run]:
    """So many processes of this machine; one does without a process of its own."""
    if jobs == 1:
        yield map
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cdrzoo.data.rows.tasks"])  # imported once, not by every process
    pool = concurrent.futures.ProcessPoolExecutor(jobs, context)

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        try:
            for future in concurrent.futures.as_completed([pool.submit(function, task) for task in tasks]):
                yield future.result()
        except concurrent.futures.process.BrokenProcessPool:
            raise DataError(
                "A process was ended from outside, mostly for want of memory. Start the preparation again, it goes on "
                "where it was, with fewer jobs or less memory."
            ) from None

    try:
        yield run
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def beam(flags: Sequence[str]) -> Iterator[Run]:
    """Apache Beam: a pipeline a stage, on the runner that the flags, as of its command line, name."""
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        options = PipelineOptions(list(flags))
        with apache_beam.Pipeline(options=options) as pipeline:
            # Reshuffle: else one worker would do all.
            _ = (
                pipeline
                | apache_beam.Create(list(tasks))
                | apache_beam.Reshuffle()
                | apache_beam.Map(lambda task: _tried(function, task))
            )
        yield from map(
            function, tasks
        )  # they are done: this looks at what is there, and finds a mistake again

    yield run


def beam_workers(flags: Sequence[str]) -> int:
    """How many workers the flags of Beam want on this machine."""
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

    wanted = PipelineOptions(list(flags)).view_as(DirectOptions).direct_num_workers
    return int(wanted or os.cpu_count() or 1)


@contextlib.contextmanager
def dask(jobs: int, address: str | None) -> Iterator[Run]:
    """Dask: the scheduler at an address, or a cluster of processes on this machine."""
    import distributed

    with contextlib.ExitStack() as stack:
        where: Any = address or stack.enter_context(
            distributed.LocalCluster(
                n_workers=jobs, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
            )
        )
        client = stack.enter_context(distributed.Client(where))

        def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
            futures = client.map(function, list(tasks), pure=False)
            yield from (result for _, result in distributed.as_completed(futures, with_results=True))

        yield run


@contextlib.contextmanager
def spark(jobs: int, address: str | None) -> Iterator[Run]:
    """Spark: the master at an address, or one on this machine."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(address or f"local[{jobs}]").appName("cdrzoo prepare")
    if address is None:  # else every worker has its own
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = builder.config("spark.ui.enabled", "false").getOrCreate()

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        spread = session.sparkContext.parallelize(list(tasks), len(tasks))
        for found in spread.map(lambda task: _tried(function, task)).collect():
            if isinstance(found, InputError):
                raise found
            yield found

    try:
        yield run
    finally:
        session.stop()


def _tried(function: Callable[[Any], Any], task: Any) -> Any:
    """What a function gives, or the user's mistake that it found: an error would come back as a text of many lines."""
    try:
        return function(task)
    except InputError as error:
        return error


def _import(module: str, package: str) -> None:
    """Raises where a library is not there."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"This executor needs {package}: pip install '{package}'. ({error})") from None
