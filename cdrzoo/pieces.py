"""A few large operations in place of many small ones, with equal numbers.

What one operation has split and the next would put together again is taken as it was; what several layers read off the
ids of a batch is made once.

TensorFlow rather than `keras.ops`: this remembers what was made in the graph of a step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

LARGE = 1 << 17
"""Elements from which on a variable is read and updated by itself. Below, what costs is the number of operations."""


def small(table: Any, ids: int | None) -> bool:
    """Whether a table is read and updated side by side with others where so many ids look it up (None: not known).

    Then all its rows are read, in place of the wanted ones.
    """
    return reads_all(table, ids) and max(table.shape[0], ids) * table.shape[1:].num_elements() < LARGE


def reads_all(table: Any, ids: int | None) -> bool:
    """Whether so many ids look up a table about as often as it has rows: reading on is faster than looking up."""
    return ids is not None and table.shape[0] <= 2 * ids


def cut(whole: tf.Tensor, sizes: Sequence) -> list[tf.Tensor]:
    """`tf.split` along the rows."""
    if len(sizes) == 1:
        return [whole]
    if whole.dtype == tf.int64:  # which a GPU cannot split
        ends = np.cumsum(sizes)
        return _remembered(whole, [whole[end - size : end] for end, size in zip(ends, sizes)])
    return _remembered(whole, tf.split(whole, sizes))


def columns(whole: tf.Tensor) -> list[tf.Tensor]:
    """`tf.unstack` along the second axis."""
    return _remembered(whole, tf.unstack(whole, axis=1))


def stacked(pieces: Sequence[tf.Tensor]) -> tf.Tensor:
    """`tf.concat` along the rows."""
    wholes = _wholes(pieces, more=0)
    return wholes[0] if len(wholes) == 1 else tf.concat(wholes, axis=0)


def fields(vectors: Sequence) -> list:
    """The vectors `[B, ...]`; in place of all that `columns` has made of a tensor `[B, F, ...]`, that tensor."""
    return _wholes(vectors, more=1)


def _remembered(whole: tf.Tensor, pieces: list[tf.Tensor]) -> list[tf.Tensor]:
    if not tf.executing_eagerly():
        _cuts()[id(pieces[0])] = whole, pieces
    return pieces


def _wholes(pieces: Sequence, more: int) -> list:
    """The pieces; in place of all that a tensor with so many more axes was cut into, that tensor."""
    wholes, at = [], 0
    while at < len(pieces):
        whole, cut = _cuts().get(id(pieces[at]), (pieces[at], []))
        is_all = list(map(id, pieces[at : at + len(cut)])) == list(map(id, cut))
        if cut and is_all and len(whole.shape) == len(cut[0].shape) + more:
            wholes.append(whole)
            at += len(cut)
        else:
            wholes.append(pieces[at])
            at += 1
    return wholes


def once(function: Callable) -> Callable:
    """A function of tensors and names that, in one graph, gives the same tensors for the same arguments.

    For what has no gradient: another pass may have made it where no tape of this one looks.
    """

    @functools.wraps(function)
    def remembered(*arguments):
        if tf.executing_eagerly():
            return function(*arguments)
        key = (function, *(id(each) if tf.is_tensor(each) else each for each in arguments))
        made = held("cdrzoo_made")
        if key not in made:
            made[key] = arguments, function(*arguments)
        return made[key][1]

    return remembered


def _cuts() -> dict[int, tuple[tf.Tensor, list[tf.Tensor]]]:
    """What was cut in the graph that is being made, and into what, by the first piece."""
    return held("cdrzoo_cuts")


def held(name: str) -> dict:
    """What is remembered of the graph that is being made, and goes with it."""
    held = tf.compat.v1.get_default_graph().get_collection_ref(name)
    if not held:
        held.append({})
    return held[0]
