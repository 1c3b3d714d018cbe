"""Nodes of our own: the curated schema, the validator that stops the run, the check that a model serves, the pusher.

No `from __future__ import annotations` here: `@component` reads the annotations themselves.
"""

import json
import os
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

import cdrzoo.export
from cdrzoo.errors import DataError
from cdrzoo.schema import Schema
from tfx_pipeline import rows
from tfx_pipeline._tfx import (
    InputArtifact,
    OutputArtifact,
    Parameter,
    artifact_utils,
    component,
    fileio,
    io_utils,
    path_utils,
    standard_artifacts,
)

TOLERANCE = 1e-6
"""By how much the two signatures may differ: they hold one graph."""

_PUSHED = os.path.join("assets.extra", "pushed.json")


# The schema of the examples -----------------------------------------------------------------------------------------


def curated_schema(schema: Schema, slices: Sequence[str] = ()) -> schema_pb2.Schema:
    """What raw examples must look like, by domain (an environment each): columns, types, one value or many, labels.

    `slices`: further columns of text of the target.

    A column of ids or numbers that no row has is an anomaly, as is a label that is missing or not from 0 to 1.
    """
    types = {"string": schema_pb2.BYTES, "int64": schema_pb2.INT, "float32": schema_pb2.FLOAT}
    names = [domain.name for domain in schema.domains]
    curated = schema_pb2.Schema(default_environment=names)

    def add(name: str, kind: Any, most: int | None, domains: list[str], **more: Any) -> None:
        others = [other for other in names if other not in domains]
        feature = curated.feature.add(name=name, type=kind, not_in_environment=others, **more)
        feature.value_count.min = 0
        if most is not None:
            feature.value_count.max = most

    for domain in schema.domains:
        for f in domain.inputs():
            once = {"presence": schema_pb2.FeaturePresence(min_count=1)} if not f.ragged else {}
            most = None if f.ragged else f.size or 1
            add(rows.raw_name(schema, domain, f), types[f.dtype], most, [domain.name], **once)
    always = schema_pb2.FeaturePresence(min_fraction=1.0, min_count=1)
    clicks = all(domain.task == "click" for domain in schema.domains)
    label = {"float_domain": schema_pb2.FloatDomain(min=0.0, max=1.0)} if clicks else {}
    add(rows.LABEL, schema_pb2.FLOAT, 1, names, presence=always, **label)
    add(rows.WEIGHT, schema_pb2.FLOAT, 1, names, float_domain=schema_pb2.FloatDomain(min=0.0))
    for name, of in rows.further(schema).items():
        add(f"{rows.LABEL}.{name}", schema_pb2.FLOAT, 1, of, presence=always)
        add(f"{rows.WEIGHT}.{name}", schema_pb2.FLOAT, 1, of, presence=always)
    add(rows.USER, schema_pb2.BYTES, 1, names)
    for name in (rows.USERS, *slices):
        add(name, schema_pb2.BYTES, 1, [schema.target])
    return curated


@component
def CuratedSchema(text: Parameter[str], schema: OutputArtifact[standard_artifacts.Schema]) -> None:
    """The schema that stands in the configuration, as an artifact."""
    io_utils.write_string_file(os.path.join(schema.uri, "schema.pbtxt"), text)


@component
def ExampleValidator(
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    schema: InputArtifact[standard_artifacts.Schema],
    code: Parameter[str],
    anomalies: OutputArtifact[standard_artifacts.ExampleAnomalies],
) -> None:
    """Holds each split's statistics against the schema of its domain; anomalies are printed and stop the run.

    TFX's own validator knows no environments, so it would miss every other domain's columns in each split, and what it
    finds stops nothing.
    """
    wanted = text_format.Parse(
        tf.io.gfile.GFile(os.path.join(schema.uri, "schema.pbtxt")).read(), schema_pb2.Schema()
    )
    splits = artifact_utils.decode_split_names(statistics.split_names)
    anomalies.split_names = statistics.split_names
    lines = []
    for split in splits:
        folder = artifact_utils.get_split_uri([statistics], split)
        found = tfdv.validate_statistics(
            tfdv.load_stats_binary(os.path.join(folder, "FeatureStats.pb")),
            wanted,
            environment=split.rpartition("_")[0],
        )
        fileio.makedirs(artifact_utils.get_split_uri([anomalies], split))
        path = os.path.join(artifact_utils.get_split_uri([anomalies], split), "SchemaDiff.pb")
        io_utils.write_bytes_file(path, found.SerializeToString())
        lines += [
            f"  {split}, {name}: {info.description}" for name, info in sorted(found.anomaly_info.items())
        ]
        if found.HasField("dataset_anomaly_info"):
            lines.append(f"  {split}: {found.dataset_anomaly_info.description}")
    if lines:
        text = "\n".join(lines)
        raise DataError(
            f"The examples are not what their schema says:\n{text}\nCorrect the data, or say in `statistics` that it "
            "may be so."
        )


# The model ----------------------------------------------------------------------------------------------------------


def serving_scores(path: str, serialized: np.ndarray, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """Scores from both signatures of a SavedModel, loaded as a server loads it: as a graph, into a session.

    Args:
        path: the SavedModel.
        serialized: object `[n]`, raw examples.
        schema: names the features.

    Returns:
        Those of `serve_examples` and of `serving_default`, each `[n, labels]`.
    """
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], path).signature_def
        wanted = signatures["serving_default"].inputs
        features = [f for f in schema.target_domain.features if f.name in wanted]
        raw = session.run(cdrzoo.export.parse_examples(tf.constant(serialized), features))

        def ask(name: str, inputs: dict[str, Any]) -> np.ndarray:
            feed = {signatures[name].inputs[key].name: value for key, value in inputs.items()}
            outputs = schema.target_domain.outputs.values()
            return np.stack(session.run([signatures[name].outputs[of.name].name for of in outputs], feed), 1)

        return ask("serve_examples", {"examples": serialized}), ask("serving_default", raw)


@component
def InfraValidator(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    schema: Parameter[str],
    requests: Parameter[int],
    code: Parameter[str],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
) -> None:
    """Sends real rows to the model. TFX's own wants docker or Kubernetes; this loads the graph into a session."""
    domains = Schema.from_dict(json.loads(schema))
    split = artifact_utils.get_split_uri([examples], f"{domains.target}_test")
    serialized = rows.first_examples(split, requests)
    try:
        scores, named = serving_scores(path_utils.serving_model_path(model.uri), serialized, domains)
        shape = len(serialized), len(domains.target_domain.outputs)
        if scores.shape != shape or not np.isfinite(scores).all():
            raise ValueError(f"{len(serialized)} rows got scores of shape {scores.shape}, or not finite ones")
        if not np.abs(scores - named).max() <= TOLERANCE:
            raise ValueError("the two signatures score the same rows differently")
        reason = ""
    except (tf.errors.OpError, ValueError, KeyError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        print(f"The model cannot be served: {reason}", flush=True)
    blessing.set_string_custom_property("reason", reason[:1000])
    blessing.set_int_custom_property("model", model.id)
    blessing.set_int_custom_property("blessed", int(not reason))


@component
def Pusher(
    model: InputArtifact[standard_artifacts.Model],
    blessing: InputArtifact[standard_artifacts.ModelBlessing],
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing],
    folder: Parameter[str],
    run: Parameter[str],
    code: Parameter[str],
    pushed_model: OutputArtifact[standard_artifacts.PushedModel],
    drift_blessing: InputArtifact[standard_artifacts.InfraBlessing] = None,
) -> None:
    """Puts a blessed model into the folder as the next version, complete or not at all. Each run looks anew.

    TFX's own names versions by the clock and copies file by file into the folder that a server watches.
    """
    pushed_model.set_int_custom_property("pushed", 0)
    judges = {"Evaluator": blessing, "InfraValidator": infra_blessing, "Drift": drift_blessing}
    for judge, asked in judges.items():
        if asked is not None and asked.get_int_custom_property("blessed") != 1:
            print(f"Not pushed: {judge} has not blessed the model.", flush=True)
            return
    fileio.makedirs(folder)
    versions = [int(name) for name in map(_name, fileio.listdir(folder)) if name.isdigit()]
    latest = os.path.join(folder, str(max(versions, default=0)), _PUSHED)
    if fileio.exists(latest) and json.loads(io_utils.read_string_file(latest))["model"] == model.uri:
        print(f"Not pushed: the latest version, {max(versions)}, is this model.", flush=True)
        return
    for name in map(_name, fileio.listdir(folder)):
        if name.startswith(".push-"):  # of a run that was killed; no other runs at the same time
            fileio.rmtree(os.path.join(folder, name))
    unfinished = os.path.join(folder, f".push-{uuid.uuid4().hex}")
    path = os.path.join(folder, str(max(versions, default=0) + 1))
    io_utils.copy_dir(path_utils.serving_model_path(model.uri), unfinished)
    io_utils.write_string_file(os.path.join(unfinished, _PUSHED), json.dumps({"model": model.uri}))
    fileio.rename(unfinished, path)
    io_utils.copy_dir(path, pushed_model.uri)
    pushed_model.set_int_custom_property("pushed", 1)
    pushed_model.set_string_custom_property("pushed_destination", path)
    print(f"Pushed: {path}", flush=True)


def _name(entry: Any) -> str:
    return os.fsdecode(entry).rstrip("/")
