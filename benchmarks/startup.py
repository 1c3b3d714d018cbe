"""Seconds to the first step of each model: made, compiled, traced, and one step trained.

    python -m benchmarks.startup                           # all models; some minutes on two idle cores
    python -m benchmarks.startup din mkt --beside FOLDER   # beside another version of cdrzoo: its repository

prints seconds on the clock and of processor time; with another version beside, its figures first and the share of them
that this one takes. Models, schema and batches are those of `benchmarks.costs`. A version has a process of its own for
each model. TensorFlow is imported before the clock starts, and has made a step of LR. Versions take turns, and a figure
is the median over the rounds.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from benchmarks.speed import machine
from cdrzoo import models

HERE = pathlib.Path(__file__).resolve().parents[1]


def first_step(name: str) -> list[float]:
    """Seconds on the clock and of processor time; a first stage of two is trained before."""
    from benchmarks import costs
    from cdrzoo import optimizers

    start = time.perf_counter(), time.process_time()
    costs.make(name)
    made = time.perf_counter() - start[0], time.process_time() - start[1]
    model = costs.make(name, steps=costs.BATCHES)
    data = costs.batches(model)
    start = time.perf_counter(), time.process_time()
    model.compile(optimizers.Adam())
    model.fit(data, steps_per_epoch=1, verbose=0, shuffle=False)
    return [made[0] + time.perf_counter() - start[0], made[1] + time.process_time() - start[1]]


def measured(repository: pathlib.Path, name: str) -> list[float]:
    """`first_step` of the version of a repository, in a process of its own."""
    code = f"import json, time\n{inspect.getsource(first_step)}\nfirst_step('lr')\n"
    code += f"print(json.dumps(first_step({name!r})))"
    environment = {**os.environ, "PYTHONPATH": str(repository), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="MODEL", help="default: all")
    parser.add_argument("--beside", type=pathlib.Path, help="the repository of another version")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.beside and not all((args.beside / each).exists() for each in ("cdrzoo", "benchmarks/costs.py")):
        parser.error(f"--beside: a repository of cdrzoo is wanted. {args.beside} holds none.")
    print(machine(), flush=True)
    versions = [HERE, *([args.beside.resolve()] if args.beside else [])]
    for name in [models.card(name).name for name in args.names] or [card.name for card in models.CARDS]:
        rounds = [[measured(version, name) for version in versions] for _ in range(args.rounds)]
        clock, processor = (
            [statistics.median(one[i][kind] for one in rounds) for i in range(len(versions))]
            for kind in (0, 1)
        )
        row = [name]
        for now, *before in (clock, processor):
            row += [f"{one:.1f}" for one in (*before, now)] + [f"{now / one:.2f}" for one in before]
        print(*row, flush=True)


if __name__ == "__main__":
    main()
