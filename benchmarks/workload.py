"""The work that every competitor does: the same ids, sizes, batches, way of timing and way of asking. NumPy alone."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

BATCH = 2048
WIDTH = 16
FIELDS = 26
"""Ids of a row, each of a table of its own: those of Criteo. Its numbers are left out: libraries differ about them."""
LENGTH = 50
SHORT = 7  # of the small model: with the candidate, 8 ids of one table
CATEGORIES = 1_000
LARGE = 100_000
"""Rows that the other tables of a row of fields have at most; the first alone grows beyond."""
ATTENTION = (64, 16)
TOWER = (256, 128, 64)
CROSS = (128, 128)
EXPERTS = (256, 128)
TASK = (64,)
"""Of a task of the models of several tasks: shared layers 256-128, a tower of 64."""
TASKS = ("shared_bottom", "mmoe", "ple")
"""Models that have two labels, the tasks; the others have the first."""
STEPS = 8
"""Different batches."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, required=True, help="rows of the table")
    parser.add_argument("--steps", type=int, default=20, help="steps of a timed window")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--optimizer", choices=["cdrzoo", "keras"], default="cdrzoo")
    return parser.parse_args()


def tables(shape: str, rows: int) -> dict[str, int]:
    """`{id: rows of its table}` of a row: `fields` (26 ids) or `histories` (a user, a candidate and two histories)."""
    if shape == "fields":
        return {f"c{i}": rows if i == 0 else min(rows, LARGE) for i in range(FIELDS)}
    return {"user": rows, "item": rows, "cat": CATEGORIES}


def batches(shape: str, rows: int, steps: int = STEPS) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`{feature: [steps, batch, ...]}` and two labels `[steps, batch, 2]`.

    Ids are uniform, so that a step touches as many rows as it can. Histories are full.
    """
    rng = np.random.default_rng(0)
    read = tables(shape, rows)
    wanted = {name: (limit, ()) for name, limit in read.items()}
    if shape == "histories":
        wanted |= {"items": (read["item"], (LENGTH,)), "cats": (read["cat"], (LENGTH,))}
    x = {
        name: rng.integers(1, limit, (steps, BATCH, *more)).astype("int32")
        for name, (limit, more) in wanted.items()
    }
    return x, rng.integers(0, 2, (steps, BATCH, 2)).astype("float32")


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


def answer(make: Callable, products: Callable | None = None, **versions: str) -> None:
    """Does what the lines of the standard input ask for, and answers each by a line of JSON.

    Args:
        make: of a model's name, a shape and rows: what trains a window, `run(clock, steps)`, of so many steps and one
            before them.
        products: the machine's matrix product, in GFLOP a second.
        **versions: of the libraries.
    """
    out, run = sys.stdout, None
    with contextlib.redirect_stdout(sys.stderr):  # libraries print
        for line in sys.stdin:
            order = json.loads(line)
            what = order.pop("do")
            try:
                if what == "make":
                    before, start = _reset_peak(), time.perf_counter()
                    facts, run = make(**order)
                    warm = Clock()
                    run(warm, 1)  # traces and compiles
                    told = {**facts, "first_s": time.perf_counter() - start}
                elif what == "run":
                    clock = Clock()
                    run(clock, max(1, min(order["steps"], int(1e3 * order["seconds"] / warm.windows[0]))))
                    told = {"ms": clock.windows[0], "cpu": clock.cpu[0], "mb": _peak() - before}
                elif what == "drop":
                    run = None
                    gc.collect()
                    told = {"held": _status("VmRSS")}
                else:
                    told = {"gflops": products() if products else None, "versions": versions}
            except Exception as error:  # a peer that fails at one model is told, and goes on with the next
                run, told = None, {"error": f"{type(error).__name__}: {error}"[:300]}
            print(json.dumps(told), file=out, flush=True)


def _reset_peak() -> float:
    """The memory in use, in MB, from which on the peak is measured anew (Linux)."""
    gc.collect()
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def _status(name: str) -> float:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
