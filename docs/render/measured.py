"""Tables of docs/results/measured: what a command printed, a file a table, so that a number has one home.

A file is CSV. Lines with a `#` before it say what made it, and where.
"""

from __future__ import annotations

import csv

from scipy import stats

from docs.render.results import FOLDER, cell, load, markdown


def seeds() -> str:
    """Student's quantile for so many trainings."""
    rows = [[str(count), f"{stats.t.ppf(0.975, count - 1):.1f}"] for count in (2, 3, 5)]
    return markdown(["seeds", "standard errors of training in the interval"], rows)


def ratings_listed() -> str:
    """What histories without the user's own ratings change."""
    listed, left_out = (load(f"checks/{name}") for name in ("ratings_listed", "ratings_left_out"))
    floor = {metric: f"{listed.floors['item mean'][metric]:.4f}" for metric in ("auc", "gauc")}
    rows = [["*item mean*", *(floor[metric] for metric in floor for _ in range(2))]]
    rows += [
        [label, *(cell(one, label, metric) for metric in floor for one in (listed, left_out))]
        for label in listed.labels
    ]
    columns = [f"{metric.upper()}, ratings {how}" for metric in floor for how in ("listed", "left out")]
    return markdown(["Ciao 01 to 02", *columns], rows)


def rating_optimizers() -> str:
    """How DACDR learns ratings of items that have few."""
    one = load("checks/cold_amazon_1_2")
    rows = [[label, cell(one, label, "mae"), cell(one, label, "rmse")] for label in one.labels]
    return markdown(["DACDR, Amazon 1 to 2 at 0.8", "MAE", "RMSE"], rows)


def graphs() -> str:
    """What a step asks of a GPU, and what part that is of the operations before anyone had counted them."""
    (heading, *counted), notes = kept("graphs")
    at_first = dict(kept("graphs_at_first")[0][1:])
    rows = []
    for name, now, *copies in counted:
        had = at_first.get(name, "")
        share = f"{int(now) / int(had):.0%}" if had else ""
        rows.append([name, f"{int(had):,}" if had else "", f"{int(now):,}", share, *copies[:2]])
    return "\n".join([markdown([heading[0], "at first", "now", "share", *heading[2:4]], rows), "", *notes])


MADE = {"ratings_listed": ratings_listed, "rating_optimizers": rating_optimizers, "graphs": graphs}
"""Tables that are more than a file: some of the runs of `cdrzoo reproduce checks`, others of two files."""


def table(name: str) -> str:
    """A kept table, and under it what made it."""
    if name in MADE:
        return MADE[name]()
    (heading, *rows), notes = kept(name)
    return "\n".join([markdown(heading, rows), "", *notes])


def kept(name: str) -> tuple[list[list[str]], list[str]]:
    """The rows of a file, the first one its heading, and what it says of itself."""
    lines = (FOLDER / "measured" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    notes = [line[2:] for line in lines if line.startswith("#")]
    return list(csv.reader(line for line in lines if not line.startswith("#"))), notes
