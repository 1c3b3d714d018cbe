"""What the runs of a comparison say: means and deviations over seeds, paired tests, groups of users."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cdrzoo.evaluation.statistics import Paired, holm, paired, wilcoxon

COLUMNS = {
    "click": {"auc": "AUC", "gauc": "GAUC", "log_loss": "LogLoss", "ece": "ECE"},
    "rating": {"mae": "MAE", "rmse": "RMSE"},
}
TITLES = {metric: title for columns in COLUMNS.values() for metric, title in columns.items()}
RANKED = 6
"""Seeds from which the table has Wilcoxon's test, too: with fewer no p-value of it is below 0.05."""
TESTS = {"difference": "difference", "p": "p", "p_holm": "p, Holm", "p_wilcoxon": "p, Wilcoxon"}
GROUPS = {
    "users": "By the training rows that the target has of a user (cold: none, warm: some).",
    "slices": "By the values of columns, COLUMN=VALUE.",
}


def columns(results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """`{metric: title}` of what a comparison's table shows, the metric of the tests first; no GAUC without users."""
    measured = [line["result"]["test"] for line in results]
    of_task = COLUMNS["click" if "auc" in measured[0] else "rating"]
    return {metric: title for metric, title in of_task.items() if all(metric in test for test in measured)}


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
    corrected = dict(zip(found, holm([test.p for test in found.values()])))
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
            row |= {"difference": test.difference, "p": test.p, "p_holm": corrected[label], "note": test.note}
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


def group_tables(
    results: Sequence[Mapping[str, Any]], sizes: Mapping[str, int]
) -> dict[str, list[dict[str, str]]]:
    """Metrics by group, as MKT's Table 3 has those of users: `{title: rows}`, a row a label, a column a group.

    Args:
        results: lines of `results.jsonl`. Groups without a value in any run are left out, those whose value is that of
            all rows (under cold start every user is cold), and metrics without groups.
        sizes: test rows of the groups, for the first row: a group of three rows has an AUC, too.
    """
    tables = {TITLES[metric]: _by_group(results, metric, sizes) for metric in ("auc", "gauc", "mae", "rmse")}
    return {title: rows for title, rows in tables.items() if len(rows[0]) > 1}


def about_groups(sizes: Mapping[str, int]) -> str:
    """What the groups are, of which these are the sizes; without sizes they are of users."""
    there = {"users": "cold" in sizes or not sizes, "slices": any("=" in name for name in sizes)}
    return " ".join(GROUPS[kind] for kind in GROUPS if there[kind])


def _by_group(
    results: Sequence[Mapping[str, Any]], metric: str, sizes: Mapping[str, int]
) -> list[dict[str, str]]:
    rows = []
    for label, runs in by_label(results).items():
        values: dict[str, list[float]] = {}
        for run in runs.values():
            for name, value in run["test"].items():
                if name.startswith(f"{metric}@") and np.isfinite(value) and value != run["test"][metric]:
                    values.setdefault(name.partition("@")[2], []).append(value)
        rows.append({"model": label, **{group: _cell(*_spread(found)) for group, found in values.items()}})
    groups = dict.fromkeys(name for row in rows for name in row)
    if sizes:
        rows.insert(0, {"model": "test rows", **{group: f"{size:,}" for group, size in sizes.items()}})
    return [{name: row.get(name, "") for name in groups} for row in rows]


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
