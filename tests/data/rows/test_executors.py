"""Whoever does the work, the rows are the same; each executor runs for real where its library is."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from cdrzoo.data import Settings, prepare_to, synthetic
from cdrzoo.data.rows.executors import executor
from cdrzoo.errors import InputError
from tests.data.rows.test_preparing import files_of

MADE = synthetic.synthesize(0.5, users=60, source_rows=600, target_rows=400, source_items=40, target_items=30)


def needs(module: str, package: str):
    there = importlib.util.find_spec(module) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not in this environment")


JAVA = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs a Java runtime")


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


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        pytest.param("processes", (), marks=pytest.mark.slow),
        pytest.param("beam", ("direct_running_mode=in_memory",), marks=needs("apache_beam", "apache-beam")),
        pytest.param("beam", (), marks=[needs("apache_beam", "apache-beam"), pytest.mark.slow]),
        pytest.param("dask", (), marks=[needs("distributed", "dask[distributed]"), pytest.mark.slow]),
        pytest.param("spark", (), marks=[needs("pyspark", "pyspark"), JAVA, pytest.mark.slow]),
    ],
)
def test_every_executor_gives_the_same_files(name, flags, settings, alone, tmp_path):
    said: list[str] = []
    prepare_to(
        tmp_path / "rows", settings, partitions=3, executor=executor(name, 2, flags=flags), say=said.append
    )
    assert files_of(tmp_path / "rows") == files_of(alone)
    assert any("1,000 rows" in line for line in said)


@pytest.fixture
def cluster(tmp_path):
    """A Spark master and two workers on this machine; gives the master's address."""
    home = pathlib.Path(importlib.util.find_spec("pyspark").origin).parent
    port = 20_000 + os.getpid() % 10_000
    started, local = [], {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
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
@needs("pyspark", "pyspark")
@JAVA
def test_a_spark_cluster_of_two_workers(settings, alone, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    prepare_to(tmp_path / "rows", settings, partitions=3, executor=executor("spark", 2, cluster))
    assert files_of(tmp_path / "rows") == files_of(alone)


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
