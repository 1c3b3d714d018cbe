"""The tables of docs/scale.md, made from what `python -m benchmarks.scale` has measured."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from docs.render.results import FOLDER, markdown
from docs.render.speed import rows_of

FILE = FOLDER / "scale.jsonl"
STAGES = {"read": "read", "count": "count", "encode": "encode", "write": "gather and write"}
EXECUTORS = {
    "processes": "processes",
    "beam": "Beam, DirectRunner",
    "dask": "Dask, a cluster on this machine",
    "spark": "Spark on this machine",
}
COMPARED = 20_000_000
LARGEST = 100_000_000
BILLION = 1_000_000_000


@functools.cache
def found() -> dict[tuple[int, str], dict[str, Any]]:
    """By rows and what was done: the last line of each."""
    lines = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return {(line["rows"], line["what"]): line for line in lines}


def sizes() -> list[int]:
    return sorted(rows for rows, what in found() if what == "train")


def alone(one: dict[str, Any]) -> float:
    """Processor time that belongs to no task: vocabularies put together, mostly, by one process."""
    return one["processor"] - sum(seconds for seconds, _ in one["stages"].values())


def row(
    title: str, every: list[dict[str, Any]], value: Callable[[dict[str, Any]], float], form: str = ".1f"
) -> list[str]:
    """A cell a number of rows."""
    return [title, *(format(value(one), form) for one in every)]


def growth() -> str:
    """A column a number of rows: what each stage of a preparation takes."""
    every = [found()[rows, "processes"] for rows in sizes()]
    lines = [
        row(title, every, lambda one, name=name: one["stages"][name][0] * 1e6 / one["rows"])
        for name, title in STAGES.items()
    ]
    lines += [
        row("the one process in charge", every, lambda one: alone(one) * 1e6 / one["rows"]),
        row("all", every, lambda one: one["processor"] * 1e6 / one["rows"]),
        row("on the clock, s per million rows", every, lambda one: one["wall"] * 1e6 / one["rows"]),
        *memory(every),
        row("disk while it works, GB", every, lambda one: one["disk"]),
        row("disk for the rows, GB", every, lambda one: one["rows_disk"]),
        row("load of the machine at the end", every, lambda one: one["load"], ".0f"),
    ]
    return markdown(["processor time, s per million rows", *map(rows_of, sizes())], lines)


def memory(every: list[dict[str, Any]]) -> list[list[str]]:
    return [
        row("largest process, GB", every, lambda one: one["largest"], ".2f"),
        row("all processes, GB", every, lambda one: one["together"]),
    ]


def training() -> str:
    """A column a number of rows: what an epoch takes, with its measuring."""
    every = [found()[rows, "train"] for rows in sizes()]
    lines = [
        row("on the clock, s", every, lambda one: one["wall"], ",.0f"),
        row("processor time, s", every, lambda one: one["processor"], ",.0f"),
        row(
            "processor time, s per million rows",
            every,
            lambda one: one["processor"] * 1e6 / one["rows"],
            ".0f",
        ),
        memory(every)[0],
    ]
    return markdown(["a training", *map(rows_of, sizes())], lines)


def executors() -> str:
    """A row an executor: the same rows."""
    every = [found()[COMPARED, name] for name in EXECUTORS]
    lines = [
        [
            EXECUTORS[one["what"]],
            f"{one['processor']:,.0f}",
            f"{one['wall']:,.0f}",
            f"{one['largest']:.2f}",
            f"{one['together']:.1f}",
        ]
        for one in every
    ]
    heading = ["executor", "processor time, s", "wall, s", "largest process, GB", "all processes, GB"]
    return markdown(heading, lines)


def billion() -> str:
    """A row a number of processes: hours for a billion rows, in proportion to the largest log that was run."""
    one = found()[LARGEST, "processes"]
    times = BILLION / LARGEST
    serial, spread = alone(one) * times / 3600, (one["processor"] - alone(one)) * times / 3600
    lines = [
        [
            str(n),
            f"{serial + spread / n:.1f}",
            f"{one['disk'] * times:.0f}",
            f"{one['rows_disk'] * times:.0f}",
        ]
        for n in (1, 8, 32, 128)
    ]
    return markdown(["processes", "hours", "disk for the work, GB", "disk for the rows, GB"], lines)
