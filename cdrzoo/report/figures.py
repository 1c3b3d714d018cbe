"""The figures of the pages, as SVG: its text can be selected, its colours are the page's, its points have titles."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from cdrzoo.report.cells import Axis, Mark, Plot, Row, Table
from cdrzoo.training.looks import by_column

BLUE, ORANGE, GREY = "#1f5fa8", "#c2571a", "#8a8f98"
COLORS = {BLUE: "var(--blue)", ORANGE: "var(--orange)", GREY: "var(--line)"}
"""What stands for a colour of the style sheet, which has one for light pages and one for dark ones."""

LINES = tuple(
    (color, marker, sign) for color, (marker, sign) in zip((BLUE, ORANGE, GREY) * 2, zip("os^Dvp", "●■▲◆▼⬟"))
)
"""Of lines that a figure tells apart: colour, marker, and what the key shows for it."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cdrzoo",  # the same figure is the same text
    "text.parse_math": False,  # a name may have dollars in it
    "font.size": 9,
    "axes.formatter.useoffset": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "xtick.labelcolor": "black",  # which is not written down: text has the page's colour
    "ytick.color": GREY,
    "ytick.labelcolor": "black",
    "legend.fontsize": 9,
    "lines.markersize": 5,
}


@dataclass(frozen=True)
class Figure:
    """A drawing.

    Args:
        caption: what it shows.
        svg: its SVG element but for the first five letters, `<svg `.
        key: its lines: a sign, its colour of the style sheet, and what the line is.
        small: whether it is one of many beside each other.
    """

    caption: str
    svg: str
    key: Sequence[tuple[str, str, str]] = ()
    small: bool = False


Said = list[tuple[Any, list[str]]]
"""Lines of a drawing, and what each of their points says when it is pointed at."""


def figure(
    draw: Callable[[Any], Said], height: float, caption: str, names: Sequence[str] = (), small: bool = False
) -> Figure:
    """What `draw` puts on axes; the height is in inches, `names` are those of the lines, as `line_of` draws them."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(3.3 if small else 5.4, height), layout="constrained")
        said = draw(canvas.subplots())
        for i, (line, _) in enumerate(said):
            line.set_gid(f"says-{i}")
        stream = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.savefig(stream, format="svg", transparent=True, metadata=metadata)
    key = [(sign, COLORS[color], name) for name, (color, _, sign) in zip(names, itertools.cycle(LINES))]
    return Figure(caption, _of_the_page(stream.getvalue(), [texts for _, texts in said]), key, small)


def _line(axes: Any, place: int, x: Any, y: Any, says: str, **more: Any) -> Said:
    """A line with its points; `says` is what a point does, of `x` and `y`."""
    color, marker, _ = LINES[place % len(LINES)]
    known = [(a, b) for a, b in zip(x, y) if np.isfinite(b)]
    (line,) = axes.plot(*zip(*known or [((), ())]), color=color, marker=marker, linewidth=1.2, **more)
    return [(line, [says.format(x=a, y=b) for a, b in known])]


SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def _of_the_page(text: str, said: Sequence[Sequence[str]]) -> str:
    """The SVG of matplotlib as a part of a page that has other figures, too, and a dark mode.

    Nothing in it has a name, for every figure would have the same ones; and no style is the whole page's.
    """
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(text)
    named = {each.get("id", ""): each for each in root.iter()}
    for name, texts in ((f"says-{i}", each) for i, each in enumerate(said)):
        for point, words in zip(list(named[name].iter(f"{{{SVG}}}use")), texts):
            ElementTree.SubElement(point, f"{{{SVG}}}title").text = words
    for each in list(root.iter()):
        for defined in each.findall(f"{{{SVG}}}defs"):
            each.remove(defined)
        if each.tag == f"{{{SVG}}}use":  # a marker, which becomes the path that it names
            path = named[each.attrib.pop(f"{{{XLINK}}}href").removeprefix("#")]
            each.tag, each.attrib["d"] = path.tag, path.attrib["d"]
            each.attrib["transform"] = f"translate({each.attrib.pop('x')} {each.attrib.pop('y')})"
            each.attrib["style"] = f"{path.get('style', '')}; {each.get('style', '')}"
        if "style" in each.attrib:
            own = each.attrib["style"]
            each.attrib["style"] = re.sub("#[0-9a-f]{6}", lambda found: COLORS.get(found[0], found[0]), own)
        for name in ("id", "clip-path"):
            each.attrib.pop(name, None)
    text = ElementTree.tostring(root, encoding="unicode")
    return text[text.index("<svg ") + len("<svg ") :]


def by_day(values: Mapping[str, Sequence[float]], title: str, best: float | None = None) -> Figure:
    """A metric day by day, a line an arm; `best` is drawn as a thin line."""

    def draw(axes):
        said: Said = []
        for place, (name, found) in enumerate(values.items()):
            says = name + ", day {x:.0f}: {y:.4f}"
            said += _line(
                axes, place, range(1, len(found) + 1), found, says, linestyle=("-", "--")[place // 3]
            )
        if best is not None:
            axes.axhline(best, color=GREY, linewidth=0.8)
        axes.set_xlabel("day")
        axes.set_ylabel(title)
        _whole(axes)
        return said

    return figure(
        draw, 2.4, f"{title[:1].upper()}{title[1:]} of every day, before it is trained on", list(values)
    )


# Of runs ----------------------------------------------------------------------------------------------------------

PARTS = ("training", "validation")
"""Rows that a term is logged of."""


def curves(history: pd.DataFrame, best: int, target: str, prefix: str = "") -> list[Figure]:
    """A panel a term that was logged, of training and validation rows where both are there.

    Args:
        history: a row an epoch.
        best: the epoch that was kept.
        target: the target: its loss in training is the log loss that is measured on validation rows.
        prefix: of the captions.
    """
    pairs = {name: f"val_{name}" for name in history if not name.startswith("val_")}
    if "val_log_loss" in history:
        pairs[f"{target}_loss"] = "val_log_loss"
    pairs = {one: other for one, other in pairs.items() if one in history and one != "epoch"}
    alone = [name for name in history if name.startswith("val_") and name not in pairs.values()]
    panels = [*pairs.items(), *(("", name) for name in alone)]
    return [_curve(history, terms, best, prefix + (terms[0] or terms[1])) for terms in panels]


def _curve(history: pd.DataFrame, terms: tuple[str, str], best: int, caption: str) -> Figure:
    def draw(axes):
        axes.axvline(best, color=GREY, linewidth=0.8, linestyle=":")
        said: Said = []
        for place, (part, name) in enumerate(zip(PARTS, terms)):
            if name in history:
                words = part + ", epoch {x:.0f}: {y:.4f}"
                dashes = ("-", "--")[place]
                said += _line(
                    axes, place, history["epoch"], history[name], words, linestyle=dashes, markersize=3
                )
        axes.set_xlabel("epoch")
        _whole(axes)
        return said

    return figure(draw, 1.9, caption, small=True)


def calibration(curves: Mapping[str, Sequence[Mapping[str, float]]], caption: str) -> Figure:
    """Share of clicks over the mean score: of at most two models, the bins of `lift.calibration` by name."""

    def draw(axes):
        ends = [0, 1.05 * max(max(p["score"], p["label"]) for points in curves.values() for p in points)]
        axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--")
        said: Said = []
        for place, points in enumerate(curves.values()):
            scores, shares = ([point[name] for point in points] for name in ("score", "label"))
            said += _line(axes, place, scores, shares, "mean score {x:.4f}, share of clicks {y:.4f}")
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_xlabel("mean score")
        axes.set_ylabel("share of clicks")
        return said

    return figure(draw, 3.6, caption, list(curves))


def selector(rows: pd.DataFrame, source: str) -> Figure:
    """CCTL's Figure 5: how the weights of a source's rows are distributed, epoch by epoch."""
    from matplotlib.colors import ListedColormap, to_rgb

    grid = rows.pivot(index="low", columns="epoch", values="count")
    share = grid / grid.sum()
    shades = ListedColormap([(*to_rgb(BLUE), alpha) for alpha in np.linspace(0, 1, 64)])  # on any background

    def draw(axes):
        step = 1 / len(share)
        epochs = share.columns.to_numpy()
        edges = [*(epochs - 0.5), epochs[-1] + 0.5]
        bins = [*share.index, share.index[-1] + step]
        mesh = axes.pcolormesh(edges, bins, share.to_numpy(), cmap=shades, vmin=0)
        middle = (share.index.to_numpy()[:, None] + step / 2) * share.to_numpy()
        said = _line(axes, 1, epochs, middle.sum(axis=0), "epoch {x:.0f}: mean weight {y:.4f}")
        axes.set_xlabel("epoch")
        axes.set_ylabel("weight p")
        _whole(axes)
        axes.figure.colorbar(mesh, ax=axes, label="share of rows")
        return said

    return figure(draw, 2.8, f"Rows of {source}; the line is their mean weight")


# Of what a model attends to ---------------------------------------------------------------------------------------


def look(values: Mapping[str, np.ndarray], quantity: str, clicked: np.ndarray | None) -> Figure | Table:
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
        said: Said = []
        for place, weights in enumerate(values.values()):
            steps = by_recency(weights)
            said += _line(axes, place, range(1, len(steps) + 1), steps, "{x} events ago: {y:.4f}")
        axes.set_xlabel("events ago")
        axes.set_ylabel("mean weight")
        return said

    return figure(draw, 3.0, "Mean over the rows that have such a step", list(values))


def by_recency(weights: np.ndarray) -> np.ndarray:
    """Mean weight of the last step, of the one before it, ...: `[B, n]`, 0 on padded steps, to `[n]`."""
    real = weights != 0
    age = np.cumsum(real[:, ::-1], axis=1)[:, ::-1]
    longest = int(age.max(initial=0))
    return np.array([weights[real & (age == back)].mean() for back in range(1, longest + 1)])


def _gates(values: Mapping[str, np.ndarray]) -> Figure:
    edges = np.linspace(0, 1, 41)
    middles = (edges[:-1] + edges[1:]) / 2

    def draw(axes):
        said: Said = []
        for place, gates in enumerate(values.values()):
            share = np.histogram(gates, edges)[0] / max(gates.size, 1)
            said += _line(
                axes, place, middles, share, "{x:.2f} open: {y:.4f}", markersize=3, drawstyle="steps-mid"
            )
        axes.set_xlabel("how far open")
        axes.set_ylabel("share")
        return said

    names = [f"{name} (mean {gates.mean():.2f})" for name, gates in values.items()]
    return figure(draw, 2.8, "All gates of all rows", names)


def _weights(columns: Mapping[str, np.ndarray], clicked: np.ndarray | None) -> Table:
    """A line a column: the mean and where nine of ten rows lie, where it is known of rows with a click and without."""
    parts: dict[str, Any] = {"all rows": slice(None)}
    if clicked is not None:
        both = {"with a click": clicked, "without": ~clicked}
        parts = {what: mask for what, mask in both.items() if mask.any()}
    found = {
        (name, what): (values[rows].mean(), *np.quantile(values[rows], [0.05, 0.95]))
        for name, values in columns.items()
        for what, rows in parts.items()
    }
    axis = Axis.of(value for each in found.values() for value in each)
    lines = [50] if len(parts) == 1 else [32, 68]

    def plot(name: str) -> Plot:
        marks = []
        for what, line, color in zip(parts, lines, ("first", "second")):
            mean, low, high = found[name, what]
            words = f"{what}: mean {mean:.4f}, nine of ten rows {low:.4f} to {high:.4f}"
            marks.append(Mark(f"bar {color}", words, low=low, high=high, line=f"{line}%"))
            marks.append(Mark(f"dot {color}", words, at=mean, line=f"{line}%"))
        return Plot(axis, marks)

    rows: list[Row] = [
        {
            "field": name,
            "weight": plot(name),
            **{f"mean, {what}": f"{found[name, what][0]:.4f}" for what in parts},
        }
        for name in columns
    ]
    return Table("Mean, and where nine of ten rows lie", rows, {"weight": axis})


# What they share --------------------------------------------------------------------------------------------------


def _whole(axes: Any) -> None:
    """There is no epoch 1.5."""
    axes.xaxis.get_major_locator().set_params(integer=True)
