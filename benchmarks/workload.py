"""The work that every competitor does: the same ids, sizes, batches and way of timing. NumPy alone."""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np

BATCH = 2048
WIDTH = 16
LENGTH = 50
SHORT = 7  # of the small model: with the candidate, 8 ids of one table
CATEGORIES = 1_000
ATTENTION = (64, 16)
TOWER = (256, 128, 64)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=["din", "dnn", "small"], required=True)
    parser.add_argument(
        "--rows", type=int, required=True, help="rows of the user table and of the item table"
    )
    parser.add_argument("--steps", type=int, default=20, help="steps of a timed window")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--history", choices=["full", "ragged"], default="full")
    parser.add_argument("--optimizer", choices=["cdrzoo", "keras"], default="cdrzoo")
    parser.add_argument("--l2", action="store_true", help="deepctr's own default: L2 on whole tables")
    return parser.parse_args()


def batches(rows: int, steps: int, history: str = "full") -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`{feature: [steps, batch, ...]}` and labels `[steps, batch, 1]`.

    Ids are uniform, so that a step touches as many rows as it can. Histories are full, or hold 0 to 50 events with
    the padding at the end.
    """
    rng = np.random.default_rng(0)

    def ids(limit: int, *shape: int) -> np.ndarray:
        return rng.integers(1, limit, (steps, BATCH, *shape)).astype("int32")

    x = {
        "user": ids(rows),
        "item": ids(rows),
        "cat": ids(CATEGORIES),
        "items": ids(rows, LENGTH),
        "cats": ids(CATEGORIES, LENGTH),
    }
    if history == "ragged":
        present = np.arange(LENGTH) < rng.integers(0, LENGTH + 1, (steps, BATCH, 1))
        x["items"], x["cats"] = x["items"] * present, x["cats"] * present
    return x, rng.integers(0, 2, (steps, BATCH, 1)).astype("float32")


class Clock:
    """Milliseconds a step of each window, from the end of the window's first step to the end of its last.

    Also processor time (of all cores together): what a step costs where the machine is shared.
    """

    def __init__(self):
        self.windows: list[float] = []
        self.cpu: list[float] = []
        self.start()

    def start(self) -> None:
        self._ends: list[tuple[float, float]] = []

    def step_ended(self) -> None:
        self._ends.append((time.perf_counter(), time.process_time()))

    def stop(self) -> None:
        first, last = self._ends[0], self._ends[-1]
        wall, cpu = (1e3 * (b - a) / (len(self._ends) - 1) for a, b in zip(first, last))
        self.windows.append(wall)
        self.cpu.append(cpu)


def report(clock: Clock, **facts) -> None:
    """One line of JSON, the last of the output, for `benchmarks.speed` to read."""
    medians = {"step_ms": statistics.median(clock.windows), "cpu_ms": statistics.median(clock.cpu)}
    print(json.dumps({**medians, "windows": clock.windows, **facts}))
