"""deepctr's models through `compile` and `fit`, on its Keras 2 (`tf-keras`)."""

from __future__ import annotations

from importlib.metadata import version

import tensorflow as tf
from deepctr.feature_column import SparseFeat, VarLenSparseFeat
from deepctr.models import DIN, PNN

from benchmarks import workload


def columns(rows: int, prefix: str) -> list:
    def sparse(name, size, shared=None):
        return SparseFeat(name, size, embedding_dim=workload.WIDTH, embedding_name=shared or name)

    def history(name, size, shared):
        return VarLenSparseFeat(sparse(name, size, shared), maxlen=workload.LENGTH, combiner="mean")

    return [
        sparse("user", rows),
        sparse("item", rows),
        sparse("cat", workload.CATEGORIES),
        history(prefix + "item", rows, "item"),
        history(prefix + "cat", workload.CATEGORIES, "cat"),
    ]


class Timing(tf.keras.callbacks.Callback):
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
    prefix = "hist_"
    # Its L2 on whole tables (on by default) is off unless asked for: the others have none, and it reads every table.
    l2 = {} if args.l2 else {"l2_reg_embedding": 0}
    if args.model == "din":
        model = DIN(
            columns(args.rows, prefix),
            ["item", "cat"],
            dnn_hidden_units=workload.TOWER,
            att_hidden_size=workload.ATTENTION,
            att_activation="dice",
            **l2,
        )
    else:  # PNN without its products is an embedding and an MLP; it has no plain DNN
        model = PNN(
            columns(args.rows, prefix),
            dnn_hidden_units=workload.TOWER,
            **l2,
            use_inner=False,
            use_outter=False,
        )
    model.compile(optimizer=tf.keras.optimizers.Adam(), loss="binary_crossentropy")
    x, y = workload.batches(args.rows, args.steps, args.history)
    x[prefix + "item"], x[prefix + "cat"] = x.pop("items"), x.pop("cats")
    options = tf.data.Options()
    options.autotune.enabled = False
    batches = tf.data.Dataset.from_tensor_slices((x, y)).with_options(options)
    model.fit(batches.take(3), verbose=0)
    clock = workload.Clock()
    model.fit(batches, epochs=args.windows, callbacks=[Timing(clock)], verbose=0)
    workload.report(
        clock, versions={name: version(name) for name in ("deepctr", "tensorflow", "tf-keras")}, xla="off"
    )


if __name__ == "__main__":
    main()
