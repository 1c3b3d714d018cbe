"""On what a training runs. Imports nothing of TFX."""

from __future__ import annotations

import json
import os

import tensorflow as tf


class _Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """Keras 3 asks for means of its logs, which are scalars, along axis 0, and for the mean of a batch by domain, of
    which it wants to know the kind alone. TensorFlow refuses both."""

    def reduce(self, reduce_op, value, axis=None):
        if tf.nest.is_nested(value):
            return tf.nest.map_structure(lambda each: self.experimental_local_results(each)[0], value)
        return super().reduce(reduce_op, value, axis=None)


def strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of a configuration; GPUs take memory as they need it."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    return _Workers() if name == "multi_worker" else tf.distribute.get_strategy()


def place(name: str) -> int:
    """Which worker this process is; the first is the chief, who writes."""
    config = json.loads(os.environ.get("TF_CONFIG") or "{}") if name == "multi_worker" else {}
    task = config.get("task", {"type": "chief", "index": 0})
    before = len(config.get("cluster", {}).get("chief", ())) if task["type"] == "worker" else 0
    return before + int(task["index"])
