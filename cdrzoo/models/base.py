"""What every model shares: the contract of its inputs and outputs, its losses by domain, and its configuration."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.optimizers import LossScaleOptimizer
from cdrzoo.schema import FIRST_KNOWN, Feature, Schema

LOSSES = {"click": keras.losses.BinaryCrossentropy, "rating": keras.losses.MeanSquaredError}
"""The loss of each task. Of the scores of `call`, Keras reads the logit: a saturated score keeps its gradient."""


SPARE_MEANS = 16
"""Means that `compile` makes for the terms of the loss; with more, a step is traced twice."""


class _Terms:
    """What `compile` was told, by domain, and the running means of the terms of the loss.

    A plain object: Keras would otherwise track the means as state of the model, which must not grow once it is built.
    The names of terms are known when a step is traced, and a trace that makes a variable is done twice, so that the
    means are made before.
    """

    def __init__(self, losses: dict, weights: dict, metrics: dict):
        self.losses, self.weights, self.metrics = losses, weights, metrics
        self.means: dict[str, keras.metrics.Mean] = {}
        self.reported: list[str] = []
        self._spare = [keras.metrics.Mean() for _ in range(SPARE_MEANS)]

    def mean(self, name: str) -> keras.metrics.Mean:
        """The mean of a term."""
        if name not in self.means:
            with tf.init_scope():
                self.means[name] = self._spare.pop() if self._spare else keras.metrics.Mean()
        return self.means[name]


class CrossDomainModel(keras.Model):
    """A model over one or more domains that scores the rows of each.

    A subclass stores its arguments under their own names, makes its layers, and gives `call`. It may override
    `auxiliary_losses` for terms beyond the prediction losses, and, where no loss can say it, `train_step`.

    Args:
        schema: the domains and tables, with the rows of every table filled in (`encoder.schema`).
        **kwargs: the arguments of `keras.Model`. Layers take the global dtype policy, so `dtype` may name no other.

    Call arguments:
        x: `{domain: {feature: tensor}}` with any of the schema's domains. `id`: int32 `[B]`; `ids`: int32
            `[B, length]`; `number`: float32 `[B]`. Each domain has its own B.
        training: whether dropout and batch statistics are on.

    Returns:
        `{domain: float32 [B, 1]}` for the domains in `x`: a probability for clicks, a value for ratings.
    """

    def __init__(self, schema: Schema | Mapping[str, Any], **kwargs):
        policy, own = keras.config.dtype_policy(), keras.dtype_policies.get(kwargs.get("dtype"))
        if own != policy:
            raise InputError(
                f"A model's layers take the global dtype policy, which is {policy.name!r}. Received: "
                f"dtype={own.name!r}. Call `keras.config.set_dtype_policy({own.name!r})` before you make the model."
            )
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        for table in self.schema.tables:
            if table.rows is None:
                raise SchemaError(
                    f"The number of rows of table {table.name!r} is not known yet. Give the model the schema of an "
                    "adapted encoder (`encoder.schema`), or set `rows` of every table."
                )

    # Configuration ----------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in _arguments(type(self)):
            config[name] = _plain(getattr(self, name))
        config["schema"] = self.schema.to_dict()
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model from its configuration; an argument that is a trained part (a model) is made anew first.

        Its layers take the dtype policy that is set while they are made, so the model's own is set for that long.
        """
        own = keras.dtype_policies.get(config.get("dtype"))
        if own != keras.config.dtype_policy():
            before = keras.config.dtype_policy()
            keras.config.set_dtype_policy(own)
            try:
                return cls.from_config(config, custom_objects)
            finally:
                keras.config.set_dtype_policy(before)
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in _arguments(cls)
            if isinstance(config.get(name), Mapping) and "registered_name" in config[name]
        }
        return super().from_config({**config, **parts}, custom_objects)

    def build(self, input_shape=None) -> None:
        """Makes every variable. The schema says all that is needed, so no data has to be seen first."""
        rows = placeholder_rows(self.schema)
        self.call({name: rows[name] for name in self.training_domains}, training=False)

    @property
    def training_domains(self) -> tuple[str, ...]:
        """The domains whose rows a training batch holds. A second stage may want fewer than the schema has."""
        return tuple(domain.name for domain in self.schema.domains)

    # Keras saves no random state of dropout and sampling; without it a resumed run would draw other numbers.

    @property
    def _seeds(self) -> list[keras.Variable]:
        weights = {id(v) for v in self.weights}
        return [v for v in self.variables if id(v) not in weights]

    def save_own_variables(self, store) -> None:
        super().save_own_variables(store)
        for index, seed in enumerate(self._seeds):
            store[f"seed_{index}"] = seed.numpy()

    def load_own_variables(self, store) -> None:
        for index, seed in enumerate(self._seeds):
            seed.assign(store[f"seed_{index}"])
        super().load_own_variables({key: store[key] for key in store.keys() if not key.startswith("seed_")})

    # Losses and metrics, by the domains that are present --------------------------------------------------------

    def compile(self, optimizer="adam", loss=None, loss_weights=None, metrics=None, **kwargs) -> None:
        """Keras's `compile`; everything that depends on the domain may be a dictionary by domain.

        Args:
            optimizer: an optimizer; those of `cdrzoo.optimizers` keep the cost of a step independent of table sizes.
            loss: a loss, or `{domain: loss}`. Default: binary cross-entropy for clicks, mean squared error for ratings.
            loss_weights: `{domain: weight}`, default 1 each.
            metrics: a list, measured on the target, or `{domain: list}`. They see sample weights.
            **kwargs: the further arguments of `keras.Model.compile`, without `weighted_metrics`.

        Raises:
            InputError: for an argument that is not by domain.
            SchemaError: for a domain that the schema does not have.
        """
        if loss_weights is not None and not isinstance(loss_weights, Mapping):
            raise InputError(f"`loss_weights` must be {{domain: weight}}. Received: {loss_weights!r}.")
        if kwargs.get("weighted_metrics"):
            raise InputError("`metrics` see sample weights already; give `weighted_metrics` as `metrics`.")
        if not self.built:
            self.build()
        super().compile(optimizer=optimizer, loss=loss, loss_weights=loss_weights, metrics=metrics, **kwargs)
        if type(scaled := self.optimizer) is keras.optimizers.LossScaleOptimizer:  # of Keras, for float16
            self.optimizer = LossScaleOptimizer(
                scaled.inner_optimizer, scaled.initial_scale, scaled.dynamic_growth_steps, name=scaled.name
            )
        # Keras's containers want the same domains in every call; training sees all domains, evaluation the target.
        self._compile_loss = self._compile_metrics = None
        self.optimizer.build(self.optimized_variables)
        for given in (loss, loss_weights, metrics):
            for name in given if isinstance(given, Mapping) else ():
                self.schema.domain(name)
        losses = loss if isinstance(loss, Mapping) else {d.name: loss for d in self.schema.domains}
        by_domain = metrics if isinstance(metrics, Mapping) else {self.schema.target: metrics or []}
        self._terms = _Terms(
            losses={d.name: _loss(losses.get(d.name) or LOSSES[d.task]()) for d in self.schema.domains},
            weights={d.name: float((loss_weights or {}).get(d.name, 1.0)) for d in self.schema.domains},
            metrics={
                name: [
                    _metric(metric, self.schema.domain(name).task)
                    for metric in (given if isinstance(given, (list, tuple)) else [given])
                ]
                for name, given in by_domain.items()
            },
        )

    @property
    def metrics(self):
        if not self.compiled:
            return super().metrics
        return [
            *super().metrics,
            *self._terms.means.values(),
            *itertools.chain(*self._terms.metrics.values()),
        ]

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def optimized_variables(self) -> list[keras.Variable]:
        """The variables that the optimizer of `compile` updates."""
        return self.trainable_variables

    def auxiliary_losses(self, x, y, y_pred, sample_weight, training: bool) -> dict[str, Any]:
        """Further terms of the loss, `{name: scalar}`; each is logged under its name. Default: none.

        A term that is a mean over rows weighs them (`row_weights`), as the prediction losses do.
        """
        return {}

    def domain_losses(self, y, y_pred, sample_weight=None) -> dict[str, Any]:
        """The prediction loss of every domain in `y`, unweighted: `{domain: scalar}`; 0 for a domain without rows."""
        _check_by_domain(y, sample_weight)
        missing = [name for name in y if name not in y_pred]
        if missing:
            raise InputError(
                f"Labels of domain {missing[0]!r} came without its features. Batches are {{domain: ...}}."
            )
        weights = sample_weight or {}
        return {name: self._domain_loss(name, y[name], y_pred[name], weights.get(name)) for name in y}

    def _domain_loss(self, name: str, y, y_pred, weight):
        rows = ops.shape(y)[0]  # a number where the batch size is fixed
        if isinstance(rows, int) and not rows:
            return ops.zeros(())
        loss = self._terms.losses[name](y, y_pred, weight)
        return loss if isinstance(rows, int) else ops.where(rows > 0, loss, 0.0)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        # Keras divides a loss by the number of replicas, whose gradients it adds; further terms are ours to divide.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        losses = self.domain_losses(y, y_pred, sample_weight)
        auxiliary = self.auxiliary_losses(x, y, y_pred, sample_weight, training)
        total = sum([self._terms.weights[name] * loss for name, loss in losses.items()])
        total = total + sum([*auxiliary.values(), *self.losses]) / replicas
        self.report({name: loss * replicas for name, loss in losses.items()}, auxiliary, rows=rows_of(y))
        return total

    def report(self, losses: Mapping[str, Any], terms: Mapping[str, Any], rows: Mapping[str, Any]) -> None:
        """Adds the losses of domains (logged as `<domain>_loss`) and further scalars to the means that logs show.

        Args:
            losses: `{domain: scalar}`.
            terms: `{name: scalar}`.
            rows: how many rows a domain has in the batch (`rows_of`): what its loss counts in the mean over batches. A
                term counts as many as there are in all.
        """
        values = {f"{name}_loss": (loss, rows[name]) for name, loss in losses.items()}
        total = sum(rows.values())
        for name, value in terms.items():
            if name in values:
                raise InputError(
                    f"{type(self).__name__} logs a term {name!r}, which is also a domain's loss. Rename the domain."
                )
            values[name] = (value, total)
        self._terms.reported = list(values)
        for name, (value, count) in values.items():
            self._terms.mean(name).update_state(value, sample_weight=count)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        weights = sample_weight or {}
        results = {"loss": self._loss_tracker.result()}
        results.update({name: self._terms.means[name].result() for name in self._terms.reported})
        for name in [name for name in y if name in y_pred]:
            for metric in self._terms.metrics.get(name, ()):
                metric.update_state(y[name], y_pred[name], sample_weight=weights.get(name))
                results[metric.name if name == self.schema.target else f"{name}_{metric.name}"] = (
                    metric.result()
                )
        return results

    # Serving ----------------------------------------------------------------------------------------------------

    @property
    def serving_features(self) -> tuple[Feature, ...]:
        """The features of the target that the served graph reads, in order."""
        return self.schema.target_domain.features

    def prepare_export(self) -> None:
        """Called once before an export traces `serve`. Default: nothing to do."""

    def serve(self, features: Mapping[str, Any]):
        """Scores rows of the target, `{feature: tensor}` -> float32 `[B]`. This is what an export holds."""
        scores = self({self.schema.target: features}, training=False)[self.schema.target]
        return self.served(ops.squeeze(scores, axis=-1))

    def served(self, scores):
        """The served score of each score of `call`. Default: the same."""
        return scores

    def scores(self, logits: Mapping[str, Any]) -> dict[str, Any]:
        """What `call` returns, from the head's outputs `{domain: [B, 1]}`."""
        return {name: score(z, self.schema.domain(name).task) for name, z in logits.items()}


class SecondStage(CrossDomainModel):
    """A model that trains on rows of the target alone: what others have to say, its first stage has learnt."""

    @property
    def training_domains(self):
        return (self.schema.target,)

    def target_rows(self, x: Mapping[str, Any]) -> Any:
        """The rows of the target in a batch of nothing else; an `InputError` for others."""
        target = self.schema.target
        if list(x) != [target]:
            raise InputError(
                f"{type(self).__name__} reads rows of the target {target!r} alone. Received: rows of "
                f"{', '.join(map(repr, x))}. Leave others out; the first stage has learnt from them."
            )
        return x[target]


class MappedUsers(SecondStage):
    """A second stage that learns from users whom its first stage, a factorisation, has trained in two domains."""

    def make_train_function(self, force=False):
        seen = {name: users.numpy()[FIRST_KNOWN:] for name, users in self.pretrained.factors.seen.items()}
        if not any((seen[self.schema.target] & seen[source.name]).any() for source in self.schema.sources):
            first = type(self.pretrained).__name__
            raise InputError(
                f"{type(self).__name__} learns from users whom `pretrained` has trained both in the target "
                f"{self.schema.target!r} and in a source. Received: a {first} that has trained "
                f"{', '.join(f'{users.sum()} users in {name!r}' for name, users in seen.items())}, none of them in "
                f"both. Train it first (`fit`), on rows of all domains that have users in common."
            )
        return super().make_train_function(force)


def check_layers(name: str, units: Sequence[int]) -> None:
    """Raises an `InputError` where a network whose last hidden layer is read is to have none."""
    if not units:
        raise InputError(f"`{name}` must name at least one hidden layer. Received: {units!r}.")


def rows_of(y: Mapping[str, Any]) -> dict[str, Any]:
    """How many rows every domain has: `{domain: float32 scalar}`."""
    return {name: ops.cast(ops.shape(labels)[0], "float32") for name, labels in y.items()}


def row_weights(y: Mapping[str, Any], sample_weight: Mapping[str, Any] | None) -> dict[str, Any]:
    """What every row of `y` counts, `{domain: float32 [B]}`: its sample weight; 1 in a domain that was given none."""
    _check_by_domain(y, sample_weight)
    weights = {}
    for name, labels in y.items():
        given = (sample_weight or {}).get(name)
        given = ops.ones((ops.shape(labels)[0],)) if given is None else ops.cast(given, "float32")
        weights[name] = ops.reshape(given, (-1,))
    return weights


def weighted_mean(values, weights):
    """The mean of `[B]` numbers by their weights; 0 where nothing has weight."""
    return ops.sum(weights * values) / ops.maximum(ops.sum(weights), 1e-7)


def score(logit, task: str):
    """A probability for clicks, the value itself for ratings; always float32."""
    logit = ops.cast(logit, "float32")
    return ops.sigmoid(logit) if task == "click" else logit


def prior_correction(probability, kept: float):
    """The probability of a click on all traffic, given that on a log which kept a share of the rows without a click.

        p' = p / (p + (1 - p) / w)

    Dropping rows without a click multiplies the odds by 1 / w; this divides them again. The order of scores stays.

    Args:
        probability: p, learnt from the log.
        kept: w, the share of rows without a click that the log kept, in (0, 1]; 1 changes nothing.

    Reference: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook (ADKDD 2014), section 6.3.
    """
    return probability if kept == 1 else probability / (probability + (1.0 - probability) / kept)


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


def placeholder_rows(schema: Schema, rows: int = 2) -> dict[str, dict[str, Any]]:
    """A batch of all domains that holds nothing but padding."""
    shapes = {"id": lambda f: (rows,), "ids": lambda f: (rows, f.length), "number": lambda f: (rows,)}
    return {
        domain.name: {
            f.name: ops.zeros(shapes[f.kind](f), "float32" if f.kind == "number" else "int32")
            for f in domain.features
        }
        for domain in schema.domains
    }


def frozen(part: keras.Model) -> keras.Model:
    """A trained model as a part of another one, which reads it and does not train it.

    It is the model itself, not a copy: built, `trainable = False`, and no longer compiled, because its old training
    step would go on changing it. Its optimizer is dropped; to train it by itself again, set `trainable` and `compile`.
    Call it with `training=False`, or dropout and batch statistics would still be on.
    """
    if not part.built:
        part.build()
    # Keras passes over an assignment that changes nothing: a model that was made untrainable has trainable layers.
    part.trainable = True
    part.trainable = False
    part.compiled = False
    part.optimizer = part.train_function = part.test_function = None
    return part


def _plain(value: Any) -> Any:
    """An argument as it stands in a configuration; a trained part without what only its own training needed."""
    if isinstance(value, keras.layers.Layer):
        config = keras.saving.serialize_keras_object(value)
        config.pop("compile_config", None)
        return config
    return list(value) if isinstance(value, (list, tuple)) else value


def _arguments(cls: type) -> list[str]:
    parameters = inspect.signature(cls.__init__).parameters.values()
    return [p.name for p in parameters if p.name not in ("self", "schema") and p.kind is not p.VAR_KEYWORD]


def _check_by_domain(y: Any, sample_weight: Any) -> None:
    for what, given in (("Labels", y), ("Sample weights", sample_weight)):
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"{what} come by domain, {{domain: tensor}}. Received: {type(given).__name__}.")
