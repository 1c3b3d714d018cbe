"""What batch size, `steps_per_execution` and mixed precision change on this machine.

    python -m benchmarks.settings                    # about seven minutes on two idle cores
    python -m benchmarks.settings --rounds 3

writes docs/results/measured/settings.csv. A model is held once for each setting. All take turns, window by window,
inside `fit`. A figure is the rows of a second beside those of `BATCH` rows a step, each step by itself, in float32: the
median over the rounds, and in brackets the lowest and the highest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from cdrzoo import memory

if __name__ == "__main__":
    memory.keep()  # before TensorFlow starts its threads

import keras
import tensorflow as tf

from benchmarks import workload
from benchmarks.measured import FOLDER, write
from benchmarks.runs import cdrzoo_run
from benchmarks.speed import machine
from cdrzoo import models, optimizers

MODELS = {"LR": ("lr", "fields"), "DNN": ("dnn", "fields"), "DIN": ("din", "histories")}
ROWS = 100_000
SETTINGS: dict[str, dict[str, Any]] = {
    f"batches of {workload.BATCH:,}": {},
    "batches of 256": {"batch": 256},
    "batches of 1,024": {"batch": 1024},
    "batches of 8,192": {"batch": 8192},
    "batches of 256, `steps_per_execution` 8": {"batch": 256, "steps_per_execution": 8},
    "`steps_per_execution` 8": {"steps_per_execution": 8},
    "mixed precision (bfloat16)": {"policy": "mixed_bfloat16"},
}


class Rate(keras.callbacks.Callback):
    """Rows of a second, from the end of the first call of TensorFlow to that of the last."""

    def __init__(self, batch: int):
        super().__init__()
        self.batch = batch
        self.ends: list[tuple[float, int]] = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append((time.perf_counter(), batch))

    @property
    def rows(self) -> float:
        (start, first), (end, last) = self.ends[0], self.ends[-1]
        return self.batch * (last - first) / (end - start)


def made(model: str, shape: str, setting: dict[str, Any]) -> tuple[Any, tf.data.Dataset, int]:
    """A model that is traced, its batches, and the rows of one."""
    schema, batch = cdrzoo_run.schema(shape, ROWS), setting.get("batch", workload.BATCH)
    data = cdrzoo_run.dataset(schema, shape, ROWS, batch)
    keras.config.set_dtype_policy(setting.get("policy", "float32"))
    one = models.card(model).load()(schema, **cdrzoo_run.SIZES[model])
    one.compile(optimizers.Adam(), steps_per_execution=setting.get("steps_per_execution", 1))
    window(one, data, batch, 0)
    keras.config.set_dtype_policy("float32")
    return one, data, batch


def window(model: Any, data: tf.data.Dataset, batch: int, rows: int) -> float:
    """Rows of a second, over so many rows."""
    rate = Rate(batch)
    steps = max(16, 8 + rows // batch)  # the first call of eight steps is not counted
    model.fit(data, steps_per_epoch=steps, callbacks=[rate], verbose=0, shuffle=False)
    return rate.rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=32_768, help="rows of a window, at least")
    args = parser.parse_args()
    where = machine()
    table = {}
    for label, (model, shape) in MODELS.items():
        runs = [made(model, shape, setting) for setting in SETTINGS.values()]
        found = [[window(*run, args.rows) for run in runs] for _ in range(args.rounds)]
        table[label] = [[one / rates[0] for one in rates] for rates in found]
        print(f"{label}: {statistics.median(rates[0] for rates in found):,.0f} rows a second", flush=True)
    rows = []
    for i, setting in enumerate(SETTINGS):
        shares = [[each[i] for each in rounds] for rounds in table.values()]
        rows.append(
            [setting, *(f"{statistics.median(s):.2f} [{min(s):.2f} to {max(s):.2f}]" for s in shares)]
        )
    note = f"Made by `python -m benchmarks.settings`.\n{where}."
    write(FOLDER / "settings.csv", ["setting", *MODELS], rows, note)
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
