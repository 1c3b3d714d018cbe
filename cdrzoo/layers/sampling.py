"""What is drawn at random, and ids taken once.

TensorFlow rather than `keras.ops` where that would compute with int32, which a GPU leaves to its host.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import ops

from cdrzoo import replicas
from cdrzoo.schema import FIRST_KNOWN


@keras.saving.register_keras_serializable(package="cdrzoo")
class Dropout(keras.layers.Dropout):
    """Keras's dropout; of several replicas each drops what one device would drop in its rows."""

    def call(self, inputs, training=False):
        drop = super().call
        if not training or not self.rate or replicas.count() == 1:
            return drop(inputs, training=training)
        return inputs * replicas.drawn(
            ops.shape(inputs), lambda shape: drop(ops.ones(shape, inputs.dtype), training=True)
        )


def drawn(shape, rows: int, seed):
    """Rows of known items, uniformly; of a table without any, the unknown one."""
    return replicas.drawn(
        shape, lambda whole: keras.random.randint(whole, min(FIRST_KNOWN, rows - 1), rows, seed=seed)
    )


def one_of(ids, valid, seed):
    """One of the valid ids of each row, uniformly; the first id where none is valid: `[B, n]` -> `[B]`."""
    chance = replicas.drawn(ops.shape(ids), lambda shape: keras.random.uniform(shape, seed=seed))
    chance = ops.where(valid, chance, -1.0)
    return tf.gather(ids, tf.argmax(chance, axis=1), batch_dims=1)


def once(ids):
    """Rows of ids in order, and where each of them but padding stands for the first time: both `[B, n]`."""
    ids = ops.sort(ids, axis=1)
    return ids, ids != ops.concatenate([ops.zeros_like(ids[:, :1]), ids[:, :-1]], axis=1)
