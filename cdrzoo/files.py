"""Files that are there whole or not at all, and folders that one process writes to."""

from __future__ import annotations

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator

from cdrzoo.errors import InputError

LOCK = ".lock"


def unfinished(path: pathlib.Path) -> pathlib.Path:
    """Where the text of a file stands until it is whole; a process that is killed then leaves it there."""
    return path.with_name(f".{path.name}.unfinished")


def write(path: str | pathlib.Path, text: str) -> None:
    """Writes a text file; until it is whole, what stood there stays."""
    path = pathlib.Path(path)
    unfinished(path).write_text(text, encoding="utf-8")
    unfinished(path).replace(path)


@contextlib.contextmanager
def lock(folder: pathlib.Path) -> Iterator[None]:
    """Keeps a second process out of a folder, which is made; the lock goes with the process, however it ends.

    Raises:
        InputError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"Another run is working in {folder}; two at once would write the same files. Wait until it has ended, "
                "or choose another folder."
            ) from None
        yield


PAGE = "</title>\n<style>\n:root { color-scheme: light; }"
"""What stands in every page of `cdrzoo report`, and tells it from a file of somebody else's."""


def is_page(path: pathlib.Path) -> bool:
    """Whether a file is a page of `cdrzoo report`."""
    return PAGE in path.read_text(encoding="utf-8", errors="replace")
