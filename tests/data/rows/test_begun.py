"""A preparation that was broken off goes on where it was; what has changed since is noticed, and foreign files stay."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os

import pytest

from cdrzoo.data.rows import making, state, tasks
from cdrzoo.data.rows.making import prepare_to
from cdrzoo.errors import DataError, InputError
from tests.data.rows.test_preparing import case, files_of, logs, small  # noqa: F401


@pytest.mark.slow
def test_a_kill_in_any_stage_costs_one_task_and_changes_no_file(tmp_path):
    settings = case("negatives, last", tmp_path)
    prepare_to(tmp_path / "whole", settings, partitions=3)
    done: list[str] = []

    def killed_after(number):
        def run(function, todo):
            for task in todo:
                if len(done) == number:
                    raise KeyboardInterrupt
                done.append(task[1])
                yield function(task)

        return contextlib.nullcontext(run)

    number = 0
    while True:
        try:
            prepare_to(tmp_path / "rows", settings, partitions=3, executor=killed_after(number := number + 1))
            break
        except KeyboardInterrupt:
            assert not (tmp_path / "rows" / "prepared.json").exists()
    assert {stage: done.count(stage) for stage in tasks.STAGES} == {
        "read": 2 + 4 + 2 + 3,  # row groups of 50, of which the last of films is short
        "users": 3,
        "items": 3,
        "count": 3,
        "encode": 3,
        "write": done.count("write"),
    }
    whole, broken = files_of(tmp_path / "whole"), files_of(tmp_path / "rows")
    assert whole == broken and not (tmp_path / "rows" / "work").exists()


def test_what_is_there_is_kept_and_what_has_changed_is_said(tmp_path):
    settings = case("CSV, time", tmp_path)
    said: list[str] = []
    first = prepare_to(tmp_path / "rows", settings)
    assert prepare_to(tmp_path / "rows", settings, say=said.append) == first and "already" in said[-1]
    with pytest.raises(DataError, match="`split` differs. Choose a new folder"):
        prepare_to(tmp_path / "rows", dataclasses.replace(settings, split="random"))
    log = tmp_path / "films" / "0.csv"
    log.write_text(log.read_text().rsplit("\n", 2)[0] + "\n")
    with pytest.raises(DataError, match=r"films.0.csv differs"):
        prepare_to(tmp_path / "rows", settings)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    for mine in ("thesis.txt", "work/thesis.txt"):  # whose folder may be called so, too
        (tmp_path / "mine" / mine).parent.mkdir(exist_ok=True)
        (tmp_path / "mine" / mine).touch()
        with pytest.raises(DataError, match=r"holds '(thesis.txt|work)' and no prepared rows"):
            prepare_to(tmp_path / "mine", settings)
        (tmp_path / "mine" / mine).unlink()
    prepare_to(tmp_path / "mine", settings)
    frames = {name: frame.assign(brand="x") for name, frame in logs().items()}
    with pytest.raises(
        DataError, match=r"brands.csv is joined to the rows of 'books', and every process holds it"
    ):
        prepare_to(tmp_path / "new", settings, memory=1000)
    with pytest.raises(DataError, match="is a DataFrame"):
        prepare_to(tmp_path / "new", dataclasses.replace(settings, data=frames))


@pytest.mark.parametrize("file", ["brands.csv", "films/0.csv"])
def test_a_file_that_changes_while_it_is_read_is_noticed(file, tmp_path):
    """The joined one, and one that was read already; the next start is anew, of what stands there then."""
    settings, changed = case("CSV, time", tmp_path), tmp_path / file

    def changing(function, todo):
        for task in todo:
            yield function(task)
        if task[1] == "read":
            changed.write_text(changed.read_text().replace("b1", "b9").rsplit("\n", 2)[0] + "\n")

    with pytest.raises(
        DataError, match=rf"{file} has changed since the preparation was begun. Start it anew"
    ):
        prepare_to(tmp_path / "rows", settings, executor=contextlib.nullcontext(changing))
    said: list[str] = []
    prepare_to(tmp_path / "rows", settings, say=said.append)
    assert said[0].startswith(f"Starts anew: {changed} has changed")


@pytest.mark.parametrize("stage", ["read", "count", "write"])
def test_a_full_disk_is_said_and_leaves_nothing_of_the_task(stage, tmp_path, monkeypatch):
    settings, saved = case("Parquet, random", tmp_path), tasks.save

    def full(path, value):
        if path.parent.parent.name == stage:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        saved(path, value)

    with monkeypatch.context() as patch, pytest.raises(InputError, match="No space left .* it goes on"):
        patch.setattr(tasks, "save", full)
        prepare_to(tmp_path / "rows", settings)
    assert not list((tmp_path / "rows" / "work").glob("*/*.*"))
    said: list[str] = []
    prepare_to(tmp_path / "rows", settings, say=said.append)
    assert said[0] == "Goes on where it was broken off."


def test_what_was_begun_of_other_data_or_by_other_code_starts_anew(tmp_path, monkeypatch):
    settings = case("CSV, time", tmp_path)

    def killed(function, todo):
        yield function(todo[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_to(tmp_path / "rows", settings, executor=contextlib.nullcontext(killed))
    log = tmp_path / "films" / "0.csv"
    log.write_text(log.read_text().rsplit("\n", 2)[0] + "\n")
    said: list[str] = []
    prepare_to(tmp_path / "rows", settings, say=said.append)
    assert "Starts anew" in said[0] and str(log) in said[0]
    (tmp_path / "later" / "work").mkdir(parents=True)
    (tmp_path / "later" / "work" / "plan.pkl").write_bytes(b"ccdrzoo.data\nOfAnOlderVersion\n.")
    prepare_to(tmp_path / "later", settings, say=said.append)
    assert "Starts anew: cdrzoo has changed since it was broken off." in said
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(making, "code", lambda: "that of another version")
        patch.setattr(state, "code", lambda: "that of another version")
        prepare_to(tmp_path / "newer", settings, executor=contextlib.nullcontext(killed))
    with pytest.raises(DataError, match="begun by another version of cdrzoo than that of"):
        state.State(tmp_path / "newer" / "work")
    prepare_to(tmp_path / "newer", settings, say=said.append)
    assert said.count("Starts anew: cdrzoo has changed since it was broken off.") == 2
    prepare_to(tmp_path / "other", settings)
    assert files_of(tmp_path / "other") == files_of(tmp_path / "newer")
    assert files_of(tmp_path / "other") == files_of(tmp_path / "rows")
