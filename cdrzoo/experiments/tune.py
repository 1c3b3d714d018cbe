"""Search for a model's settings with keras-tuner: one space and one budget for all, chosen on validation rows."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import math
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cdrzoo import files
from cdrzoo.documents import dump_yaml, load_mapping
from cdrzoo.errors import InputError, is_number
from cdrzoo.experiments import compare
from cdrzoo.experiments.catalogue import SEARCH
from cdrzoo.training.config import RunConfig, check_results

HOW = ("random", "bayesian", "hyperband")
MARK = "# Written by cdrzoo tune."
"""The first line of a run that a search has chosen."""
FACTOR = 3
"""Hyperband's: each round has a third of the trials and three times the epochs (Li et al., JMLR 2018)."""


def load_space(path: str | pathlib.Path | None = None) -> dict[str, Any]:
    """The space of a YAML file; default: the catalogue's.

    A setting, by its plain name as `RunConfig.with_changes` takes it, has a list of values, or a range:
    `{min: 0.0001, max: 0.01, sampling: log}`, with `step` or, for whole numbers, ends that are whole.

    Raises:
        InputError: when it is not so.
    """
    space = dict(SEARCH) if path is None else load_mapping(path)
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
                    f"two as wanted. Received: {values!r}."
                )
            if values.get("sampling", "linear") not in ("linear", "log"):
                raise InputError(
                    f"`sampling` of {where} must be linear or log. Received: {values['sampling']!r}."
                )
        elif not isinstance(values, list) or not values:
            raise InputError(f"{where} must be a list of values, or a range. Received: {values!r}.")
    return space


def tune(
    config: RunConfig,
    entries: Sequence[compare.Entry],
    folder: str | pathlib.Path,
    *,
    space: Mapping[str, Any] | None = None,
    trials: int = 20,
    how: str = "random",
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, Any]]:
    """Searches the settings of every entry; trials that have been made are not made again.

    Every entry gets `trials` trials from one space; a setting that a model does not have is left out of
    its draws, and a model of two stages has the same draw in both. The first trial is the entry as it stands.
    `hyperband` gives most trials a part of the epochs and the best of them, trained anew, more. The metric of the
    validation rows chooses, AUC for clicks and RMSE for ratings.

    Args:
        config: data, split and what the entries share.
        entries: what is tuned.
        folder: `results.jsonl` (a line a trial, as `compare` writes them and takes them up) and, for each entry,
            `NAME.yaml`, the best run as `cdrzoo train` takes it, go here.
        space: see `load_space`; default: the catalogue's.
        trials: of each entry.
        how: `random`, `bayesian` or `hyperband`.
        progress: is told what each trial gave.

    Returns:
        Of each entry, by its label: the best line of `results.jsonl`.
    """
    if importlib.util.find_spec("keras_tuner") is None:
        raise InputError("A search needs keras-tuner. Install it: pip install 'cdrzoo[tune]'.")
    if how not in HOW:
        raise InputError(f"A search is one of {', '.join(HOW)}. Received: {how!r}.")
    if trials < 1:
        raise InputError(f"`trials` must be at least 1. Received: {trials}.")
    from cdrzoo.training.run import check_model

    space = load_space() if space is None else space
    runs = {entry.label: config.with_changes(entry.changes) for entry in entries}
    known = set(compare.RUN_SETTINGS)
    for run in runs.values():
        check_model(run)
        known |= _arguments(run)
    for name in space:
        if name not in known:
            raise InputError(
                f"The space has {name!r}, a setting of neither the run nor one of the models. Correct its name."
            )
    for run in runs.values():
        for name, values in space.items():
            for value in [values["min"], values["max"]] if isinstance(values, Mapping) else values:
                changes = compare._settings(run, {name: value})
                changed = run.with_changes(changes)
                if changes and name not in compare.RUN_SETTINGS:
                    check_model(changed)
    folder = pathlib.Path(folder)
    check_results(folder)
    for entry in entries:
        path = written(folder, entry.label)
        if path.resolve() in config.paths() or (
            path.exists() and MARK not in path.read_text(encoding="utf-8")
        ):
            raise InputError(
                f"The best run of {entry.label} goes to {path}, and that is there already, not of a search. Choose "
                "another folder; nothing is overwritten."
            )
    with files.lock(folder), compare._pool(config, folder / "first", jobs=1) as processes:
        store = compare._Store(folder / "results.jsonl", config)

        def train(entry: compare.Entry, draw: Mapping[str, Any]) -> dict[str, Any]:
            changes = {**draw, **entry.changes, "seed": compare.SEARCH_SEED}
            (line,) = store.run([compare.Task("search", entry.label, changes)], processes)
            progress(
                f"{entry.label}: {compare.merit(line['result']['validation']):.4f} with {json.dumps(dict(draw))}"
            )
            return line

        best = {
            entry.label: _search(functools.partial(train, entry), runs[entry.label], space, trials, how)
            for entry in entries
        }
    for entry in entries:
        changes = {name: value for name, value in best[entry.label]["changes"].items() if name != "seed"}
        if how == "hyperband" and "epochs" not in space:
            changes.pop("epochs", None)  # of its round; the run has all
        text = dump_yaml(config.with_changes(changes).to_dict())
        written(folder, entry.label).write_text(f"{MARK}\n{text}", encoding="utf-8")
    return best


def written(folder: pathlib.Path, label: str) -> pathlib.Path:
    """Where the best run of an entry goes."""
    return folder / f"{''.join(c if c.isalnum() else '_' for c in label)}.yaml"


def _arguments(run: RunConfig) -> set[str]:
    """What the constructors of a model and its first stage take."""
    first = run.first_stage()
    return set(inspect.signature(run.constructor()).parameters) | (_arguments(first) if first else set())


def _search(
    train: Callable[[Mapping[str, Any]], dict[str, Any]],
    config: RunConfig,
    space: Mapping[str, Any],
    trials: int,
    how: str,
) -> dict[str, Any]:
    """The best of all trials of one entry."""
    import keras_tuner

    lines = [train({})]
    drawn = keras_tuner.HyperParameters()
    for name in dict.fromkeys(
        found.removeprefix("first.") for found in compare._settings(config, dict(space))
    ):
        _declare(drawn, name, space[name])
    if trials == 1 or not drawn.space:
        return lines[0]
    objective = keras_tuner.Objective("merit", "max")
    shared = {
        "objective": objective,
        "hyperparameters": drawn,
        "seed": compare.SEARCH_SEED,
        "max_retries_per_trial": 0,
    }
    if how == "hyperband":
        oracle = keras_tuner.oracles.HyperbandOracle(
            max_epochs=config.training.epochs, factor=FACTOR, hyperband_iterations=trials, **shared
        )
        oracle.max_trials = trials - 1
    else:
        oracles = {
            "random": keras_tuner.oracles.RandomSearchOracle,
            "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
        }
        oracle = oracles[how](max_trials=trials - 1, **shared)
    oracle.verbose = 0

    class Tuner(keras_tuner.engine.base_tuner.BaseTuner):
        """Trains what the oracle draws. Not `keras_tuner.Tuner`: that needs TensorBoard and keeps every model."""

        def run_trial(self, trial: Any) -> dict[str, float]:
            values = trial.hyperparameters.values
            draw = {name: _value(space[name], values[name]) for name in space if name in values}
            changes = compare._settings(config, draw)
            if "tuner/epochs" in values:
                changes["epochs"] = values["tuner/epochs"]
            try:
                lines.append(train(changes))
            except InputError as error:  # it diverged
                raise keras_tuner.errors.FailedTrialError(str(error)) from None
            except Exception as error:
                raise keras_tuner.errors.FatalError(f"{type(error).__name__}: {error}") from error
            merit = compare.merit(lines[-1]["result"]["validation"])
            if not math.isfinite(merit):
                raise keras_tuner.errors.FailedTrialError("The validation metric is not a number.")
            return {"merit": merit}

    # What the oracle keeps is not needed: started again, it draws the same and is told what stands in the results.
    with tempfile.TemporaryDirectory(prefix="cdrzoo_tune_") as kept:
        Tuner(oracle, directory=kept, project_name="search", overwrite=True).search()
    return compare.best_trial(lines)


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
