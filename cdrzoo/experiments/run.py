"""One run: a configuration in, a folder with a trained model and everything that is needed to trust it out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import cdrzoo
from cdrzoo import callbacks, data, files, metrics, models, optimizers
from cdrzoo.data.protocols import user_groups
from cdrzoo.errors import Diverged, InputError
from cdrzoo.experiments.config import RunConfig
from cdrzoo.experiments.report import counted, looks
from cdrzoo.export import export
from cdrzoo.schema import FIRST_KNOWN, Schema, dump_yaml

EVALUATION_ROWS = 4096
"""Rows of a validation or test batch."""

EXAMPLE_ROWS = 64
"""Raw test rows that a run keeps for its exports."""

HISTOGRAM_ROWS = 1024
"""Rows whose weights are logged: of each source the selector's, of the target what a report draws."""

RUN = (
    "config.yaml",
    "schema.yaml",
    "encoder",
    "split.json",
    "first",
    "state",
    "logs",
    "best.weights.h5",
    "model.keras",
    "history.csv",
    "examples.parquet",
    "metrics.json",
    "report.html",
    *(files.unfinished(pathlib.Path(name)).name for name in ("config.yaml", "split.json", "metrics.json")),
)
"""What a run's folder holds, or holds when it was killed at the wrong moment."""

OPTIMIZERS = {"adam": optimizers.Adam, "adagrad": optimizers.Adagrad, "sgd": optimizers.SGD}


@dataclass
class Fitted:
    """What training gave: the model with the weights of its best epoch, and how it came to them.

    `first` is what the first stage reported (see `summary`), if there was one.
    """

    model: Any
    history: dict[str, list[float]]
    best_epoch: int
    seconds: float
    first: dict[str, Any] | None = None


def prepare(config: RunConfig, encoder: data.Encoder | None = None) -> data.Prepared:
    """Reads, splits and encodes the rows that a configuration names.

    Without an `encoder` one is adapted; for a model that is fine-tuned, its own is extended by the new domain.
    """
    arguments = {"split": config.split, "folder": config.folder, **config.preparation}
    if encoder is None and config.finetune:
        known = data.Encoder.load(finetuned(config) / "encoder")
        encoder = data.extend(known, data.prepare(config.schema, config.data, **arguments).encoder)
    return data.prepare(config.schema, config.data, encoder=encoder, **arguments)


def seen(config: RunConfig, prepared: data.Prepared) -> data.Prepared:
    """The rows as the model sees them: all of them, or the target's alone."""
    return prepared.only(prepared.schema.target) if config.domains == "target" else prepared


def check_model(config: RunConfig) -> None:
    """Raises an `InputError` if the model cannot be made, of small tables: the rows have not been read yet.

    What is fine-tuned is not made: its own tables are wanted for that.
    """
    config.model_arguments()
    if not config.finetune:
        schema = config.schema if config.domains == "all" else config.schema.only(config.schema.target)
        _make(config, schema.with_rows({table.name: FIRST_KNOWN + 1 for table in schema.tables}))


def _make(config: RunConfig, schema: Schema, pretrained: Any = None) -> Any:
    given = config.model_arguments()
    first = config.first_stage()
    parts = {}
    if first:
        parts["pretrained"] = _make(first, schema) if pretrained is None else pretrained
    if config.finetune:
        parts["trained"] = load(finetuned(config))[1]
    keras.utils.set_random_seed(config.seed)
    try:
        return config.constructor()(
            schema=schema.with_width(config.width) if config.width else schema, **given, **parts
        )
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        cls, said = models.card(config.model).cls, " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{cls} cannot be made with {given or 'its defaults'}: {said}. Correct the argument; "
            f"help(cdrzoo.models.{cls}) in Python says what each may be."
        ) from error


def build(config: RunConfig, prepared: data.Prepared, pretrained: Any = None) -> Any:
    """The model of a configuration, compiled; a second stage on a new first one unless a trained one is given."""
    model = _make(config, prepared.schema, pretrained)
    training = config.training
    known = {domain.name for domain in model.schema.domains}
    model.compile(
        optimizer=OPTIMIZERS[training.optimizer](
            float(training.learning_rate),  # Keras takes no whole number
            weight_decay=training.weight_decay or None,
        ),
        loss_weights={name: w for name, w in (training.loss_weights or {}).items() if name in known} or None,
        jit_compile="auto" if training.xla is None else training.xla,
        steps_per_execution=training.steps_per_execution,
    )
    return model


def monitor(config: RunConfig, schema: Schema) -> str:
    """What chooses the epoch."""
    return config.training.monitor or ("val_auc" if schema.target_domain.task == "click" else "val_rmse")


def check_rows(config: RunConfig, prepared: data.Prepared) -> None:
    """Raises an `InputError` if the validation rows cannot choose an epoch, of one stage or the other."""
    if first := config.first_stage():
        check_rows(first, prepared)
    schema, watched = prepared.schema, monitor(config, prepared.schema)
    train, valid = (prepared.parts[schema.target][part] for part in ("train", "valid"))
    if not len(valid):
        raise InputError(
            f"The split leaves {schema.target!r} no validation rows, and they choose the epoch. Give them a share, "
            "for example split: {by: time, fractions: [0.7, 0.1, 0.2]}, and of a small file a larger one."
        )
    task, users = schema.target_domain.task, valid.user
    found = {
        f"val_{name}": value
        for name, value in metrics.evaluate(
            valid.y, np.zeros(len(valid)), task, users, weights=valid.weight
        ).items()
    }
    if watched not in found:
        raise InputError(
            f"`monitor` must be what is measured of {schema.target!r}: {', '.join(found)}. Received: {watched!r}."
        )
    if not np.isfinite(found[watched]):
        of = "no user has" if watched == "val_gauc" else "there are not"
        raise InputError(
            f"`{watched}` cannot choose an epoch: among the {len(valid)} validation rows of {schema.target!r} {of} "
            "both clicks and others. Choose another split, or `monitor: val_log_loss`."
        )
    if watched in ("val_auc", "val_gauc") and len(np.unique(train.y)) < 2:
        raise InputError(
            f"The {len(train)} training rows of {schema.target!r} all have the label {train.y[0, 0]:g}, so there is "
            "nothing to rank. Give both clicks and others: choose another split, or draw `negatives` for a log of "
            "clicks alone."
        )


def fit(
    config: RunConfig,
    prepared: data.Prepared,
    folder: pathlib.Path,
    verbose: int | str = 0,
    first_folder: pathlib.Path | None = None,
    histograms: bool = True,
) -> Fitted:
    """Trains the model of a configuration; the epoch with the best validation metric is kept.

    State for a resumed run, the best weights and the logs go to `folder`, the first stage of a model of two to
    `first_folder` (default: `folder/first`). If there is the state of an interrupted run, that run is continued, and
    ends as it would have without the interruption. `histograms`: of the weights that a report draws, to the logs.
    """
    check_rows(config, prepared)
    first = config.first_stage()
    pretrained, reported = (
        fit_first(first, prepared, first_folder or folder / "first", verbose) if first else (None, None)
    )
    training = config.training
    with _precision(training.mixed_precision):
        model = build(config, prepared, pretrained)
        schema = model.schema
        best, chosen_by = folder / "best.weights.h5", monitor(config, schema)
        watching = {"monitor": chosen_by, "mode": metrics.better(chosen_by)}
        valid = prepared.valid(EVALUATION_ROWS)
        steps = [
            callbacks.Evaluate(valid, users=prepared.parts[schema.target]["valid"].user),
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.ModelCheckpoint(
                str(best), save_best_only=True, save_weights_only=True, **watching
            ),
            keras.callbacks.EarlyStopping(patience=training.patience, **watching),
            callbacks.Scalars(folder / "logs"),
        ]
        if histograms and hasattr(model, "selector_weights"):  # CCTL's Figure 5
            steps.append(callbacks.WeightHistogram(_first_rows(prepared, schema), folder / "logs"))
        steps += [
            callbacks.WeightHistogram(
                _watched_rows(prepared),
                folder / "logs",
                name,
                high=None,
                read=functools.partial(counted, name),
            )
            for name in looks(model)
            if histograms
        ]
        resume = callbacks.Resume(folder / "state", steps)
        rows = training_rows(config, prepared, model, resume.next_epoch)
        if verbose:
            print(models.card(config.model).title)
        begin = time.perf_counter()
        history = model.fit(
            rows, epochs=training.epochs, callbacks=[*steps, resume], verbose=verbose, shuffle=False
        )
        seconds = time.perf_counter() - begin
        watched = np.asarray(history.history[chosen_by], dtype="float64")
        if not np.isfinite(watched).any():
            raise Diverged(
                f"`{chosen_by}` was not a number in any epoch, so none can be chosen: training diverged. "
                "Give a smaller learning rate."
            )
        chosen = int(np.nanargmax(watched) if watching["mode"] == "max" else np.nanargmin(watched))
        model.load_weights(best)
    return Fitted(model, history.history, chosen, seconds, reported)


def training_rows(
    config: RunConfig, prepared: data.Prepared, model: Any, initial_epoch: int = 0
) -> tf.data.Dataset:
    """The batches that the model of a configuration is trained on."""
    schema, training = model.schema, config.training
    sizes = {
        domain.name: max(1, round(training.batch_size * training.source_ratio)) for domain in schema.sources
    }
    return prepared.train(
        {schema.target: training.batch_size, **sizes},
        domains=(schema.target,) if config.finetune else tuple(model.training_domains),
        seed=config.seed,
        epoch=training.epoch,
        paired=models.card(config.model).paired,
        initial_epoch=initial_epoch,
    )


def fit_first(
    config: RunConfig, prepared: data.Prepared, folder: pathlib.Path, verbose: int | str = 0
) -> tuple[Any, dict[str, Any]]:
    """A trained first stage and what it reported; it is trained unless `folder` holds it already.

    It is read back from its file in either case, so that a second stage starts from the same thing.
    """
    if not (folder / "metrics.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        fitted = fit(config, prepared, folder, verbose)
        keep(fitted, summary(config, prepared, fitted), folder)
    reported = json.loads((folder / "metrics.json").read_text())
    return _saved(config, folder), reported


def _saved(config: RunConfig, folder: pathlib.Path) -> Any:
    config.model_arguments()  # imports the models that the file names
    return keras.models.load_model(folder / "model.keras")


def _first_rows(prepared: data.Prepared, schema: Schema) -> dict[str, dict[str, np.ndarray]]:
    """The first training rows of every source, as a model takes them."""
    parts = {source.name: prepared.parts[source.name]["train"].x for source in schema.sources}
    return {name: {f: values[:HISTOGRAM_ROWS] for f, values in x.items()} for name, x in parts.items()}


def _watched_rows(prepared: data.Prepared) -> dict[str, dict[str, np.ndarray]]:
    """The first validation rows of the target, as a model takes them."""
    target = prepared.schema.target
    return {target: {f: v[:HISTOGRAM_ROWS] for f, v in prepared.parts[target]["valid"].x.items()}}


@contextlib.contextmanager
def _precision(mixed: bool) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def evaluate(model: Any, prepared: data.Prepared, part: str = "test") -> dict[str, float]:
    """Exact metrics of the target's rows of a part, in total and for `groups` of users."""
    target = model.schema.target
    batches = prepared.test(EVALUATION_ROWS) if part == "test" else prepared.valid(EVALUATION_ROWS)
    labels, scores, weights = callbacks.target_scores(model, batches)
    users = prepared.parts[target][part].user
    task = model.schema.target_domain.task
    return metrics.evaluate(labels, scores, task, users, groups(prepared, part), weights)


def groups(prepared: data.Prepared, part: str = "test") -> dict[str, np.ndarray]:
    """Which of the target's rows of a part are of which group of users: booleans [n] by name; none without users.

    `cold` and `warm` are users without and with training rows in the target; the others are MKT's (`user_groups`).
    """
    if prepared.parts[prepared.schema.target][part].user is None:
        return {}
    seen = prepared.groups(part)["target_rows"].to_numpy()
    return {"cold": seen == 0, "warm": seen > 0, **user_groups(seen)}


def group_sizes(prepared: data.Prepared) -> dict[str, int]:
    """Test rows of each of the `groups`."""
    return {name: int(np.sum(mask)) for name, mask in groups(prepared).items()}


def summary(config: RunConfig, prepared: data.Prepared, fitted: Fitted) -> dict[str, Any]:
    """What a run reports: metrics of its chosen epoch, and what they were measured on and with.

    Of a model of two stages `first` is the same of its first stage, `seconds` and `parameters` are those of both, and
    the rest is the second's.
    """
    first = {"first": fitted.first} if fitted.first else {}
    return {
        "model": config.model,
        "domains": config.domains,
        "arguments": config.arguments,
        "width": config.width,
        "training": dataclasses.asdict(config.training),
        "seed": config.seed,
        "validation": evaluate(fitted.model, prepared, "valid"),
        "test": evaluate(fitted.model, prepared, "test"),
        "best_epoch": fitted.best_epoch + 1,
        "epochs": len(fitted.history["loss"]),
        "seconds": round(fitted.seconds + (fitted.first["seconds"] if fitted.first else 0), 2),
        "parameters": fitted.model.count_params(),
        "trained_parameters": sum(math.prod(v.shape) for v in fitted.model.trainable_variables),
        **first,
        "split": {"name": prepared.split.name, "hash": prepared.split.hash},
        "selection": "best epoch on validation rows",
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what a number depends on; of cdrzoo itself the commit, too, where it runs from a checkout."""
    return {
        "cdrzoo": _OWN_VERSION,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _own_version() -> str:
    git = [
        "git",
        "-C",
        str(pathlib.Path(__file__).parents[2]),
        "describe",
        "--always",
        "--dirty",
        "--exclude=*",
    ]
    if not (pathlib.Path(__file__).parents[2] / ".git").exists() or shutil.which("git") is None:
        return cdrzoo.__version__
    found = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return f"{cdrzoo.__version__}+{found}" if found else cdrzoo.__version__


_OWN_VERSION = _own_version()  # now: the files may change while the process works


# Run folders ------------------------------------------------------------------------------------------------------


def claim(folder: pathlib.Path, config: RunConfig, resume: bool, overwrite: bool) -> None:
    """Makes sure that training into `folder` destroys nothing but, with `overwrite`, a run.

    Raises:
        InputError: it holds something, and neither `resume` nor `overwrite` says what to do about it; or to overwrite
            it would take more than a run, or what the new run is made from.
    """
    if resume and overwrite:
        raise InputError("`--resume` continues a run and `--overwrite` discards it: give one of the two.")
    finished = (folder / "metrics.json").exists()
    begun = all((folder / name).exists() for name in ("config.yaml", "split.json", "encoder/encoder.json"))
    if resume:
        if finished:
            raise InputError(
                f"The run {folder} is finished; there is nothing to resume. Its metrics: {folder}/metrics.json."
            )
        if not begun:
            raise InputError(f"There is no run to resume in {folder}. Leave `--resume` out to start one.")
        return
    if not folder.exists() or not any(path.name != files.LOCK for path in folder.iterdir()):
        return
    if not begun:
        raise InputError(f"{folder} holds files that are no run of cdrzoo. Choose a new folder.")
    if not overwrite:
        state = "a finished run" if finished else "an interrupted run: continue it with `--resume`"
        raise InputError(f"{folder} holds {state}. Choose a new folder, or discard it with `--overwrite`.")
    from cdrzoo.experiments.report import is_page

    others = sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in (*RUN, files.LOCK) or (path.name == "report.html" and not is_page(path))
    )
    if others:
        raise InputError(
            f"{folder} holds more than a run: {', '.join(others)}. Move that away, or choose a new folder."
        )
    for path in config.paths():
        if folder.resolve() in (path, *path.parents):
            raise InputError(
                f"The new run reads {path}, which lies in the run that `--overwrite` would discard. Copy it to "
                "another place and name that one, or choose a new folder."
            )


def discard(folder: pathlib.Path) -> None:
    """Removes what a run wrote to its folder."""
    for path in (folder / name for name in RUN):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def train(
    config: RunConfig,
    folder: str | pathlib.Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int | str = 0,
) -> dict[str, Any]:
    """Trains and evaluates a model; everything about it goes to a folder.

    The folder holds `config.yaml`, `schema.yaml`, `encoder/` (the vocabularies as text), `split.json`, `model.keras`,
    `metrics.json`, `history.csv` and `logs/` (TensorBoard). The first stage of a model of two has the last four in
    `first/`, and is not trained again once it is done. A stopped run is continued with `resume=True`, with the
    configuration that stands in the folder, and ends as if it had not been stopped.

    Returns:
        What `metrics.json` holds.

    Raises:
        InputError: before any long work, when the input is at fault or the folder is taken.
    """
    folder = pathlib.Path(folder)
    check_model(config)
    if config.finetune:
        old, new = finetuned(config).resolve(), folder.resolve()
        if old == new or old in new.parents or new in old.parents:
            raise InputError(
                f"{folder} and the run that is fine-tuned, {old}, lie in one another. Choose another folder."
            )
    described = dump_yaml(config.to_dict())
    claim(folder, config, resume, overwrite)
    prepared = seen(config, prepare(config))
    check_rows(config, prepared)
    if resume:
        _check_data(config, prepared, folder, ", or start anew with `--overwrite`")
    else:
        build(config, prepared)  # an argument that does not fit fails before anything is written or discarded
    with files.lock(folder):
        if overwrite:
            discard(folder)
        if not resume:
            prepared.schema.save(folder / "schema.yaml")
            prepared.encoder.save(folder / "encoder")
            files.write(folder / "split.json", json.dumps(_trained_on(config, prepared), indent=2) + "\n")
            files.write(folder / "config.yaml", described)
        fitted = fit(config, prepared, folder, verbose)
        result = summary(config, prepared, fitted)
        # A few raw rows go along, so that an export can be warmed up and proven without the data.
        prepared.frame(prepared.schema.target, "test", EXAMPLE_ROWS).to_parquet(folder / "examples.parquet")
        keep(fitted, result, folder)
    return result


def keep(fitted: Fitted, result: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes a trained model, its history and what it reports, in place of the state of its training."""
    import pandas as pd

    fitted.model.save(folder / "model.keras")
    history = pd.DataFrame(fitted.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    history.to_csv(folder / "history.csv", index=False)
    shutil.rmtree(folder / "state", ignore_errors=True)
    (folder / "best.weights.h5").unlink(missing_ok=True)
    # Last: its presence says "finished".
    files.write(folder / "metrics.json", json.dumps(result, indent=2) + "\n")


def finetuned(config: RunConfig) -> pathlib.Path:
    """The folder of the finished run whose model a configuration fine-tunes."""
    folder = pathlib.Path(config.folder, config.finetune or "")
    check_finished(folder)
    trained = RunConfig.load(folder / "config.yaml").model
    if trained != config.model:
        raise InputError(
            f"`finetune` names a run of {trained}, the configuration's model is {config.model}. Set `model: {trained}`."
        )
    return folder


def check_finished(folder: pathlib.Path) -> None:
    """Raises an `InputError` if a folder does not hold a finished run."""
    if not (folder / "metrics.json").exists():
        begun = (folder / "config.yaml").exists()
        hint = (
            "It was stopped: continue it with `cdrzoo train --resume`."
            if begun
            else "Give the folder of `cdrzoo train`."
        )
        raise InputError(f"{folder} holds no finished run. {hint}")


def load(folder: str | pathlib.Path) -> tuple[RunConfig, Any, data.Encoder]:
    """A finished run: its configuration, its model and its encoder."""
    folder = pathlib.Path(folder)
    check_finished(folder)
    config = RunConfig.load(folder / "config.yaml")
    return config, _saved(config, folder), data.Encoder.load(folder / "encoder")


def reload(folder: str | pathlib.Path) -> tuple[RunConfig, Any, data.Prepared]:
    """A finished run: its configuration, its model, and its rows as they were.

    Raises:
        InputError: the run is not finished, or its data has changed since.
    """
    config, model, encoder = load(folder)
    prepared = prepare(config, encoder)
    _check_data(config, prepared, pathlib.Path(folder))
    return config, model, prepared


def _trained_on(config: RunConfig, prepared: data.Prepared) -> dict[str, Any]:
    """What `split.json` says: the split, and name and content hash of every file."""
    return {**prepared.split.to_dict(), "data": json.loads(json.dumps(config.identity()["data"]))}


def _check_data(config: RunConfig, prepared: data.Prepared, folder: pathlib.Path, instead: str = "") -> None:
    """Raises an `InputError` if the rows of a run are not what they were when it was begun."""
    before, now = json.loads((folder / "split.json").read_text()), _trained_on(config, prepared)
    changed = [domain for domain, files in now["data"].items() if files != before["data"].get(domain)]
    if changed or before["hash"] != now["hash"]:
        what = f" of {', '.join(changed)}" if changed else ""
        raise InputError(
            f"The data{what} has changed since the run in {folder} was begun: its split was {before['hash'][:12]}, "
            f"now it is {now['hash'][:12]}. Bring the old files back{instead}."
        )


def export_run(
    folder: str | pathlib.Path, to: str | pathlib.Path, version: int | None = None
) -> pathlib.Path:
    """Exports the model of a finished run, with its model card, as a version in the folder `to`."""
    import pandas as pd

    folder = pathlib.Path(folder)
    config, model, encoder = load(folder)
    result = json.loads((folder / "metrics.json").read_text())
    described = config.to_dict()
    card = {
        "model": models.card(config.model).title,
        "paper": models.card(config.model).paper,
        "data": described["data"],
        "split": json.loads((folder / "split.json").read_text()),
        "metrics": {part: result[part] for part in ("validation", "test")},
        "training": {
            name: result[name]
            for name in ("arguments", "width", "training", "first", "seed", "best_epoch", "selection")
            if name in result
        },
        "trained_with": result["versions"],
    }
    examples = pd.read_parquet(folder / "examples.parquet")
    return export(model, encoder, to, version=version, examples=examples, card=card)


def fit_once(
    config: RunConfig, prepared: data.Prepared, first_folder: pathlib.Path | None = None
) -> dict[str, Any]:
    """Trains and evaluates; what a comparison does many times. Nothing stays but a first stage in `first_folder`."""
    with tempfile.TemporaryDirectory(prefix="cdrzoo_") as folder:
        prepared = seen(config, prepared)
        fitted = fit(config, prepared, pathlib.Path(folder), first_folder=first_folder, histograms=False)
        result = summary(config, prepared, fitted)
    keras.backend.clear_session(free_memory=True)
    return result
