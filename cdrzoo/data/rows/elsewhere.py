"""Rows that go to another file system: made on this machine, then moved there."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from cdrzoo.data.rows.format import FILE
from cdrzoo.errors import DataError
from cdrzoo.files import LOCK


def scratch(out: pathlib.Path) -> pathlib.Path:
    """The folder of this machine in which the rows of `out` are made, the same one each time."""
    name = hashlib.sha256(str(out).encode()).hexdigest()[:16]
    return pathlib.Path(tempfile.gettempdir(), f"cdrzoo-rows-{name}")


def move(made: pathlib.Path, out: Any, say: Callable[[str], None]) -> None:
    """Copies the files, `prepared.json` last: with it the rows are there; then removes the folder.

    Raises:
        DataError: files of somebody else lie there.
    """
    names = sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file())
    names = [name for name in names if name not in (FILE, LOCK)] + [FILE]
    there = {path[len(out.path) :].strip("/") for path in out.fs.find(out.path)}
    if other := sorted(there - set(names)):
        raise DataError(
            f"{out} holds {other[0]!r} and no prepared rows. Choose a new folder, or empty this one."
        )
    say(f"Copies {len(names):,} files to {out}.")
    for name in names:
        to = out / name
        out.fs.makedirs(to.parent.path, exist_ok=True)
        out.fs.put_file(str(made / name), to.path)
    shutil.rmtree(made)
