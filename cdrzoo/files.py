"""Files that are there whole or not at all."""

from __future__ import annotations

import pathlib


def write(path: str | pathlib.Path, text: str) -> None:
    """Writes a text file; until it is whole, what stood there stays."""
    path = pathlib.Path(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
