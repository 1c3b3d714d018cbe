"""What every model shares: the contract of its inputs and outputs, its losses by domain, and its configuration."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict
from unittest import mock

import keras
from keras import ops, tree
from keras.src.utils import summary_utils, tracking
from typing_extensions import Unpack

from cdrzoo import replicas
from cdrzoo.errors import InputError, SchemaError, shown
from cdrzoo.losses import ScalarMean, Terms, check_by_domain, rows_of, score
from cdrzoo.models import cards
from cdrzoo.models.arguments import check_arguments, check_tables
from cdrzoo.optimizers import LossScaleOptimizer
from cdrzoo.schema import Feature, Schema
from cdrzoo.traffic import prior_correction

SchemaLike = Schema | Mapping[str, Any]
"""A schema, or its mapping, as a configuration holds it."""

Units = Sequence[int]
"""Widths of layers, the first one first."""


class ModelOptions(TypedDict, total=False):
    """What every model's constructor takes besides arguments of its own: those of `keras.Model`."""

    name: str | None
    dtype: Any
    trainable: bool


class SideOutputs(threading.local):
    """What the last `call` computed besides its scores; every replica runs in a thread of its own and sees its own."""


_reading = threading.local()
"""Whether a model is made from what a file says of it."""


class CrossDomainModel(keras.Model):
    """A model over one or more domains that scores the rows of each.

    A subclass stores its arguments under their own names, makes its layers, and gives `call`. It may override
    `auxiliary_losses` for terms beyond the prediction losses, and, where no loss can say it, `train_step`. What `call`
    computes and a term of the same step reads goes through an attribute of `self.side`, under any name.

    Attributes that a subclass may set:
        weighting: `"domains"` (the loss is the sum of the domains' means; default) or `"rows"` (every row of a batch
            counts alike, whatever its domain).
        auxiliary_weights: `{name: weight}` of the terms of `auxiliary_losses` in the loss; default 1 each. A term of
            weight 0 is logged and nothing else.
        several_labels: whether it learns domains of several labels; default `False`. Such a model gives one score for
            each of `Domain.outputs`.
        may_be_empty: arguments that list widths of hidden layers, of which `()`, none, is meant: those of a small part
            that has a last layer of its own.

    Args:
        schema: the domains and tables, with the rows of every table filled in (`encoder.schema`).
        **kwargs: the arguments of `keras.Model`. Layers take the global dtype policy, so `dtype` may name no other.

    Call arguments:
        x: `{domain: {feature: tensor}}` with any of the schema's domains. `id`: int32 `[B]`; `ids`: int32
            `[B, length]`; `number`: float32 `[B]`, of several columns `[B, values]`. Each domain has its own B.
        training: whether dropout and batch statistics are on.

    Returns:
        `{domain: float32 [B, 1]}` for the domains in `x`: a probability for clicks, a value for ratings. Of several
        labels those behind the first are called DOMAIN.LABEL.
    """

    several_labels = False
    weighting = "domains"
    auxiliary_weights: Mapping[str, float] = {}
    may_be_empty: Sequence[str] = (
        "tower_units",
        "aux_units",
        "domain_units",
        "selector_units",
        "encoder_units",
    )

    def __new__(cls, *args, **kwargs):
        if not getattr(_reading, "file", False):
            parameters = inspect.signature(cls.__init__).parameters
            given = dict(zip(list(parameters)[1:], args), **kwargs)
            check_arguments(cls.__name__, cls, parameters, given)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, schema: SchemaLike, **kwargs: Unpack[ModelOptions]):
        policy, own = keras.config.dtype_policy(), keras.dtype_policies.get(kwargs.get("dtype"))
        if own != policy:
            raise InputError(
                f"A model's layers take the global dtype policy, which is {policy.name!r}. Received: "
                f"dtype={own.name!r}. Call `keras.config.set_dtype_policy({own.name!r})` before you make the model."
            )
        super().__init__(**kwargs)
        self.side: Any = SideOutputs()
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        for table in self.schema.tables:
            if table.rows is None:
                raise SchemaError(
                    f"The number of rows of table {table.name!r} is not known yet. Give the model the schema of an "
                    "adapted encoder (`encoder.schema`), or set `rows` of every table."
                )
        check_tables(self.schema)
        if not self.several_labels and (several := [d.name for d in self.schema.domains if d.labels]):
            raise SchemaError(
                f"{type(self).__name__} learns one label, but domain {several[0]!r} has several. Give it one (`label: "
                "COLUMN`), or choose shared_bottom, mmoe, ple, dnn or din."
            )

    def check_sources(self, method: str) -> None:
        """A `SchemaError` where there is no source to transfer from."""
        if not self.schema.sources:
            raise SchemaError(
                f"{method} transfers from a source, but the schema has the target alone. Add a domain."
            )

    def check_histories(self, method: str) -> None:
        """A `SchemaError` where the target's rows list no history; a model that is read from a file is as it was."""
        if not self.schema.target_domain.histories() and not getattr(_reading, "file", False):
            raise SchemaError(
                f"{method} attends to what a user did before, but domain {self.schema.target!r} lists no history. Add "
                "one (role: history, of: DOMAIN), or choose another model, such as dnn."
            )

    def check_common(self, method: str) -> None:
        """A `SchemaError` where the domains list no feature of one name; with files as `check_histories`."""
        if not self.schema.shared_features() and not getattr(_reading, "file", False):
            raise SchemaError(
                f"{method} learns what the rows of all domains have in common, but "
                f"{', '.join(repr(d.name) for d in self.schema.domains)} list no feature of one name. Give what means "
                "the same in all of them (the user) one name, or choose another model, such as dann."
            )

    def check_shared_users(self, method: str) -> None:
        """A `SchemaError` where a source has no users in a table of the target's; with files as `check_histories`."""

        def tables(domain):
            return {f.table for f in domain.features if f.role == "user" and f.kind == "id"}

        target = self.schema.target_domain
        for source in () if getattr(_reading, "file", False) else self.schema.sources:
            if not tables(source) & tables(target):
                raise SchemaError(
                    f"{method} learns from users of both domains, but {source.name!r} and {target.name!r} look up no "
                    "table of users in common. Give their `id` features of role user one table."
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
        _reading.file = True
        try:
            return super().from_config({**cards.before(cls), **config, **parts}, custom_objects)
        finally:
            _reading.file = False

    def __call__(self, x, *args, **kwargs):
        self.schema.check_batch(x)
        return super().__call__(x, *args, **kwargs)

    # A DataFrame or an array would fail in Keras before it came here.

    def fit(self, x=None, *args, **kwargs):
        if (
            hasattr(x, "element_spec") and len(args) < 8
        ):  # a dataset shuffles itself; Keras warns unless told so
            kwargs.setdefault("shuffle", False)
        return super().fit(self._rows(x), *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        return super().evaluate(self._rows(x), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        return super().predict(self._rows(x), *args, **kwargs)

    def _rows(self, x):
        if isinstance(x, Mapping) or hasattr(x, "shape"):  # no dataset, nor another source of batches
            self.schema.check_batch(x)
        return x

    def build(self, input_shape=None) -> None:
        """Makes every variable. The schema says all that is needed, so no data has to be seen first."""
        rows = placeholder_rows(self.schema)
        self.call({name: rows[name] for name in self.training_domains}, training=False)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None) -> None:
        """Nothing: `compile` has made every variable.

        For several replicas Keras would average their first batches, and fail where these differ in their rows.
        """

    def summary(self, *args, **kwargs) -> None:
        """Keras's `summary`; Keras 3.12 fails on a layer that gives one output by its name."""
        shape_of = summary_utils.format_layer_shape

        def shown_shape(layer):
            try:
                return shape_of(layer)
            except KeyError:  # it takes the mapping for a list
                return str(layer.compute_output_shape(**layer._build_shapes_dict))

        with mock.patch.object(summary_utils, "format_layer_shape", shown_shape):
            super().summary(*args, **kwargs)

    def compute_output_shape(self, input_shape):
        return {
            key: (next(iter(rows.values()))[0], 1)
            for name, rows in input_shape.items()
            for key in self.schema.domain(name).outputs
        }

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
            loss_weights: `{domain: weight}`, default 1 each. Of several labels every output has one.
            metrics: a list, measured on the target, or `{domain: list}`. They see sample weights.
            **kwargs: the further arguments of `keras.Model.compile`, without `weighted_metrics`.

        Raises:
            InputError: for an argument that is not by domain.
            SchemaError: for a domain that the schema does not have.
        """
        if loss_weights is not None and not isinstance(loss_weights, Mapping):
            raise InputError(f"`loss_weights` must be {{domain: weight}}. Received: {shown(loss_weights)}.")
        if kwargs.get("weighted_metrics"):
            raise InputError("`metrics` see sample weights already; give `weighted_metrics` as `metrics`.")
        if not self.built:
            self.build(batch_shapes(self.schema))
        super().compile(optimizer=optimizer, loss=loss, loss_weights=loss_weights, metrics=metrics, **kwargs)
        if type(scaled := self.optimizer) is keras.optimizers.LossScaleOptimizer:  # of Keras, for float16
            self.optimizer = LossScaleOptimizer(
                scaled.inner_optimizer, scaled.initial_scale, scaled.dynamic_growth_steps, name=scaled.name
            )
        # Keras's containers want the same domains in every call; training sees all domains, evaluation the target.
        self._compile_loss = self._compile_metrics = None
        self.optimizer.build(self.optimized_variables)
        self._terms = Terms(self.schema, loss, loss_weights, metrics)
        with tracking.DotNotTrackScope():  # as Keras's own, which is for tensors of any shape
            self._loss_tracker = ScalarMean(name="loss")

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

        A term that is a mean over rows weighs them (`row_weights`), as the prediction losses do, and takes those of all
        replicas (`weighted_mean`). `auxiliary_weights` says what a term counts.
        """
        return {}

    def domain_losses(self, y, y_pred, sample_weight=None) -> dict[str, Any]:
        """The prediction loss of every domain in `y`, unweighted: `{domain: scalar}`; 0 for a domain without rows.

        It is that of the whole batch, the same on all replicas.
        """
        check_by_domain(y, sample_weight)
        missing = [name for name in y if name not in y_pred]
        if missing:
            raise InputError(
                f"Labels of domain {missing[0]!r} came without its features. Batches are {{domain: ...}}."
            )
        weights, rows = sample_weight or {}, rows_of(y)
        return replicas.summed({n: self._domain_loss(n, y[n], y_pred[n], weights.get(n), rows[n]) for n in y})

    def _domain_loss(self, name: str, y, y_pred, weight, of):
        """What this replica adds to the loss of a domain that has `of` rows on all."""
        rows = ops.shape(y)[0]  # a number where the batch size is fixed
        if isinstance(rows, int) and not rows:
            return ops.zeros(())
        loss = self._terms.losses[name](y, y_pred, weight)
        if replicas.count() > 1 and self._terms.losses[name].reduction != "sum":
            # Keras has divided a mean by the number of replicas, as if all had as many rows.
            loss = loss * ops.cast(replicas.count() * rows, "float32") / of
        return loss if isinstance(rows, int) else ops.where(rows > 0, loss, 0.0)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        losses = self.domain_losses(y, y_pred, sample_weight)
        auxiliary = self.auxiliary_losses(x, y, y_pred, sample_weight, training)
        rows = rows_of(y)
        self.report(losses, auxiliary, rows)
        weight = {name: self.auxiliary_weights.get(name, 1.0) for name in auxiliary}
        further = [weight[name] * term for name, term in auxiliary.items() if weight[name]]
        # Every term is that of the whole batch, on each of the replicas, whose gradients Keras adds up.
        return (self.weighted_sum(losses, rows) + sum([*further, *self.losses])) / replicas.count()

    def weighted_sum(self, losses: Mapping[str, Any], rows: Mapping[str, Any]) -> Any:
        """The losses of domains as one, by `loss_weights` and by what `weighting` says of their `rows_of`."""
        shares = dict.fromkeys(losses, 1.0)
        if self.weighting == "rows":
            total = ops.maximum(sum(rows.values()), 1.0)
            shares = {name: rows[name] / total for name in losses}
        return sum([self._terms.weights[name] * shares[name] * loss for name, loss in losses.items()])

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
            self._terms.mean(name).update_state(value, count)

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

    @property
    def serving_inputs(self) -> tuple[Feature, ...]:
        """Those that a request holds: others have a `serving_value`, or are a `cross` of what it holds."""
        inputs = self.schema.target_domain.inputs(self.serving_features)
        return tuple(f for f in inputs if f.serving_value is None)

    def prepare_export(self) -> None:
        """Called once before an export traces `serve`. Default: nothing to do."""

    def serve(self, features: Mapping[str, Any]):
        """Scores rows of the target, `{feature: tensor}` -> float32 `[B]`. This is what an export holds."""
        scores = self({self.schema.target: features}, training=False)[self.schema.target]
        return self.served(ops.squeeze(scores, axis=-1))

    def serve_outputs(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """`serve` by the name of what is served (`Domain.outputs`): one name, or that of each label."""
        outputs = self.schema.target_domain.outputs
        if len(outputs) == 1:
            return {label.name: self.serve(features) for label in outputs.values()}
        scores = self({self.schema.target: features}, training=False)
        return self.served_outputs({key: ops.squeeze(each, axis=-1) for key, each in scores.items()})

    @property
    def kept(self) -> float:
        """The share of rows without a click that the target's log kept."""
        return self.schema.target_domain.negatives_kept or getattr(self, "negatives_kept", 1.0)

    def served(self, scores):
        """The served score of each score of `call`: of clicks the probability on all traffic."""
        return prior_correction(scores, self.kept)

    def served_outputs(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        """`served` of every output of the target, by the name under which it is served; products change as a whole."""
        outputs, first = self.schema.target_domain.outputs, scores[self.schema.target]
        found = {}
        for key, label in outputs.items():
            found[label.name] = self.served(first) if key == self.schema.target else scores[key]
            if key != self.schema.target and self.kept < 1:
                found[label.name] = scores[key] / (first + (1.0 - first) / self.kept)
        return found

    def score_rows(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """`serve_outputs` of encoded rows of the target, from `call` itself, as NumPy arrays: float32 `[n]` each."""
        scores = self.served_outputs(self({self.schema.target: features}, training=False))
        return {
            name: ops.convert_to_numpy(each).astype("float32").reshape(-1) for name, each in scores.items()
        }

    def scores(self, logits: Mapping[str, Any]) -> dict[str, Any]:
        """What `call` returns, from the head's outputs `{domain: [B, 1]}`; given another label the product of both."""
        found: dict[str, Any] = {}
        for key, z in logits.items():
            domain, label = self.schema.output(key)
            found[key] = score(z, label.task)
            if label.given is not None:
                found[key] *= found[next(k for k, one in domain.outputs.items() if one.name == label.given)]
        return found


def placeholder_rows(schema: Schema, rows: int = 2) -> dict[str, dict[str, Any]]:
    """A batch of all domains that holds nothing but padding."""
    return {
        domain.name: {
            f.name: ops.zeros((rows, f.values) if f.values else (rows,), "int32" if f.is_id else "float32")
            for f in domain.tensors
        }
        for domain in schema.domains
    }


def batch_shapes(schema: Schema) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shapes of `placeholder_rows`: what a model is built with, so that its summary has shapes to show."""
    return tree.map_structure(lambda x: tuple(x.shape), placeholder_rows(schema))


def _plain(value: Any) -> Any:
    """An argument as it stands in a configuration; a trained part without what only its own training needed."""
    if isinstance(value, keras.layers.Layer):
        config = keras.saving.serialize_keras_object(value)
        for own in ("compile_config", "build_config"):
            config.pop(own, None)
        return config
    return list(value) if isinstance(value, (list, tuple)) else value


def _arguments(cls: type) -> list[str]:
    parameters = inspect.signature(cls.__init__).parameters.values()
    return [p.name for p in parameters if p.name not in ("self", "schema") and p.kind is not p.VAR_KEYWORD]
