"""Ids drawn at random, and ids taken once."""

from __future__ import annotations

import keras
from keras import ops

from cdrzoo.schema import FIRST_KNOWN


def drawn(shape, rows: int, seed):
    """Rows of known items, uniformly; of a table without any, the unknown one."""
    return keras.random.randint(shape, min(FIRST_KNOWN, rows - 1), rows, seed=seed)


def one_of(ids, valid, seed):
    """One of the valid ids of each row, uniformly; the first id where none is valid: `[B, n]` -> `[B]`."""
    chance = ops.where(valid, keras.random.uniform(ops.shape(ids), seed=seed), -1.0)
    return ops.squeeze(ops.take_along_axis(ids, ops.argmax(chance, axis=1)[:, None], axis=1), 1)


def once(ids):
    """Rows of ids in order, and where each of them but padding stands for the first time: both `[B, n]`."""
    ids = ops.sort(ids, axis=1)
    return ids, ids != ops.pad(ids[:, :-1], ((0, 0), (1, 0)))
