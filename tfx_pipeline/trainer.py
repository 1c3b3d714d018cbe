"""What Trainer and Tuner run: cdrzoo's own `fit` on transformed rows, and its own export.

Rows that are not many are held in memory. Others, and those that several workers share, are written to a folder once,
which Tuner and Trainers read as `cdrzoo train` reads prepared rows. A model of two stages is two Trainer
nodes. The first hands over `model.keras`; the second reads it as its `base_model`. A stopped training goes on where it
was (`cdrzoo.training.callbacks.Resume`) when the pipeline is run again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

import cdrzoo.export
from cdrzoo import metrics, models
from cdrzoo.data import Encoder
from cdrzoo.data.batches import shapes_of
from cdrzoo.data.rows import stored
from cdrzoo.data.rows.format import PartRows
from cdrzoo.data.rows.reading import StoredPart
from cdrzoo.documents import dump_yaml
from cdrzoo.errors import InputError
from cdrzoo.files import write, writing
from cdrzoo.schema import Feature, Schema
from cdrzoo.training import fitting, folders, measuring, profiles, scoring
from cdrzoo.training.config import RunConfig
from tfx_pipeline import rows, strategies
from tfx_pipeline._tfx import FnArgs, TunerFnResult, io_utils, tft
from tfx_pipeline.preprocessing import NUMBERS, encoder

PARTS = ("train", "valid")
_GIVEN = (
    *("serving_model_dir", "model_run_dir", "transform_graph_path", "base_model"),
    *("train_files", "eval_files", "hyperparameters", "custom_config"),
)


class TransformedRows(stored.StoredRows):
    """Rows as Transform wrote them, in the place of those that cdrzoo prepares itself.

    Args:
        schema: the domains that are trained on.
        files: patterns of the files; each holds `Split-DOMAIN_PART` in its path.
        transform: what Transform put out.
        folder: where rows are written that are more than is held in memory (`cdrzoo.data.rows.stored.HELD_BYTES`), or
            that workers share; what is there already is taken.
        workers: who train on them.
        known: the folder of the encoder that Transform was given; empty: it is what Transform counted.
    """

    def __init__(
        self,
        schema: Schema,
        files: Sequence[str],
        transform: tft.TFTransformOutput,
        folder: pathlib.Path,
        workers: int = 1,
        known: str = "",
    ):
        spec = transform.transformed_feature_spec()
        found = {
            domain.name: {p: _files(files, f"{domain.name}_{p}") for p in PARTS} for domain in schema.domains
        }
        found = {name: {part: of for part, of in parts.items() if of} for name, parts in found.items()}
        numbers = rows.numbers(found[schema.target]["train"], spec[NUMBERS]) if NUMBERS in spec else None
        self.encoder = Encoder.load(known) if known else encoder(schema, transform, numbers)
        self.folder, self.workers = folder, workers

        def blocks(name: str, part: str) -> Iterator[list[np.ndarray]]:
            domain = schema.domain(name)
            each = rows.packed(found[name][part], spec, domain)
            return rows.served(each, domain, self.encoder) if part == "valid" else each

        if not folder.exists():
            counted = {name: {p: rows.count(of) for p, of in parts.items()} for name, parts in found.items()}
            self.size = self._bytes(schema, counted)
            if workers > 1 or self.size > stored.HELD_BYTES:
                self._write(counted, blocks)
        self.held = not folder.exists()
        if self.held:
            self.parts = {
                name: {part: rows.read(blocks(name, part), schema.domain(name)) for part in parts}
                for name, parts in found.items()
            }
        self.stored = self.parts if self.held else self._in_folder(schema)
        self.size = self._bytes(
            schema, {n: {p: len(of) for p, of in ps.items()} for n, ps in self.stored.items()}
        )
        means: dict[str, float] = {}
        for name, parts in self.parts.items():
            weight, labels = parts["train"].weight, parts["train"].labels
            labels = {name: parts["train"].y[:, 0], **{f"{name}.{key}": y for key, y in labels.items()}}
            for key, y in labels.items():
                if (there := ~np.isnan(y)).any():
                    of = None if weight is None else weight[there]
                    means[key] = float(np.average(y[there].astype(np.float64), weights=of))
        lacking = {
            key: mean for key, mean in means.items() if self.encoder.schema.output(key)[1].mean is None
        }
        self.schema = self.encoder.schema = self.encoder.schema.with_means(lacking)

    def __str__(self) -> str:
        where = "held in memory" if self.held else f"read from {self.folder}"
        return f"{self.size / 1e9:.2f} GB of encoded rows, {where}"

    @staticmethod
    def _bytes(schema: Schema, counted: Mapping[str, Mapping[str, int]]) -> int:
        """What encoded rows take in memory."""
        widths = {
            name: 1 + sum(width or 1 for _, width in shapes_of(schema.domain(name)).values())
            for name in counted
        }
        return sum(4 * widths[name] * sum(parts.values()) for name, parts in counted.items())

    def _write(self, counted: Mapping[str, Mapping[str, int]], blocks: Callable[[str, str], Any]) -> None:
        """Writes the rows to the folder, whole or not at all, in the place of those of an earlier run."""
        place = self.folder.parent
        place.mkdir(parents=True, exist_ok=True)
        with writing(f"Free space on the disk of {place}, then run the pipeline again."):
            for old in place.iterdir():
                shutil.rmtree(old)
            made, described = pathlib.Path(tempfile.mkdtemp(dir=place)), {}
            for name, parts in counted.items():
                described[name] = {
                    part: rows.store(
                        blocks(name, part),
                        count,
                        made,
                        f"parts/{name}/{part}",
                        self.encoder.schema.domain(name),
                        self.workers,
                    )
                    for part, count in parts.items()
                }
            (made / "rows.json").write_text(json.dumps(described, default=dataclasses.asdict))
            made.rename(self.folder)

    def _in_folder(self, schema: Schema) -> dict[str, dict[str, StoredPart]]:
        """The rows of the folder."""
        found: dict[str, dict[str, StoredPart]] = {}
        for name, parts in json.loads((self.folder / "rows.json").read_text()).items():
            found[name] = {}
            for part, (of, weighted) in parts.items():
                domain = schema.domain(name)
                found[name][part] = StoredPart(
                    self.folder,
                    PartRows.of(of),
                    shapes_of(domain),
                    weighted,
                    bool(domain.user),
                    further=[label.name for label in domain.labels[1:]],
                )
        return found

    def train(self, batch_size: int | Mapping[str, int] = 256, **how: Any) -> Any:
        """As `StoredRows.train`; of several workers each reads its part, where a batch can be divided."""
        every = super().train
        sizes = batch_size.values() if isinstance(batch_size, Mapping) else [batch_size]
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if self.workers == 1 or how.get("paired") or any(size % replicas for size in sizes):
            return every(batch_size, **how)
        return strategies.shared(lambda share: every(batch_size, share=share, **how))


def _files(patterns: Sequence[str], split: str) -> list[str]:
    """The files of a split."""
    mine = [pattern for pattern in patterns if f"/Split-{split}/" in pattern]
    return sorted(file for pattern in mine for file in tf.io.gfile.glob(pattern))


def run_fn(fn_args: FnArgs) -> None:
    """Trains one stage. Of several workers each is a process of its own (see `work`), this one's machine too.

    They share rows that this process writes before them.
    """
    given = {name: getattr(fn_args, name) for name in _GIVEN}
    if fn_args.custom_config["strategy"] != "multi_worker":
        return _train(given)
    _read(given)
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
    strategy, (index, _) = strategies.strategy(settings["strategy"]), strategies.place(settings["strategy"])
    config, prepared = _read(given)
    print(prepared, flush=True)
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
        profiles.write(prepared, kept)
        split = {"split": described["split"], "preparation": described["preparation"]}
        if settings["known"]:
            split |= _continue(config, settings["known"], state, kept)
        if settings["served"]:
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
                card=_card(config, result, described["data"], split),
                reading=config.reading,
            )
        else:
            served = kept
        io_utils.copy_dir(str(served), given["serving_model_dir"])
        io_utils.copy_dir(str(kept), given["model_run_dir"])
        io_utils.copy_dir(str(state / "logs"), os.path.join(given["model_run_dir"], "logs"))
    shutil.rmtree(state)


def _card(
    config: RunConfig, result: dict[str, Any], data: dict[str, Any], split: dict[str, Any]
) -> dict[str, Any]:
    """What the export says of its training."""
    return {
        "model": models.card(config.model).title,
        "paper": models.card(config.model).paper,
        "data": data,
        "split": split,
        "metrics": {"validation": result["validation"]},
        "training": {name: result[name] for name in ("arguments", "width", "training", "seed", "best_epoch")},
        "trained_with": result["versions"],
    }


def _continue(
    config: RunConfig, known: str, state: pathlib.Path, kept: pathlib.Path
) -> dict[str, list[dict[str, str]]]:
    """Adds to what is kept of a run what the next one goes on with; gives the runs that this one descends from."""
    record = json.loads(pathlib.Path(known, rows.SPLIT).read_text())
    write(kept / rows.SPLIT, json.dumps(record, indent=2) + "\n")
    write(kept / "config.yaml", dump_yaml(config.to_dict()))
    if (state / "first").exists():
        shutil.copytree(state / "first", kept / "first")
    return {"descent": record["descent"]} if record["descent"] else {}


def _measured(model: Any, prepared: TransformedRows) -> dict[str, float]:
    """Exact metrics of the validation rows, in total and for users without and with training rows in the target."""
    outcomes = scoring.target_outputs(model, prepared.valid())
    parts = prepared.parts[model.schema.target]
    users, groups = parts["valid"].user, None
    if users is not None:
        warm = np.isin(users, parts["train"].user)
        groups = {"cold": ~warm, "warm": warm}
    return scoring.by_label(model.schema, outcomes, metrics.evaluate, users=users, groups=groups)[0]


def _read(given: dict[str, Any]) -> tuple[RunConfig, TransformedRows]:
    settings = given["custom_config"]
    config = RunConfig.from_dict(settings["run"])
    if given["hyperparameters"]:
        config = config.with_changes(given["hyperparameters"]["values"])
    transform = tft.TFTransformOutput(given["transform_graph_path"])
    files = [*given["train_files"], *given["eval_files"]]
    _, workers = strategies.place(settings["strategy"])
    folder = pathlib.Path(settings["state"]).parent / "rows" / _digest([settings["schema"], files, workers])
    schema = Schema.from_dict(json.loads(settings["schema"]))
    known = str(pathlib.Path(settings["known"], rows.ENCODER)) if settings["known"] else ""
    return config, TransformedRows(schema, files, transform, folder, workers, known)


def _digest(key: Any) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def _state(given: dict[str, Any], worker: int) -> pathlib.Path:
    """Where a stopped training is found again: by all that it depends on."""
    key = {name: given[name] for name in _GIVEN if name not in ("serving_model_dir", "model_run_dir")}
    folder = pathlib.Path(given["custom_config"]["state"], f"{_digest(key)}-{worker}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def raw_frame(folder: str, schema: Schema, count: int) -> pd.DataFrame:
    """The first raw rows of the target in a folder, a column a feature, as `cdrzoo.export.save` takes them."""
    features = schema.target_domain.inputs()
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
    prepared.workers = 1  # the search is this machine's
    print(prepared, flush=True)
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
