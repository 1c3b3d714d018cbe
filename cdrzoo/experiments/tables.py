"""What the runs of a comparison say: means and deviations over seeds, paired tests, groups of users."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cdrzoo.evaluation.statistics import LEVEL, Paired, holm, paired, wilcoxon
from cdrzoo.metrics import merit

COLUMNS = {
    "click": {"auc": "AUC", "gauc": "GAUC", "log_loss": "LogLoss", "ece": "ECE"},
    "rating": {"mae": "MAE", "rmse": "RMSE"},
}
TITLES = {metric: title for columns in COLUMNS.values() for metric, title in columns.items()}
RANKED = 6
"""Seeds from which the table has Wilcoxon's test, too: with fewer no p-value of it is below 0.05."""
TESTS = {"difference": "difference", "p": "p", "p_holm": "p, Holm", "p_wilcoxon": "p, Wilcoxon"}
SIGNS = {"better": " +", "worse": " -", "against": " =", "": ""}
"""What stands behind a number in every table: significantly better, worse (`Comparison.marks`), or tested against."""
GROUPS = {
    "users": "By the training rows that the target has of a user (cold: none, warm: some).",
    "slices": "By the values of columns, COLUMN=VALUE.",
}


def columns(results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """`{metric: title}` of what a comparison's table shows, the metric of the tests first; no GAUC without users."""
    measured = [line["result"]["test"] for line in results]
    of_task = COLUMNS["click" if "auc" in measured[0] else "rating"]
    further = {
        name: title_of(name) for name in measured[0] if "." in name.partition("@")[0] and "@" not in name
    }
    return {
        metric: title
        for metric, title in {**of_task, **further}.items()
        if all(metric in test for test in measured)
    }


def title_of(metric: str) -> str:
    """What a metric is called, of a further label `LABEL.auc`, too."""
    label, _, name = metric.rpartition(".")
    return f"{TITLES[name]}, {label}" if label else TITLES[name]


def numbers(
    results: Sequence[Mapping[str, Any]],
    against: str | None,
    floors: Mapping[str, Mapping[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Rows of the comparison's table, one a label; what a row does not have is NaN.

    Args:
        results: lines of `results.jsonl`.
        against: label that the others are tested against, by a paired t-test over seeds on the first metric. Beside
            its p-value stands that of Holm's correction for having tested all the others, and from `RANKED` seeds on
            that of Wilcoxon's signed-rank test.
        floors: simple baselines, `{name: {metric: value}}`, put first.

    Returns:
        Of each row `model`, a metric's mean by its name and its standard deviation over seeds with `_std` behind it,
        those of `TESTS`, `note` (why there is no p), `parameters` and `seconds` of a run.
    """
    metrics = columns(results)
    found = tests(results, against)
    p_holm = corrected(found)
    ranked = any(test.seeds >= RANKED for test in found.values())
    named = [name for name in TESTS if name != "p_wilcoxon" or ranked]
    empty = {**dict.fromkeys(named, math.nan), "note": "", "parameters": math.nan, "seconds": math.nan}
    rows: list[dict[str, Any]] = []
    for name, floor in (floors or {}).items():
        cells = {
            key: floor.get(m, math.nan) if key == m else math.nan for m in metrics for key in (m, f"{m}_std")
        }
        rows.append({"model": name, **cells, **empty})
    for label, runs in by_label(results).items():
        row: dict[str, Any] = {"model": label}
        for metric in metrics:
            row[metric], row[f"{metric}_std"] = _spread([run["test"][metric] for run in runs.values()])
        row |= empty
        if label in found:
            test = found[label]
            row |= {"difference": test.difference, "p": test.p, "p_holm": p_holm[label], "note": test.note}
            if ranked:
                row["p_wilcoxon"] = wilcoxon(*_both(results, label, against))
        row["parameters"] = next(iter(runs.values()))["parameters"]
        row["seconds"] = float(np.mean([run["seconds"] for run in runs.values()]))
        rows.append(row)
    return rows


def table(
    results: Sequence[Mapping[str, Any]],
    against: str | None,
    floors: Mapping[str, Mapping[str, float]] | None = None,
) -> list[dict[str, str]]:
    """The rows of `numbers` as text, each with the titles of its columns."""
    rows = []
    for row in numbers(results, against, floors):
        tested = {title: p_text(row[name]) for name, title in TESTS.items() if name in row}
        if not math.isnan(row["difference"]) or row["note"]:
            tested |= {"difference": f"{row['difference']:+.4f}", "p": tested["p"] or row["note"]}
        metrics = columns(results).items()
        rows.append(
            {
                "model": row["model"],
                **{title: _cell(row[metric], row[f"{metric}_std"]) for metric, title in metrics},
                **tested,
                "parameters": "" if math.isnan(row["parameters"]) else f"{row['parameters']:,}",
                "seconds": "" if math.isnan(row["seconds"]) else f"{row['seconds']:.1f}",
            }
        )
    return rows


def with_best(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The rows of `table`, of each metric the best model's cell in bold; a floor is no model."""
    made, metric_of = [dict(row) for row in rows], {title: metric for metric, title in TITLES.items()}
    models = [row for row in made if row["seconds"]]
    for title in made[0]:
        if metric := metric_of.get(title.partition(",")[0]):
            for row, cell in zip(models, best_in_bold([row[title] for row in models], metric), strict=True):
                row[title] = cell
    return made


def best_in_bold(cells: Sequence[str], metric: str) -> list[str]:
    """Cells of a metric, the best in bold if there are several; each begins with its number, or is empty."""
    merits = [merit(metric, float(text.split()[0])) if text else -math.inf for text in cells]
    several = sum(map(math.isfinite, merits)) > 1
    best = merits.index(max(merits)) if several else None
    return [f"**{text}**" if place == best else text for place, text in enumerate(cells)]


def group_tables(
    results: Sequence[Mapping[str, Any]],
    sizes: Mapping[str, int],
    against: str | None = None,
    clicks: Mapping[str, int] | None = None,
) -> dict[str, list[dict[str, str]]]:
    """Metrics by group, as MKT's Table 3 has those of users: `{title: rows}`, a row a label, a column a group.

    Args:
        results: lines of `results.jsonl`. Groups without a value in any run are left out, those whose value is that of
            all rows (under cold start every user is cold), and metrics without groups.
        sizes: test rows of the groups, for the first row: a group of three rows has an AUC, too.
        against: label that the others are tested against in every group, by a paired t-test over seeds. What differs
            significant after Holm's correction for all tests of the table is marked by `MARK`.
        clicks: clicks of the groups, for the second row.
    """
    counts = {"test rows": sizes, "clicks": clicks or {}}
    tables = {
        TITLES[metric]: _by_group(results, metric, counts, against)
        for metric in ("auc", "gauc", "mae", "rmse")
    }
    return {title: rows for title, rows in tables.items() if len(rows[0]) > 1}


MARK = " *"
"""Behind a number of a group that differs significantly from the other model's."""


def about_groups(sizes: Mapping[str, int], against: str | None = None) -> str:
    """What the groups are, of which these are the sizes; without sizes they are of users."""
    there = {"users": "cold" in sizes or not sizes, "slices": any("=" in name for name in sizes)}
    said = [GROUPS[kind] for kind in GROUPS if there[kind]]
    if against is not None:
        said.append(
            f"*: differs from {against} (paired t-test over seeds, p < {LEVEL} after Holm's correction for all tests "
            "of the table)."
        )
    return " ".join(said)


def _by_group(
    results: Sequence[Mapping[str, Any]],
    metric: str,
    counts: Mapping[str, Mapping[str, int]],
    against: str | None,
) -> list[dict[str, str]]:
    labels = by_label(results)
    values: dict[str, dict[str, dict[int, float]]] = {}  # by label, group and seed
    for label, runs in labels.items():
        found = values.setdefault(label, {})
        for seed, run in runs.items():
            for name, value in run["test"].items():
                if name.startswith(f"{metric}@") and np.isfinite(value) and value != run["test"][metric]:
                    found.setdefault(name.partition("@")[2], {})[seed] = value
    differing = _differing(values, against)
    rows = [
        {
            "model": label,
            **{
                group: _cell(*_spread(list(of_seeds.values()))) + MARK * ((label, group) in differing)
                for group, of_seeds in found.items()
            },
        }
        for label, found in values.items()
    ]
    groups = dict.fromkeys(name for row in rows for name in row)
    for title, sizes in reversed([(title, sizes) for title, sizes in counts.items() if sizes]):
        rows.insert(0, {"model": title, **{group: f"{size:,}" for group, size in sizes.items()}})
    return [{name: row.get(name, "") for name in groups} for row in rows]


def _differing(
    values: Mapping[str, Mapping[str, Mapping[int, float]]], against: str | None
) -> set[tuple[str, str]]:
    """Labels and groups whose difference from one label is significant after Holm's correction for all of them."""
    tested = {}
    for label, found in values.items() if against in values else ():
        for group, one in found.items() if label != against else ():
            other = values[str(against)].get(group, {})
            seeds = sorted(one.keys() & other.keys())
            tested[label, group] = paired([one[seed] for seed in seeds], [other[seed] for seed in seeds]).p
    return {which for which, p in zip(tested, holm(list(tested.values()))) if p < LEVEL}


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation of a metric, as the tables have them."""
    return _cell(*_spread(values))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; of one value NaN."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _cell(mean: float, std: float) -> str:
    return "" if math.isnan(mean) else f"{mean:.4f}" + ("" if math.isnan(std) else f" ± {std:.4f}")


def tests(results: Sequence[Mapping[str, Any]], against: str | None) -> dict[str, Paired]:
    """`{label: paired t-test over seeds}` of every other label against one, on the first metric of `columns`."""
    labels = by_label(results)
    return {
        label: paired(*_both(results, label, against))
        for label in labels
        if label != against and against in labels
    }


def corrected(found: Mapping[str, Paired]) -> dict[str, float]:
    """The p-values of tests, after Holm's correction for all of them."""
    return dict(zip(found, holm([test.p for test in found.values()])))


def _both(results: Sequence[Mapping[str, Any]], label: str, against: str | None) -> list[list[float]]:
    """The first metric of two labels, on the seeds that both have."""
    both = [by_label(results)[str(each)] for each in (label, against)]
    metric = next(iter(columns(results)))
    return [[runs[seed]["test"][metric] for seed in sorted(both[0].keys() & both[1].keys())] for runs in both]


def by_label(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """`{label: {seed: what the run reported}}`."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for line in results:
        found.setdefault(line["label"], {})[line["changes"]["seed"]] = line["result"]
    return found


def p_text(p: float) -> str:
    """A p-value for a table; empty where there is none."""
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """The table as Markdown."""
    titles = list(rows[0])
    lines = [titles, ["---"] * len(titles), *([row[title] for title in titles] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
