"""What each model costs beside DNN: parameters, and the time of a training step.

    python -m benchmarks.costs                   # all models; about ten minutes on two idle cores
    python -m benchmarks.costs conet csn         # these alone, beside DNN; the others keep what they have
    python -m benchmarks.costs --products cctl   # the arithmetic of a step, nothing timed

writes cdrzoo/models/costs.yaml, which `cdrzoo models` and docs/models/index.md show. Run it on an idle machine, and
then `python -m docs.render` (a test says if that was forgotten).

All models have one schema and their default arguments. Models of the target alone see its part of the schema, DNN among
them. A step trains with `ROWS` rows, of the target or in equal parts of the domains that the model trains on. The
second of two stages is measured by itself: it holds the first, which is not trained again.

A round gives every model its turn, a window of `--steps` steps within `fit`; DNN has one before each of them, so that
what the machine does meanwhile meets both. Of each model the median over the rounds of its window's share in DNN's is
taken.
"""

from __future__ import annotations

import argparse
import functools
import os
import pathlib
import statistics
import sys
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from benchmarks.measured import FOLDER, write
from benchmarks.runs.cdrzoo_run import Timing, arithmetic
from benchmarks.workload import Clock
from cdrzoo import models, optimizers
from cdrzoo.data import synthetic
from cdrzoo.schema import Schema

FILE = pathlib.Path(models.__file__).with_name("costs.yaml")
BASE = "dnn"
ROWS = 1024
WIDTH = 16
TABLES = {"user": 10_000, "book": 5_000, "film": 2_000, "age": 8, "genre": 20, "click": 4, "device": 6}
BATCHES = 4
"""Different batches, which take turns."""

HEADER = f"""\
# Cost of each model beside {BASE}: parameters, tables and first stages included, and the time of a training step.
# Made by `python -m benchmarks.costs`, which says how; a test builds the models and compares the parameters.
"""


@functools.cache
def schema() -> Schema:
    """The built-in books and films, with tables of a fixed size."""
    return synthetic.schema(WIDTH).with_rows(TABLES)


def make(name: str, steps: int = 0) -> Any:
    """A model with its default arguments; a second stage on a first one of so many steps."""
    card = models.card(name)
    first = {"pretrained": make(card.after)} if card.after else {}
    if first and steps:
        first["pretrained"].compile(optimizers.Adam())
        window(first["pretrained"], batches(first["pretrained"]), steps)
    seen = schema() if card.domains == "all" else schema().only(schema().target)
    model = card.load()(seen, **first)
    model.build()
    return model


def parameters(name: str) -> int:
    """All that a model holds."""
    return make(name).count_params()


def batches(model: Any) -> tf.data.Dataset:
    """The same batches again and again. Histories are full; rows are as many in each domain, and of the same users."""
    rng = np.random.default_rng(0)
    domains = [model.schema.domain(name) for name in model.training_domains]
    rows = ROWS // len(domains)
    x: dict[str, dict[str, np.ndarray]] = {domain.name: {} for domain in domains}
    for domain in domains:
        for f in domain.features:
            shape = (BATCHES, rows, f.length) if f.kind == "ids" else (BATCHES, rows)
            x[domain.name][f.name] = (
                rng.normal(size=shape).astype("float32")
                if f.kind == "number"
                else rng.integers(1, TABLES[f.table], shape).astype("int32")
            )
        x[domain.name]["user"] = x[domains[0].name]["user"]
    y = {name: rng.integers(0, 2, (BATCHES, rows, 1)).astype("float32") for name in x}
    return tf.data.Dataset.from_tensor_slices((x, y)).repeat()


def window(model: Any, data: tf.data.Dataset, steps: int) -> float:
    """Milliseconds of a step within `fit`, the first step apart."""
    clock = Clock()
    model.fit(data, steps_per_epoch=steps + 1, callbacks=[Timing(clock)], verbose=0, shuffle=False)
    return clock.windows[0]


def measure(names: list[str], rounds: int, steps: int) -> dict[str, list[float]]:
    """The share of each model's window in DNN's, of every round."""
    runs = {}
    for name in [BASE, *names]:
        model = make(name, steps=BATCHES)
        model.compile(optimizers.Adam())
        runs[name] = (model, batches(model))
        window(*runs[name], 2)  # traces
        print(f"  made {name}", file=sys.stderr, flush=True)
    shares: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            base = window(*runs[BASE], steps)
            shares[name].append(window(*runs[name], steps) / base)
        print(f"  round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return shares


def products(names: list[str]) -> None:
    """The products of matrices of a step beside its time, of DNN and others: a table of docs/speed_figures.md."""
    gflop = {}
    for name in [BASE, *names]:
        model = make(name)
        model.compile(optimizers.Adam())
        gflop[name] = arithmetic(model, next(iter(batches(model))))
    steps = {name: cost["step"] for name, cost in models.costs().items()}
    rows = [[n, f"{g:.2f}", f"{g / gflop[BASE]:.1f}", f"{steps[n]:.1f}"] for n, g in gflop.items()]
    heading = [
        "model",
        "products of matrices, GFLOP a step",
        "in those of dnn",
        "time of a step in those of dnn",
    ]
    note = f"Made by `python -m benchmarks.costs --products {' '.join(names)}`."
    write(FOLDER / "products.csv", heading, rows, note)
    print(*rows, sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [card.name for card in models.CARDS]
    parser.add_argument("names", nargs="*", metavar="MODEL", help="default: all")
    parser.add_argument("--products", action="store_true", help="count the arithmetic, and time nothing")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="steps of a window")
    args = parser.parse_args()
    names = [models.card(name).name for name in args.names] or known
    if args.products:
        return products(names)
    costs = models.costs() if FILE.exists() else {}
    base = parameters(BASE)
    shares = measure(names, args.rounds, args.steps)
    for name in names:
        step = 1.0 if name == BASE else statistics.median(shares[name])
        costs[name] = {"parameters": round(parameters(name) / base, 2), "step": round(step, 2)}
        print(f"{name}: {costs[name]}, rounds from {min(shares[name]):.2f} to {max(shares[name]):.2f}")
    lines = [yaml.safe_dump({name: costs[name]}, default_flow_style=None) for name in known if name in costs]
    FILE.write_text(HEADER + "".join(lines), encoding="utf-8")
    print(f"Wrote {FILE.name}. {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end.")


if __name__ == "__main__":
    main()
