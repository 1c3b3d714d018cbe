"""What a row counts in a loss, the losses and metrics of a domain, and what a model's output becomes as a score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from cdrzoo import replicas
from cdrzoo.errors import InputError
from cdrzoo.schema import Schema

LOSSES = {"click": keras.losses.BinaryCrossentropy, "rating": keras.losses.MeanSquaredError}
"""The loss of each task. Of the scores of `call`, Keras reads the logit: a saturated score keeps its gradient."""

SPARE_MEANS = 16
"""Means that `compile` makes for the terms of the loss; with more, a step is traced twice."""


class Terms:
    """What `compile` was told, by domain, and the running means of the terms of the loss.

    Of several labels everything is by output (`Domain.outputs`).

    Args:
        schema: the schema; a `SchemaError` names a domain that it does not have.
        loss, loss_weights, metrics: as `CrossDomainModel.compile` takes them.

    A plain object: Keras would otherwise track the means as state of the model, which must not grow once it is built.
    The names of terms are known when a step is traced, and a trace that makes a variable is done twice, so that the
    means are made before.
    """

    def __init__(self, schema: Schema, loss: Any = None, loss_weights: Any = None, metrics: Any = None):
        for given in (loss, loss_weights, metrics):
            for name in given if isinstance(given, Mapping) else ():
                schema.output(name)
        outputs = schema.outputs
        losses = loss if isinstance(loss, Mapping) else dict.fromkeys(outputs, loss)
        by_domain = metrics if isinstance(metrics, Mapping) else {schema.target: metrics or []}
        self.losses = {key: _loss(losses.get(key) or LOSSES[label.task]()) for key, label in outputs.items()}
        self.weights = {key: float((loss_weights or {}).get(key, 1.0)) for key in outputs}
        self.metrics = {
            name: [
                _metric(metric, outputs[name].task)
                for metric in (given if isinstance(given, (list, tuple)) else [given])
            ]
            for name, given in by_domain.items()
        }
        self.means: dict[str, ScalarMean] = {}
        self.reported: list[str] = []
        self._spare = [ScalarMean() for _ in range(SPARE_MEANS)]

    def mean(self, name: str) -> ScalarMean:
        """The mean of a term."""
        if name not in self.means:
            with tf.init_scope():
                self.means[name] = self._spare.pop() if self._spare else ScalarMean()
        return self.means[name]


class ScalarMean(keras.metrics.Mean):
    """Keras's mean, of scalars, without the operations with which that takes tensors of any shape."""

    def update_state(self, values, sample_weight=1.0):
        values, sample_weight = ops.cast(values, "float32"), ops.cast(sample_weight, "float32")
        self.total.value.assign_add(values * sample_weight)
        self.count.value.assign_add(sample_weight)


def rows_of(y: Mapping[str, Any]) -> dict[str, Any]:
    """How many rows every domain has, on all replicas: `{domain: float32 scalar}`."""
    return replicas.summed({name: ops.cast(ops.shape(labels)[0], "float32") for name, labels in y.items()})


def row_weights(y: Mapping[str, Any], sample_weight: Mapping[str, Any] | None) -> dict[str, Any]:
    """What every row of `y` counts, `{domain: float32 [B]}`: its sample weight; 1 in a domain that was given none."""
    check_by_domain(y, sample_weight)
    weights = {}
    for name, labels in y.items():
        given = (sample_weight or {}).get(name)
        given = ops.ones((ops.shape(labels)[0],)) if given is None else ops.cast(given, "float32")
        weights[name] = ops.reshape(given, (-1,))
    return weights


def weighted_mean(values, weights):
    """The mean of `[B]` numbers by their weights, over the rows of all replicas; 0 where nothing has weight."""
    total, weight = replicas.summed((ops.sum(weights * values), ops.sum(weights)))
    return total / ops.maximum(weight, 1e-7)


def score(logit, task: str):
    """A probability for clicks, the value itself for ratings; always float32."""
    logit = ops.cast(logit, "float32")
    return ops.sigmoid(logit) if task == "click" else logit


class _FunctionLoss(keras.losses.Loss):
    """A plain function as a loss that takes sample weights."""

    def __init__(self, function):
        super().__init__(name=getattr(function, "__name__", None))
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)


def _loss(given):
    given = keras.losses.get(given)
    return given if isinstance(given, keras.losses.Loss) else _FunctionLoss(given)


def _metric(given, task: str):
    if given in ("accuracy", "acc") and task == "click":
        return keras.metrics.BinaryAccuracy(name="accuracy")
    given = keras.metrics.get(given)
    return (
        given
        if isinstance(given, keras.metrics.Metric)
        else keras.metrics.MeanMetricWrapper(given, name=given.__name__)
    )


def check_by_domain(y: Any, sample_weight: Any) -> None:
    """An `InputError` for labels or sample weights that do not come by domain, or labels that are no column.

    Keras's own losses would make a column of labels `[B]`; a loss of one's own would spread them over `[B, B]`.
    """
    for what, given in (("Labels", y), ("Sample weights", sample_weight)):
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"{what} come by domain, {{domain: tensor}}. Received: {type(given).__name__}.")
    for name, labels in (y or {}).items():
        shape = tf.TensorShape(getattr(labels, "shape", None))
        if shape.rank is None or not shape.is_compatible_with([None, 1]):
            raise InputError(
                f"Labels of domain {name!r} must be a column, [B, 1]. Received: shape {shape}. Of labels [B] "
                "`labels[:, None]` makes one."
            )
