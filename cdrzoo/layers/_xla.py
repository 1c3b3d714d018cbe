"""XLA for the parts of a training step that are worth compiling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from cdrzoo import replicas


def fused(function: Callable[..., Any], *tensors: Any, training: bool, elements: int | None) -> Any:
    """`function(*tensors)`, compiled by XLA where that pays; its gradient is compiled too.

    A step with embedding tables cannot be compiled as a whole (see `FeatureEmbedding`); its dense part can,
    and XLA then fuses the element-wise work between the matrix products. It pays for large tensors of fixed
    shape: while training, from a million `elements` on (of the widest intermediate tensor; None: not known).
    Compiled code stays out of exported graphs, out of eager runs, out of distribution strategies, whose
    merges XLA does not know, and out of runs with TensorFlow's op determinism, which excludes XLA.
    """
    pays = (
        training
        and elements is not None
        and elements >= 1_000_000
        and not tf.executing_eagerly()
        and replicas.count() == 1
        and not is_op_determinism_enabled()
    )
    return tf.function(function, jit_compile=True)(*tensors) if pays else function(*tensors)
