"""Several models on one split over several seeds: searched with one budget, chosen on validation, tested once."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cdrzoo import files
from cdrzoo.errors import COUNTS, InputError, check_choice, check_whole
from cdrzoo.experiments import results, running, search, tables
from cdrzoo.experiments.comparison import Comparison
from cdrzoo.experiments.entries import Entry, read_entries, with_settings
from cdrzoo.experiments.results import Results, Task
from cdrzoo.training.config import RunConfig

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]


def silent(items: Iterable[Any], total: int, title: str) -> Iterable[Any]:
    """A `progress` that shows nothing."""
    return items


def compare(
    config: RunConfig | Mapping[str, Any] | str | pathlib.Path,
    models: str | Sequence[str | Entry] | Mapping[str, str],
    out: str | pathlib.Path,
    *,
    seeds: int = 5,
    search: int = 0,
    against: str | None = None,
    settings: Mapping[str, Any] | None = None,
    jobs: int = 1,
    strict: bool = False,
    progress: Progress = silent,
    tell: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Trains every model over the seeds; what is done already is not done again.

    With `search`, every model first gets the same number of trials from the same space (`search.yaml`, one seed), and
    the settings with the best validation metric are trained over the seeds; variants of a model share its search.
    Test rows are scored once a run and never choose anything.

    Args:
        config: data, split, and the settings that the models share: a run configuration, or its file.
        models: what to compare, each `name[:setting=value...]`: a text with commas, a list, or `{label: text}`.
        out: folder for `results.jsonl` (a line a run, appended as they end), `comparison.json`, `table.md` and, in
            `first`, first stages: models of two stages that share one train it once. A comparison that was stopped
            goes on where it stopped when it is started again.
        seeds: runs of each model; their seeds are 0, 1, ...
        search: trials of each model; 0: no search.
        against: label of the paired tests; default: `dnn`, else the first that sees the target alone.
        settings: for all models, by their plain names (`RunConfig.with_changes`).
        jobs: processes.
        strict: whether a warning about the rows is an error (see `cdrzoo.data.quality.warnings_of`).
        progress: wraps an iterable over the runs, given their number and a title. Where each of them is comes to the
            function that is set as the iterable's `hear`.
        tell: is told, before the first training, what is tested against what, and on which rows.

    Raises:
        InputError: before any training, when an argument or a setting is wrong, or the folder holds something else.

    Example:
        >>> found = compare("demo/run.yaml", "lr,dnn,cctl", "runs/compare", seeds=3)  # doctest: +SKIP
        >>> found.table[["auc", "auc_std", "p_holm"]]  # doctest: +SKIP
    """
    folder, given = pathlib.Path(out), config
    config, entries = with_settings(RunConfig.of(given), read_entries(models), settings or {})
    against = _reference(config, entries, against)
    results.check_results(folder)
    said = _said(against, entries, seeds)
    tell(said)
    about = {
        "command": _command(given, config, entries, seeds, search, settings or {}, folder),
        "config": config.to_dict(),
        **({"against": against} if against else {}),
    }
    how: dict[str, Any] = {"seeds": seeds, "search": search, "jobs": jobs, "progress": progress}
    found = compared(config, entries, folder, about, **how, strict=strict, tell=tell)
    files.write(folder / "table.md", f"{found.markdown()}\n{said}\n{found.markdown_of_groups()}")
    return found


def _command(
    given: Any,
    config: RunConfig,
    entries: Sequence[Entry],
    seeds: int,
    search: int,
    settings: Mapping[str, Any],
    folder: pathlib.Path,
) -> list[str]:
    """The comparison as a command, for its page."""
    named = given if isinstance(given, (str, pathlib.Path)) else next(iter(config.files), "run.yaml")
    command = ["compare", str(named), "--models", ",".join(entry.label for entry in entries)]
    command += ["--seeds", str(seeds), "--search", str(search)]
    for name, value in settings.items():
        if name == "callbacks":  # they look on, and a class has no place in a command
            continue
        command += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return [*command, "--out", str(folder)]


def _reference(config: RunConfig, entries: Sequence[Entry], against: str | None) -> str | None:
    labels = [entry.label for entry in entries]
    if against:
        check_choice("What is tested against (`against`)", against, labels)
        return against
    alone = [e.label for e in entries if config.with_changes(e.changes).domains == "target"]
    return "dnn" if "dnn" in labels else next(iter(alone), None)


def _said(against: str | None, entries: Sequence[Entry], seeds: int) -> str:
    if against is None:
        return (
            "No paired test: no model sees the target alone. Add dnn to --models, or name one with --against."
        )
    if len(entries) < 2 or seeds < 2:
        return "No paired test: it takes two models, and two seeds."
    return f"Paired t-test over seeds against {against}."


def compared(
    config: RunConfig,
    entries: Sequence[Entry],
    folder: pathlib.Path,
    about: Mapping[str, Any],
    *,
    seeds: int,
    search: int,
    jobs: int = 1,
    progress: Progress = silent,
    strict: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """The trainings of `compare`.

    What is known of the rows alone is measured and written first: should it fail, no training is lost, and should a
    training fail, a page can be made of those that are done.
    """
    check(config, entries, seeds, search, jobs)
    labels = [entry.label for entry in entries]
    with files.lock(folder):
        found = Comparison(folder, [], {**about, **measured(config, strict, tell)})
        found.write()
        with running.pool(config, folder / "first", jobs) as processes:
            store = Results(folder / results.LINES, config)
            chosen = _chosen(entries, search, store, processes, progress) if search else {}
            tasks = [
                Task("seed", entry.label, {**entry.changes, **chosen.get(entry.label, {}), "seed": seed})
                for seed in range(seeds)
                for entry in entries
            ]
            lines = list(progress(running.Runs(tasks, store, processes), len(tasks), "training"))
        lines.sort(key=lambda line: (labels.index(line["label"]), line["changes"]["seed"]))
        found = dataclasses.replace(found, results=lines)
        found.write()
    return found


def check(config: RunConfig, entries: Sequence[Entry], seeds: int, search: int, jobs: int = 1) -> None:
    """Raises an `InputError` for a misspelt argument, or a wrong one, before any long work."""
    if len({entry.label for entry in entries}) < len(entries):
        raise InputError("Two entries of the comparison are the same. Give each model once.")
    for name, value in (("seeds", seeds), ("search", search), ("jobs", jobs)):
        check_whole(f"`{name}`", value, *COUNTS[name])
    from cdrzoo.training.fitting import check_model

    for entry in entries:
        run = config.with_changes(entry.changes)
        check_model(run)
        if run.finetune not in (None, config.finetune):  # its vocabularies are not those of the shared rows
            raise InputError(
                f"{entry.label!r} fine-tunes {run.finetune}. Name it in the run configuration, whose rows all entries "
                "share; an entry may say `finetune=null`."
            )


def measured(config: RunConfig, strict: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """What the rows say without a model: the metrics of simple predictors, and test rows and clicks by group."""
    from cdrzoo.data import quality
    from cdrzoo.evaluation import floors
    from cdrzoo.training import fitting, groups

    prepared = fitting.prepare(config)
    tell(quality.parts(prepared))
    quality.heed(prepared, strict)
    sizes = {name: size for name, size in groups.sizes(prepared).items() if name != "all"}
    counted = {"groups": {name: size["rows"] for name, size in sizes.items()}}
    if prepared.schema.target_domain.task == "click":
        counted["clicks"] = {name: size["clicks"] for name, size in sizes.items()}
    return {"floors": floors.floors(prepared), **counted}


def _chosen(
    entries: Sequence[Entry],
    number: int,
    store: Results,
    processes: concurrent.futures.Executor | None,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """`{label: the settings that its search, or that of the model which it is a variant of, has chosen}`."""
    config, leaders = store.config, search.leaders(store.config, entries)
    tasks = [
        Task("search", entry.label, {**trial, **entry.changes, "seed": search.SEED})
        for entry in entries
        if leaders[entry.label] is entry
        for trial in search.trials(config.with_changes(entry.changes), number, entry.changes)
    ]
    trained = list(progress(running.Runs(tasks, store, processes), len(tasks), "searching"))
    chosen = {}
    for entry in entries:
        leader = leaders[entry.label]
        best = search.best([line for line in trained if line["label"] == leader.label])
        fixed = {"seed", *leader.changes, *entry.changes}
        chosen[entry.label] = {name: value for name, value in best["changes"].items() if name not in fixed}
    return chosen


def best_alone(lines: Sequence[Mapping[str, Any]]) -> str | None:
    """Of the labels that see the target alone the one with the best validation metric, the mean over its seeds."""
    merits = {
        label: float(np.mean([search.merit(run["validation"]) for run in runs.values()]))
        for label, runs in tables.by_label(lines).items()
        if all(run["domains"] == "target" for run in runs.values())
    }
    return max(merits, key=merits.__getitem__, default=None)
