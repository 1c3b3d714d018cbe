"""One step on several replicas: what each of them has to know of the others' rows.

Under a distribution strategy every replica computes a step on its part of the batch, and Keras adds up the gradients.
What is no sum over rows (a mean over some of them, a variance, a table of what was seen) needs the rows of all.

TensorFlow rather than `keras.ops`, which knows no replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def count() -> int:
    """How many replicas share a step; 1 without a distribution strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def on_gpu() -> bool:
    """Whether steps run on a GPU, for which other forms of the same mathematics are fast."""
    return bool(tf.config.list_logical_devices("GPU"))


def summed(tensors: Any) -> Any:
    """The sum over replicas of each tensor of a structure, the same on all of them.

    Its gradient is that of the sum: of a loss that is made from it on every replica, each takes 1 / `count()`.
    """
    return tensors if alone() else _replica().all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def gathered(tensors: Any) -> Any:
    """The rows of each tensor of a structure, of all replicas in their order."""
    return tensors if alone() else _replica().all_gather(tensors, axis=0)


def drawn(shape: Sequence[Any], draw: Callable[[Sequence[Any]], Any]) -> Any:
    """This replica's rows of what `draw` draws for the rows of all: `[B, ...]`.

    A seed is the same on all replicas: by themselves they would draw the same numbers for different rows.

    Args:
        shape: of what this replica wants.
        draw: gives random numbers of a shape.
    """
    if alone():
        return draw(shape)
    whole = draw((count() * shape[0], *shape[1:]))
    return tf.stack(tf.split(whole, count()))[_replica().replica_id_in_sync_group]


def _replica():
    return tf.distribute.get_replica_context()


def alone() -> bool:
    """Whether nothing is shared: a step of one replica, or what happens outside of a step."""
    return count() == 1 or _replica() is None
