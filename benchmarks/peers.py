"""The step of every model that a peer has, beside the peers: `python -m benchmarks`.

    python -m benchmarks                                     # all; an hour
    python -m benchmarks --rows 1000 100000 --models afm din # a part of it

A cell is a model with rows of a shape and tables of so many rows. Every library that has the model holds it in a
process of its own, and they take turns, `--rounds` times, a window of `--steps` steps each (fewer where they take more
than `--seconds`) inside the library's own training loop, with the same batches. Of a cell the file has one line as soon
as it is finished: the median window of each (milliseconds on the clock, and of processor time of all cores together),
fastest and slowest, the peak of memory above that of the process without the model, the arithmetic of the model's
matrix products, and what the machine's own product did then. A cell of today is not measured again; those of other
days stay beside it. `python -m docs.render` puts the last day, and how far days differ, into the pages on speed.

deepctr, torch-rechub and FuxiCTR live in an environment of their own, `.venv-bench`, which is made from
requirements/bench.txt the first time, or given with `--peers PYTHON`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.speed import environment, machine

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "speed.jsonl"
ROWS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
"""Rows of the tables."""
ALONE = (10_000, 10_000_000)
"""Those with which cdrzoo trains alone, and `OURS` only: with ten million the peers would take too long."""
OURS = ("deepfm", "dnn", "din")
APART = 100_000
"""Rows from which on tables are large: libraries hold their models one after the other, which would not fit at once."""
FULL = 1_000
"""MB that a process may keep of the models that it has dropped, before it is replaced."""
ALL = ("deepctr", "torch-rechub", "FuxiCTR")
MODELS = {
    "fields": {
        "lr": ("FuxiCTR",),
        "fm": ("deepctr", "FuxiCTR"),
        "wide_deep": ALL,
        "deepfm": ALL,
        "nfm": ("deepctr", "FuxiCTR"),
        "afm": ("deepctr", "FuxiCTR"),
        "xdeepfm": ("deepctr", "FuxiCTR"),
        "fibinet": ALL,
        "dcn": ALL,
        "dnn": ALL,
        "shared_bottom": ("deepctr", "torch-rechub"),
        "mmoe": ("deepctr", "torch-rechub"),
        "ple": ("deepctr", "torch-rechub"),
    },
    "histories": {"dnn": ALL, "din": ALL},
}
"""By shape: the models, and the peers that have them."""
SCRIPTS = {
    "cdrzoo": "cdrzoo_run",
    "deepctr": "deepctr_run",
    "torch-rechub": "rechub_run",
    "FuxiCTR": "fuxictr_run",
}


class Library:
    """A library in a process of its own, which is asked line by line."""

    def __init__(self, name: str, python: pathlib.Path | str, script: Sequence[str] = ()):
        settings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(ROOT)}
        if name == "deepctr":
            settings["TF_USE_LEGACY_KERAS"] = "1"  # it knows Keras 2 alone
        module, *arguments = script or [SCRIPTS[name]]
        command = [str(python), "-m", f"benchmarks.runs.{module}", *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.name = name
        self._start = functools.partial(subprocess.Popen, command, cwd=ROOT, env=settings, **pipes)
        self._process = self._start()

    def ask(self, what: str, **of: Any) -> dict[str, Any]:
        """The answer to an order; a `RuntimeError` if the process has ended."""
        try:
            print(json.dumps({"do": what, **of}), file=self._process.stdin, flush=True)
            answer = next(
                (line for line in self._process.stdout if line.startswith("{")), ""
            )  # imports print
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._process = self._start()
            raise RuntimeError(f"{self.name} ended at {what} {of}; what it said stands above.")
        told = json.loads(answer)
        if "error" in told:
            raise RuntimeError(f"{self.name}, {what} {of}: {told['error']}")
        if told.get("held", 0) > FULL:
            self.end()
            self._process = self._start()
        return told

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def cell(
    libraries: list[Library], model: str, shape: str, rows: int, args: argparse.Namespace
) -> dict[str, Any]:
    """What the libraries needed, in turns; a library that fails is left out, and says why."""
    plan = ["make", *["run"] * rounds_of(rows, args), "drop"]
    orders = {
        "make": {"model": model, "shape": shape, "rows": rows},
        "run": {"steps": args.steps, "seconds": args.seconds},
        "drop": {},
    }
    if rows < APART:
        turns = [(library, what) for what in plan for library in libraries]
    else:
        turns = [(library, what) for library in libraries for what in plan]
    answers: dict[str, list[dict]] = {library.name: [] for library in libraries}
    gflops = [libraries[0].ask("products")["gflops"]]
    for library, what in turns:
        if library.name in answers:
            try:
                answers[library.name].append(library.ask(what, **orders[what]))
            except RuntimeError as error:
                print(f"  left out: {error}", flush=True)
                del answers[library.name]
    gflops.append(libraries[0].ask("products")["gflops"])
    found = {}
    for name, (made, *windows, _) in answers.items():
        ms = [one["ms"] for one in windows]
        found[name] = {
            "ms": round(statistics.median(ms), 2),
            "from": round(min(ms), 2),
            "to": round(max(ms), 2),
            "cpu": round(statistics.median(one["cpu"] for one in windows), 2),
            "mb": round(max(one["mb"] for one in windows)),
            "first_s": round(made["first_s"], 1),
        }
    gflop = answers["cdrzoo"][0]["gflop"]
    return {"gflop": round(gflop, 3), "gflops": round(max(gflops), 1), "libraries": found}


def taking_part(model: str, shape: str, rows: int) -> tuple[str, ...]:
    """The peers that train the model with tables of so many rows."""
    return () if rows in ALONE else MODELS[shape][model]


def rounds_of(rows: int, args: argparse.Namespace) -> int:
    """The turns of a library. With small tables the libraries are nearly level, and the machine is not steady."""
    return args.rounds or (9 if rows < APART else 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="rows of the tables")
    parser.add_argument("--shapes", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--models", nargs="+", help="default: all")
    parser.add_argument(
        "--rounds", type=int, help="how often every library takes its turn; default 3, with small tables 9"
    )
    parser.add_argument("--steps", type=int, default=10, help="steps of a window")
    parser.add_argument("--seconds", type=float, default=1.0, help="that a window may take")
    parser.add_argument("--peers", type=pathlib.Path, help="Python of an environment that has the peers")
    parser.add_argument("--file", type=pathlib.Path, default=RESULTS, help="where the cells are written")
    args = parser.parse_args()
    have = [json.loads(line) for line in args.file.read_text().splitlines()] if args.file.exists() else []
    day = datetime.date.today().isoformat()
    done = {(one["shape"], one["model"], one["rows"]) for one in have if one["day"] == day}
    wanted = [
        (shape, model, rows)
        for rows in args.rows
        for shape in args.shapes
        for model in MODELS[shape]
        if model in (args.models or MODELS[shape])
        and (shape, model, rows) not in done
        and (model in OURS or taking_part(model, shape, rows))
    ]
    print(
        f"{machine()}; {len(wanted)} cells to measure, {len(done)} of {day} are in {args.file.name}",
        flush=True,
    )
    if not wanted:
        return
    python = args.peers or environment()
    libraries = {n: Library(n, sys.executable if n == "cdrzoo" else python) for n in SCRIPTS}
    versions = {k: v for one in libraries.values() for k, v in one.ask("about")["versions"].items()}
    with contextlib.ExitStack() as ended:
        for library in libraries.values():
            ended.callback(library.end)
        for shape, model, rows in wanted:
            taking = [libraries[name] for name in ("cdrzoo", *taking_part(model, shape, rows))]
            found = cell(taking, model, shape, rows, args)
            facts = {
                "machine": machine(),
                "versions": versions,
                "steps": args.steps,
                "rounds": rounds_of(rows, args),
            }
            line = {"day": day, "shape": shape, "model": model, "rows": rows, **found, **facts}
            with args.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            took = ", ".join(f"{name} {of['ms']} ms" for name, of in found["libraries"].items())
            print(f"{shape} {model} {rows:,}: {took}", flush=True)


if __name__ == "__main__":
    main()
