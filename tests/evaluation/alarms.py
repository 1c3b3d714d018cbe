"""How often two models that are equally good are said to differ, at a level of 5 %.

python -m tests.evaluation.alarms > docs/results/measured/alarms.csv
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable

import numpy as np

from cdrzoo.evaluation import statistics

Scored = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def scored(seed, rows=300, noise=1.0, users=None, user_effect=0.0) -> Scored:
    """Labels, users and two scorers that are equally good: the same signal, noise of their own."""
    rng = np.random.default_rng(seed)
    user = np.arange(rows) if users is None else rng.integers(users, size=rows)
    tendency = 0.4 if users is None else rng.beta(1.0, 1.5, rows)[user]
    labels = (rng.random(rows) < tendency).astype(int)
    effects = user_effect * rng.normal(size=(2, rows))[:, user]
    one, two = labels + noise * rng.normal(size=(2, rows)) + effects
    return labels, user, 1 / (1 + np.exp(-one)), 1 / (1 + np.exp(-two))


def trained(seed, trainings, rows=200, users=40) -> Scored:
    """As `scored`, where every training of a model has learnt another share of the signal."""
    rng = np.random.default_rng(seed)
    user = rng.integers(users, size=rows)
    labels = (rng.random(rows) < rng.beta(1.0, 1.5, rows)[user]).astype(int)
    learnt = 1 + 0.5 * rng.normal(size=(2, trainings, 1))
    logits = learnt * labels + rng.normal(size=(2, 1, rows)) + rng.normal(size=(2, 1, rows))[:, :, user]
    return labels, user, *(1 / (1 + np.exp(-logits)))


def alarms(repeats: int, draw: Callable[..., Scored] = scored, **arguments) -> tuple[int, int]:
    """Of `repeats` logs those on which the two are said to differ: by user, by row."""
    found = {"user": 0, "row": 0}
    for seed in range(repeats):
        labels, users, one, two = draw(1000 + seed, **arguments)
        for by in found:
            group = {"users": users} if by == "user" else {}
            found[by] += statistics.bootstrap(labels, one, two, resamples=150, **group)["auc"].p < 0.05
    return found["user"], found["row"]


def main(repeats: int = 500) -> None:
    print("# Made by `python -m tests.evaluation.alarms`.")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["", "users, rows", "logs", "alarms by user (what is used)", "by row"])
    for users, rows in ((40, 200), (60, 300), (100, 400)):
        found = alarms(repeats, rows=rows, users=users, user_effect=1.0)
        shares = (f"{share / repeats:.1%}".replace("%", " %") for share in found)
        table.writerow(["the trainings are alike", f"{users}, {rows}", repeats, *shares])
    for trainings in (1, 2, 3):
        found = alarms(repeats, trained, trainings=trainings)
        shares = (f"{share / repeats:.1%}".replace("%", " %") for share in found)
        table.writerow([f"trainings scatter, seeds: {trainings}", "40, 200", repeats, *shares])


if __name__ == "__main__":
    main()
