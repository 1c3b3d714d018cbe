"""The page of a comparison: every seed, differences to one model, table, groups and settings."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cdrzoo.errors import InputError
from cdrzoo.evaluation.statistics import Paired
from cdrzoo.experiments import tables
from cdrzoo.experiments.results import kept
from cdrzoo.report import cells, figures
from cdrzoo.report.rendering import render
from cdrzoo.training.config import RunConfig


@dataclass(frozen=True)
class Comparison:
    """What a folder of a comparison holds, and the tests of its results.

    Args:
        searched: runs of the search.
        results: a line of `results.jsonl` a run.
        about: what `comparison.json` says; empty while there is none.
    """

    searched: int
    results: list[dict[str, Any]]
    about: dict[str, Any]

    @classmethod
    def load(cls, folder: pathlib.Path) -> Comparison:
        """The runs that `comparison.json` lists; while there are none, of every model those of its newest settings."""
        lines, path = kept(folder / "results.jsonl"), folder / "comparison.json"
        about = json.loads(path.read_text()) if path.exists() else {}
        if "runs" in about:
            by_key = {line["key"]: line for line in lines}
            results = [{**by_key[key], "label": label} for label, key in about["runs"]]
        else:
            seeds = {(s["label"], s["changes"]["seed"]): s for s in lines if s["stage"] == "seed"}
            newest = {s["label"]: {**s["changes"], "seed": None} for s in lines if s["stage"] == "seed"}
            results = [s for s in seeds.values() if {**s["changes"], "seed": None} == newest[s["label"]]]
        if not results:
            raise InputError(
                f"No run of the comparison in {folder} is done yet. Start `cdrzoo compare` again."
            )
        return cls(sum(line["stage"] == "search" for line in lines), results, about)

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(line["label"] for line in self.results))

    @property
    def against(self) -> str:
        return self.about.get("against", "dnn" if "dnn" in self.labels else self.labels[0])

    @property
    def columns(self) -> dict[str, str]:
        return tables.columns(self.results)

    @cached_property
    def tests(self) -> dict[str, Paired]:
        return tables.tests(self.results, self.against)

    def seeds(self, metric: str) -> dict[str, list[float]]:
        """A metric of every run, by label."""
        return {
            label: [line["result"]["test"][metric] for line in self.results if line["label"] == label]
            for label in self.labels
        }

    def settings(self) -> list[cells.Row]:
        """What each model was trained with where it is not the shared configuration."""
        changes = {line["label"]: line["changes"] for line in reversed(self.results)}
        chosen = [
            {"model": label, **{k: v for k, v in changes[label].items() if k not in ("seed", "model")}}
            for label in self.labels
        ]
        names = dict.fromkeys(name for row in chosen for name in row)
        return [{name: str(row.get(name, "")) for name in names} for row in chosen]


def page(folder: pathlib.Path) -> str:
    """The page of one comparison."""
    found = Comparison.load(folder)
    of = found.about["config"]["schema"]["target"] if found.about else folder.name
    return render("comparison.html", title=f"Comparison on {of}", comparison=content(found))


def content(found: Comparison) -> dict[str, Any]:
    """What the template shows of a comparison."""
    metric, title = next(iter(found.columns.items()))
    rows = tables.table(found.results, found.against, found.about.get("floors"))
    for row in rows:
        if row["model"] in found.tests:
            row["difference"] = _difference(found.tests[row["model"]])
    return {
        "found": found,
        "title": title,
        "seeds": figures.seeds(found.seeds(metric), title),
        "forest": _forest(found, metric, title),
        "table": rows,
        "ranked": "p, Wilcoxon" in rows[-1],
        "groups": tables.group_tables(found.results, found.about.get("groups", {})),
        "about_groups": tables.GROUPS,
        "schema": RunConfig.from_dict(found.about["config"]).schema if found.about else None,
        "result": found.results[0]["result"],
    }


def _forest(found: Comparison, metric: str, title: str) -> figures.Figure | None:
    if not found.tests:
        return None
    differences: dict[str, Mapping[str, float]] = {label: vars(test) for label, test in found.tests.items()}
    caption = f"Mean difference to {found.against} and its 95 % interval over seeds (paired t)"
    return figures.forest(differences, f"difference of {title}", metric, caption)


def _difference(test: Paired) -> str:
    interval = f" ({test.low:.4f}, {test.high:.4f})" if np.isfinite(test.low) else ""
    return f"{test.difference:+.4f}{interval}"
