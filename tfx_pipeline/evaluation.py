"""What Evaluator measures and demands: TFMA's own metrics, cdrzoo's exact ones, and thresholds on all test rows."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

from cdrzoo import intervals, metrics
from cdrzoo.schema import Label
from tfx_pipeline._tfx import tfma_config
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.rows import LABEL, USER, WEIGHT

OVERALL = tfma_config.SlicingSpec()

_LIBRARY = {
    "click": ("ExampleCount", "AUC", "BinaryCrossEntropy", "Calibration"),
    "rating": ("ExampleCount", "MeanLabel", "MeanPrediction"),
}
"""TFMA's own metrics. Its AUC is an approximation over 10,000 thresholds, ours is exact."""


def eval_config(config: PipelineConfig, code: str) -> tfma_config.EvalConfig:
    """The configuration of Evaluator.

    Thresholds hold for all test rows together; those of `MetricConfig` itself would hold for every slice.

    Args:
        config: of the pipeline.
        code: hash of what measures; another one makes the cache miss.
    """
    first, *others = config.schema.target_domain.outputs.values()
    library = [
        tfma_config.MetricConfig(class_name=name, config=json.dumps(_named(name)))
        for name in _LIBRARY[first.task]
    ]
    specs = [tfma_config.MetricsSpec(metrics=[*library, *_exact(config, first, "", code)])]
    keys: dict[str, Any] = {
        "label_key": LABEL,
        "example_weight_key": WEIGHT,
        "prediction_key": first.name,
    }
    if others:
        ends = {first.name: "", **{label.name: f".{label.name}" for label in others}}
        keys = {
            "label_keys": {name: LABEL + end for name, end in ends.items()},
            "example_weight_keys": {name: WEIGHT + end for name, end in ends.items()},
        }
        specs[0].output_names.append(first.name)
        for label in others:
            found = _exact(config, label, f"{label.name}.", code)
            specs.append(tfma_config.MetricsSpec(metrics=found, output_names=[label.name]))
    slices = [tfma_config.SlicingSpec(feature_keys=[name]) for name in config.slices]
    return tfma_config.EvalConfig(
        model_specs=[tfma_config.ModelSpec(signature_name="serve_examples", **keys)],
        metrics_specs=specs,
        slicing_specs=[OVERALL, *slices],
    )


ERROR = "_error"
"""Ends the name of a metric's standard error."""


def _exact(config: PipelineConfig, label: Label, prefix: str, code: str) -> list[tfma_config.MetricConfig]:
    """The exact metrics of a label, the standard error of each, and of clicks how many there are."""
    names = ["clicks"] if label.task == "click" else []
    for name in config.metrics_of(label):
        names += [name, name + ERROR]
    return [
        tfma_config.MetricConfig(
            class_name="Exact",
            module=__name__,
            config=json.dumps({"name": name, "code": code}),
            per_slice_thresholds=_thresholds(name, config.thresholds.get(prefix + name, {})),
        )
        for name in names
    ]


def _named(class_name: str) -> dict[str, str]:
    return {"name": "tfma_auc"} if class_name == "AUC" else {}


def _thresholds(name: str, given: dict[str, float]) -> list[tfma_config.PerSliceMetricThreshold]:
    if not given:
        return []
    threshold = tfma_config.MetricThreshold()
    rising = metrics.better(name) == "max"
    if "min" in given:
        threshold.value_threshold.lower_bound.value = given["min"]
    if "max" in given:
        threshold.value_threshold.upper_bound.value = given["max"]
    if "worse_by" in given:
        change = threshold.change_threshold
        change.direction = (
            tfma_config.MetricDirection.HIGHER_IS_BETTER
            if rising
            else tfma_config.MetricDirection.LOWER_IS_BETTER
        )
        change.absolute.value = -given["worse_by"] if rising else given["worse_by"]
    return [tfma_config.PerSliceMetricThreshold(slicing_specs=[OVERALL], threshold=threshold)]


class Exact(metric_types.Metric):
    """One of the metrics of `cdrzoo.metrics`, computed as it is there, from the ranked scores themselves.

    Beam merges the scores, labels, weights and users of a slice into one list, for all of these metrics once: some 30
    bytes a row, where TFMA's own metrics need a few numbers.

    Args:
        name: `auc`, `gauc`, `log_loss`, `ece`, `mae` or `rmse`; each with `_error` its standard error (see
            `cdrzoo.intervals`); `clicks`: how many there are.
        code: hash of the code, so that the cache sees a change of it.
    """

    def __init__(self, name: str = "auc", code: str = ""):
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name, code=code)


def _computations(
    name: str,
    code: str = "",
    eval_config: Any = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
    **_: Any,
) -> metric_types.MetricComputations:
    of: dict[str, Any] = {
        "model_name": model_name,
        "output_name": output_name,
        "example_weighted": example_weighted,
    }
    key = metric_types.MetricKey(name=name, **of)
    columns = metric_types.MetricKey(name="_columns", **of)  # TFMA writes no name with a line before it
    inputs = metric_types.StandardMetricInputsPreprocessor(
        include_filter={"features": {USER: {}}},
        model_names=[model_name] if model_name else None,
        output_names=[output_name] if output_name else None,
    )
    return [
        # Equal for all names, so that TFMA makes it once.
        metric_types.MetricComputation([columns], [inputs], _Columns(columns, eval_config)),
        metric_types.DerivedMetricComputation([key], functools.partial(_derived, key, columns)),
    ]


metric_types.register_metric(Exact)


class _Columns(beam.CombineFn):
    """Labels, scores, weights and users of the rows of a slice."""

    def __init__(self, key: metric_types.MetricKey, eval_config: Any):
        self.key, self.eval_config = key, eval_config

    def create_accumulator(self) -> list[list[Any]]:
        return [[], [], [], []]

    def add_input(self, accumulator: list[list[Any]], element: Any) -> list[list[Any]]:
        values = metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self.eval_config,
            model_name=self.key.model_name,
            output_name=self.key.output_name,
            example_weighted=self.key.example_weighted,
        )
        for triple in values:
            for column, value in zip(accumulator, triple):
                column.append(float(np.asarray(value).ravel()[0]))
        user = (element.features or {}).get(USER)  # of a log without users there is no such column
        accumulator[3].append(b"" if user is None or not np.size(user) else np.ravel(user)[0])
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[list[Any]]]) -> list[list[Any]]:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            for into, column in zip(merged, accumulator):
                into.extend(column)
        return merged

    def extract_output(self, accumulator: list[list[Any]]) -> dict[metric_types.MetricKey, list[list[Any]]]:
        return {self.key: accumulator}


def _derived(
    key: metric_types.MetricKey,
    columns: metric_types.MetricKey,
    found: Mapping[metric_types.MetricKey, list[list[Any]]],
) -> dict[metric_types.MetricKey, float]:
    """The metric that a key names, of the columns."""
    labels, scores, weights, users = found[columns]
    if key.name == "clicks":
        return {key: float(sum(labels))}
    if key.name.endswith(ERROR):
        task = "rating" if key.name.startswith(("mae", "rmse")) else "click"
        # Of a log without users every row stands for itself.
        of = np.array(users, object) if any(users) else None
        errors = intervals.evaluate(labels, scores, task, of, weights=weights)
        return {key: errors.get(key.name.removesuffix(ERROR), {}).get("error", float("nan"))}
    if key.name == "gauc":
        return {key: metrics.gauc(labels, scores, np.array(users, object), weights)}
    return {key: getattr(metrics, key.name)(labels, scores, weights)}


def report(path: str) -> dict[str, dict[str, float]]:
    """The metrics that Evaluator wrote, by slice (`overall`, `device=phone`) and name."""
    found = tfma.load_eval_result(path)
    table = {}
    for key, by_output in found.slicing_metrics:
        name = (
            ", ".join(
                f"{column.removeprefix('row.').removeprefix('slice.')}={value}" for column, value in key
            )
            or "overall"
        )
        first = next(output for output, found in by_output.items() if "example_count" in found[""])
        table[name] = {
            (metric if output == first else f"{output}.{metric}"): float(value["doubleValue"])
            for output, found in by_output.items()
            for metric, value in found[""].items()
            if "doubleValue" in value
        }
    return table
