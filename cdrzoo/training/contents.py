"""What files hold, as names and hashes: a run is the same run wherever they lie."""

from __future__ import annotations

import functools
import hashlib
import pathlib
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
