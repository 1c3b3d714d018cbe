"""Logs, joined files and prepared rows in another file system: they are what they are on the disk."""

from __future__ import annotations

import dataclasses
import pathlib
import sys

import numpy as np
import pandas as pd
import pytest

from cdrzoo import files
from cdrzoo.data import load_rows, readers
from cdrzoo.data.readers import Wanted
from cdrzoo.data.rows import elsewhere, tasks
from cdrzoo.data.rows.making import prepare_to
from cdrzoo.errors import DataError, InputError
from cdrzoo.schema import UNKNOWN
from cdrzoo.training.config import RunConfig
from tests.data.rows.test_preparing import case, files_of, small  # noqa: F401

USER = {"user": Wanted("user", "string")}


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder that is read and written by fsspec alone: `file://` and its path."""
    pytest.importorskip("upath")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(elsewhere.tempfile, "gettempdir", lambda: str(tmp_path / "scratch"))
    return lambda path: f"file://{path}"


def moved(settings, url):
    """The same logs and joined files, by their URLs."""

    def of(source):
        joins = [{**join, "path": url(join["path"])} for join in source["join"]]
        return {**source, "path": url(source["path"]), "join": joins}

    return dataclasses.replace(settings, data={name: of(source) for name, source in settings.data.items()})


@pytest.mark.parametrize("name", ["CSV, time", "JSON, last", "Parquet, random"])
def test_rows_from_there_and_to_there_are_those_of_the_disk(name, there, tmp_path):
    settings = case(name, tmp_path)
    prepare_to(tmp_path / "here", settings)
    prepare_to(there(tmp_path / "rows"), moved(settings, there))
    want, found = files_of(tmp_path / "here"), files_of(tmp_path / "rows")
    assert want.keys() - found.keys() == {".lock"} and not list((tmp_path / "scratch").iterdir())
    assert [file for file in found if want[file] != found[file]] == ["prepared.json"]  # which names the files
    here, far = load_rows(tmp_path / "here"), load_rows(there(tmp_path / "rows"))
    for part in ("train", "test"):
        one, other = here.parts["films"][part], far.parts["films"][part]
        for name in one.x:
            np.testing.assert_array_equal(one.x[name], other.x[name])
        np.testing.assert_array_equal(one.user, other.user)
        streamed = load_rows(there(tmp_path / "rows"), held=False).stored["films"][part]
        np.testing.assert_array_equal(streamed.read(0)[0], here.stored["films"][part].read(0)[0])
    pd.testing.assert_frame_equal(here.examples(9), far.examples(9))
    assert here.encoder.numbers == far.encoder.numbers and here.schema == far.schema


def test_a_kill_while_copying_and_a_change_there(there, tmp_path, monkeypatch):
    settings = moved(case("CSV, time", tmp_path), there)
    out, copied = files.home(there(tmp_path / "rows")), []

    def killed(self, source, to, **how):
        copied.append(to)
        if len(copied) == 4:
            raise KeyboardInterrupt
        return put(self, source, to, **how)

    put = type(out.fs).put_file
    monkeypatch.setattr(type(out.fs), "put_file", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare_to(str(out), settings)
    assert not (tmp_path / "rows" / "prepared.json").exists()
    monkeypatch.setattr(tasks, "STAGES", {})  # nothing is done again
    prepare_to(str(out), settings)
    assert copied[-1].endswith("prepared.json")
    said: list[str] = []
    prepare_to(str(out), settings, say=said.append)
    assert "already" in said[0]
    log = tmp_path / "films" / "0.csv"
    log.write_text(log.read_text().replace("heavy", "light"))
    with pytest.raises(DataError, match=r"films/0.csv differs"):
        prepare_to(str(out), settings)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    monkeypatch.undo()
    with pytest.raises(DataError, match="holds 'thesis.txt' and no prepared rows"):
        elsewhere.move(tmp_path / "rows", files.home(there(tmp_path / "mine")), said.append)
    with pytest.raises(DataError, match="made by processes of this machine"):
        prepare_to(there(tmp_path / "new"), settings, executor=object())


def test_a_store_that_is_no_disk_and_a_stop_in_each_stage(tmp_path, monkeypatch):
    """`memory://`: folders of two files, a join, ids below `min_count`; each stage is stopped in its second task."""
    pytest.importorskip("upath")
    store = pytest.importorskip("fsspec").filesystem("memory")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(elsewhere.tempfile, "gettempdir", lambda: str(tmp_path / "scratch"))
    settings, out = case("Parquet, users", tmp_path), "memory://rows/of/films"
    log = tmp_path / "films" / "0.parquet"
    frame = pd.read_parquet(log)
    nobody = frame["user"] == ""  # in no history, so that their items are seen once
    frame.loc[nobody, "item"] = range(900, 900 + nobody.sum())
    frame.to_parquet(log, row_group_size=50)
    prepare_to(tmp_path / "here", settings, partitions=3)
    for log in [*(tmp_path / "books").iterdir(), *(tmp_path / "films").iterdir(), tmp_path / "brands.csv"]:
        store.pipe(f"/logs/{log.relative_to(tmp_path)}", log.read_bytes())
    far = moved(settings, lambda path: f"memory://logs/{pathlib.Path(path).relative_to(tmp_path)}")
    try:
        for stage in ("read", "users", "count", "encode", "write"):
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setitem(tasks.STAGES, stage, stopped(tasks.STAGES[stage]))
                prepare_to(out, far, partitions=3)
            assert not store.exists("/rows")
        said: list[str] = []
        prepare_to(out, far, partitions=3, say=said.append)
        assert said[0] == "Goes on where it was broken off." and "Copies" in said[-1]
        here, rows = files_of(tmp_path / "here"), store.find("/rows/of/films")
        found = {path.removeprefix("/rows/of/films/"): store.cat(path) for path in rows}
        assert here.keys() - found.keys() == {".lock"}
        assert [file for file in found if here[file] != found[file]] == ["prepared.json"]
        ids = load_rows(out, held=False).stored["films"]["train"].ids_of("item")
        assert far.schema.table("item").min_count == 2 and UNKNOWN in ids
    finally:
        store.store.clear()


def stopped(work):
    """The work of a stage, which is stopped in its second task."""

    def does(state, number, scratch):
        if number == 1:
            raise KeyboardInterrupt
        return work(state, number, scratch)

    return does


def test_a_run_names_them(there, tmp_path):
    settings = case("CSV, time", tmp_path)
    prepare_to(tmp_path / "rows", settings)
    config = RunConfig.from_dict({"data": there(tmp_path / "rows"), "model": "dnn"})
    here = RunConfig.from_dict({"data": str(tmp_path / "rows"), "model": "dnn"})
    assert config.identity() == here.identity() and config.schema == here.schema
    logs = {"schema": settings.schema.to_dict(), "model": "dnn", "split": "time"}
    far, near = (
        RunConfig.from_dict({**logs, "data": {n: url(tmp_path / n / "0.csv") for n in ("books", "films")}})
        for url in (there, str)
    )
    assert far.identity() == near.identity()
    assert (
        near.paths() == sorted(tmp_path / name / "0.csv" for name in ("books", "films")) and not far.paths()
    )


def test_patterns_folders_and_what_is_not_there(there, tmp_path):
    for day in (1, 2):
        folder = tmp_path / f"dt=2024-05-0{day}"
        folder.mkdir()
        pd.DataFrame({"user": [f"u{day}"]}).to_csv(folder / "part-0.csv.gz", index=False)
    (tmp_path / "_SUCCESS").touch()
    for path in (there(tmp_path), there(tmp_path / "dt=*" / "part-*.gz")):
        found = readers.read(path, {**USER, "day": Wanted("dt", "string")})
        assert list(found["user"]) == ["u1", "u2"] and list(found["day"]) == ["2024-05-01", "2024-05-02"]
    with pytest.raises(DataError, match="Did you mean 'part-0.csv.gz'"):
        readers.read(there(tmp_path / "dt=2024-05-01" / "part-1.csv.gz"), USER)
    with pytest.raises(InputError, match="in no file system that fsspec knows"):
        readers.read("nowhere://bucket/a.csv", USER)


@pytest.mark.parametrize(
    ("url", "extra"), [("s3://b/a.csv", "s3"), ("gs://b/a.csv", "gcs"), ("hdfs://h/a.csv", "remote")]
)
def test_a_missing_package_is_named(url, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(InputError, match=rf"cdrzoo\[{extra}\]"):
        readers.read(url, USER)


@pytest.mark.parametrize("url", ["hdfs://name:8020/logs/a.csv", "abfs://c@one.dfs.core.windows.net/a.csv"])
def test_a_host_that_would_be_lost_is_said(url):
    pytest.importorskip("upath")
    with pytest.raises(
        InputError, match=r"names the host .* do not keep. Write (hdfs:///logs|abfs://c)/a.csv"
    ):
        readers.read(url, USER)


def test_a_file_system_that_cannot_be_reached_is_said(monkeypatch):
    pytest.importorskip("upath")

    def unable(*args, **how):
        raise OSError("Unable to load libjvm\nand more")

    monkeypatch.setattr("pyarrow.fs.HadoopFileSystem", unable)
    with pytest.raises(InputError, match="cannot be reached: Unable to load libjvm. Check .* libhdfs"):
        readers.read("hdfs:///logs/a.csv", USER)


@pytest.mark.slow  # imports TensorFlow
def test_records_there(there, tmp_path):
    from tests.data.test_readers import ROWS, WANTED, write

    write(tmp_path, "tfrecord.gz", ROWS)
    found = readers.read(there(tmp_path / "rows.tfrecord.gz"), WANTED)
    assert list(found["user"]) == ROWS["user"]
