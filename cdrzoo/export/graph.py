"""Graphs of exports: traced without nested calls, checked for what a server lacks, opened as servers open them."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cdrzoo.errors import InputError
from cdrzoo.schema import Feature
from cdrzoo.schema.features import with_weights


@contextlib.contextmanager
def inlined(model: Any = None) -> Iterator[None]:
    """Traces with every inner `tf.function` as plain Python: no nested calls, and none that XLA must compile.

    Layers of the model that have a shorter way without gradients (`without_gradients`) take it.
    """
    before = tf.config.functions_run_eagerly()
    with contextlib.ExitStack() as stack:
        for layer in model._flatten_layers() if model else ():
            if hasattr(layer, "without_gradients"):
                stack.enter_context(layer.without_gradients())
        stack.callback(tf.config.run_functions_eagerly, before)
        tf.config.run_functions_eagerly(True)
        yield


def shares_user(model: Any) -> bool:
    """Whether a model scores candidates beside one row of all else as it scores whole rows; found by trying.

    A layer of one's own may join or stack vectors without `cdrzoo.layers.pooling.joined` or `one_batch`.
    """

    def value(feature: Feature, row: int) -> Any:
        if not feature.is_id:
            return 0.5 * (row + 1)
        return min(row + 1, model.schema.table(feature.table).rows - 1)

    def rows(feature: Feature, numbers: tuple[int, ...]) -> tf.Tensor:
        of = [[value(feature, n)] * (feature.values or 1) for n in numbers]
        return tf.constant(
            of if feature.values else [one for one, *_ in of], tf.int32 if feature.is_id else tf.float32
        )

    read = with_weights(model.serving_features)
    split = {f.name: rows(f, (0, 1, 2) if f.role == "item" else (1,)) for f in read}
    whole = {f.name: rows(f, (0, 1, 2) if f.role == "item" else (1, 1, 1)) for f in read}
    try:
        one, other = (model.serve_outputs(each) for each in (split, whole))
        pairs = [[np.asarray(of[name]).reshape(-1) for of in (one, other)] for name in other]
    except (TypeError, ValueError, tf.errors.OpError):
        return False
    return all(a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-5) for a, b in pairs)


def repeated(rows: Mapping[str, tf.Tensor], counts: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """`[1, ...]` to `[count, ...]`, by name; what has `count` rows stays as it is, any other number is an error.

    A count that is a whole number, and no tensor, is said in the shape: layers then know one row that is for all.
    """
    out = {}
    for name, value in rows.items():
        count = counts[name]
        wide = tf.broadcast_to(value, tf.concat([[count], tf.shape(value)[1:]], 0))
        out[name] = tf.ensure_shape(wide, [count if isinstance(count, int) else None, *value.shape[1:]])
    return out


def read_variables(functions: Iterable[Any], model: Any) -> list[keras.Variable]:
    """The variables of the model that traced functions read, in the model's order."""
    captured = (outer for function in functions for outer, _ in function.graph.captures)
    handles = {id(outer) for outer in captured if outer.dtype == tf.resource}
    return [variable for variable in model.variables if id(variable.value.handle) in handles]


def check_serves_anywhere(path: pathlib.Path) -> None:
    (meta_graph,) = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    functions = meta_graph.graph_def.library.function
    for function in functions:
        if function.attr["_XlaMustCompile"].b:
            raise InputError(
                f"The serving graph holds {function.signature.name!r}, which only XLA can run, and a server may lack "
                "it. Do not use jit_compile=True where `training` is False."
            )
    for node in [*meta_graph.graph_def.node, *(node for function in functions for node in function.node_def)]:
        if node.op in ("PyFunc", "EagerPyFunc", "PyFuncStateless"):
            raise InputError(
                f"The serving graph calls Python ({node.name!r}). Use TensorFlow operations in `serve`."
            )


def graph_session(path: str | pathlib.Path) -> tuple[Any, Mapping[str, Any]]:
    """A SavedModel as servers load it: a session over its graph, and its `SignatureDef`s."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(
        "ERROR"
    )  # the loader of TensorFlow 1 says that it is deprecated; servers still load that way
    try:
        with session.graph.as_default():
            return session, tf.compat.v1.saved_model.load(session, ["serve"], str(path)).signature_def
    finally:
        logger.setLevel(level)
