"""Draws every loss term that trained runs have logged, epoch by epoch, beside the validation AUC.

    python examples/loss_curves.py RUN [RUN ...] --out curves.svg      (needs matplotlib: pip install "cdrzoo[report]")

A RUN is a folder of `cdrzoo train`; of a model of two stages, its `first` is one, too.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import re

import numpy as np
import pandas as pd

from cdrzoo.errors import InputError

COLUMNS = 4
COLORS = {"#ffffff": "none", "#000000": "currentColor", "#1f77b4": "var(--blue)", "#ff7f0e": "var(--orange)"}
STYLE = """<style>
svg { color: #24292f; fill: currentColor; --blue: #0969da; --orange: #9a6700 }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3; --blue: #4493f8; --orange: #d29922 } }
</style>"""
"""The colours of light pages and of dark ones, as of the chart in docs/results."""


def terms(history: pd.DataFrame) -> list[str]:
    """What to draw of a `history.csv`: everything logged while training, and the validation AUC, the last."""
    logged = [name for name in history.columns if name != "epoch" and not name.startswith("val_")]
    return [*logged, *(name for name in ("val_auc", "val_rmse") if name in history)]


def read(folder: pathlib.Path) -> pd.DataFrame:
    """The history of a run."""
    if not (folder / "history.csv").exists():
        raise InputError(f"{folder} holds no history.csv. Give the folder of a finished `cdrzoo train`.")
    return pd.read_csv(folder / "history.csv")


def draw(histories: dict[str, pd.DataFrame], path: pathlib.Path) -> None:
    """A panel a term; a run begins a new row of panels."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines = [len(range(0, len(terms(history)), COLUMNS)) for history in histories.values()]
    figure, axes = plt.subplots(
        sum(lines), COLUMNS, squeeze=False, figsize=(1.9 * COLUMNS, 1.7 * sum(lines)), layout="constrained"
    )
    for (name, history), line, end in zip(histories.items(), lines, np.cumsum(lines)):
        panels = axes[end - line : end].ravel()
        panels[0].set_ylabel(name)
        for axis in panels[len(terms(history)) :]:
            axis.set_visible(False)
        for axis, term in zip(panels, terms(history)):
            axis.plot(
                history["epoch"], history[term], color="tab:orange" if term.startswith("val_") else "tab:blue"
            )
            axis.set_title(term, fontsize=8)
            axis.tick_params(labelsize=6)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    path.write_text(on_any_page(drawn.getvalue()), encoding="utf-8")


def on_any_page(svg: str) -> str:
    """A drawing of matplotlib without its paper, in colours that follow those of the reader."""
    svg = re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda found: COLORS.get(found[0], found[0]), svg)
    head, tag, rest = svg.partition("<defs>")
    return f"{head}{STYLE}\n {tag}{rest}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("curves.svg"))
    arguments = parser.parse_args()
    try:
        draw({str(folder.name): read(folder) for folder in arguments.runs}, arguments.out)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
