"""What rows beyond memory cost: a made log prepared to a folder by an executor, then an epoch of a DNN.

    python -m benchmarks.scale                                    # a million rows: some minutes
    python -m benchmarks.scale --rows 100000000 --keep big        # an hour and a half, 50 GB of disk
    python -m benchmarks.scale --rows 5000000 --executors processes beam dask spark --no-train

Processor time, memory and disk are those of the command and all processes it starts, looked at twice a second. Each
executor runs in the environment that has its library: .venv, .venv-tfx (Beam) or .venv-scale (Dask and Spark). What is
found is appended to docs/results/scale.jsonl, of which `python -m docs.render` makes the tables of docs/scale.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "results" / "scale.jsonl"
ENVIRONMENTS = {"processes": ".venv", "beam": ".venv-tfx", "dask": ".venv-scale", "spark": ".venv-scale"}
STAGE = re.compile(r"^(\w+): .*; ([\d,]+) s of processor time, ([\d.]+) GB in a process", re.M)
CHUNK = 500_000
SHARE = {"books": 0.6, "films": 0.4}
ITEMS = 500_000
"""Of a domain at most."""


def generate(rows: int, folder: pathlib.Path) -> None:
    """Two logs of text ids in Parquet, sorted by nothing: 20 rows for each user, 100 for each item."""
    rng = np.random.default_rng(7)
    users, items = max(rows // 20, 1000), min(max(rows // 100, 1000), ITEMS)
    of_all = users * 5 // 4
    """A quarter of the users of each log is in it alone."""
    user, item = popularity(rng, users, 50, 0.9), popularity(rng, items, 20, 1.0)
    order = rng.permutation(users)
    users_named = pa.array([f"user_{k:08d}" for k in range(of_all)] + [""])
    kinds = pa.array([f"c{k}" for k in range(items // 50 + 1)])
    for name, shift in (("books", 0), ("films", users // 4)):
        items_named, writer = pa.array([f"{name}_item_{k:07d}" for k in range(items)]), None
        for low in range(0, of_log := int(rows * SHARE[name]), CHUNK):
            n = min(CHUNK, of_log - low)
            who, what = (order[user(n)] + shift) % of_all, item(n)
            who[rng.random(n) < 0.001] = of_all  # the user is missing
            table = {
                "user": users_named.take(pa.array(who)),
                "item": items_named.take(pa.array(what)),
                "kind": kinds.take(pa.array(what // 50)),
                "price": rng.random(n).astype(np.float32),
                "click": (rng.random(n) < chance(who, what)).astype(np.int64),
                "time": 1_600_000_000 + rng.integers(0, 90 * 1440, n) * 60,
            }
            batch = pa.table(table)
            writer = writer or pq.ParquetWriter(folder / f"{name}.parquet", batch.schema)
            writer.write_table(batch)
        writer.close()


def chance(who: np.ndarray, what: np.ndarray) -> np.ndarray:
    """Of a click, by the kind of the item and who it is: from 0.05 to 0.65."""
    return 0.05 + 0.4 * (what // 50 * 0.618 % 1) + 0.2 * (who * 0.618 % 1)


def popularity(rng: np.random.Generator, count: int, shift: int, power: float) -> Callable[[int], np.ndarray]:
    """Draws of numbers below `count`, small ones oftener, by Zipf's law."""
    share = np.cumsum(1 / (np.arange(count) + shift) ** power)
    return lambda size: np.minimum(np.searchsorted(share / share[-1], rng.random(size)), count - 1)


SCHEMA = """
target: films
tables: {user: {}, books_item: {}, films_item: {}, kind: {}}
domains:
"""
DOMAIN = """
  NAME:
    label: click
    time: time
    user: user
    item: item
    features:
    - {name: user, kind: id, role: user, table: user}
    - {name: item, kind: id, role: item, table: NAME_item}
    - {name: kind, kind: id, role: item, table: kind}
    - {name: price, kind: number, role: item}
    - {name: books_seen, kind: ids, role: history, table: books_item, length: 30, of: books, field: item}
    - {name: films_seen, kind: ids, role: history, table: films_item, length: 30, of: films, field: item}
"""
RUN = """
schema: schema.yaml
data: DATA
model: dnn
domains: all
training: {epochs: 1, batch_size: 8192}
"""


def configure(folder: pathlib.Path) -> None:
    """schema.yaml, run.yaml of the logs, and train.yaml of the prepared rows: an epoch of a DNN of both domains."""
    schema = SCHEMA + "".join(DOMAIN.replace("NAME", name) for name in SHARE)
    logs = "{books: books.parquet, films: films.parquet}"
    texts = {"schema": schema, "run": RUN.replace("DATA", logs), "train": RUN.replace("DATA", "rows")}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def measured(command: list[Any], folder: pathlib.Path) -> tuple[dict[str, float], str]:
    """What a command took, and what it said.

    Returns:
        Seconds on the clock and of all processors, GB of the largest process and of all together, most GB of the folder
        beyond what it had before.
    """
    begin, before, looked, disk = time.monotonic(), _size(folder), 0.0, 0.0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(list(map(str, command)), stdout=said, stderr=said, cwd=ROOT)
        watch = Watch(process.pid)
        while process.poll() is None:
            watch.look()
            if time.monotonic() - looked > 20:  # a folder of a hundred thousand files is not looked at often
                disk, looked = max(disk, _size(folder) - before), time.monotonic()
            time.sleep(0.5)
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{text[-4000:]}")
    found = {
        "wall": time.monotonic() - begin,
        "processor": watch.processor,
        "largest": watch.largest,
        "together": watch.together,
        "disk": max(disk, _size(folder) - before),
    }
    return {name: round(value, 2) for name, value in found.items()}, text


class Watch:
    """What a process and all below it took, as far as it was looked at.

    Args:
        root: the process.
        divided: whether memory that several processes share is divided among them; default: it counts for each.

    Attributes:
        processor: seconds of all processors.
        largest, together: GB of the largest process and of all together, at most.
    """

    def __init__(self, root: int, divided: bool = False):
        self.root, self.divided, self.largest, self.together = root, divided, 0.0, 0.0
        self._seconds: dict[int, float] = {}

    def look(self) -> None:
        held = []
        for pid, processor, memory in _family(self.root):
            self._seconds[pid] = max(processor, self._seconds.get(pid, 0))
            held.append(_divided(pid) if self.divided else memory)
        self.largest, self.together = max([self.largest, *held]), max(self.together, sum(held))

    @property
    def processor(self) -> float:
        return sum(self._seconds.values())


def _family(root: int) -> list[tuple[int, float, float]]:
    """A process and all below it: number, seconds of processor time, GB in memory."""
    found, parents = {}, {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        processor = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        found[pid] = (pid, processor, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e9)

    def below(pid: int) -> bool:
        while pid and pid != root:
            pid = parents.get(pid, 0)
        return pid == root

    return [one for pid, one in found.items() if below(pid)]


def _divided(pid: int) -> float:
    """GB of a process, its part of what it shares."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:  # it has ended
        return 0.0
    return sum(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("Pss:"))


def _size(folder: pathlib.Path) -> float:
    """GB of the files below a folder."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.stat(os.path.join(place, name)).st_size
            except OSError:  # it has gone
                continue
    return size / 1e9


def fingerprint(folder: pathlib.Path) -> str:
    """One text for all files below a folder: by their names and bytes, of Parquet by its values.

    For another version of Arrow writes other bytes. prepared.json has the times of the logs, too, and is left out.
    """
    every = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "prepared.json"):
        every.update(path.relative_to(folder).as_posix().encode())
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            for name in table.column_names:
                every.update(name.encode() + values(table[name].combine_chunks()))
        else:
            every.update(path.read_bytes())
    return every.hexdigest()[:16]


def values(column: pa.Array) -> bytes:
    """What a column holds, however it is written."""
    if pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False).tobytes()
    return "\n".join(map(str, column.to_pylist())).encode()


def prepare(folder: pathlib.Path, out: str, executor: str, args: argparse.Namespace) -> dict[str, Any]:
    """What an executor takes, with the stages of the work."""
    python = ROOT / ENVIRONMENTS[executor] / "bin" / "python"
    command = [python if python.exists() else sys.executable, "-m", "cdrzoo", "prepare", folder / "run.yaml"]
    how = ["--out", folder / out, "--memory", args.memory, "--jobs", args.jobs, "--executor", executor]
    found, said = measured([*command, *how], folder)
    print(said, file=sys.stderr)
    stages = {name: [float(s.replace(",", "")), float(gb)] for name, s, gb in STAGE.findall(said)}
    rows = {"stages": stages, "rows_disk": round(_size(folder / out), 2), "hash": fingerprint(folder / out)}
    return {"what": executor, **found, **rows}


def train(folder: pathlib.Path) -> dict[str, Any]:
    """What an epoch takes, with its validation and the measuring at its end."""
    command = [sys.executable, "-m", "cdrzoo", "train", folder / "train.yaml", "--out", folder / "trained"]
    found, said = measured(command, folder)
    print(said, file=sys.stderr)
    return {"what": "train", **found}


def main() -> None:
    """Measures, and keeps what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="Of both logs together. Default: a million."
    )
    parser.add_argument("--executors", nargs="+", default=["processes"], choices=list(ENVIRONMENTS))
    parser.add_argument("--memory", type=float, default=4.0, help="Gigabytes for all processes. Default: 4.")
    parser.add_argument("--jobs", type=int, default=2, help="Processes. Default: 2.")
    parser.add_argument("--no-train", action="store_true", help="Prepare alone.")
    parser.add_argument("--keep", type=pathlib.Path, help="A new folder for the logs and rows, which stays.")
    parser.add_argument("--file", type=pathlib.Path, default=FILE, help="To what the lines are appended.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdrzoo_") as made:
        folder = (args.keep or pathlib.Path(made)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "run.yaml").exists():
            generate(args.rows, folder)
            configure(folder)
        outs = ["rows", *(f"rows_{name}" for name in args.executors[1:])]
        for out, name in zip(outs, args.executors):
            keep(args, prepare(folder, out, name, args))
        if not args.no_train:
            keep(args, train(folder))


def keep(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Appends a line."""
    line = {"rows": args.rows, "jobs": args.jobs, "load": round(os.getloadavg()[2], 1), **found}
    print(json.dumps(line), flush=True)
    with args.file.open("a", encoding="utf-8") as file:
        print(json.dumps(line), file=file)


if __name__ == "__main__":
    main()
