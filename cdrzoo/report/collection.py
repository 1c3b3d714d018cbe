"""The page of several comparisons: those of the same models beside each other, then each in full."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cdrzoo.errors import InputError
from cdrzoo.experiments.catalogue import experiments
from cdrzoo.experiments.comparison import Comparison
from cdrzoo.report import cells, comparison
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
        waiting=waiting,
        overviews=[overview(alike) for alike in comparable(found)],
        found=[(_title(name), comparison.content(one)) for name, one in found.items()],
    )


def comparable(found: Mapping[str, Comparison]) -> list[dict[str, Comparison]]:
    """Comparisons of the same models by the same metric, where there are two or more; those of most models first."""
    alike: dict[tuple[frozenset[str], str], dict[str, Comparison]] = {}
    for name, one in found.items():
        alike.setdefault((frozenset(one.labels), next(iter(one.columns))), {})[name] = one
    of_most_first = sorted(alike.items(), key=lambda item: -len(item[0][0]))
    return [group for _, group in of_most_first if len(group) > 1]


def overview(found: Mapping[str, Comparison]) -> dict[str, Any]:
    """A row a model, a column a comparison; marked where the interval of the difference leaves 0 out."""
    metric, title = next(iter(next(iter(found.values())).columns.items()))
    rows: dict[str, dict[str, str | cells.Cell]] = {}
    marks: dict[str, list[str]] = {}
    for name, one in found.items():
        for label, values in comparison.seeds(one, metric).items():
            row = rows.setdefault(label, {"model": label, **dict.fromkeys(found, "")})
            test = one.tests.get(label)  # none of the one that the others are tested against
            kind = cells.kind(metric, test.difference, test.low, test.high) if test else ""
            row[name] = cells.Cell(f"{np.mean(values):.4f}", kind)
            marks.setdefault(label, []).append(kind)
    for label, row in rows.items():
        row |= {kind: str(marks[label].count(kind)) for kind in ("better", "worse")}
    return {
        "title": title,
        "names": list(dict.fromkeys(name.partition("/")[0] for name in found)),
        "against": list(dict.fromkeys(one.against for one in found.values() if one.against)),
        "rows": list(rows.values()),
    }


def _title(name: str) -> str:
    experiment, _, part = name.partition("/")
    title = experiments()[experiment].title if experiment in experiments() else experiment
    return f"{title}, {part}" if part else title
