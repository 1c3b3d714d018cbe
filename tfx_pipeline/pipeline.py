"""The wiring: which node reads what. Nothing here knows a model, a dataset or a feature by name.

    ExampleGen -> StatisticsGen -> ExampleValidator (with SchemaGen: the curated schema) -> Transform -> [Tuner]
      -> Trainer, one a stage -> Evaluator (with the latest blessed model), InfraValidator, [Drift]
      -> Pusher, [BulkInferrer]

Every split is named everywhere: TFX's defaults, `train` and `eval`, do not exist here.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import uuid
from typing import Any

from google.protobuf import text_format

from tfx_pipeline import components, drift
from tfx_pipeline._tfx import (
    BulkInferrer,
    Channel,
    Evaluator,
    ImportExampleGen,
    LatestBlessedModelStrategy,
    LatestServed,
    Pipeline,
    Resolver,
    StatisticsGen,
    Trainer,
    Transform,
    Tuner,
    bulk_inferrer_pb2,
    example_gen_pb2,
    one_span,
    range_config_pb2,
    split_patterns,
    sqlite_metadata_connection_config,
    standard_artifacts,
    trainer_pb2,
    transform_pb2,
)
from tfx_pipeline.code import code_hash
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.continual import Examples
from tfx_pipeline.evaluation import eval_config
from tfx_pipeline.rows import ENCODER


def make(config: PipelineConfig, examples: Examples, known: str = "") -> Pipeline:
    """The pipeline of a configuration.

    Args:
        config: the configuration.
        examples: the raw examples.
        known: the folder of the encoder, where Transform is not to count it (`continual.vocabularies`).
    """
    root = config.path(config.root)
    described = json.dumps(
        config.schema.to_dict()
    )  # as text: TFX sorts mappings, and with them domains and tables
    data = _data(config, examples, described, known)
    rows, transform = data[0], data[-1]
    stages = _stages(config, examples.folder, described, transform, known)
    here = "://" not in root  # elsewhere the cluster keeps the metadata
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=f"{root}/artifacts",
        components=[*data, *stages, *_release(config, described, rows, stages[-1], examples.record)],
        enable_cache=True,
        metadata_connection_config=sqlite_metadata_connection_config(f"{root}/metadata.sqlite")
        if here
        else None,
        beam_pipeline_args=list(config.beam),
    )


def _data(config: PipelineConfig, examples: Examples, described: str, known: str) -> list[Any]:
    """The nodes that read and check the rows and encode them: examples first, the transform last."""
    spanned = examples.span is not None
    path = one_span(config.path(config.examples), examples.folder) if spanned else examples.folder
    base, splits = split_patterns(path, config.splits)
    span = {"start_span_number": examples.span, "end_span_number": examples.span}
    rows = ImportExampleGen(
        input_base=base,
        input_config=example_gen_pb2.Input(splits=splits),
        range_config=range_config_pb2.RangeConfig(static_range=span) if spanned else None,
    ).with_id("ExampleGen")
    statistics = StatisticsGen(examples=rows.outputs["examples"])
    curated = components.CuratedSchema(text=_curated(config)).with_id("SchemaGen")
    validator = components.ExampleValidator(
        statistics=statistics.outputs["statistics"],
        schema=curated.outputs["schema"],
        code=code_hash("tfx_pipeline.components"),
    )
    transform = Transform(
        examples=rows.outputs["examples"],
        schema=curated.outputs["schema"],
        preprocessing_fn="tfx_pipeline.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(
            analyze=config.train_splits, transform=[*config.train_splits, f"{config.schema.target}_valid"]
        ),
        custom_config={
            "schema": described,
            "encoder": f"{known}/{ENCODER}" if known else "",
            "code": code_hash("tfx_pipeline.preprocessing"),
        },
        disable_statistics=True,
        disable_analyzer_cache=True,  # it adds up spans; here vocabularies of spans grow (`continual`)
    )
    transform.add_upstream_node(validator)
    return [rows, statistics, curated, validator, transform]


def _stages(
    config: PipelineConfig, examples: str, described: str, transform: Transform, known: str
) -> list[Any]:
    """A Trainer a stage, the last with its Tuner before it where the configuration asks for one."""
    nodes: list[Any] = []
    for stage in config.stages:
        last = stage is config.stages[-1] or stage.model == config.run.model
        training = stage.to_dict()
        if config.examples:  # they may lie where no path leads
            training["data"] = {name: f"{examples}/{name}_train" for name in stage.data}
        given = {
            "run": training,
            "schema": described,
            "name": config.name,
            "served": last,
            "strategy": config.strategy,
            "examples": examples,
            "known": known,
            "state": f"{config.path(config.root)}/training/{config.name}-{stage.model}",
            "code": code_hash("tfx_pipeline.trainer", f"cdrzoo.models.{stage.model}"),
        }
        common = {
            "examples": transform.outputs["transformed_examples"],
            "transform_graph": transform.outputs["transform_graph"],
            "base_model": nodes[-1].outputs["model"] if nodes else None,
            "train_args": trainer_pb2.TrainArgs(splits=config.train_splits),
            "eval_args": trainer_pb2.EvalArgs(splits=[f"{config.schema.target}_valid"]),
        }
        best = None
        if config.tuner and last:
            tuner = Tuner(
                tuner_fn="tfx_pipeline.trainer.tuner_fn",
                custom_config={**given, "tuner": dataclasses.asdict(config.tuner)},
                **common,
            )
            nodes.append(tuner)
            best = tuner.outputs["best_hyperparameters"]
        trainer = Trainer(
            run_fn="tfx_pipeline.trainer.run_fn", custom_config=given, hyperparameters=best, **common
        )
        nodes.append(trainer.with_id(f"Trainer.{stage.model}"))
    return nodes


def _release(
    config: PipelineConfig, described: str, rows: ImportExampleGen, model: Trainer, record: dict[str, Any]
) -> list[Any]:
    """The nodes that hold the last model against the one that serves, try it, and push it."""
    of = {"examples": rows.outputs["examples"], "model": model.outputs["model"]}
    baseline = Resolver(
        # The cluster's runner knows TFX's own alone.
        strategy_class=LatestBlessedModelStrategy if "://" in config.path(config.root) else LatestServed,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed")
    evaluator = Evaluator(
        **of,
        baseline_model=baseline.outputs["model"],
        example_splits=[f"{config.schema.target}_test"],
        eval_config=eval_config(
            config, code_hash("tfx_pipeline.evaluation", "cdrzoo.metrics", "cdrzoo.intervals")
        ),
    )
    code = code_hash("tfx_pipeline.components")
    infra = components.InfraValidator(**of, schema=described, requests=config.requests, code=code)
    judges, more = [evaluator, infra], {}
    if config.run.drift:
        held = drift.Drift(
            **of,
            model_run=model.outputs["model_run"],
            evaluation=evaluator.outputs["evaluation"],
            schema=described,
            settings=json.dumps({"thresholds": config.run.drift, "age": _age(config, record)}),
            code=code_hash("tfx_pipeline.drift"),
        )
        judges.append(held)
        more = {"drift_blessing": held.outputs["blessing"]}
    pusher = components.Pusher(
        model=model.outputs["model"],
        blessing=evaluator.outputs["blessing"],
        infra_blessing=infra.outputs["blessing"],
        folder=f"{config.path(config.push)}/{config.name}",
        run=uuid.uuid4().hex,
        code=code,
        **more,
    )
    if not config.infer:
        return [baseline, *judges, pusher]
    inferrer = BulkInferrer(
        **of,
        model_blessing=evaluator.outputs["blessing"],
        data_spec=bulk_inferrer_pb2.DataSpec(example_splits=list(config.infer)),
        model_spec=bulk_inferrer_pb2.ModelSpec(model_signature_name=["serve_examples"]),
    )
    return [baseline, *judges, pusher, inferrer]


def _age(config: PipelineConfig, record: dict[str, Any]) -> float | None:
    """From the target's last training row to its last test row, where their times are known."""
    parts = record.get("parts", {}).get(config.schema.target)
    return parts["test"]["last"] - parts["train"]["last"] if parts and parts["test"]["last"] else None


def _curated(config: PipelineConfig) -> str:
    if config.statistics:
        return pathlib.Path(config.path(config.statistics)).read_text(encoding="utf-8")
    return text_format.MessageToString(components.curated_schema(config.schema, config.made_slices))
