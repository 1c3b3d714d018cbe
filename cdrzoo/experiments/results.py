"""Results on disk, a line each, and the keys by which a run that stands there is known. Imports no TensorFlow."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdrzoo import files
from cdrzoo.errors import InputError
from cdrzoo.training.config import RunConfig

LINES, ABOUT = "results.jsonl", "comparison.json"
"""A line a run, and what the table is made of besides: files of a comparison's folder."""


def key_of(config: RunConfig) -> str:
    """The same for the same settings and the same content of the data files, on whichever machine."""
    everything = json.dumps(config.identity(), sort_keys=True, default=str)
    return hashlib.sha256(everything.encode()).hexdigest()[:16]


def kept(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a `results.jsonl`; a last one that was cut off when its process was stopped is left out."""
    mend = "Take that line out; its run is then trained again."
    with files.reading(path, mend):
        lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except ValueError:
            if number == len(lines):
                break
            raise InputError(f"{path}, line {number}, is damaged: it is no JSON. {mend}") from None
        kinds = {"key": str, "stage": str, "label": str, "changes": dict, "result": dict}
        told = found[-1] if isinstance(found[-1], dict) else {}
        if not all(isinstance(told.get(name), kind) for name, kind in kinds.items()):
            raise InputError(f"{path}, line {number}, is damaged: it is no run's. {mend}")
    return found


def runs(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """`[label, key]` of each line of a table, for the page that is made of it later."""
    return [[line["label"], line["key"]] for line in results]


def check_results(folder: pathlib.Path) -> None:
    """Raises an `InputError` if a folder holds anything and is not that of a comparison or a search."""
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if names <= {"first", files.LOCK}:  # stopped in its first run
        return
    with contextlib.suppress(OSError, ValueError), (folder / LINES).open(encoding="utf-8") as file:
        if {"key", "stage", "label"} <= set(json.loads(file.readline())):
            return
    with contextlib.suppress(OSError, ValueError):  # likewise
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if {"command", "config"} <= set(about) and names <= {"first", files.LOCK, ABOUT}:
            return
    raise InputError(
        f"{folder} is not empty, and not of a comparison or a search. Choose a new folder; nothing is overwritten."
    )


@dataclass(frozen=True)
class Task:
    """One training of a comparison: `stage` is `search` or `seed`, `changes` are those of its `Entry` and more."""

    stage: str
    label: str
    changes: dict[str, Any]


class Results:
    """The lines of a `results.jsonl`; a run that stands there with the same settings and data is not repeated."""

    def __init__(self, path: pathlib.Path, config: RunConfig):
        self.path, self.config = path, config
        self._done: dict[str, dict[str, Any]] = {}
        if path.exists():
            lines = kept(path)
            if not path.read_text().endswith("\n"):
                files.write(path, "".join(json.dumps(line) + "\n" for line in lines))
            self._done = {line["key"]: line for line in lines}

    def key(self, task: Task) -> str:
        """The key of a task's run."""
        return key_of(self.config.with_changes(task.changes))

    def find(self, task: Task) -> dict[str, Any] | None:
        """The line of a task that is done."""
        line = self._done.get(self.key(task))
        return {**line, "label": task.label} if line else None

    def keep(self, task: Task, result: dict[str, Any]) -> dict[str, Any]:
        """Writes the line of a task and gives it back."""
        line = {"key": self.key(task), **vars(task), "result": result}
        self._done[line["key"]] = line
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return line
