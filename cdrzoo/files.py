"""Files that are there whole or not at all."""

from __future__ import annotations

import pathlib


def unfinished(path: pathlib.Path) -> pathlib.Path:
    """Where the text of a file stands until it is whole; a process that is killed then leaves it there."""
    return path.with_name(f".{path.name}.unfinished")


def write(path: str | pathlib.Path, text: str) -> None:
    """Writes a text file; until it is whole, what stood there stays."""
    path = pathlib.Path(path)
    unfinished(path).write_text(text, encoding="utf-8")
    unfinished(path).replace(path)
