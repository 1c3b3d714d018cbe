"""Folders that one process writes to."""

import pytest

from cdrzoo import files
from cdrzoo.errors import InputError


def test_a_second_run_says_that_it_cannot_start(tmp_path):
    folder = tmp_path / "made" / "by the lock"
    with files.lock(folder):
        with pytest.raises(InputError, match="Another run is working"):
            with files.lock(folder):
                raise AssertionError("two runs at once")
    with files.lock(folder):
        pass


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(OSError, match="full"), files.whole(tmp_path / "scores.csv") as part:
        part.write_text("half of it")
        raise OSError("full")
    assert not list(tmp_path.iterdir())
    files.write(tmp_path / "scores.csv", "all of it")
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


def test_what_the_system_refuses_is_said_with_the_mend(tmp_path):
    (tmp_path / "file").touch()
    for path, said in (
        (tmp_path / "file" / "x", "a file where a folder is wanted"),
        (tmp_path / "no", "Check the path"),
    ):
        with pytest.raises(OSError) as caught:
            path.read_text()
        assert files.said(caught.value).startswith(f"{path}: ") and said in files.said(caught.value)


def test_a_disk_without_room_is_said(tmp_path):
    for error in (OSError(28, "No space left on device"), RuntimeError("events: No space left on device")):
        with pytest.raises(InputError, match="No space left on device. Free space."):
            with files.writing("Free space."):
                raise error
    with pytest.raises(RuntimeError, match="else"), files.writing("Free space."):
        raise RuntimeError("something else")


def test_home_is_written_as_ever():
    assert files.home("~/x").is_absolute() and str(files.home("x/~y")) == "x/~y"
    assert str(files.home("~no such user/x")) == "~no such user/x"
    assert str(files.home("/data/x.csv", "memory://bucket/run")) == "/data/x.csv"
