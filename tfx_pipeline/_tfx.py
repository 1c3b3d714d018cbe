"""The only module that imports TFX: what the pipeline uses of it.

From its inner modules: `tfx.v1` brings Vertex AI's client along, which takes a third of the time and is not used.
"""

# ruff: noqa: E402, F401
from typing import Any

import tensorflow as tf

# TensorFlow decides at the first look what `tf.keras` is, and tensorflow_transform sets TF_USE_LEGACY_KERAS: looked at
# before, it stays Keras 3 for what subclasses it (tensorflow-recommenders). TFX's libraries import `tf_keras` by name.
tf.keras.layers  # noqa: B018

# isort: split
import tensorflow_transform as tft
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
from tfx.proto import bulk_inferrer_pb2, example_gen_pb2, pusher_pb2, trainer_pb2, transform_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import Channel
from tfx.utils import io_utils, path_utils


def kubeflow() -> Any:
    """The module that compiles for Kubeflow and Vertex AI; it needs the package kfp, so it is imported when wanted."""
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    return kubeflow_v2_dag_runner
