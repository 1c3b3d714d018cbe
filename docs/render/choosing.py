"""The decision map of docs/start/choose.md: what to try first is what came first in our own results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cdrzoo.evaluation.statistics import LEVEL
from cdrzoo.experiments.comparison import Comparison
from cdrzoo.experiments.tables import corrected, tests
from docs.render.results import COLD, PAIRS, load, markdown, mean, reads_source

CHEAP = {
    "LR": "lr",
    "DNN, target alone": "dnn",
    "DIN": "din",
    "DNN, all domains": "dnn:domains=all",
    "MV-DNN": "mv_dnn",
}
"""What a first comparison should hold: every one trains in minutes."""

LOGS = {
    "Amazon 1 to 2": "Most requests are of users new to the target. The source is rich, and knows them",
    "Ciao 01 to 02": "About half of the requests are of new users. Users are shared",
    "Food to kitchen": "Every user is in both domains, histories are long",
    "Amazon 2 to 1": "The target is much richer than the source",
    "Ciao 10 to 05": "The domains have little to say about each other",
}
"""The pairs in words; the first that fits is meant."""

GROUPS = {
    "cold": "users without a training row in the target",
    "warm": "users with one or more",
    "30+": "users with thirty or more",
}
FEW = 100
"""Test rows under which a group's AUC says nothing."""


def first(one: Comparison, metric: str = "auc") -> str:
    """Of the cheap models the highest."""
    return max(CHEAP, key=lambda label: mean(one, label, metric))


def close(one: Comparison) -> list[str]:
    """Of the cheap models those that are not told apart from the highest, best first (paired tests, Holm)."""
    best = first(one)
    paired = tests([line for line in one.results if line["label"] in CHEAP], best)
    p = corrected(paired)
    found = [label for label in CHEAP if label != best and not p[label] < LEVEL]
    return sorted(found, key=lambda label: -mean(one, label))


def worth(one: Comparison) -> str:
    """The highest model that reads the source, against the highest that does not; marked as on every page."""
    readers = [label for label in one.labels if reads_source(label)]
    source = max(readers, key=lambda label: mean(one, label))
    alone = max(set(one.labels) - set(readers), key=lambda label: mean(one, label))
    difference = mean(one, source) - mean(one, alone)
    beyond = [one.marks[label] == ("better" if difference > 0 else "worse") for label in readers]
    surely = any(beyond) if difference > 0 else all(beyond)
    said = f"{difference:+.3f}".replace("-0.000", "0.000").replace("+0.000", "0.000")
    return f"{said}, {'' if surely else 'not '}significant"


def decision() -> str:
    """A row a kind of logs: what to try first, and what the source was worth there."""
    rows = []
    for pair, logs in LOGS.items():
        one = load(PAIRS[pair])
        groups = one.about["groups"]
        new = groups["cold"] / (groups["cold"] + groups["warm"])
        then = ", ".join(f"`{CHEAP[label]}`" for label in close(one)) or "nothing else"
        rows.append([logs, f"{new:.0%}", f"**`{CHEAP[first(one)]}`**", then, worth(one), pair])
    heading = ["your logs", "new users", "try first", "not told apart", "a source adds", "seen on"]
    return markdown(heading, rows)


def by_rows() -> str:
    """What to try first by what the target knows of the user."""
    rows = []
    for group, words in GROUPS.items():
        row = [words]
        for name in PAIRS.values():
            one = load(name)
            label = first(one, f"auc@{group}") if one.about["groups"][group] >= FEW else ""
            row.append(f"`{CHEAP[label]}` {mean(one, label, f'auc@{group}'):.3f}" if label else "")
        rows.append(row)
    return markdown(["AUC of", *PAIRS], rows)


def ratings() -> str:
    """How often a model has the lowest RMSE under cold start."""
    columns = [
        load(f"{name}/beta{share}0") for ways in COLD.values() for name in ways.values() for share in "258"
    ]
    lowest = Counter(_lowest({label: mean(one, label, "rmse") for label in one.labels}) for one in columns)
    shown = ", ".join(
        f"{label.replace(', ', ' (') + ')' * (', ' in label)} in {count}"
        for label, count in lowest.most_common()
    )
    floors = sum(
        min(found["rmse"] for found in one.floors.values())
        < min(mean(one, label, "rmse") for label in one.labels)
        for one in columns
    )
    return (
        f"The lowest RMSE of {len(columns)} columns: {shown}.\n"
        f"A floor without a model is lower than all models in {floors} of them."
    )


def _lowest(found: Mapping[str, float]) -> str:
    return min(found, key=lambda label: found[label])
