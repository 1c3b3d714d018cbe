"""A process that trains on its share of prepared rows: worker.py ROWS OUT mirrored|multi_worker, and TF_CONFIG."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cdrzoo import data, models, optimizers
from cdrzoo.data.rows.reading import StoredPart
from tfx_pipeline import strategies

BATCH = {"books": 64, "films": 32}
EPOCHS = 2


def train(rows: data.StoredRows, batches: Any) -> dict[str, np.ndarray]:
    """Losses by epoch and weights of a model that is trained on these batches, in the scope of a strategy."""
    keras.utils.set_random_seed(1)
    model = models.MMoE(rows.schema, expert_units=(8,), experts=2, tower_units=(4,))
    model.compile(optimizer=optimizers.SGD(0.5))
    history = model.fit(batches(), epochs=EPOCHS, shuffle=False, verbose=0)
    weights = {f"{number}": np.asarray(value) for number, value in enumerate(model.get_weights())}
    return {"loss": np.array(history.history["loss"]), **weights}


def main() -> None:
    folder, out, name = sys.argv[1:]
    if name == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    else:
        strategy = strategies.strategy(name)
    read: set[str] = set()
    of_part = StoredPart.read

    def noted(part, at):
        group = part.groups[at]
        read.add(f"{group.path.relative_to(folder)} {group.number}")
        return of_part(part, at)

    StoredPart.read = noted
    rows = data.load_rows(folder, held=False)

    def batches():
        return strategies.shared(lambda share: rows.train(BATCH, seed=2, share=share))

    with strategy.scope():
        found = train(rows, batches)
    np.savez(pathlib.Path(out), groups=np.array(sorted(read)), **found)


if __name__ == "__main__":
    main()
