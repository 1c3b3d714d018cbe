"""Running a pipeline on this machine, and compiling it for Vertex AI and Kubeflow."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
import sys
from typing import Any

from cdrzoo import files
from cdrzoo.data import quality
from cdrzoo.data.rows.state import WORK
from cdrzoo.errors import InputError
from cdrzoo.training import observers
from tfx_pipeline import continual
from tfx_pipeline.code import code_hash
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.continual import Examples


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run did.

    Args:
        nodes: by node its state (`complete`, `cached`, ...) and seconds, in order.
        metrics: what Evaluator measured, by slice.
        blessed: whether the model was good enough.
        pushed: the new version's folder; `None` if there is none.
        artifacts: by node and output the path of the artifact.
    """

    nodes: dict[str, tuple[str, float]]
    metrics: dict[str, dict[str, float]]
    blessed: bool
    pushed: str | None
    artifacts: dict[str, dict[str, str]]


def write_examples(config: PipelineConfig, strict: bool = False) -> str:
    """The folder of raw examples: the given one, or one that is made from `data` by cdrzoo's own preparation, in Beam.

    It is made again when a file, its settings or the code that prepares it has changed; one that was broken off goes
    on. What is doubtful about the rows is said in either case; with `strict` it is an error.
    """
    if config.examples:
        return config.path(config.examples)
    described = config.run.identity()
    key = {
        "schema": config.schema.to_dict(),
        "read": {name: described[name] for name in ("schema", "data", "split", "preparation")},
        "code": code_hash("tfx_pipeline.rows", "cdrzoo.data"),
        **({"slices": config.made_slices} if config.made_slices else {}),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = pathlib.Path(config.path(config.root), "examples", digest)
    if not folder.exists():
        unfinished = folder.with_name(f".unfinished-{digest}")
        for old in set(folder.parent.glob(".unfinished-*")) - {unfinished}:
            shutil.rmtree(old)
        if not (unfinished / WORK).exists():  # it was ended between the last task and its name
            shutil.rmtree(unfinished, ignore_errors=True)
        _prepare(config, unfinished)
        unfinished.rename(folder)
    quality.heed(json.loads((folder / "warnings.json").read_text()), strict)
    return str(folder)


def begin(
    config: PipelineConfig, strict: bool = False, echo: Any = print
) -> tuple[PipelineConfig, Examples, str]:
    """What a run starts from: its configuration, settled, its examples, and the folder of its vocabularies, or none."""
    examples = continual.given(config) if config.examples else None
    config = continual.going_on(config, examples and examples.record, echo)
    if examples is None:
        folder = write_examples(config, strict)
        split = json.loads(pathlib.Path(folder, "split.json").read_text())
        examples = Examples(folder, record={**split, "data": config.run.identity()["data"]})
    return config, examples, continual.vocabularies(config, examples, echo)


def _prepare(config: PipelineConfig, folder: pathlib.Path) -> None:
    """Writes the examples of a run's data, by partitions of users, in Beam as the configuration says."""
    from cdrzoo.data.rows import executors
    from tfx_pipeline import rows

    split, found = config.run.write_raw(
        folder,
        functools.partial(rows.write_partition, config.schema, config.made_slices),
        partitions=1 if config.made_slices else None,  # a group is known by the values of all rows
        executor=executors.beam(config.beam),
        jobs=executors.beam_workers(config.beam),
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    (folder / "split.json").write_text(json.dumps(split.to_dict(), indent=2) + "\n")
    (folder / "warnings.json").write_text(json.dumps(found, indent=2) + "\n")


def run(config: PipelineConfig, echo: Any = print, strict: bool = False) -> Result:
    """Runs the pipeline here: LocalDagRunner, metadata in SQLite, Beam as the configuration says.

    What has run before on the same data, settings and code is not run again; a run that was stopped goes on.

    Raises:
        InputError: the configuration or the data is at fault, or another run is under way.
    """
    tried = {name: values[0] for name, values in config.tuner.search.items()} if config.tuner else {}
    config.run.with_changes(tried).model_arguments()
    for stage in config.stages:
        observers.check(stage.training.callbacks)
    root = pathlib.Path(config.path(config.root))
    with files.lock(root):
        config, examples, known = begin(config, strict, echo)
        from tfx_pipeline._tfx import LocalDagRunner
        from tfx_pipeline.pipeline import make

        pipeline = make(config, examples, known)
        echo(f"{config.name}: {' -> '.join(node.id for node in pipeline.components)}")
        LocalDagRunner().run(pipeline)
        return result(config)


def result(config: PipelineConfig) -> Result:
    """What the latest run did, read from the metadata."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from tfx_pipeline import evaluation
    from tfx_pipeline._tfx import Metadata, sqlite_metadata_connection_config

    root = config.path(config.root)
    with Metadata(sqlite_metadata_connection_config(f"{root}/metadata.sqlite")) as metadata:
        store = metadata.store
        latest = max(
            store.get_contexts_by_type("pipeline_run"), key=lambda context: context.create_time_since_epoch
        )
        types = {kind.id: kind.name for kind in store.get_execution_types()}
        executions = sorted(
            store.get_executions_by_context(latest.id), key=lambda e: e.create_time_since_epoch
        )
        nodes, outputs = {}, {}
        for execution in executions:
            name = _node(store, execution, types)
            seconds = (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
            state = mlmd.Execution.State.Name(execution.last_known_state).lower()
            nodes[name] = (state, 0.0 if state == "cached" else seconds)
            outputs[name] = _outputs(store, execution)
    artifacts = {
        name: {key: artifact.uri for key, artifact in found.items()} for name, found in outputs.items()
    }
    blessing, pushed = outputs["Evaluator"]["blessing"], outputs["Pusher"]["pushed_model"]
    return Result(
        nodes=nodes,
        metrics=evaluation.report(artifacts["Evaluator"]["evaluation"]),
        blessed=blessing.custom_properties["blessed"].int_value == 1,
        pushed=pushed.custom_properties["pushed_destination"].string_value or None,
        artifacts=artifacts,
    )


def _node(store: Any, execution: Any, types: dict[int, str]) -> str:
    """A node's id; its context is called `PIPELINE.ID`."""
    for context in store.get_contexts_by_execution(execution.id):
        if context.type == "node":
            return context.name.partition(".")[2]
    return types[execution.type_id]


def _outputs(store: Any, execution: Any) -> dict[str, Any]:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    events = store.get_events_by_execution_ids([execution.id])
    made = {
        e.artifact_id: e.path.steps[0].key for e in events if e.type == mlmd.Event.OUTPUT and e.path.steps
    }
    return {made[artifact.id]: artifact for artifact in store.get_artifacts_by_id(list(made))}


def table(result: Result) -> str:
    """A run as text: nodes with their states and seconds, metrics by slice, what became of the model."""
    lines = [f"{'node':<24}{'state':<12}{'seconds':>8}"]
    lines += [f"{name:<24}{state:<12}{seconds:>8.1f}" for name, (state, seconds) in result.nodes.items()]
    names = list(next(iter(result.metrics.values()), {}))
    names = [name for name in names if not name.endswith("_diff")]
    lines += ["", f"{'slice':<24}" + "".join(f"{name[:14]:>16}" for name in names)]
    for where, values in sorted(result.metrics.items(), key=lambda item: item[0] != "overall"):
        lines.append(f"{where:<24}" + "".join(f"{values.get(name, float('nan')):>16.6f}" for name in names))
    verdict = "blessed" if result.blessed else "not blessed: it misses a threshold"
    lines += ["", f"The model is {verdict}.", f"Pushed: {result.pushed or 'nothing'}"]
    return "\n".join(lines)


def compile(config: PipelineConfig, image: str, to: pathlib.Path) -> None:
    """Writes the definition that Vertex AI Pipelines and Kubeflow Pipelines 2 run.

    Args:
        config: with `root`, `push` and `examples` where the cluster finds them, for example `gs://...`.
        image: the container image that holds this project (see docs/pipeline.md).
        to: the JSON file.
    """
    if not config.examples:
        raise InputError(
            "A compiled pipeline starts from examples that the cluster can read. Write them with `examples`, copy the "
            "folder there, and set `pipeline.examples` (then without `data`)."
        )
    if config.warm_start or "{" in config.examples:
        raise InputError(
            "The newest span, and what a run goes on with, are looked for by `run`. A compiled pipeline has no "
            "`warm_start`, and its `examples` are one folder."
        )
    from tfx_pipeline import _tfx

    try:
        kubeflow = _tfx.kubeflow()
    except ImportError as error:
        raise InputError(
            f"Compiling needs Kubeflow's package, which is not here ({error}). Install the extra `kubeflow`."
        ) from None
    from tfx_pipeline.pipeline import make

    runner = kubeflow.KubeflowV2DagRunner(
        config=kubeflow.KubeflowV2DagRunnerConfig(default_image=image),
        output_filename=to.name,
        output_dir=str(to.parent),
    )
    runner.run(make(config, Examples(config.path(config.examples))))
