"""Step times of cdrzoo beside plain Keras Adam and beside deepctr and torch-rechub, in one run.

    python -m benchmarks.speed                 # about fifteen minutes on two cores
    python -m benchmarks.speed --rounds 1 --steps 6 --part tables

Every figure of a table comes from this one run: competitors take turns, `--rounds` times, each in a process of its own
with the same batches, the same number of threads (the library's default: all cores) and nothing else running. A
process does a few steps first and then times windows of `--steps` steps inside the library's own training loop. The
tables give the median window and, in brackets, the fastest and the slowest.

deepctr and torch-rechub live in an environment of their own, `.venv-bench`, which is made from requirements/bench.txt
the first time, or given with `--peers PYTHON`.
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
MODELS = {"din": "DIN", "dnn": "DNN"}
PEERS = {
    "deepctr": "deepctr_run",
    "deepctr, its default L2": "deepctr_run",
    "torch-rechub": "rechub_run",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["tables", "peers", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=3, help="how often every competitor takes its turn")
    parser.add_argument("--steps", type=int, default=10, help="steps of a timed window")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="table sizes beside the peers"
    )
    parser.add_argument("--history", choices=["full", "ragged"], default="full")
    parser.add_argument("--peers", type=pathlib.Path, help="Python of an environment that has the peers")
    parser.add_argument("--json", type=pathlib.Path, help="also write every window to this file")
    args = parser.parse_args()
    results: dict[str, dict] = defaultdict(lambda: {"windows": [], "cpu": []})
    print(machine(), flush=True)
    if args.part in ("tables", "all"):
        tables(args, results)
    if args.part in ("peers", "all"):
        peers(args, results)
    versions = {}
    for result in results.values():
        versions.update(result["versions"])
    print("Versions: " + ", ".join(f"{name} {v}" for name, v in sorted(versions.items())))
    print(f"Load of the machine at the end: {os.getloadavg()[0]:.1f}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def tables(args, results) -> None:
    """(a) One table of 10 thousand, 1 million and 10 million rows; Adam of cdrzoo and of Keras."""
    sizes = (10_000, 1_000_000, 10_000_000)
    cases = [(optimizer, rows) for rows in sizes for optimizer in ("cdrzoo", "keras")]
    for _ in range(args.rounds):
        for optimizer, rows in cases:
            extra = ["--optimizer", optimizer]
            if optimizer == "keras" and rows > 1_000_000:  # seconds a step
                extra += ["--steps", "3", "--windows", "1"]
            turn(
                results,
                f"tables/{optimizer}/{rows}",
                sys.executable,
                "cdrzoo_run",
                "small",
                rows,
                args,
                extra,
            )
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


def peers(args, results) -> None:
    """(b) DIN and DNN beside the peers."""
    python = args.peers or environment()
    names = ["cdrzoo", *PEERS]
    for _ in range(args.rounds):
        for rows in args.rows:
            for model in MODELS:
                for name in names:
                    which, script = (
                        (sys.executable, "cdrzoo_run") if name == "cdrzoo" else (python, PEERS[name])
                    )
                    extra = ["--history", args.history] + (["--l2"] if "L2" in name else [])
                    turn(results, f"{model}/{rows}/{name}", which, script, model, rows, args, extra)
    print(f"\nExamples a second, and ms a step (batch 2048, histories of 50 + 50 ids, {args.history})\n")
    print("| model | rows | " + " | ".join(names) + " | against the faster peer |")
    print("|---" * (len(names) + 3) + "|")
    for model, title in MODELS.items():
        for rows in args.rows:
            found = {name: results[f"{model}/{rows}/{name}"] for name in names}
            cells = [f"{2048e3 / median(r):,.0f} ({cell(r)})" for r in found.values()]
            best = min(median(found[name]) for name in PEERS)
            goal = 2 if rows < 1_000_000 else 5
            ratio = f"{best / median(found['cdrzoo']):.1f} times (goal: {goal})"
            print(f"| {title} | {rows:,} | " + " | ".join(cells) + f" | {ratio} |")
    print(
        "\nProcessor time of a step in ms, all cores together: "
        + "; ".join(
            f"{MODELS[model]} {rows:,}: "
            + ", ".join(
                f"{name} {statistics.median(results[f'{model}/{rows}/{name}']['cpu']):.0f}" for name in names
            )
            for model in MODELS
            for rows in args.rows
        ),
        flush=True,
    )


def turn(results, key, python, script, model, rows, args, extra) -> None:
    command = [str(python), "-m", f"benchmarks.runs.{script}", "--model", model, "--rows", str(rows)]
    command += ["--steps", str(args.steps), *extra]
    settings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    if script == "deepctr_run":
        settings["TF_USE_LEGACY_KERAS"] = "1"  # deepctr knows Keras 2 alone
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=settings)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    result = results[key]
    result["windows"] += found["windows"]
    result["cpu"].append(found["cpu_ms"])
    result["versions"] = found["versions"]
    print(
        f"  {key}: {found['step_ms']:.1f} ms a step (XLA: {found['xla'] or 'none'})",
        file=sys.stderr,
        flush=True,
    )


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
