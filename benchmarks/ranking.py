"""What `rank` of an export costs beside whole rows, and beside a model of the candidates alone.

    python -m benchmarks.ranking                     # DNN and DIN, 1,000 candidates
    python -m benchmarks.ranking deepfm --candidates 200

A row has a user, an item, its category and two histories of 50. `whole rows` scores as many rows that repeat the user's
part. `candidates alone` is a DNN that knows the item and the category only. All three take turns;
a figure is the median in milliseconds, in brackets the fastest and the slowest.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import workload
from cdrzoo import models
from cdrzoo.data import Encoder
from cdrzoo.export import save
from cdrzoo.schema import Domain, Feature, Schema, Table

IDS = 100_000
FEATURES = (
    Feature("item", "id", "item", "int64", "item"),
    Feature("cat", "id", "item", "int64", "cat"),
    Feature("user", "id", "user", "int64", "user"),
    Feature("items", "ids", "history", "int64", "item", length=workload.LENGTH, of="shop"),
    Feature("cats", "ids", "history", "int64", "cat", length=workload.LENGTH, of="shop"),
)


def untrained(name: str, features: tuple[Feature, ...]) -> tuple[Any, Encoder]:
    """A model with its first weights, and an encoder that knows `IDS` ids of each table."""
    tables = {f.table: Table(f.table, width=workload.WIDTH) for f in features}
    schema = Schema((Domain("shop", features, item="item"),), "shop", tuple(tables.values()))
    ids = {"int64": np.arange(IDS), "string": np.arange(IDS).astype(str).astype(object)}
    log = {f.name: ids[f.dtype][:, None] if f.kind == "ids" else ids[f.dtype] for f in features}
    encoder = Encoder(schema).adapt({"shop": log})
    model = models.card(name).load()(encoder.schema)
    model.build()
    return model, encoder


def exported(name: str, features: tuple[Feature, ...]) -> Any:
    """The signatures of an untrained model's export."""
    with tempfile.TemporaryDirectory() as folder:
        return tf.saved_model.load(str(save(*untrained(name, features), folder)))


def request(features: tuple[Feature, ...], rows: int, k: int | None = None) -> dict[str, tf.Tensor]:
    """Rows of one user; with `k` as `rank` takes them."""
    rng = np.random.default_rng(0)
    given = {}
    for f in features:
        own = rows if f.role == "item" else 1
        value = rng.integers(0, IDS, (own, f.length) if f.kind == "ids" else (own,))
        given[f.name] = tf.constant(value if k else np.broadcast_to(value, (rows, *value.shape[1:])))
    return {**given, "k": tf.constant(k, tf.int32)} if k else given


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["dnn", "din"], metavar="MODEL")
    parser.add_argument("--candidates", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()
    print("| model | rank | whole rows | candidates alone |\n|---|---|---|---|")
    for name in args.names:
        whole, alone = exported(name, FEATURES), exported("dnn", FEATURES[:2])
        turns = (
            (whole.signatures["rank"], request(FEATURES, args.candidates, 10)),
            (whole.signatures["serving_default"], request(FEATURES, args.candidates)),
            (alone.signatures["serving_default"], request(FEATURES[:2], args.candidates)),
        )
        times: list[list[float]] = [[] for _ in turns]
        for _ in range(args.rounds + 3):
            for (call, rows), taken in zip(turns, times):
                start = time.perf_counter()
                call(**rows)
                taken.append(1e3 * (time.perf_counter() - start))
        kept = [taken[3:] for taken in times]  # the first calls are traced
        cells = [f"{statistics.median(t):.1f} [{min(t):.1f} to {max(t):.1f}]" for t in kept]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
