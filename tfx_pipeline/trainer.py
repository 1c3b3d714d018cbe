"""What Trainer and Tuner run: cdrzoo's own `fit` on transformed rows, and its own export.

A model of two stages is two Trainer nodes. The first hands over `model.keras`; the second reads it as its
`base_model`. A stopped training goes on where it was (`cdrzoo.training.callbacks.Resume`) when the pipeline is run
again.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

import cdrzoo.export
from cdrzoo import data, metrics, models
from cdrzoo.errors import InputError
from cdrzoo.schema import Feature, Schema
from cdrzoo.training import callbacks, fitting, folders, measuring
from cdrzoo.training.config import RunConfig
from tfx_pipeline import rows
from tfx_pipeline._tfx import FnArgs, TunerFnResult, io_utils, tft
from tfx_pipeline.preprocessing import NUMBERS, encoder

_GIVEN = (
    *("serving_model_dir", "model_run_dir", "transform_graph_path", "base_model"),
    *("train_files", "eval_files", "hyperparameters", "custom_config"),
)


class TransformedRows(data.Prepared):
    """Rows as Transform wrote them, in the place of those that cdrzoo prepares itself.

    Args:
        schema: the domains that are trained on.
        files: patterns of the files; each holds `Split-DOMAIN_PART` in its path.
        transform: what Transform put out.
    """

    def __init__(self, schema: Schema, files: Sequence[str], transform: tft.TFTransformOutput):
        spec = transform.transformed_feature_spec()
        self.parts: dict[str, dict[str, data.Part]] = {}
        numbers = None
        for domain in schema.domains:
            self.parts[domain.name] = {}
            for part in ("train", "valid"):
                mine = [pattern for pattern in files if f"/Split-{domain.name}_{part}/" in pattern]
                found = sorted(file for pattern in mine for file in tf.io.gfile.glob(pattern))
                if found:
                    self.parts[domain.name][part] = rows.read(found, spec, domain)
                if found and NUMBERS in spec and numbers is None:
                    numbers = rows.numbers(found, spec[NUMBERS])
        self.encoder = encoder(schema, transform, numbers)
        target = schema.target_domain
        if (valid := self.parts[target.name].get("valid")) is not None:
            for feature in target.features:
                if feature.serving_value is not None:  # as it will be served; Transform knows no parts
                    valid.x[feature.name][...] = self.encoder.served(target.name, feature, len(valid))
        trained = {name: parts["train"] for name, parts in self.parts.items()}
        means = {
            name: float(np.average(p.y[:, 0].astype(np.float64), weights=p.weight))
            for name, p in trained.items()
        }
        self.schema = self.encoder.schema = self.encoder.schema.with_means(means)


def run_fn(fn_args: FnArgs) -> None:
    """Trains one stage. Of several workers each is a process of its own (see `work`), this one's machine too."""
    given = {name: getattr(fn_args, name) for name in _GIVEN}
    if fn_args.custom_config["strategy"] != "multi_worker":
        return _train(given)
    arguments = pathlib.Path(fn_args.custom_config["state"], "arguments.json")
    arguments.parent.mkdir(parents=True, exist_ok=True)
    arguments.write_text(json.dumps(given), encoding="utf-8")
    print(
        f"Each other worker runs, with its own TF_CONFIG: python -m tfx_pipeline work {arguments}", flush=True
    )
    work(arguments)


def work(arguments: str | os.PathLike[str]) -> None:
    """Trains as one of several workers, in a process that has not used TensorFlow yet; `TF_CONFIG` says which one.

    Raises:
        InputError: when it fails.
    """
    code = "import sys; from tfx_pipeline import trainer; trainer.worker(sys.argv[1])"
    if subprocess.run([sys.executable, "-c", code, str(arguments)]).returncode:
        raise InputError("A worker failed; what it said stands above. Run the pipeline again to go on.")


def worker(arguments: str) -> None:
    """The process that `work` starts."""
    _train(json.loads(pathlib.Path(arguments).read_text(encoding="utf-8")))


def _train(given: dict[str, Any]) -> None:
    settings = given["custom_config"]
    strategy, index = _strategy(settings["strategy"])
    config, prepared = _read(given)
    state = _state(given, index)
    if given["base_model"]:
        io_utils.copy_dir(given["base_model"], str(state / "first"))
    with strategy.scope():
        fitted = fitting.fit(config, prepared, state, verbose=2)
        measured = _measured(fitted.model, prepared)  # by all workers together
    if index:
        return  # the chief writes
    described = {**config.to_dict(), "data": settings["run"]["data"]}
    result = {
        **{name: described[name] for name in ("model", "domains", "arguments", "width", "training", "seed")},
        "validation": measured,
        "best_epoch": fitted.best_epoch + 1,
        "epochs": len(fitted.history["loss"]),
        "seconds": round(fitted.seconds, 2),
        **({"first": fitted.first} if fitted.first else {}),
        "selection": "best epoch on validation rows",
        "versions": measuring.versions(),
    }
    with tempfile.TemporaryDirectory(prefix="cdrzoo_") as folder:
        kept = pathlib.Path(folder, "run")
        kept.mkdir()
        prepared.encoder.save(kept / "encoder")
        folders.keep(fitted, result, kept)
        if settings["served"]:
            card = {
                "model": models.card(config.model).title,
                "paper": models.card(config.model).paper,
                "data": described["data"],
                "split": {"split": described["split"], "preparation": described["preparation"]},
                "metrics": {"validation": result["validation"]},
                "training": {
                    name: result[name] for name in ("arguments", "width", "training", "seed", "best_epoch")
                },
                "trained_with": result["versions"],
            }
            examples = raw_frame(
                f"{settings['examples']}/{prepared.schema.target}_test",
                prepared.schema,
                cdrzoo.export.REPLAY_ROWS,
            )
            served = cdrzoo.export.save(
                fitted.model,
                prepared.encoder,
                pathlib.Path(folder, settings["name"]),
                examples=examples,
                card=card,
                reading=config.reading,
            )
        else:
            served = kept
        io_utils.copy_dir(str(served), given["serving_model_dir"])
        io_utils.copy_dir(str(kept), given["model_run_dir"])
        io_utils.copy_dir(str(state / "logs"), os.path.join(given["model_run_dir"], "logs"))
    shutil.rmtree(state)


def _measured(model: Any, prepared: TransformedRows) -> dict[str, float]:
    """Exact metrics of the validation rows, in total and for users without and with training rows in the target."""
    labels, scores, weights = callbacks.target_scores(model, prepared.valid())
    parts = prepared.parts[model.schema.target]
    users, groups = parts["valid"].user, None
    if users is not None:
        warm = np.isin(users, parts["train"].user)
        groups = {"cold": ~warm, "warm": warm}
    return metrics.evaluate(labels, scores, model.schema.target_domain.task, users, groups, weights)


def _read(given: dict[str, Any]) -> tuple[RunConfig, TransformedRows]:
    settings = given["custom_config"]
    config = RunConfig.from_dict(settings["run"])
    if given["hyperparameters"]:
        config = config.with_changes(given["hyperparameters"]["values"])
    transform = tft.TFTransformOutput(given["transform_graph_path"])
    files = [*given["train_files"], *given["eval_files"]]
    return config, TransformedRows(Schema.from_dict(json.loads(settings["schema"])), files, transform)


def _state(given: dict[str, Any], worker: int) -> pathlib.Path:
    """Where a stopped training is found again: by all that it depends on."""
    key = {name: given[name] for name in _GIVEN if name not in ("serving_model_dir", "model_run_dir")}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = pathlib.Path(given["custom_config"]["state"], f"{digest}-{worker}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """Keras 3 asks for means of its logs, which are scalars, along axis 0, and for the mean of a batch by domain, of
    which it wants to know the kind alone. TensorFlow refuses both."""

    def reduce(self, reduce_op, value, axis=None):
        if tf.nest.is_nested(value):
            return tf.nest.map_structure(lambda each: self.experimental_local_results(each)[0], value)
        return super().reduce(reduce_op, value, axis=None)


def _strategy(name: str) -> tuple[tf.distribute.Strategy, int]:
    """The strategy, and which worker this is; GPUs take memory as they need it."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(), 0
    if name == "multi_worker":
        task = json.loads(os.environ.get("TF_CONFIG") or "{}").get("task", {})
        chief = task.get("type", "chief") == "chief"
        strategy = _Workers()
        return strategy, 0 if chief else int(task["index"]) + (
            "chief" in strategy.cluster_resolver.cluster_spec().jobs
        )
    return tf.distribute.get_strategy(), 0


def raw_frame(folder: str, schema: Schema, count: int) -> pd.DataFrame:
    """The first raw rows of the target in a folder, a column a feature, as `cdrzoo.export.save` takes them."""
    features = schema.target_domain.features
    parsed = cdrzoo.export.parse_examples(rows.first_examples(folder, count), features)
    return pd.DataFrame({f.column: _listed(parsed[f.name].numpy(), f) for f in features})


def _listed(values: np.ndarray, feature: Feature) -> list[Any]:
    if feature.dtype == "string":
        values = np.vectorize(bytes.decode, otypes=[object])(values)
    return list(values)


# Tuning -------------------------------------------------------------------------------------------------------------


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """A random search over settings of the (last) stage: each trial is a short training like Trainer's own."""
    import keras_tuner

    given = {name: getattr(fn_args, name, None) for name in _GIVEN}
    config, prepared = _read(given)
    tuning = fn_args.custom_config["tuner"]
    monitor = fitting.monitor(config, prepared.schema)
    space = keras_tuner.HyperParameters()
    for name, options in tuning["search"].items():
        space.Choice(name, options)

    class Search(keras_tuner.RandomSearch):
        def run_trial(self, trial: Any) -> dict[str, float]:
            chosen = config.with_changes({**trial.hyperparameters.values, "epochs": tuning["epochs"]})
            with tempfile.TemporaryDirectory(prefix="cdrzoo_") as folder:
                if given["base_model"]:
                    io_utils.copy_dir(given["base_model"], f"{folder}/first")
                fitted = fitting.fit(chosen, prepared, pathlib.Path(folder))
            return {monitor: fitted.history[monitor][fitted.best_epoch]}

    tuner = Search(
        objective=keras_tuner.Objective(monitor, metrics.better(monitor)),
        max_trials=tuning["trials"],
        seed=config.seed,
        hyperparameters=space,
        directory=fn_args.working_dir,
        project_name="trials",
    )
    return TunerFnResult(tuner=tuner, fit_kwargs={})
