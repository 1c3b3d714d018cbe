"""One self-contained HTML page of what a folder holds: figures and a small script inline, no network."""

from __future__ import annotations

import pathlib

from cdrzoo import files
from cdrzoo.errors import InputError
from cdrzoo.report import backtest, collection, comparison, drift, run, search, transfer

PAGES = {
    "transfer.json": transfer.page,
    "backtest.json": backtest.page,
    "drift.json": drift.page,
    "results.jsonl": lambda folder: (search if search.is_search(folder) else comparison).page(folder),
    "metrics.json": run.page,
    "*/**/results.jsonl": collection.page,
}
"""What tells the kind of a folder, and its page; the first that is there counts."""


def report(folder: str | pathlib.Path, out: str | pathlib.Path | None = None) -> pathlib.Path:
    """Writes the page of a folder that `cdrzoo train`, `compare`, `transfer`, `drift` or another command made.

    Args:
        folder: of the run, the comparison, the search, a transfer report, a backtest or a drift, or one that holds
            folders of comparisons, as `cdrzoo reproduce` makes them.
        out: the file to write; default: `report.html` in the folder, in place of an earlier one.

    Returns:
        The file.

    Raises:
        InputError: the folder is none of these, matplotlib is missing, or the data of a run has changed.
    """
    folder = pathlib.Path(folder)
    check_matplotlib()
    for name, page in PAGES.items():
        if any(folder.glob(name)):
            path = pathlib.Path(out) if out else folder / "report.html"
            if path.exists() and not files.is_page(path):
                raise InputError(
                    f"{path} is there and no page of `cdrzoo report`. Name another file with --out."
                )
            text = page(folder)
            files.write(path, text)
            return path
    raise InputError(
        f"{folder} holds nothing to report on. Give the folder of a finished `cdrzoo train`, `compare`, `tune`, "
        "`transfer`, `backtest` or `drift`."
    )


def check_matplotlib() -> None:
    """Raises an `InputError` if what draws the figures is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "A report draws with matplotlib. Install it: pip install 'cdrzoo[report]'."
        ) from error
