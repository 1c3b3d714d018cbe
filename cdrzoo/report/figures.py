"""The figures of the pages, as SVG with selectable text."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo import metrics
from cdrzoo.training.looks import by_column

BLUE, ORANGE, GREEN, RED, GREY = "#1f5fa8", "#c2571a", "#1a7f4b", "#b3261e", "#8a8f98"

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cdrzoo",  # the same figure is the same text
    "text.parse_math": False,  # a name may have dollars in it
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "legend.fontsize": 8,
}


@dataclass(frozen=True)
class Figure:
    """A drawing: its caption, and its SVG element but for the first five letters, `<svg `.

    `small` is one of many beside each other.
    """

    caption: str
    svg: str
    small: bool = False


def figure(draw: Callable[[Any], None], height: float, caption: str, small: bool = False) -> Figure:
    """What `draw` puts on axes; the height is in inches."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(2.2 if small else 4.8, height), layout="constrained")
        draw(canvas.subplots())
        stream = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.savefig(stream, format="svg", transparent=True, metadata=metadata)
    text = stream.getvalue()
    return Figure(caption, text[text.index("<svg ") + len("<svg ") :], small)


# Of comparisons ---------------------------------------------------------------------------------------------------


def seeds(values: Mapping[str, Sequence[float]], title: str) -> Figure:
    """A metric of every seed, a line a model."""

    def draw(axes):
        for y, found in enumerate(values.values()):
            axes.plot(found, [y] * len(found), "o", color=BLUE, markersize=3.5, alpha=0.6, markeredgewidth=0)
            axes.plot([np.mean(found)], [y], "|", color=ORANGE, markersize=11, markeredgewidth=2)
        _lines(axes, [_short(name) for name in values])
        axes.set_xlabel(title)
        axes.grid(axis="y", color="#eceef1", linewidth=0.8)
        axes.set_axisbelow(True)

    return figure(draw, _height(len(values)), "A dot a seed, a bar the mean")


def forest(values: Mapping[str, Mapping[str, float]], title: str, metric: str, caption: str) -> Figure:
    """Differences with their intervals; green and red where the interval leaves 0 out.

    Args:
        values: `difference`, `low` and `high` by name.
        title: of the axis.
        metric: what the differences are of.
        caption: below the figure.
    """
    sign = 1 if metrics.HIGHER_IS_BETTER[metric] else -1

    def draw(axes):
        for y, found in enumerate(values.values()):
            difference, low, high = (found[name] for name in ("difference", "low", "high"))
            better, worse = min(sign * low, sign * high) > 0, max(sign * low, sign * high) < 0
            color = GREEN if better else RED if worse else GREY
            if np.isfinite(low):
                axes.plot([low, high], [y, y], color=color, linewidth=1.4, solid_capstyle="round")
            axes.plot([difference], [y], "o", color=color, markersize=4.5)
        axes.axvline(0, color="#1d2127", linewidth=0.8)
        _lines(axes, [_short(name) for name in values])
        axes.set_xlabel(title + (" (right is better)" if sign > 0 else " (left is better)"))

    return figure(draw, _height(len(values)), caption)


# Of runs ----------------------------------------------------------------------------------------------------------


def curve(history: pd.DataFrame, term: str, best: int, caption: str) -> Figure:
    """A term epoch by epoch, with a dotted line at the best one."""

    def draw(axes):
        color = ORANGE if term.startswith("val_") else BLUE
        axes.axvline(best, color=GREY, linewidth=0.8, linestyle=":")
        axes.plot(history["epoch"], history[term], color=color, marker=".", markersize=3, linewidth=1.2)
        axes.set_xlabel("epoch")
        _whole(axes)

    return figure(draw, 1.5, caption, small=True)


def calibration(curves: Mapping[str, Sequence[Mapping[str, float]]], caption: str) -> Figure:
    """Share of clicks over the mean score: of at most two models, the bins of `lift.calibration` by name."""

    def draw(axes):
        for (label, points), color in zip(curves.items(), (BLUE, ORANGE)):
            scores, shares = ([point[name] for point in points] for name in ("score", "label"))
            axes.plot(scores, shares, marker="o", markersize=3, color=color, label=label)
        ends = [0, 1.05 * max(max(p["score"], p["label"]) for points in curves.values() for p in points)]
        axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--")
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_xlabel("mean score")
        axes.set_ylabel("share of clicks")
        axes.legend(frameon=False)

    return figure(draw, 3.4, caption)


def selector(rows: pd.DataFrame, source: str) -> Figure:
    """CCTL's Figure 5: how the weights of a source's rows are distributed, epoch by epoch."""
    grid = rows.pivot(index="low", columns="epoch", values="count")
    share = grid / grid.sum()

    def draw(axes):
        step = 1 / len(share)
        epochs = share.columns.to_numpy()
        edges = [*(epochs - 0.5), epochs[-1] + 0.5]
        bins = [*share.index, share.index[-1] + step]
        mesh = axes.pcolormesh(edges, bins, share.to_numpy(), cmap="Blues", vmin=0)
        middle = (share.index.to_numpy()[:, None] + step / 2) * share.to_numpy()
        axes.plot(epochs, middle.sum(axis=0), color=ORANGE, marker=".", label="mean")
        axes.set_xlabel("epoch")
        axes.set_ylabel("weight p")
        _whole(axes)
        axes.legend(frameon=False)
        axes.figure.colorbar(mesh, ax=axes, label="share of rows")

    return figure(draw, 2.8, f"Rows of {source}")


# Of what a model attends to ---------------------------------------------------------------------------------------


def look(values: Mapping[str, np.ndarray], quantity: str, clicked: np.ndarray | None) -> Figure:
    """One of `looks.LOOKS`: arrays `[B]` or `[B, n]` by name.

    Args:
        values: as `looks.flat` gives them.
        quantity: which of them it is.
        clicked: `[B]` booleans; `None` for ratings.
    """
    if quantity == "attention_weights":
        return _attention(values)
    if quantity == "gate_activity":
        return _gates(values)
    return _weights(by_column(values), clicked if quantity == "interest_weights" else None)


def _attention(values: Mapping[str, np.ndarray]) -> Figure:
    def draw(axes):
        for name, weights in values.items():
            steps = by_recency(weights)
            axes.plot(range(1, len(steps) + 1), steps, marker=".", label=name)
        axes.set_xlabel("events ago")
        axes.set_ylabel("mean weight")
        axes.legend(frameon=False)

    return figure(draw, 3.0, "Mean over the rows that have such a step")


def by_recency(weights: np.ndarray) -> np.ndarray:
    """Mean weight of the last step, of the one before it, ...: `[B, n]`, 0 on padded steps, to `[n]`."""
    real = weights != 0
    age = np.cumsum(real[:, ::-1], axis=1)[:, ::-1]
    longest = int(age.max(initial=0))
    return np.array([weights[real & (age == back)].mean() for back in range(1, longest + 1)])


def _gates(values: Mapping[str, np.ndarray]) -> Figure:
    def draw(axes):
        for name, gates in values.items():
            share, edges = np.histogram(gates, np.linspace(0, 1, 41))
            axes.stairs(share / max(share.sum(), 1), edges, label=f"{name} (mean {gates.mean():.2f})")
        axes.set_xlabel("how far open")
        axes.set_ylabel("share")
        axes.legend(frameon=False)

    return figure(draw, 2.8, "All gates of all rows")


def _weights(columns: Mapping[str, np.ndarray], clicked: np.ndarray | None) -> Figure:
    """A line a column; two of them where rows with a click are told from those without."""
    parts: dict[str, Any] = {"": slice(None)}
    if clicked is not None:
        both = {"with a click": clicked, "without": ~clicked}
        parts = {what: mask for what, mask in both.items() if mask.any()}

    def draw(axes):
        for place, ((what, rows), color) in enumerate(zip(parts.items(), (BLUE, ORANGE))):
            for i, values in enumerate(columns.values()):
                low, high = np.quantile(values[rows], [0.05, 0.95])
                y = i + 0.22 * (place - (len(parts) - 1) / 2)
                label = None if i else what
                axes.plot([low, high], [y, y], color=color, linewidth=1, solid_capstyle="round")
                axes.plot([values[rows].mean()], [y], "o", color=color, markersize=4, label=label)
        _lines(axes, list(columns))
        axes.set_xlabel("weight")
        if clicked is not None:
            axes.legend(frameon=False)

    return figure(draw, _height(len(columns)), "Mean, and where nine of ten rows lie")


# What they share --------------------------------------------------------------------------------------------------


def _height(lines: int) -> float:
    return 0.9 + 0.26 * lines


def _lines(axes: Any, names: Sequence[str]) -> None:
    """A line a name, from above."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


def _whole(axes: Any) -> None:
    """There is no epoch 1.5."""
    axes.xaxis.get_major_locator().set_params(integer=True)


def _short(name: str, most: int = 32) -> str:
    """A name that leaves a figure some room: arguments of a model may be many. The tables have it in full."""
    return name if len(name) <= most else name[: most - 1] + "…"
