"""The only module that imports TFX: what the pipeline uses of it.

From its inner modules: `tfx.v1` brings Vertex AI's client along, which takes a third of the time and is not used.
"""

# ruff: noqa: E402, F401
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

# TensorFlow decides at the first look what `tf.keras` is, and tensorflow_transform sets TF_USE_LEGACY_KERAS: looked at
# before, it stays Keras 3 for what subclasses it (tensorflow-recommenders). TFX's libraries import `tf_keras` by name.
tf.keras.layers  # noqa: B018

# isort: split
import tensorflow_transform as tft
from ml_metadata.proto import metadata_store_pb2
from tensorflow_model_analysis.proto import config_pb2 as tfma_config
from tfx.components import (
    BulkInferrer,
    Evaluator,
    ImportExampleGen,
    Pusher,
    StatisticsGen,
    Trainer,
    Transform,
    Tuner,
)
from tfx.components.example_gen.utils import calculate_splits_fingerprint_span_and_version
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.dsl.io import fileio
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import (
    bulk_inferrer_pb2,
    example_gen_pb2,
    pusher_pb2,
    range_config_pb2,
    trainer_pb2,
    transform_pb2,
)
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import Channel
from tfx.utils import io_utils, path_utils


class LatestServed(LatestBlessedModelStrategy):
    """The latest model that Evaluator has blessed, and no other judge has refused: the one that was pushed."""

    def resolve_artifacts(self, store, input_dict):
        verdicts = {}
        for each in sorted(store.get_artifacts_by_type("InfraBlessing"), key=lambda artifact: artifact.id):
            judge, told = each.uri.split("/")[-3], each.custom_properties
            verdicts[judge, told["model"].int_value] = told["blessed"].int_value
        refused = {model for (_, model), blessed in verdicts.items() if not blessed}
        found = {
            key: [each for each in artifacts if each.TYPE_NAME != "Model" or each.id not in refused]
            for key, artifacts in input_dict.items()
        }
        return super().resolve_artifacts(store, found)


def latest_blessed_run(database: str) -> str | None:
    """The folder `model_run` of the Trainer whose model was blessed last, as a pipeline's resolver finds the model."""
    with Metadata(sqlite_metadata_connection_config(database)) as metadata:
        store, found = metadata.store, {}
        known = {kind.name: kind for kind in store.get_artifact_types()}
        for name in ("Model", "ModelBlessing"):
            artifacts = store.get_artifacts_by_type(name) if name in known else []
            found[name] = [artifact_utils.deserialize_artifact(known[name], each) for each in artifacts]
        blessed = LatestServed().resolve_artifacts(store, found)
        if not blessed or not blessed["Model"]:
            return None
        events = store.get_events_by_artifact_ids([blessed["Model"][0].id])
        made = [e.execution_id for e in events if e.type == metadata_store_pb2.Event.OUTPUT]
        outputs = {e.path.steps[0].key: e.artifact_id for e in store.get_events_by_execution_ids(made[:1])}
        return store.get_artifacts_by_id([outputs["model_run"]])[0].uri


def split_patterns(path: str, splits: Sequence[str]) -> tuple[str, list[example_gen_pb2.Input.Split]]:
    """What ExampleGen reads of a folder or of a pattern such as `gs://bucket/{SPAN}`: a base, and patterns below it."""
    base = path.partition("{")[0].rpartition("/")[0] if "{" in path else path
    below = path.removeprefix(base)
    patterns = {name: f"{below}/{name}/*".lstrip("/") for name in splits}
    return base, [example_gen_pb2.Input.Split(name=name, pattern=of) for name, of in patterns.items()]


def one_span(path: str, folder: str) -> str:
    """A pattern of which ExampleGen finds a span by its number: it wants to know of how many digits that is written."""
    digits = len(folder) - len(path.replace("{SPAN}", ""))
    return path.replace("{SPAN}", f"{{SPAN:{digits}}}")


def newest_span(path: str, splits: Sequence[str]) -> tuple[str, int, str]:
    """The folder of the newest span of a pattern, its number and a fingerprint of its files, as ExampleGen finds them.

    Raises:
        ValueError: there is none, or a split lacks it.
    """
    base, found = split_patterns(path, splits)
    # It fills the patterns in.
    fingerprint, span, _ = calculate_splits_fingerprint_span_and_version(base, found)
    return f"{base}/{found[0].pattern}".removesuffix(f"/{splits[0]}/*"), span, fingerprint


def kubeflow() -> Any:
    """The module that compiles for Kubeflow and Vertex AI; it needs the package kfp, so it is imported when wanted."""
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    return kubeflow_v2_dag_runner
