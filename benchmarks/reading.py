"""How fast prepared rows are read from their folder for training, on one core and on all.

    cdrzoo prepare run.yaml --out rows
    python -m benchmarks.reading rows

A batch has `ROWS` rows of each domain. Nothing is trained: this is the input alone.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import time

ROWS = 8192
WARM_UP = 10
"""Batches before the clock starts: the pool is filled then."""


def read(folder: pathlib.Path) -> str:
    """An epoch, and what it took."""
    from cdrzoo.data import load_rows

    found = load_rows(folder, held=False)
    rows, begin, processor = 0, 0.0, 0.0
    for step, (_, labels, *_) in enumerate(found.train({d.name: ROWS for d in found.schema.domains})):
        if step == WARM_UP:
            rows, begin, processor = 0, time.perf_counter(), time.process_time()
        rows += sum(len(y) for y in labels.values())
    clock, processor = time.perf_counter() - begin, time.process_time() - processor
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores: {rows:,} rows, {rows / clock:,.0f} a second, {rows / processor:,.0f} a processor second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", type=pathlib.Path, help="The folder of prepared rows.")
    parser.add_argument("--cores", type=int, help="Cores to take. Default: one, then all.")
    args = parser.parse_args()
    every = sorted(os.sched_getaffinity(0))
    if args.cores:
        os.sched_setaffinity(0, every[: args.cores])  # before TensorFlow counts them
        print(read(args.rows), flush=True)
        return
    for cores in sorted({1, len(every)}):
        command = [sys.executable, "-m", "benchmarks.reading", str(args.rows), "--cores", str(cores)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
