"""Draws every loss term that trained runs have logged, epoch by epoch, beside the validation AUC.

    python examples/loss_curves.py RUN [RUN ...] --out curves.svg      (needs matplotlib: pip install "cdrzoo[report]")

A RUN is a folder of `cdrzoo train`; of a model of two stages, its `first` is one, too.
"""

from __future__ import annotations

import argparse
import pathlib

import pandas as pd

from cdrzoo.errors import InputError


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
    """One row of panels a run, one panel a term."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = max(len(terms(history)) for history in histories.values())
    figure, axes = plt.subplots(
        len(histories),
        columns,
        squeeze=False,
        figsize=(1.9 * columns, 1.7 * len(histories)),
        layout="constrained",
    )
    for row, (name, history) in zip(axes, histories.items()):
        row[0].set_ylabel(name)
        for axis in row[len(terms(history)) :]:
            axis.set_visible(False)
        for axis, term in zip(row, terms(history)):
            axis.plot(
                history["epoch"], history[term], color="tab:orange" if term.startswith("val_") else "tab:blue"
            )
            axis.set_title(term, fontsize=8)
            axis.tick_params(labelsize=6)
    figure.savefig(path)


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
