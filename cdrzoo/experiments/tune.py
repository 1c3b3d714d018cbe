"""Search for a model's settings with keras-tuner: one space and one budget for all, chosen on validation rows."""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdrzoo import files
from cdrzoo.data import quality
from cdrzoo.documents import dump_yaml, load_mapping
from cdrzoo.errors import COUNTS, InputError, check_choice, check_whole, is_number, shown
from cdrzoo.experiments import results, running, search
from cdrzoo.experiments.entries import RUN_SETTINGS, Entry, read_entries, with_settings
from cdrzoo.experiments.told import Told
from cdrzoo.training.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd

HOW = ("random", "bayesian", "hyperband")
MARK = "# Written by cdrzoo tune."
"""The first line of a run that a search has chosen."""
FACTOR = 3
"""Hyperband's: each round has a third of the trials and three times the epochs (Li et al., JMLR 2018)."""


def load_space(given: Mapping[str, Any] | str | pathlib.Path | None = None) -> dict[str, Any]:
    """The space of a YAML file, or one that is given as it is; default: that of `search.yaml`.

    A setting, by its plain name as `RunConfig.with_changes` takes it, has a list of values, or a range:
    `{min: 0.0001, max: 0.01, sampling: log}`, with `step` or, for whole numbers, ends that are whole.

    Raises:
        InputError: when it is not so.
    """
    space = (
        dict(given)
        if isinstance(given, Mapping)
        else search.space()
        if given is None
        else load_mapping(given)
    )
    for name, values in space.items():
        where = f"`{name}` of the space"
        if isinstance(values, Mapping):
            unknown = set(values) - {"min", "max", "step", "sampling"}
            numbers = [values[each] for each in ("min", "max", "step") if each in values]
            if (
                unknown
                or not {"min", "max"} <= set(values)
                or not all(map(is_number, numbers))
                or not values["min"] < values["max"]
            ):
                raise InputError(
                    f"{where} must be {{min: NUMBER, max: NUMBER, step: NUMBER, sampling: log or linear}}, the last "
                    f"two as wanted. Received: {shown(values)}."
                )
            if values.get("sampling", "linear") not in ("linear", "log"):
                raise InputError(
                    f"`sampling` of {where} must be linear or log. Received: {shown(values['sampling'])}."
                )
        elif not isinstance(values, list) or not values:
            raise InputError(f"{where} must be a list of values, or a range. Received: {shown(values)}.")
    return space


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Args:
        folder: where it stands.
        best: of each model, by its label: the best line of `results.jsonl`.
        configs: the file of its run, as `cdrzoo train` takes it.
    """

    folder: pathlib.Path
    best: dict[str, dict[str, Any]]
    configs: dict[str, pathlib.Path]

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial that stands in the folder: `model`, `settings`, and the metrics of validation rows."""
        import pandas as pd

        rows = []
        for line in results.kept(self.folder / results.LINES):
            settings = {name: v for name, v in line["changes"].items() if name not in ("model", "seed")}
            rows.append({"model": line["label"], "settings": settings, **line["result"]["validation"]})
        return pd.DataFrame(rows)


def tune(
    config: RunConfig | Mapping[str, Any] | str | pathlib.Path,
    models: str | Sequence[str | Entry] | Mapping[str, str] | None,
    out: str | pathlib.Path,
    *,
    space: Mapping[str, Any] | str | pathlib.Path | None = None,
    trials: int = 20,
    how: str = "random",
    settings: Mapping[str, Any] | None = None,
    strict: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Tuned:
    """Searches the settings of every model; trials that have been made are not made again.

    Every model gets `trials` trials from one space; a setting that it does not have is left out of its draws, and a
    model of two stages has the same draw in both. The first trial is the model as it stands. `hyperband` gives most
    trials a part of the epochs and the best of them, trained anew, more. The metric of the validation rows chooses,
    AUC for clicks and RMSE for ratings.

    Args:
        config: data, split and what the models share: a run configuration, or its file.
        models: what is tuned, as of `cdrzoo.experiments.compare.compare`; `None`: the configuration's.
        out: folder for `results.jsonl` (a line a trial, as `compare` writes them and takes them up) and, for each
            model, `NAME.yaml`, the best run as `cdrzoo train` takes it.
        space: see `load_space`, or its file; default: that of `search.yaml`.
        trials: of each model.
        how: `random`, `bayesian` or `hyperband`.
        settings: for all models, by their plain names (`RunConfig.with_changes`).
        strict: whether a warning about the rows is an error (see `cdrzoo.data.quality.warnings_of`).
        progress: is told what is left out, where a trial is, and what it gave.

    Raises:
        InputError: before any training, when an argument or the space is wrong, or the folder holds something else.
    """
    _check_search(trials, how)
    folder, config = pathlib.Path(out), RunConfig.of(config)
    entries = [Entry(config.model)] if models is None else read_entries(models)
    config, entries = with_settings(config, entries, settings or {})
    given, space = space is not None, load_space(space)
    runs = {entry.label: config.with_changes(entry.changes) for entry in entries}
    for label, names in _check_space(space, runs, given).items():
        if names:
            progress(f"{label}: without {', '.join(names)}, which it does not have")
    results.check_results(folder)
    configs = {entry.label: _free(config, entry, folder) for entry in entries}
    best = {}
    with files.lock(folder), running.pool(config, folder / "first", jobs=1) as processes:
        progress(quality.parts(running.rows()))
        quality.heed(running.rows(), strict)
        store = results.Results(folder / results.LINES, config)
        for entry in entries:
            told = Told("trial", trials, progress)
            train = functools.partial(_train, store, processes, told, progress, entry)
            best[entry.label] = search.best(_trials(train, runs[entry.label], space, trials, how))
            changes = dict(best[entry.label]["changes"])
            for name in ("seed", *(["epochs"] if how == "hyperband" and "epochs" not in space else [])):
                changes.pop(name, None)  # hyperband's epochs are of its round; the run has all
            _write(configs[entry.label], config.with_changes(changes))
    return Tuned(folder, best, configs)


def _check_search(trials: Any, how: Any) -> None:
    if importlib.util.find_spec("keras_tuner") is None:
        raise InputError("A search needs keras-tuner. Install it: pip install 'cdrzoo[tune]'.")
    check_choice("How is searched, `how`,", how, HOW)
    check_whole("`trials`", trials, *COUNTS["trials"])


def _write(path: pathlib.Path, config: RunConfig) -> None:
    files.write(path, f"{MARK}\n{dump_yaml(config.to_dict())}")


def _train(
    store: results.Results,
    processes: Any,
    told: Told,
    progress: Callable[[str], None],
    entry: Entry,
    draw: Mapping[str, Any],
) -> dict[str, Any]:
    changes = {**draw, **entry.changes, "seed": search.SEED}
    runs = running.Runs([results.Task("search", entry.label, changes)], store, processes)
    runs.hear = told.hear
    (line,) = runs
    progress(f"{told.line(line)}  {json.dumps(dict(draw)) if draw else 'as it stands'}")
    return line


def _check_space(space: Mapping[str, Any], runs: Mapping[str, RunConfig], own: bool) -> dict[str, list[str]]:
    """`{label: settings of the space that the model does not have}`, once every value has been tried.

    Raises:
        InputError: a value is none for a model that has the setting; or, in a space of one's `own`, no model has it.
    """
    from cdrzoo.training.fitting import check_model

    absent: dict[str, list[str]] = {label: [] for label in runs}
    for label, run in runs.items():
        check_model(run)
        for name, values in space.items():
            for value in [values["min"], values["max"]] if isinstance(values, Mapping) else values:
                changes = search.changes_of(run, {name: value})
                changed = run.with_changes(changes)
                if changes and name not in RUN_SETTINGS:
                    check_model(changed)
            if not changes:
                absent[label].append(name)
    for name in space:
        if own and name not in RUN_SETTINGS and all(name in names for names in absent.values()):
            raise InputError(
                f"The space has {name!r}, a setting of neither the run nor one of the models. Correct its name."
            )
    return absent


def best_run(folder: pathlib.Path, label: str) -> pathlib.Path:
    """The file of the best run of a model of a search."""
    return folder / f"{''.join(c if c.isalnum() else '_' for c in label)}.yaml"


def _free(config: RunConfig, entry: Entry, folder: pathlib.Path) -> pathlib.Path:
    """Where the best run of an entry goes; nothing of somebody else's stands there."""
    path = best_run(folder, entry.label)
    if path.resolve() in config.paths() or (path.exists() and MARK not in path.read_text(encoding="utf-8")):
        raise InputError(
            f"The best run of {entry.label} goes to {path}, and that is there already, not of a search. Choose "
            "another folder; nothing is overwritten."
        )
    return path


def _trials(
    train: Callable[[Mapping[str, Any]], dict[str, Any]],
    config: RunConfig,
    space: Mapping[str, Any],
    trials: int,
    how: str,
) -> list[dict[str, Any]]:
    """The lines of all trials of one entry, the first one as it stands."""
    import keras_tuner

    lines = [train({})]
    drawn = keras_tuner.HyperParameters()
    for name in dict.fromkeys(found.removeprefix("first.") for found in search.changes_of(config, space)):
        _declare(drawn, name, space[name])
    if trials > 1 and drawn.space:
        oracle = _oracle(how, drawn, trials, config.training.epochs)
        # What the oracle keeps is not needed: started again, it draws the same and is told what stands in the results.
        with tempfile.TemporaryDirectory(prefix="cdrzoo_tune_") as kept:
            _tuner(oracle, kept, train, config, space, lines).search()
    return lines


def _oracle(how: str, drawn: Any, trials: int, epochs: int) -> Any:
    """What draws the trials behind the first one."""
    from keras_tuner import Objective, oracles

    shared = {
        "objective": Objective("merit", "max"),
        "hyperparameters": drawn,
        "seed": search.SEED,
        "max_retries_per_trial": 0,
    }
    if how == "hyperband":
        oracle = oracles.HyperbandOracle(
            max_epochs=epochs, factor=FACTOR, hyperband_iterations=trials, **shared
        )
        oracle.max_trials = trials - 1
    else:
        of = {"random": oracles.RandomSearchOracle, "bayesian": oracles.BayesianOptimizationOracle}
        oracle = of[how](max_trials=trials - 1, **shared)
    oracle.verbose = 0
    return oracle


def _tuner(
    oracle: Any,
    folder: str,
    train: Callable[[Mapping[str, Any]], dict[str, Any]],
    config: RunConfig,
    space: Mapping[str, Any],
    lines: list[dict[str, Any]],
) -> Any:
    """Trains what an oracle draws; lines are added to `lines`."""
    import keras_tuner

    class Tuner(keras_tuner.engine.base_tuner.BaseTuner):
        """Not `keras_tuner.Tuner`: that needs TensorBoard and keeps every model."""

        def run_trial(self, trial: Any) -> dict[str, float]:
            values = trial.hyperparameters.values
            draw = {name: _value(space[name], values[name]) for name in space if name in values}
            changes = search.changes_of(config, draw)
            if "tuner/epochs" in values:
                changes["epochs"] = values["tuner/epochs"]
            try:
                lines.append(train(changes))
            except InputError as error:  # it diverged
                raise keras_tuner.errors.FailedTrialError(str(error)) from None
            except Exception as error:
                raise keras_tuner.errors.FatalError(f"{type(error).__name__}: {error}") from error
            merit = search.merit(lines[-1]["result"]["validation"])
            if not math.isfinite(merit):
                raise keras_tuner.errors.FailedTrialError("The validation metric is not a number.")
            return {"merit": merit}

    return Tuner(oracle, directory=folder, project_name="search", overwrite=True)


def _declare(drawn: Any, name: str, values: Any) -> None:
    if not isinstance(values, Mapping):
        drawn.Choice(name, values if _scalars(values) else [json.dumps(value) for value in values])
        return
    whole = isinstance(values["min"], int) and isinstance(values["max"], int)
    declare = drawn.Int if whole else drawn.Float
    declare(
        name, values["min"], values["max"], step=values.get("step"), sampling=values.get("sampling", "linear")
    )


def _scalars(values: Sequence[Any]) -> bool:
    """Whether keras-tuner takes the values of a choice: all of one simple type."""
    return len({type(value) for value in values}) == 1 and isinstance(values[0], (bool, int, float, str))


def _value(values: Any, drawn: Any) -> Any:
    if isinstance(values, Mapping) or _scalars(values):
        return drawn
    return json.loads(drawn)
