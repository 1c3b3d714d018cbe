"""What a comparison found, in Python: its folder, its numbers as frames, and as the text of tables."""

from __future__ import annotations

import functools
import json
import math
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cdrzoo import files
from cdrzoo.errors import InputError
from cdrzoo.evaluation.statistics import Paired, mark
from cdrzoo.experiments import results, tables
from cdrzoo.metrics import best_first, merit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Comparison:
    """What a comparison found.

    Args:
        folder: where it stands.
        results: of each label and seed its line of `results.jsonl`.
        about: what `comparison.json` says: `command`, `config`, `against`, `floors`, `groups` (test rows of each).
    """

    folder: pathlib.Path
    results: list[dict[str, Any]]
    about: dict[str, Any]

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> Comparison:
        """The runs that `comparison.json` lists; while it lists none, of every model those of its newest settings.

        Raises:
            InputError: no run is done yet.
        """
        folder = pathlib.Path(folder)
        path = folder / results.ABOUT
        lines = results.kept(folder / results.LINES)
        mend = "Start the command again; what is trained is not trained again."
        about = files.read_json(path, mend, ("command", "config")) if path.exists() else {}
        if "runs" in about:
            by_key = {line["key"]: line for line in lines}
            with files.reading(path, mend):
                found = [{**by_key[key], "label": label} for label, key in about["runs"]]
        else:
            with files.reading(folder / results.LINES, mend):
                runs = [(s["label"], s["changes"]["seed"], s) for s in lines if s["stage"] == "seed"]
            newest = {label: {**s["changes"], "seed": None} for label, _, s in runs}
            last = {(label, seed): s for label, seed, s in runs}
            found = [s for s in last.values() if {**s["changes"], "seed": None} == newest[s["label"]]]
        if not found:
            raise InputError(
                f"No run of the comparison in {folder} is done yet. Start `cdrzoo compare` again."
            )
        loaded = cls(folder, found, about)
        with files.reading(folder, mend):  # its lines are what they should be
            loaded.markdown()
        return loaded

    @property
    def labels(self) -> list[str]:
        """The models, by the names that the table gives them."""
        return list(dict.fromkeys(line["label"] for line in self.results))

    @property
    def searched(self) -> int:
        """Runs of the search."""
        return sum(line["stage"] == "search" for line in results.kept(self.folder / results.LINES))

    @property
    def against(self) -> str | None:
        """Whom the paired tests compare with; `None`: there are none."""
        if self.about:
            return self.about.get("against")
        return "dnn" if "dnn" in self.labels else self.labels[0]

    @property
    def columns(self) -> dict[str, str]:
        """`{metric: title}` of the table, the metric of the tests first."""
        return tables.columns(self.results)

    @functools.cached_property
    def tests(self) -> dict[str, Paired]:
        """`{label: paired t-test over seeds}` of every other model against one."""
        return tables.tests(self.results, self.against)

    @functools.cached_property
    def corrected(self) -> dict[str, float]:
        """The p-values of the tests, after Holm's correction for all of them."""
        return tables.corrected(self.tests)

    @functools.cached_property
    def marks(self) -> dict[str, str]:
        """Of each model `better` or `worse` than the one tested against, if significantly, `against`, or nothing."""
        metric = next(iter(self.columns))
        found = {
            label: mark(metric, test.difference, self.corrected[label]) for label, test in self.tests.items()
        }
        return {label: "against" if label == self.against else found.get(label, "") for label in self.labels}

    def scores(self, label: str, metric: str) -> list[float]:
        """A metric of the test rows of every seed of a model."""
        return [run["test"][metric] for run in tables.by_label(self.results)[label].values()]

    def ranked(self, metric: str | None = None) -> dict[str, float]:
        """The mean of a metric over seeds, best model first, one without a number last; default: that of the tests."""
        name = metric or next(iter(self.columns))
        return best_first({label: float(np.mean(self.scores(label, name))) for label in self.labels}, name)

    @property
    def table(self) -> pd.DataFrame:
        """Means and standard deviations over seeds and the paired tests, a row a model (see `tables.numbers`)."""
        import pandas as pd

        return pd.DataFrame(tables.numbers(self.results, self.against, self.floors)).set_index("model")

    @property
    def floors(self) -> dict[str, dict[str, float]]:
        """Metrics of simple predictors, on the same test rows."""
        return self.about.get("floors", {})

    @property
    def runs(self) -> pd.DataFrame:
        """A row a run: `model`, `seed`, `settings`, metrics of test rows, and of validation rows as `val_...`."""
        import pandas as pd

        rows = []
        for line in self.results:
            run, settings = line["result"], dict(line["changes"])
            seed, _ = settings.pop("seed"), settings.pop("model", None)
            validation = {f"val_{name}": value for name, value in run["validation"].items()}
            also = {name: run[name] for name in ("best_epoch", "parameters", "seconds") if name in run}
            row = {"model": line["label"], "seed": seed, "settings": settings}
            rows.append({**row, **run["test"], **validation, **also})
        return pd.DataFrame(rows)

    def rows(self) -> list[dict[str, str]]:
        """The table as text, floors first (see `tables.table`)."""
        return tables.table(self.results, self.against, self.floors)

    def markdown(self) -> str:
        """The table as Markdown, floors first, the best in bold."""
        return tables.markdown(tables.with_best(self.rows()))

    @property
    def groups(self) -> dict[str, list[dict[str, str]]]:
        """`{metric: table}` by group, a row a model (see `tables.group_tables`)."""
        sizes = {"rows": self.about.get("groups", {}), "clicks": self.about.get("clicks", {})}
        return tables.group_tables(self.results, sizes["rows"], self.against, sizes["clicks"])

    def about_groups(self) -> str:
        """What the groups and the marks in their tables are."""
        return tables.about_groups(self.about.get("groups", {}), self.against)

    def markdown_of_groups(self) -> str:
        """The tables by group as Markdown; empty where there are none."""
        return "".join(
            f"\n{title}. {self.about_groups()}\n\n{tables.markdown(rows)}"
            for title, rows in self.groups.items()
        )

    def write(self) -> None:
        """Writes `comparison.json`, which a page is made of."""
        about = {**self.about, **({"runs": results.runs(self.results)} if self.results else {})}
        files.write(self.folder / results.ABOUT, json.dumps(about, indent=2, default=str) + "\n")

    def __repr__(self) -> str:
        return f"Comparison({str(self.folder)!r}: {len(self.labels)} models, {len(self.results)} runs)"

    def _repr_html_(self) -> str:
        import pandas as pd

        return pd.DataFrame(self.rows()).to_html(index=False, border=0)


def mean_ranks(found: Sequence[Comparison]) -> dict[str, float]:
    """The place of each model by the first metric, the mean over comparisons of the same models; best first."""
    places: dict[str, list[int]] = {}
    for one in found:
        metric = next(iter(one.columns))
        merits = {
            label: -math.inf if math.isnan(mean) else merit(metric, mean)
            for label, mean in one.ranked().items()
        }
        for label, own in merits.items():
            places.setdefault(label, []).append(1 + sum(other > own for other in merits.values()))
    means = {label: float(np.mean(each)) for label, each in sorted(places.items())}
    return dict(sorted(means.items(), key=lambda item: item[1]))
