"""deepctr's models through `compile` and `fit`, on its Keras 2 (`tf-keras`)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import tensorflow as tf
from deepctr import models
from deepctr.feature_column import SparseFeat, VarLenSparseFeat

from benchmarks import workload

# Its L2 on whole tables (on by default) is off: the others have none, and it reads every table.
NONE = {"l2_reg_embedding": 0, "l2_reg_linear": 0}
DEEP: dict[str, Any] = {**NONE, "dnn_hidden_units": workload.TOWER}
TASKS: dict[str, Any] = {"tower_dnn_hidden_units": workload.TASK, "l2_reg_embedding": 0}


def columns(tables: dict[str, int], length: int = 0) -> list:
    """Of ids with tables of so many rows; with a `length` of the histories of items and categories, too."""

    def sparse(name, table):
        return SparseFeat(name, tables[table], embedding_dim=workload.WIDTH, embedding_name=table)

    def history(table):
        return VarLenSparseFeat(sparse(f"hist_{table}", table), maxlen=length, combiner="mean")

    found: list = [sparse(name, name) for name in tables]
    return found + [history("item"), history("cat")] if length else found


def built(model: str, c: list):
    """The model. PNN without its products is an embedding and an MLP: it has no plain DNN. AFM without attention is
    a factorization machine."""
    if model == "din":
        sizes: dict[str, Any] = {"dnn_hidden_units": workload.TOWER, "att_hidden_size": workload.ATTENTION}
        return models.DIN(c, ["item", "cat"], **sizes, att_activation="dice", l2_reg_embedding=0)
    if model == "dnn":
        plain = {"use_inner": False, "use_outter": False, "l2_reg_embedding": 0}
        return models.PNN(c, dnn_hidden_units=workload.TOWER, **plain)
    makers = {
        "fm": lambda: models.AFM(c, c, use_attention=False, **NONE),
        "wide_deep": lambda: models.WDL(c, c, **DEEP),
        "deepfm": lambda: models.DeepFM(c, c, **DEEP),
        "nfm": lambda: models.NFM(c, c, **DEEP),
        "afm": lambda: models.AFM(c, c, attention_factor=16, l2_reg_att=0, **NONE),
        "xdeepfm": lambda: models.xDeepFM(
            c, c, cin_layer_size=workload.CROSS, cin_split_half=False, cin_activation="linear", **DEEP
        ),
        "fibinet": lambda: models.FiBiNET(c, c, **DEEP),
        "dcn": lambda: models.DCN(c, c, l2_reg_cross=0, cross_parameterization="matrix", **DEEP),
        "shared_bottom": lambda: models.SharedBottom(c, workload.EXPERTS, **TASKS),
        "mmoe": lambda: models.MMOE(c, 3, workload.EXPERTS, **TASKS),
        "ple": lambda: models.PLE(c, expert_dnn_hidden_units=workload.EXPERTS, **TASKS),
    }
    return makers[model]()


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


def make(model: str, shape: str, rows: int):
    tf.keras.backend.clear_session()
    length = workload.LENGTH if shape == "histories" else 0
    made = built(model, columns(workload.tables(shape, rows), length))
    made.compile(optimizer=tf.keras.optimizers.Adam(), loss="binary_crossentropy")
    x, y = workload.batches(shape, rows)
    if shape == "histories":
        x["hist_item"], x["hist_cat"] = x.pop("items"), x.pop("cats")
    labels = (y[..., :1], y[..., 1:]) if model in workload.TASKS else y[..., :1]
    options = tf.data.Options()
    options.autotune.enabled = False
    data = tf.data.Dataset.from_tensor_slices((x, labels)).repeat().with_options(options)

    def run(clock, steps):
        made.fit(data, steps_per_epoch=steps + 1, callbacks=[Timing(clock)], verbose=0)

    return {}, run


if __name__ == "__main__":
    workload.answer(make, **{name: version(name) for name in ("deepctr", "tensorflow", "tf-keras")})
