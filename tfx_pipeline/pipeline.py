"""The wiring: which node reads what. Nothing here knows a model, a dataset or a feature by name.

    ExampleGen -> StatisticsGen -> ExampleValidator (with SchemaGen: the curated schema) -> Transform -> [Tuner]
      -> Trainer, one a stage -> Evaluator (with the latest blessed model) and InfraValidator -> Pusher, [BulkInferrer]

Every split is named everywhere: TFX's defaults, `train` and `eval`, do not exist here.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import uuid
from typing import Any

from google.protobuf import text_format

from tfx_pipeline import components
from tfx_pipeline._tfx import (
    BulkInferrer,
    Channel,
    Evaluator,
    ImportExampleGen,
    LatestBlessedModelStrategy,
    Pipeline,
    Resolver,
    StatisticsGen,
    Trainer,
    Transform,
    Tuner,
    bulk_inferrer_pb2,
    example_gen_pb2,
    sqlite_metadata_connection_config,
    standard_artifacts,
    trainer_pb2,
    transform_pb2,
)
from tfx_pipeline.code import code_hash
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.evaluation import eval_config


def make(config: PipelineConfig, examples: str) -> Pipeline:
    """The pipeline of a configuration.

    Args:
        config: the configuration.
        examples: the folder of raw examples, `DOMAIN_PART/*`.
    """
    root = config.path(config.root)
    described = json.dumps(
        config.schema.to_dict()
    )  # as text: TFX sorts mappings, and with them domains and tables
    data = _data(config, examples, described)
    rows, transform = data[0], data[-1]
    stages = _stages(config, examples, described, transform)
    here = "://" not in root  # elsewhere the cluster keeps the metadata
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=f"{root}/artifacts",
        components=[*data, *stages, *_release(config, described, rows, model=stages[-1])],
        enable_cache=True,
        metadata_connection_config=sqlite_metadata_connection_config(f"{root}/metadata.sqlite")
        if here
        else None,
        beam_pipeline_args=list(config.beam),
    )


def _data(config: PipelineConfig, examples: str, described: str) -> list[Any]:
    """The nodes that read and check the rows and encode them: examples first, the transform last."""
    splits = [example_gen_pb2.Input.Split(name=name, pattern=f"{name}/*") for name in config.splits]
    rows = ImportExampleGen(input_base=examples, input_config=example_gen_pb2.Input(splits=splits)).with_id(
        "ExampleGen"
    )
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
        custom_config={"schema": described, "code": code_hash("tfx_pipeline.preprocessing")},
        disable_statistics=True,
        disable_analyzer_cache=True,  # it serves spans of days, which do not exist here
    )
    transform.add_upstream_node(validator)
    return [rows, statistics, curated, validator, transform]


def _stages(config: PipelineConfig, examples: str, described: str, transform: Transform) -> list[Any]:
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


def _release(config: PipelineConfig, described: str, rows: ImportExampleGen, model: Trainer) -> list[Any]:
    """The nodes that hold the last model against the one that serves, try it, and push it."""
    of = {"examples": rows.outputs["examples"], "model": model.outputs["model"]}
    baseline = Resolver(
        strategy_class=LatestBlessedModelStrategy,
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
    pusher = components.Pusher(
        model=model.outputs["model"],
        blessing=evaluator.outputs["blessing"],
        infra_blessing=infra.outputs["blessing"],
        folder=f"{config.path(config.push)}/{config.name}",
        run=uuid.uuid4().hex,
        code=code,
    )
    if not config.infer:
        return [baseline, evaluator, infra, pusher]
    inferrer = BulkInferrer(
        **of,
        model_blessing=evaluator.outputs["blessing"],
        data_spec=bulk_inferrer_pb2.DataSpec(example_splits=list(config.infer)),
        model_spec=bulk_inferrer_pb2.ModelSpec(model_signature_name=["serve_examples"]),
    )
    return [baseline, evaluator, infra, pusher, inferrer]


def _curated(config: PipelineConfig) -> str:
    if config.statistics:
        return pathlib.Path(config.path(config.statistics)).read_text(encoding="utf-8")
    return text_format.MessageToString(components.curated_schema(config.schema, config.made_slices))
