"""cdrzoo's own models through plain `compile` and `fit`, in a process that keeps memory as the commands do."""

from __future__ import annotations

import sys
import time
from typing import Any

from cdrzoo import memory

if __name__ == "__main__":
    memory.keep()  # before TensorFlow starts its threads

import keras
import numpy as np
import tensorflow as tf

from benchmarks import workload
from cdrzoo import models, optimizers
from cdrzoo.export.graph import inlined
from cdrzoo.schema import Domain, Feature, Label, Schema, Table

SIZES: dict[str, dict[str, Any]] = {
    "lr": {},
    "fm": {},
    "wide_deep": {"units": workload.TOWER},
    "deepfm": {"units": workload.TOWER, "dropout": 0.0},
    "nfm": {"units": workload.TOWER, "dropout": 0.0, "batch_norm": False},
    "afm": {"attention_units": 16, "dropout": 0.0},
    "xdeepfm": {"units": workload.TOWER, "cin_units": workload.CROSS, "dropout": 0.0},
    "fibinet": {"units": workload.TOWER, "dropout": 0.0},
    "dcn": {"units": workload.TOWER, "structure": "parallel"},
    "dnn": {"units": workload.TOWER},
    "shared_bottom": {"units": workload.EXPERTS, "tower_units": workload.TASK},
    "mmoe": {"expert_units": workload.EXPERTS, "experts": 3, "tower_units": workload.TASK},
    "ple": {"expert_units": workload.EXPERTS, "tower_units": workload.TASK},
    "din": {"units": workload.TOWER, "attention_units": workload.ATTENTION},
}
"""What each model is made with."""


def schema(shape: str, rows: int, tasks: int = 1) -> Schema:
    tables = workload.tables("histories" if shape == "small" else shape, rows)
    if shape == "fields":
        features = [Feature(name, "id", "context", table=name) for name in tables]
    else:
        length = workload.SHORT if shape == "small" else workload.LENGTH
        features = [
            Feature("item", "id", "item", table="item"),
            Feature("items", "ids", "history", table="item", length=length, of="shop"),
        ]
        if shape == "small":
            tables = {"item": rows}
        else:
            features += [
                Feature("user", "id", "user", table="user"),
                Feature("cat", "id", "item", table="cat"),
                Feature("cats", "ids", "history", table="cat", length=length, of="shop"),
            ]
    return Schema(
        (
            Domain(
                "shop", tuple(features), labels=(Label("one"), Label("other"))[: tasks if tasks > 1 else 0]
            ),
        ),
        target="shop",
        tables=tuple(Table(name, width=workload.WIDTH, rows=n) for name, n in tables.items()),
    )


class Timing(keras.callbacks.Callback):
    def __init__(self, clock: workload.Clock):
        super().__init__()
        self.clock = clock

    def on_epoch_begin(self, epoch, logs=None):
        self.clock.start()

    def on_train_batch_end(self, batch, logs=None):
        self.clock.step_ended()

    def on_epoch_end(self, epoch, logs=None):
        self.clock.stop()


def dataset(seen: Schema, shape: str, rows: int, batch: int = workload.BATCH) -> tf.data.Dataset:
    """The batches, again and again; the same rows, in batches of so many."""
    x, y = workload.batches("histories" if shape == "small" else shape, rows)
    x = {f.name: x[f.name][..., : f.length] if f.length else x[f.name] for f in seen.target_domain.features}
    labels = {name: y[..., i : i + 1] for i, name in enumerate(seen.outputs)}
    steps = tf.nest.map_structure(lambda a: np.reshape(a, (-1, batch, *a.shape[2:])), ({"shop": x}, labels))
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_tensor_slices(steps).repeat().with_options(options)


def make(model: str, shape: str, rows: int):
    keras.backend.clear_session()
    seen = schema(shape, rows, 2 if model in workload.TASKS else 1)
    made = models.card(model).load()(seen, **SIZES[model])
    made.compile(optimizer=optimizers.Adam())
    data = dataset(seen, shape, rows)

    def run(clock, steps):
        made.fit(data, steps_per_epoch=steps + 1, callbacks=[Timing(clock)], verbose=0, shuffle=False)

    return {"gflop": arithmetic(made, next(iter(data)))}, run


def arithmetic(model: Any, batch: Any) -> float:
    """GFLOP of the matrix products of a training step: 2 m k n each."""
    spec = tf.nest.map_structure(tf.TensorSpec.from_tensor, batch)
    with inlined():
        graph = tf.function(model.train_step, autograph=False).get_concrete_function(spec).graph
    total = 0
    for op in graph.get_operations():
        if op.type in ("MatMul", "BatchMatMulV2"):
            axis = -2 if op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x") else -1
            total += 2 * (op.outputs[0].shape.num_elements() or 0) * op.inputs[0].shape[axis]
    return total / 1e9


def products() -> float:
    """The machine's matrix product, GFLOP a second: the best of several, 2048 x 1024 x 1024."""
    one, other = tf.random.normal((2048, 1024)), tf.random.normal((1024, 1024))
    times = []
    for _ in range(8):
        start = time.perf_counter()
        tf.matmul(one, other).numpy()
        times.append(time.perf_counter() - start)
    return 2 * 2048 * 1024 * 1024 / min(times) / 1e9


def small() -> None:
    """A model of one table, for `benchmarks.speed`."""
    args = workload.arguments()
    model = models.DNN(schema("small", args.rows), units=workload.TOWER)
    model.compile(optimizer=optimizers.Adam() if args.optimizer == "cdrzoo" else keras.optimizers.Adam())
    data = dataset(model.schema, "small", args.rows)
    model.fit(data, steps_per_epoch=3, verbose=0, shuffle=False)  # traces and compiles
    clock = workload.Clock()
    model.fit(
        data,
        epochs=args.windows,
        steps_per_epoch=args.steps + 1,
        callbacks=[Timing(clock)],
        verbose=0,
        shuffle=False,
    )
    workload.report(clock, versions={"tensorflow": tf.__version__, "keras": keras.__version__})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        small()
    else:
        workload.answer(make, products, tensorflow=tf.__version__, keras=keras.__version__)
