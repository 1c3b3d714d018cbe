"""XLA for the parts of a training step that are worth compiling."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from cdrzoo import pieces, replicas

_wanted = contextvars.ContextVar("wanted", default=True)


@contextlib.contextmanager
def off() -> Iterator[None]:
    """What is traced here has no compiled parts."""
    before = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(before)


def usable() -> bool:
    """Whether XLA may compile a part of the step that is being traced.

    Compiled code stays out of eager runs, out of distribution strategies, whose merges XLA does not know, and out of
    runs with TensorFlow's op determinism, which excludes XLA.
    """
    traced = _wanted.get() and not tf.executing_eagerly()
    return traced and replicas.count() == 1 and not is_op_determinism_enabled()


def fused(
    function: Callable[..., Any],
    *tensors: Any,
    layer: keras.layers.Layer | None = None,
    training: bool,
    elements: int = 0,
) -> Any:
    """`function(*tensors)`, compiled by XLA where that pays; its gradient is compiled too.

    `layer` is the one that it is a part of, where it reads variables.

    A step with embedding tables cannot be compiled as a whole (see `FeatureEmbedding`); its dense part can,
    and XLA then fuses the element-wise work between the matrix products. While training, for tensors of fixed shape,
    it pays from a million `elements` of the widest intermediate tensor on, and on a GPU, where every operation has to
    be started, with any number. It stays out of exported graphs.

    Compilation takes seconds. So layers of one configuration share what is compiled within a step: it takes the values
    of a layer's variables and gives those that it changes.
    """
    pays = training and (elements >= 1_000_000 or replicas.on_gpu()) and usable()
    if not pays or any(None in tuple(t.shape) for t in tensors):
        return function(*tensors)
    variables, changed = (layer.variables, layer.non_trainable_variables) if layer else ([], [])

    def pure(values, *tensors):
        with keras.StatelessScope(zip(variables, values)) as scope:
            out = function(*tensors)
        return out, [scope.get_current_value(v) for v in changed]

    compiled = pieces.held("cdrzoo_compiled")
    config = {name: value for name, value in layer.get_config().items() if name != "name"} if layer else {}
    frozen = [not v.trainable for v in variables]
    key = (
        type(layer) if layer else function,
        repr((config, frozen)),
        *((tuple(t.shape), t.dtype) for t in tensors),
    )
    if key not in compiled:
        compiled[key] = tf.function(pure, jit_compile=True, autograph=False)
    out, after = compiled[key]([tf.convert_to_tensor(v.value) for v in variables], *tensors)
    for variable, value in zip(changed, after):
        variable.assign(value)
    return out
