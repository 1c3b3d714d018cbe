"""Tables of docs/results/measured: what a command printed, a file a table, so that a number has one home.

A file is CSV. Lines with a `#` before it say what made it, and where.
"""

from __future__ import annotations

import csv

from scipy import stats

from docs.render.results import FOLDER, markdown


def table(name: str) -> str:
    """A kept table, and under it what made it."""
    lines = (FOLDER / "measured" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    heading, *rows = csv.reader(line for line in lines if not line.startswith("#"))
    return "\n".join([markdown(heading, rows), "", *(line[2:] for line in lines if line.startswith("#"))])


def seeds() -> str:
    """Student's quantile for so many trainings."""
    rows = [[str(count), f"{stats.t.ppf(0.975, count - 1):.1f}"] for count in (2, 3, 5)]
    return markdown(["seeds", "standard errors of training in the interval"], rows)
