"""What a large vocabulary costs: ids of text, counted, looked up, written, exported and served.

    python -m benchmarks.vocabulary                  # 50 million ids
    python -m benchmarks.vocabulary --ids 2000000

It prints the seconds of each step, the memory after it and the largest so far. The model is a logistic regression,
whose table is one number an id, so that what is seen is the vocabulary. The export is loaded by a process of its own.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks.steps import steps
from cdrzoo import models
from cdrzoo.data import Encoder
from cdrzoo.data.statistics import Counts, Statistics
from cdrzoo.export import save
from cdrzoo.schema import Domain, Feature, Schema, Table

SCHEMA = Schema((Domain("films", (Feature("user", "id", "user", table="user"),)),), "films", (Table("user"),))
CHUNK = 1_000_000
"""Ids that are Python text at one time."""

SERVED = """
import json, pathlib, re, sys, time
import tensorflow as tf
def memory():
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 2**20
base, begin = memory(), time.perf_counter()
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
served(user=tf.constant(["user_00000007", "nobody"]))
print(json.dumps([time.perf_counter() - begin, memory() - base, memory()]))
"""


def names(low: int, high: int) -> np.ndarray:
    """Ids of 13 characters."""
    return np.array([f"user_{number:08d}" for number in range(low, high)], object)


def measure(ids: int) -> None:
    """Prints a line a step."""
    done = steps()
    done("before")
    counts = Counts()
    for low in range(0, ids, CHUNK):
        counts.add(names(low, min(low + CHUNK, ids)))
    done("counted")
    encoder = Encoder(SCHEMA).learn({"films": Statistics({"user": counts})})
    del counts
    done("vocabulary made")
    some = names(max(ids - CHUNK, 0), ids)
    done(f"{len(some):,} ids made to look up")
    encoder.lookups["user"].find(some[:1])
    done("its hashes sorted, at the first look")
    encoder.lookups["user"].find(some)
    done(f"{len(some):,} ids looked up")
    with tempfile.TemporaryDirectory(prefix="cdrzoo_") as folder:
        encoder.save(pathlib.Path(folder, "encoder"))
        done("written")
        del encoder
        encoder = Encoder.load(pathlib.Path(folder, "encoder"))
        done("read")
        model = models.LR(encoder.schema)
        model.predict_on_batch({"films": {"user": np.array([2], np.int32)}})
        done("model made")
        path = save(model, encoder, pathlib.Path(folder, "served"))
        done("exported")
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        out = subprocess.run([sys.executable, "-c", SERVED, str(path)], stdout=subprocess.PIPE, check=True)
        seconds, grown, whole = json.loads(out.stdout)
        print(f"| loaded to serve, and first request | {seconds:.1f} | {grown:.2f} more | {whole:.2f} |")
        print(f"\nThe export takes {size / 2**30:.2f} GiB on the disk.")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ids", type=int, default=50_000_000, help="distinct ids")
    measure(parser.parse_args().ids)


if __name__ == "__main__":
    main()
