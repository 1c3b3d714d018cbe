"""Where a benchmark puts its table: a CSV file that `python -m docs.render` makes a table of a page of."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterable, Sequence

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "results" / "measured"


def write(file: pathlib.Path, heading: Sequence[str], rows: Iterable[Sequence[object]], note: str) -> None:
    """The table; before it the note, what made it and where, on lines of its own."""
    with file.open("w", encoding="utf-8", newline="") as out:
        out.writelines(f"# {line}\n" for line in note.splitlines())
        csv.writer(out, lineterminator="\n").writerows([heading, *rows])
