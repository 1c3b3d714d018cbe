"""The page of several comparisons: those of the same models beside each other, then each in full."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Mapping
from typing import Any

from cdrzoo.errors import InputError
from cdrzoo.experiments import tables
from cdrzoo.experiments.catalogue import experiments
from cdrzoo.experiments.comparison import Comparison, mean_ranks
from cdrzoo.report import comparison
from cdrzoo.report.cells import (
    Cell,
    Plot,
    Row,
    Table,
    axis_of_intervals,
    direction,
    number,
    plot_interval,
    with_best,
)
from cdrzoo.report.rendering import render


def page(folder: pathlib.Path) -> str:
    """The page of a folder of comparisons, however deep they lie in it."""
    found, waiting = {}, []
    for path in sorted(folder.glob("*/**/results.jsonl")):
        name = str(path.parent.relative_to(folder))
        try:
            found[name] = Comparison.load(path.parent)
        except InputError:  # still searching
            waiting.append(name)
    if not found:
        raise InputError(
            f"No comparison in {folder} has a finished run yet: {', '.join(waiting)}. Go on with them."
        )
    return render(
        "collection.html",
        title="Comparisons",
        runs=sum(len(one.results) for one in found.values()),
        comparisons=len(found),
        waiting=waiting,
        overviews=[overview(alike) for alike in comparable(found)],
        experiments=by_experiment(found),
        commands=[("Write the page of one of them.", ["report", folder / next(iter(found))])],
    )


def by_experiment(found: Mapping[str, Comparison]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """The comparisons in full, those of an experiment together: `{its title: [(its part, or "", what is shown)]}`."""
    return {
        title(name): [(key.partition("/")[2], comparison.content(found[key])) for key in keys]
        for name, keys in itertools.groupby(found, lambda key: key.partition("/")[0])
    }


def differences(found: Mapping[str, Comparison]) -> Table | None:
    """Small multiples: a column a comparison, a row a model, its difference to what it is tested against."""
    if not all(one.tests for one in found.values()):
        return None
    first, axis = (
        next(iter(found.values())),
        axis_of_intervals(vars(test) for one in found.values() for test in one.tests.values()),
    )
    rows: list[Row] = [
        {
            "model": label,
            **{
                title(name): plot_interval(axis, vars(one.tests[label]), one.marks[label])
                if label in one.tests
                else Plot(axis, [])
                for name, one in found.items()
            },
        }
        for label in mean_ranks(list(found.values()))
    ]
    metric, what = next(iter(first.columns.items()))
    caption = f"{what}: difference to the model that is tested against, {direction(metric)}"
    return Table(caption, rows, dict.fromkeys(map(title, found), axis))


def comparable(found: Mapping[str, Comparison]) -> list[dict[str, Comparison]]:
    """Comparisons of the same models by the same metric, where there are two or more; those of most models first."""
    alike: dict[tuple[frozenset[str], str], dict[str, Comparison]] = {}
    for name, one in found.items():
        alike.setdefault((frozenset(one.labels), next(iter(one.columns))), {})[name] = one
    of_most_first = sorted(alike.items(), key=lambda item: -len(item[0][0]))
    return [group for _, group in of_most_first if len(group) > 1]


def overview(found: Mapping[str, Comparison]) -> dict[str, Any]:
    """A row a model, best mean rank first; a column a comparison, with the marks of its own page."""
    metric, what = next(iter(next(iter(found.values())).columns.items()))
    ranks, titles = mean_ranks(list(found.values())), {name: title(name) for name in found}
    rows: list[Row] = []
    for label, rank in ranks.items():
        row: dict[str, str | Cell | Plot] = {"model": label, "mean rank": f"{rank:.1f}"}
        marks = [one.marks[label] for one in found.values()]
        for (name, one), mark in zip(found.items(), marks):
            cell = tables.spread(one.scores(label, metric))
            row[titles[name]] = Cell(cell + tables.SIGNS[mark], mark)
        rows.append({**row, **{kind: str(marks.count(kind)) for kind in ("better", "worse")}})
    simple: list[Row] = []
    for floor in dict.fromkeys(name for one in found.values() for name in one.floors):
        values = [number(one.floors.get(floor, {}).get(metric, float("nan"))) for one in found.values()]
        simple.append(
            {
                "model": Cell(floor, "simple"),
                "mean rank": "",
                **dict(zip(titles.values(), values)),
                "better": "",
                "worse": "",
            }
        )
    for column in titles.values():
        rows = with_best(rows, column, metric)
    first, rank = next(iter(ranks.items()))
    few = ", ".join(next(iter(found.values())).labels) if len(ranks) <= 5 else ""
    return {
        "title": f"{what} of {few or f'{len(ranks)} models'} in {len(found)} comparisons",
        "headline": f"{first} has the best mean rank by {what}: {rank:.1f} of {len(ranks)} models, over {len(found)} "
        "comparisons.",
        "against": {titles[name]: one.against for name, one in found.items() if one.tests},
        "differences": differences(found),
        "table": Table(f"{what} on test rows, best mean rank first", [*rows, *simple]),
    }


def title(name: str) -> str:
    """What a comparison is called: that of its experiment, or of its folder."""
    experiment, _, part = name.partition("/")
    said = experiments()[experiment].title if experiment in experiments() else experiment
    return f"{said}, {part}" if part else said
