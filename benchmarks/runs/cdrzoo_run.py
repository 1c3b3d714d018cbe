"""cdrzoo's own models through plain `compile` and `fit`."""

from __future__ import annotations

import keras
import tensorflow as tf

from benchmarks import workload
from cdrzoo import models, optimizers
from cdrzoo.schema import Domain, Feature, Schema, Table


def schema(rows: int, small: bool) -> Schema:
    length = workload.SHORT if small else workload.LENGTH
    features = [
        Feature("item", "id", "item", table="item"),
        Feature("items", "ids", "history", table="item", length=length, of="shop"),
    ]
    tables = {"item": rows}
    if not small:
        features += [
            Feature("user", "id", "user", table="user"),
            Feature("cat", "id", "item", table="cat"),
            Feature("cats", "ids", "history", table="cat", length=length, of="shop"),
        ]
        tables |= {"user": rows, "cat": workload.CATEGORIES}
    return Schema(
        (Domain("shop", tuple(features)),),
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


def main() -> None:
    args = workload.arguments()
    small = args.model == "small"
    if args.model == "din":
        model = models.DIN(schema(args.rows, small), units=workload.TOWER, attention_units=workload.ATTENTION)
    else:
        model = models.DNN(schema(args.rows, small), units=workload.TOWER)
    model.compile(optimizer=optimizers.Adam() if args.optimizer == "cdrzoo" else keras.optimizers.Adam())
    x, y = workload.batches(args.rows, args.steps, args.history)
    x = {
        f.name: x[f.name][..., : f.length] if f.length else x[f.name]
        for f in model.schema.target_domain.features
    }
    options = tf.data.Options()
    options.autotune.enabled = False
    batches = tf.data.Dataset.from_tensor_slices(({"shop": x}, {"shop": y})).with_options(options)
    model.fit(batches.take(3), verbose=0)  # traces and compiles
    clock = workload.Clock()
    model.fit(batches, epochs=args.windows, callbacks=[Timing(clock)], verbose=0)
    workload.report(
        clock,
        versions={"tensorflow": tf.__version__, "keras": keras.__version__},
        xla="attention only" if args.model == "din" else "off",
    )


if __name__ == "__main__":
    main()
