"""The step beside the rows of a table, with the Adam of cdrzoo and that of Keras.

    python -m benchmarks.speed                 # some minutes on two cores
    python -m benchmarks.speed --rounds 1 --steps 6

Every figure comes from this one run: the two take turns, `--rounds` times, each in a process of its own with the same
batches and the same number of threads (the library's default: all cores). A process does a few steps first and then
times windows of `--steps` steps inside `fit`. The table gives the median window and, in brackets, the fastest and the
slowest.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from collections import defaultdict

ROOT = pathlib.Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often every competitor takes its turn")
    parser.add_argument("--steps", type=int, default=10, help="steps of a timed window")
    parser.add_argument("--json", type=pathlib.Path, help="also write every window to this file")
    args = parser.parse_args()
    results: dict[str, dict] = defaultdict(lambda: {"windows": [], "cpu": []})
    print(machine(), flush=True)
    tables(args, results)
    versions = {}
    for result in results.values():
        versions.update(result["versions"])
    print("Versions: " + ", ".join(f"{name} {v}" for name, v in sorted(versions.items())))
    print(f"Load of the machine at the end: {os.getloadavg()[0]:.1f}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def tables(args, results) -> None:
    """One table of 10 thousand, 1 million and 10 million rows; Adam of cdrzoo and of Keras."""
    sizes = (10_000, 1_000_000, 10_000_000)
    cases = [(optimizer, rows) for rows in sizes for optimizer in ("cdrzoo", "keras")]
    for _ in range(args.rounds):
        for optimizer, rows in cases:
            extra = ["--optimizer", optimizer]
            if optimizer == "keras" and rows > 1_000_000:  # seconds a step
                extra += ["--steps", "3", "--windows", "1"]
            turn(results, f"tables/{optimizer}/{rows}", rows, args, extra)
    print("\nStep time in ms by rows of the table (batch 2048, 8 ids a row, width 16, MLP 256-128-64)\n")
    print("| rows | cdrzoo Adam | Keras Adam |\n|---|---|---|")
    for rows in sizes:
        print(
            f"| {rows:,} | "
            + " | ".join(cell(results[f"tables/{o}/{rows}"]) for o in ("cdrzoo", "keras"))
            + " |"
        )
    small, large = (median(results[f"tables/cdrzoo/{rows}"]) for rows in (sizes[0], sizes[-1]))
    print(
        f"\ncdrzoo, 10 million rows against 10 thousand: {large / small:.2f} times (goal: at most 1.2)",
        flush=True,
    )


def turn(results, key, rows, args, extra) -> None:
    command = [sys.executable, "-m", "benchmarks.runs.cdrzoo_run", "--rows", str(rows)]
    command += ["--steps", str(args.steps), *extra]
    settings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=settings)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    result = results[key]
    result["windows"] += found["windows"]
    result["cpu"].append(found["cpu_ms"])
    result["versions"] = found["versions"]
    print(f"  {key}: {found['step_ms']:.1f} ms a step", file=sys.stderr, flush=True)


def median(result) -> float:
    return statistics.median(result["windows"])


def cell(result) -> str:
    windows = result["windows"]
    return f"{median(result):.1f} ms [{min(windows):.1f} to {max(windows):.1f}]"


def machine() -> str:
    name = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        named = [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        name = named[0] if named else name
    load = f"load {os.getloadavg()[0]:.1f} at the start"
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, {load}"


def environment() -> pathlib.Path:
    """The peers' environment, made if it is not there."""
    folder = ROOT / ".venv-bench"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        print(f"Setting up {folder.name} from requirements/bench.txt (a few minutes, 4 GB)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pins = str(ROOT / "requirements" / "bench.txt")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", pins], check=True)
        ready.touch()
    return python


if __name__ == "__main__":
    main()
