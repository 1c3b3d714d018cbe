"""The files that a configuration names: where they lie, and what they hold."""

from __future__ import annotations

import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from cdrzoo import files
from cdrzoo.training import stored


def contents(path: pathlib.Path) -> list[tuple[str, str]]:
    """Names and content hashes of the files of a path, be it a file, a folder, a pattern, or a run's folder."""
    if (path / "model.keras").exists():
        found = [path / "model.keras"]
    elif (path / "prepared.json").exists():
        return stored.identity(path)
    elif path.is_dir():
        found = sorted((file for file in path.iterdir() if file.is_file()), key=lambda file: file.name)
    else:
        found = files.matches(path) if not path.exists() else [path]
    return [(f.name, _sha256(f, *files.stamp(f))) for f in found] or [(path.name, "")]


@functools.lru_cache
def _sha256(file: pathlib.Path, size: int, changed: Any) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def placed(source: Any, folder: str, place: Callable[[pathlib.Path], Any]) -> Any:
    """What is said of a domain's rows, with what `place` makes of every path, which is relative to `folder`."""
    if isinstance(source, Mapping):
        change = {
            "path": lambda path: placed(path, folder, place),
            "join": lambda joins: [placed(join, folder, place) for join in joins or ()],
        }
        return {key: change[key](value) if key in change else value for key, value in source.items()}
    if isinstance(source, (list, tuple)):
        return [placed(each, folder, place) for each in source]
    if not files.is_path(source):
        return source
    if files.is_remote(source) and not files.reachable(source):
        return source  # it is absolute, and only what reads it needs the package
    return place(files.home(source, folder))
