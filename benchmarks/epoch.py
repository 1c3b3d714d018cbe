"""From a log in Parquet to a trained epoch of a DNN, beside the peers: time and memory.

    python -m benchmarks.epoch                    # 300,000 rows, two rounds: some ten minutes
    python -m benchmarks.epoch --rows 2000000 --roads "cdrzoo, in memory" deepctr --rounds 1

A row has a user, an item, its category, two histories of up to 30 (items and their categories) and a click; every id is
text. A click depends on the categories of the item and of the history. The log is in three parts, `split=train` (90 %),
`valid` and `test`. Every library takes the road that its own documentation shows, in a process of its own, one after
the other: it prepares the rows, then trains an epoch of an MLP on the vectors of the ids and the means of histories,
with its validation. Widths, layers, batch and optimizer are those of `benchmarks.workload`.

Time and memory are those of the process and all that it starts (Ray, of FuxiCTR). Imports are not counted, nor is the
test. The CSV has the median of the rounds, and becomes a table of docs/speed.md by `python -m docs.render`.

    cdrzoo        lists of text as they are; in memory, or by `cdrzoo prepare` and the rows it writes
    deepctr       pandas, LabelEncoder, a dictionary for the text in histories, `pad_sequences`, `fit` on arrays
    torch-rechub  the same with its own `pad_sequences`, then `DataGenerator` and `CTRTrainer`
    FuxiCTR       lists of text as they are: `FeatureProcessor`, `build_dataset`, `RankDataLoader`, `fit`
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measured import FOLDER, write
from benchmarks.peers import Library
from benchmarks.runs.stages import LENGTH, PARTS
from benchmarks.scale import Watch, popularity
from benchmarks.speed import environment, machine
from cdrzoo import metrics

ROOT = pathlib.Path(__file__).parents[1]
FILE = FOLDER / "epoch.csv"
ROADS = {
    "cdrzoo, in memory": ("cdrzoo", ["cdrzoo_epoch"]),
    "cdrzoo, by a folder": ("cdrzoo", ["cdrzoo_epoch", "disk"]),
    "deepctr": ("deepctr", ["deepctr_epoch"]),
    "torch-rechub": ("torch-rechub", ["rechub_epoch"]),
    "FuxiCTR": ("FuxiCTR", ["fuxictr_epoch"]),
}
SHARE = {"train": 0.9, "valid": 0.05, "test": 0.05}
CHUNK = 200_000
OF_CATEGORY = 50
"""Items."""


def generate(rows: int, log: pathlib.Path) -> dict[str, np.ndarray]:
    """Writes the log, and gives the clicks of the test rows and the chances that they were drawn by.

    There are 20 rows for each user and for each item. Half of a history is what everybody likes, half lies near the
    user's own place in the catalogue.
    """
    rng = np.random.default_rng(7)
    count = max(rows // 20, 1000)
    liked, near = popularity(rng, count, 50, 0.9), popularity(rng, count, 20, 1.0)
    place = rng.integers(0, count, count)
    users = pa.array([f"user_{k:08d}" for k in range(count)])
    items = pa.array([f"item_{k:08d}" for k in range(count)])
    kinds = pa.array([f"category_{k}" for k in range(count // OF_CATEGORY + 1)])

    def drawn(who: np.ndarray) -> np.ndarray:
        own = (place[who] + near(len(who))) % count
        return np.where(rng.random(len(who)) < 0.5, liked(len(who)), own)

    def chunk(n: int) -> tuple[pa.Table, np.ndarray]:
        who = liked(n)
        what, lengths = drawn(who), np.minimum(rng.integers(1, LENGTH * 3 // 2, n), LENGTH)
        of = np.repeat(np.arange(n), lengths)
        seen = drawn(who[of])
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        taste = np.bincount(of, appeal(seen), n) / lengths
        chance = 1 / (1 + np.exp(1 - 3 * appeal(what) - 4 * taste))
        table = {
            "user": users.take(pa.array(who)),
            "item": items.take(pa.array(what)),
            "cat": kinds.take(pa.array(what // OF_CATEGORY)),
            "hist_item": pa.ListArray.from_arrays(offsets, items.take(pa.array(seen))),
            "hist_cat": pa.ListArray.from_arrays(offsets, kinds.take(pa.array(seen // OF_CATEGORY))),
            "click": (rng.random(n) < chance).astype(np.int64),
        }
        return pa.table(table), chance

    for part in PARTS:
        of_part = int(rows * SHARE[part])
        made = [chunk(min(CHUNK, of_part - low)) for low in range(0, of_part, CHUNK)]
        (log / f"split={part}").mkdir(parents=True)
        table = pa.concat_tables([table for table, _ in made])
        pq.write_table(table, log / f"split={part}" / "rows.parquet")
    return {"click": table["click"].to_numpy(), "chance": np.concatenate([chance for _, chance in made])}


def appeal(item: np.ndarray) -> np.ndarray:
    """Of an item, by its category: from -0.5 to 0.5, spread evenly."""
    return item // OF_CATEGORY * 0.618 % 1 - 0.5


def stage(library: Library, what: str, **of: Any) -> dict[str, float]:
    """What a stage took: seconds on the clock and of all processors, GB at most."""
    watch, ended = Watch(library.pid, divided=True), threading.Event()
    watch.look()
    before, begin = watch.processor, time.monotonic()

    def looking() -> None:
        while not ended.wait(0.2):
            watch.look()

    looks = threading.Thread(target=looking)
    looks.start()
    try:
        library.ask(what, **of)
    finally:
        ended.set()
        looks.join()
    wall = time.monotonic() - begin
    watch.look()
    return {"wall": wall, "processor": watch.processor - before, "memory": watch.together}


def travel(road: str, log: pathlib.Path, python: pathlib.Path, test: dict[str, np.ndarray]) -> dict[str, Any]:
    """What a road took, and the AUC that it led to."""
    name, script = ROADS[road]
    with tempfile.TemporaryDirectory(prefix="cdrzoo_epoch_") as folder:
        library = Library(name, sys.executable if name == "cdrzoo" else python, script)
        try:
            library.ask("begin")
            found = {"prepare": stage(library, "prepare", log=str(log), folder=folder)}
            library.ask("load")
            found["train"] = stage(library, "train")
            scores = pathlib.Path(folder, "scores.npy")
            library.ask("score", out=str(scores))
            return {**found, "auc": metrics.auc(test["click"], np.load(scores))}
        finally:
            library.end()


HEADING = (
    "road",
    "preparation, s of processor time",
    "on the clock",
    "epoch, s of processor time",
    "on the clock",
    "both, in times of the first",
    "rows in a second of both",
    "GB at most",
    "test AUC",
)


def table(found: dict[str, list[dict[str, Any]]], rows: int) -> list[list[str]]:
    """A row a road: medians of the rounds. What is compared is processor time."""

    def median(road: str, what: str, of: str) -> float:
        return statistics.median(one[what][of] for one in found[road])

    def both(road: str) -> float:
        return median(road, "prepare", "processor") + median(road, "train", "processor")

    return [
        [
            road,
            *(
                f"{median(road, what, of):.1f}"
                for what in ("prepare", "train")
                for of in ("processor", "wall")
            ),
            f"{both(road) / both(next(iter(found))):.1f}",
            f"{rows / both(road):,.0f}",
            f"{max(median(road, what, 'memory') for what in ('prepare', 'train')):.1f}",
            f"{statistics.median(one['auc'] for one in found[road]):.3f}",
        ]
        for road in found
    ]


def main() -> None:
    """Measures, and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=300_000, help="of the log")
    parser.add_argument("--rounds", type=int, default=2, help="how often every road takes its turn")
    parser.add_argument("--roads", nargs="+", choices=list(ROADS), default=list(ROADS))
    parser.add_argument("--peers", type=pathlib.Path, help="Python of an environment that has the peers")
    parser.add_argument("--file", type=pathlib.Path, default=FILE, help="where the table is written")
    args = parser.parse_args()
    python, where = args.peers or environment(), machine()
    found: dict[str, list[dict[str, Any]]] = {road: [] for road in args.roads}
    with tempfile.TemporaryDirectory(prefix="cdrzoo_log_") as folder:
        log = pathlib.Path(folder, "log")
        test = generate(args.rows, log)
        best = metrics.auc(test["click"], test["chance"])
        print(
            f"{where}; {args.rows:,} rows; the chances themselves have a test AUC of {best:.3f}", flush=True
        )
        for _ in range(args.rounds):
            for road in list(found):
                try:
                    found[road].append(travel(road, log, python, test))
                except RuntimeError as error:
                    print(f"  left out: {error}", flush=True)
                    del found[road]
                else:
                    print(road, found[road][-1], flush=True)
    note = (
        f"Made by `python -m benchmarks.epoch --rows {args.rows} --rounds {args.rounds}`.\n"
        f"{where}. The chances that clicks are drawn by have a test AUC of {best:.3f}."
    )
    write(args.file, HEADING, table(found, args.rows), note)


if __name__ == "__main__":
    main()
