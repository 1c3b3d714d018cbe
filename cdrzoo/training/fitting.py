"""Fitting: from a configuration and its rows to a model with the weights of its best epoch."""

from __future__ import annotations

import contextlib
import functools
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cdrzoo import data, files, memory, metrics, models, optimizers, xla
from cdrzoo.data.grouping import grouping_column, grouping_columns
from cdrzoo.data.growth import grown
from cdrzoo.errors import Diverged, InputError, shown
from cdrzoo.models.arguments import check_tables
from cdrzoo.schema import Schema
from cdrzoo.training import callbacks, descent, groups, observers, scoring, warm
from cdrzoo.training.config import RunConfig
from cdrzoo.training.folders import (
    BEST,
    FORMER_BEST,
    MEND,
    finetuned,
    keep,
    read_encoder,
    read_history,
    read_json,
    read_model,
    read_untrained,
)
from cdrzoo.training.looks import counted, looks
from cdrzoo.training.measuring import EVALUATION_ROWS, Fitted, summary
from cdrzoo.training.progress import EpochLines

HISTOGRAM_ROWS = 1024
"""Rows whose weights are logged: of each source the selector's, of the target what a report draws."""

OPTIMIZERS = {"adam": optimizers.Adam, "adagrad": optimizers.Adagrad, "sgd": optimizers.SGD}
COPIES = {"adam": 3, "adagrad": 2, "sgd": 1}
"""How often a training holds a weight: with the moments of its optimizer."""


def prepare(config: RunConfig, encoder: data.Encoder | None = None) -> data.Prepared:
    """Reads, splits and encodes the rows that a configuration names.

    Without an `encoder` one is adapted; for a model that is fine-tuned, its own is extended by the new domain; for one
    that goes on, that of the run before grows.
    """
    if encoder is None and config.warm_start_from:
        known = read_encoder(descent.root(config))
        return config.prepare(lambda rows: grown(known, rows, config.forget_after))
    if encoder is None and config.finetune:
        known = read_encoder(finetuned(config))
        encoder = data.extend(known, config.prepare().encoder)
    return config.prepare(encoder)


def seen(config: RunConfig, prepared: data.Prepared) -> data.Prepared:
    """The rows as the model sees them: all of them, or the target's alone."""
    alone = len(prepared.schema.domains) == 1
    return prepared.only(prepared.schema.target) if config.domains == "target" and not alone else prepared


def check_model(config: RunConfig) -> None:
    """Raises an `InputError` if the model cannot be made, of small tables: the rows have not been read yet.

    What is fine-tuned is not made: its own tables are wanted for that.
    """
    config.model_arguments()
    check_memory(config, config.schema)
    for stage in filter(None, (config.first_stage(), config)):
        observers.check(stage.training.callbacks)
        _check_groups(stage)
    if not config.finetune:
        schema = config.schema if config.domains == "all" else config.schema.only(config.schema.target)
        made = _make(config, warm.smallest(schema))
        if config.warm_start_from:
            before = read_untrained(descent.former(config) / "model.keras", made.schema)
            for each in (made, before):
                each.build()
            descent.check_shapes(config, before, made)


def _check_groups(config: RunConfig) -> None:
    """Raises an `InputError` for a column of `group` that a domain does not have."""
    for name, column in config.training.groups([d.name for d in config.schema.sources]).items():
        domain, stored = config.schema.domain(name), isinstance(config.data, str)
        slices = config.slices if domain == config.schema.target_domain else ()
        grouping_column(domain, column, grouping_columns(domain, slices, stored))


def check_memory(config: RunConfig, schema: Schema) -> None:
    """Raises an `InputError` unless tables, as far as their rows are known, and the ids of a batch fit in memory."""
    schema = schema.with_width(config.width) if config.width else schema
    check_tables(schema, COPIES[config.training.optimizer])
    domains = schema.domains if config.domains == "all" else (schema.target_domain,)
    sizes = {
        (d.name, f.name): ((f.kind == "ids" and f.length) or 1) * schema.table(f.table).width + (f.size or 0)
        for d in domains
        for f in d.features
        if f.table
    }
    longest = max(sizes, key=sizes.__getitem__, default=None)
    memory.check(
        f"The embeddings of one batch of {config.training.batch_size:,} rows, and their gradients,",
        2 * config.training.batch_size * sum(sizes.values()),
        f"Lower `batch_size`, or the `length` of feature {longest and longest[1]!r}.",
    )


def _make(config: RunConfig, schema: Schema, pretrained: Any = None) -> Any:
    given = config.model_arguments()
    first = config.first_stage()
    parts = {}
    if first:
        parts["pretrained"] = _make(first, schema) if pretrained is None else pretrained
    if config.finetune:
        parts["trained"] = read_model(finetuned(config) / "model.keras")
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
    """The model of a configuration, compiled; a second stage on a new first one unless a trained one is given.

    One that goes on has what the run before has learnt.
    """
    check_memory(config, prepared.schema)
    model = compiled(config, prepared.schema, pretrained)
    if config.warm_start_from:
        warm.go_on(config, model, prepared.encoder, functools.partial(compiled, config))
    return model


def check_build(config: RunConfig, prepared: data.Prepared) -> None:
    """Raises an `InputError` if the model of a configuration cannot be made for these rows."""
    check_memory(config, prepared.schema)
    compiled(config, prepared.schema)


def compiled(config: RunConfig, schema: Schema, pretrained: Any = None) -> Any:
    """A model that has learnt nothing, compiled."""
    model = _make(config, schema, pretrained)
    training = config.training
    known = model.schema.outputs
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
    labels = train.y
    if not len(valid):
        raise InputError(
            f"The split leaves {schema.target!r} no validation rows, and they choose the epoch. Give them a share, "
            "for example split: {by: time, fractions: [0.7, 0.1, 0.2]}, and of a small file a larger one."
        )
    outcomes: dict[str, scoring.Outcome] = {}
    for key, label in schema.target_domain.outputs.items():
        y = valid.y[:, 0] if key == schema.target else valid.labels[label.name]
        weights = ~np.isnan(y) * (np.ones(len(y)) if valid.weight is None else valid.weight)
        outcomes[key] = np.nan_to_num(y), np.zeros(len(y)), weights
    (measured,) = scoring.by_label(schema, outcomes, metrics.evaluate, users=groups.users(prepared, "valid"))
    found = {f"val_{name}": value for name, value in measured.items()}
    if watched not in found:
        raise InputError(
            f"`monitor` must be what is measured of {schema.target!r}: {', '.join(found)}. Received: {shown(watched)}."
        )
    if not np.isfinite(found[watched]):
        of = "no user has" if watched == "val_gauc" else "there are not"
        raise InputError(
            f"`{watched}` cannot choose an epoch: among the {len(valid)} validation rows of {schema.target!r} {of} "
            "both clicks and others. Choose another split, or `monitor: val_log_loss`."
        )
    if watched in ("val_auc", "val_gauc") and len(np.unique(labels)) < 2:
        raise InputError(
            f"The {len(train)} training rows of {schema.target!r} all have the label {labels[0, 0]:g}, so there is "
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
    own: Sequence[keras.callbacks.Callback] = (),
) -> Fitted:
    """Trains the model of a configuration; the epoch with the best validation metric is kept.

    State for a resumed run, the best weights and the logs go to `folder`, the first stage of a model of two to
    `first_folder` (default: `folder/first`). If there is the state of an interrupted run, that run is continued, and
    ends as it would have without the interruption. `histograms`: of the weights that a report draws, to the logs.
    `own`: callbacks besides those of the configuration; both stages get them.
    """
    check_rows(config, prepared)
    first = config.first_stage()
    pretrained, reported = None, None
    if first:
        handed_on = bool(config.warm_start_from) and warm.owns_first_stage(
            _make(config, warm.smallest(prepared.schema))
        )
        stage = first_folder or folder / "first"
        pretrained, reported = fit_first(first, prepared, stage, verbose, own, handed_on)
    training = config.training
    with _precision(training.mixed_precision), _compiling(training.xla):
        model = build(config, prepared, pretrained)
        chosen_by = monitor(config, model.schema)
        steps = _callbacks(config, prepared, model, folder, histograms)
        steps += _observers(config, own)
        resume = callbacks.Resume(folder / "state", steps)
        rows = training_rows(config, prepared, model, resume.next_epoch)
        if verbose:
            print(models.card(config.model).called(config.domains))
        begin = time.perf_counter()
        said = [_epoch_lines(training.epochs, steps)] if verbose == "lines" else []
        history = model.fit(
            rows,
            epochs=training.epochs,
            callbacks=[*steps, resume, *said],
            verbose=0 if said else verbose,
            shuffle=False,
        )
        seconds = time.perf_counter() - begin
        watched = np.asarray(history.history[chosen_by], dtype="float64")
        if not np.isfinite(watched).any():
            raise Diverged(
                f"`{chosen_by}` was not a number in any epoch, so none can be chosen: training diverged. "
                "Give a smaller learning rate."
            )
        chosen = int((np.nanargmax if metrics.better(chosen_by) == "max" else np.nanargmin)(watched))
        _load_best(model, folder)
    return Fitted(model, history.history, chosen, seconds, reported)


def _epoch_lines(epochs: int, steps: Sequence[keras.callbacks.Callback]) -> keras.callbacks.Callback:
    return EpochLines(epochs, next(each for each in steps if isinstance(each, callbacks.KeepBest)))


def _load_best(model: Any, folder: pathlib.Path) -> None:
    if (folder / BEST).exists():
        callbacks.KeepBest.load(model, folder / BEST)
    else:
        with files.reading(folder / FORMER_BEST, MEND):
            model.load_weights(folder / FORMER_BEST)


def _callbacks(
    config: RunConfig, prepared: data.Prepared, model: Any, folder: pathlib.Path, histograms: bool
) -> list[keras.callbacks.Callback]:
    """What measures, chooses the epoch, stops and logs, in this order."""
    schema, chosen_by, logs = model.schema, monitor(config, model.schema), folder / "logs"
    watching = {"monitor": chosen_by, "mode": metrics.better(chosen_by)}
    steps = [
        callbacks.Evaluate(prepared.valid(EVALUATION_ROWS), users=groups.users(prepared, "valid")),
        keras.callbacks.TerminateOnNaN(),
        callbacks.KeepBest(folder / BEST, **watching),
        keras.callbacks.EarlyStopping(patience=config.training.patience, **watching),
        callbacks.Scalars(logs),
    ]
    if not histograms:
        return steps
    if hasattr(model, "selector_weights"):  # CCTL's Figure 5
        steps.append(callbacks.WeightHistogram(_first_rows(prepared, schema), logs))
    rows = _watched_rows(prepared)
    return steps + [
        callbacks.WeightHistogram(rows, logs, name, high=None, read=functools.partial(counted, name))
        for name in looks(model)
    ]


def _observers(config: RunConfig, own: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    """The callbacks that the configuration names and the user's `own`; each is told what it looks at."""
    made = [*observers.make(config.training.callbacks), *own]
    for each in made:
        each.run_config = config
    return made


def training_rows(
    config: RunConfig, prepared: data.Prepared, model: Any, initial_epoch: int = 0
) -> tf.data.Dataset:
    """The batches that the model of a configuration is trained on."""
    schema, training = model.schema, config.training
    sizes = {
        domain.name: max(1, round(training.batch_size * training.source_ratio)) for domain in schema.sources
    }
    rows = prepared.train(
        {schema.target: training.batch_size, **sizes},
        domains=(schema.target,) if config.finetune else tuple(model.training_domains),
        seed=config.seed,
        epoch=training.epoch,
        paired=models.card(config.model).paired,
        initial_epoch=initial_epoch,
        group=training.groups([domain.name for domain in schema.sources]),
    )
    return _by_class(rows, schema, training.class_weights) if training.class_weights else rows


def _by_class(rows: tf.data.Dataset, schema: Schema, weights: Mapping[int, float]) -> tf.data.Dataset:
    """The batches with what rows weigh by their class; a rating weighs what it did."""
    clicks = {key for key, label in schema.outputs.items() if label.task == "click"}

    def weigh(x: Any, y: Any, given: Any = None) -> Any:
        found = {}
        for key, labels in y.items():
            weight = tf.ones_like(labels[:, 0]) if given is None else given[key]
            by_class = tf.where(labels[:, 0] == 1, weights.get(1, 1.0), weights.get(0, 1.0))
            found[key] = weight * by_class if key in clicks else weight
        return x, y, found

    return rows.map(weigh, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def fit_first(
    config: RunConfig,
    prepared: data.Prepared,
    folder: pathlib.Path,
    verbose: int | str = 0,
    own: Sequence[keras.callbacks.Callback] = (),
    handed_on: bool = False,
) -> tuple[Any, dict[str, Any]]:
    """A trained first stage and what it reported; it is trained unless `folder` holds it already.

    `handed_on`: that of the run before, with tables that have grown, is not trained on: the second stage, which has
    trained its copy of it, would not look at it.
    It is read back from its file in either case, so that a second stage starts from the same thing.
    """
    if not (folder / "metrics.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if handed_on:
            former = descent.former(config)
            history, best = read_history(former), read_json(former, "metrics.json")["best_epoch"]
            fitted = Fitted(
                build(config, prepared), history.drop(columns="epoch").to_dict("list"), best - 1, 0.0
            )
        else:
            fitted = fit(config, prepared, folder, verbose, own=own)
        keep(fitted, summary(config, prepared, fitted), folder)
    reported = read_json(folder, "metrics.json", without=("test",))  # a pipeline has its test rows elsewhere
    return read_model(folder / "model.keras"), reported


def _first_rows(prepared: data.Prepared, schema: Schema) -> dict[str, dict[str, np.ndarray]]:
    """The first training rows of every source, as a model takes them."""
    parts = {source.name: prepared.parts[source.name]["train"] for source in schema.sources}
    return {name: part.first(HISTOGRAM_ROWS) for name, part in parts.items()}


def _watched_rows(prepared: data.Prepared) -> dict[str, dict[str, np.ndarray]]:
    """The first validation rows of the target, as a model takes them."""
    target = prepared.schema.target
    return {target: prepared.parts[target]["valid"].first(HISTOGRAM_ROWS)}


def _compiling(wanted: bool | None) -> contextlib.AbstractContextManager[None]:
    return xla.off() if wanted is False else contextlib.nullcontext()


@contextlib.contextmanager
def _precision(mixed: bool) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
