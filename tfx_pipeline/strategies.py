"""On what a training runs, and which rows each of several workers reads. Imports nothing of TFX."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

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


def place(name: str) -> tuple[int, int]:
    """Which worker this process is, and how many there are; the first is the chief, who writes."""
    if name != "multi_worker":
        return 0, 1
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    jobs = {job: len(config.get("cluster", {}).get(job, ())) for job in ("chief", "worker")}
    task = config.get("task", {"type": "chief", "index": 0})
    before = jobs["chief"] if task["type"] == "worker" else 0
    return before + int(task["index"]), max(sum(jobs.values()), 1)


def shared(batches: Callable[[tuple[int, int]], tf.data.Dataset]) -> Any:
    """Training batches of which every worker reads its own part, for `fit` in the scope of a strategy.

    Args:
        batches: gives those of a `share`, a worker's index and how many workers there are.
    """
    strategy = tf.distribute.get_strategy()

    def mine(context: tf.distribute.InputContext) -> tf.data.Dataset:
        found = batches((context.input_pipeline_id, context.num_input_pipelines))
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        return found if replicas == 1 else found.flat_map(lambda *batch: _divided(batch, replicas))

    return strategy.distribute_datasets_from_function(mine)


def _divided(batch: Any, replicas: int) -> tf.data.Dataset:
    """A batch as one of each replica of a worker."""
    pieces = tf.nest.map_structure(
        lambda rows: tf.reshape(rows, [replicas, rows.shape[0] // replicas, *rows.shape[1:]]), batch
    )
    return tf.data.Dataset.from_tensor_slices(pieces)
