"""Several models on one split over several seeds: searched with one budget, chosen on validation, tested once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import inspect
import json
import math
import multiprocessing
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cdrzoo import files, models
from cdrzoo.documents import load_yaml
from cdrzoo.errors import Diverged, InputError
from cdrzoo.evaluation.statistics import Paired, holm, paired, wilcoxon
from cdrzoo.experiments.catalogue import FIRST_TRIALS, SEARCH
from cdrzoo.training.config import RunConfig, Training

RUN_SETTINGS = {"width", *(f.name for f in dataclasses.fields(Training))}
"""What a draw may set besides the arguments of a model."""
SEARCH_SEED = 1000
"""Seed of the trials of a search; the seeds that are reported start at 0."""


@dataclass(frozen=True)
class Entry:
    """A line of the comparison.

    Args:
        label: what the table calls it.
        changes: settings that make it, by their plain names (`RunConfig.with_changes`); `model` among them.
    """

    label: str
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Entry:
        """From the command line's `model[:name=value...]`, for example `dnn:domains=all` or `cctl:ren_weight=0`."""
        model, *settings = re.split(r":(?![^{]*})", text)  # a value may be {name: number}
        models.card(model)
        changes: dict[str, Any] = {"model": model}
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals or not name:
                raise InputError(f"A setting of {text!r} must read name=value. Received: {setting!r}.")
            changes[name] = load_yaml(value, f"{setting!r} of {text!r}")
        return cls(text, changes)


def with_settings(
    config: RunConfig, entries: Sequence[Entry], settings: Mapping[str, Any]
) -> tuple[RunConfig, list[Entry]]:
    """The configuration and the entries with settings that are meant for all of them.

    What is of the run or its training the configuration gets; an argument of models every entry whose model, or its
    first stage for `first.NAME`, has it. What an entry says itself stays.

    Raises:
        InputError: none of the models has such an argument.
    """
    shared = {name: value for name, value in settings.items() if name in RUN_SETTINGS or name == "seed"}
    config, changed = config.with_changes(shared), []
    left = {name: value for name, value in settings.items() if name not in shared}
    for entry in entries:
        run = config.with_changes(entry.changes)
        first = run.first_stage()
        known = {"domains", *inspect.signature(run.constructor()).parameters}
        if first:
            known |= {
                f"first.{name}"
                for name in (*RUN_SETTINGS, *inspect.signature(first.constructor()).parameters)
            }
        own = {name: value for name, value in left.items() if name in known}
        changed.append(dataclasses.replace(entry, changes={**own, **entry.changes}))
    taken = {name for entry in changed for name in entry.changes}
    for name in left:
        if name not in taken:
            raise InputError(
                f"{name!r} is a setting of neither the run nor one of {', '.join(e.label for e in entries)}. Correct "
                "its name, or leave it out."
            )
    return config, changed


def compare(
    config: RunConfig,
    entries: Sequence[Entry],
    folder: str | pathlib.Path,
    *,
    seeds: int = 5,
    search: int = 0,
    jobs: int = 1,
    progress: Callable[[Iterator[Any], int, str], Iterator[Any]] = lambda items, total, title: items,
) -> list[dict[str, Any]]:
    """Trains every entry over the seeds; what is done already is not done again.

    With `search`, every model first gets the same number of trials from the same space (`catalogue.SEARCH`, one seed),
    and the settings with the best validation metric are trained over the seeds; variants of a model share its search.
    Test rows are scored once a run and never choose anything.

    Args:
        config: data, split, and the settings that the entries share.
        entries: what to compare.
        folder: `results.jsonl` (a line a run, appended as they end) and `table.md` go here, and first stages to
            `first`: models of two stages that share one train it once. A comparison that was stopped goes on where it
            stopped when it is started again.
        seeds: runs of each entry; their seeds are 0, 1, ...
        search: trials of each entry; 0: no search.
        jobs: processes.
        progress: wraps an iterator over the runs, given their number and a title.

    Returns:
        The results of the seeds, as `results.jsonl` holds them.
    """
    labels = [entry.label for entry in entries]
    if len(set(labels)) < len(labels):
        raise InputError("Two entries of the comparison are the same. Give each model once.")
    if seeds < 1:
        raise InputError(f"`seeds` must be at least 1. Received: {seeds}.")
    from cdrzoo.training.run import check_model

    for entry in entries:  # a misspelt argument, or a wrong one, fails before any long work
        run = config.with_changes(entry.changes)
        check_model(run)
        if run.finetune not in (None, config.finetune):  # its vocabularies are not those of the shared rows
            raise InputError(
                f"{entry.label!r} fine-tunes {run.finetune}. Name it in the run configuration, whose rows all entries "
                "share; an entry may say `finetune=null`."
            )
    folder = pathlib.Path(folder)
    chosen: dict[str, dict[str, Any]] = {entry.label: {} for entry in entries}
    with files.lock(folder), _pool(config, folder / "first", jobs) as pool:
        store = _Store(folder / "results.jsonl", config)
        if search:
            leaders = searched(config, entries)
            tasks = [
                Task("search", entry.label, {**trial, **entry.changes, "seed": SEARCH_SEED})
                for entry in entries
                if leaders[entry.label] is entry
                for trial in trials(config.with_changes(entry.changes), search)
            ]
            # What an entry fixes makes trials equal; two processes would train them side by side.
            tasks = list({(task.label, store._key(task)): task for task in tasks}.values())
            trained = list(progress(store.run(tasks, pool), len(tasks), "searching"))
            for entry in entries:
                own = [r for r in trained if r["label"] == leaders[entry.label].label]
                best = best_trial(own)
                drawn = {
                    k: v
                    for k, v in best["changes"].items()
                    if k not in ("seed", *leaders[entry.label].changes)
                }
                chosen[entry.label] = {k: v for k, v in drawn.items() if k not in entry.changes}
        tasks = [
            Task("seed", entry.label, {**entry.changes, **chosen[entry.label], "seed": seed})
            for seed in range(seeds)
            for entry in entries
        ]
        results = list(progress(store.run(tasks, pool), len(tasks), "training"))
    results.sort(key=lambda r: (labels.index(r["label"]), r["changes"]["seed"]))
    return results


def searched(config: RunConfig, entries: Sequence[Entry]) -> dict[str, Entry]:
    """`{label: the entry whose search it uses}`: variants of a model on the same domains share the first one's.

    An ablation must differ from the full model in what it leaves out, and in nothing else. A model that is fine-tuned
    and one that is trained from scratch are no variants of each other.
    """
    leaders: dict[tuple[str | None, ...], Entry] = {}
    found = {}
    for entry in entries:
        run = config.with_changes(entry.changes)
        found[entry.label] = leaders.setdefault((run.model, run.domains, run.finetune), entry)
    return found


def best_trial(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line of the best validation metric; a trial that diverged is none, and if all did a `Diverged` is raised."""
    best = max(lines, key=lambda line: merit(line["result"]["validation"]))
    if "failed" in best["result"]:
        raise Diverged(f"Every trial of {best['label']} failed. {best['result']['failed']}")
    return best


def merit(validation: Mapping[str, float]) -> float:
    """What a search maximises: AUC for clicks, minus RMSE for ratings."""
    value = validation["auc"] if "auc" in validation else -validation["rmse"]
    return value if np.isfinite(value) else -np.inf


def trials(config: RunConfig, number: int) -> list[dict[str, Any]]:
    """The `catalogue.FIRST_TRIALS`, then draws from the search space, the same for every model; `number` in all.

    A setting that a model does not have (dropout of LR, the sources' share for a model of the target alone, the width
    of tables that are fine-tuned) is left out of its draws; the others keep their values. A model of two stages has the
    same draw in both.
    """
    rng = np.random.default_rng(SEARCH_SEED)
    drawn = [_settings(config, trial) for trial in FIRST_TRIALS[config.schema.target_domain.task]]
    while len(drawn) < number:
        draw = {name: values[int(rng.integers(len(values)))] for name, values in SEARCH.items()}
        drawn.append(_settings(config, draw))
    return drawn[:number]


def _settings(config: RunConfig, draw: Mapping[str, Any]) -> dict[str, Any]:
    """What a draw changes: the settings that the model has, and those that its first stage has."""
    named = set(draw) - RUN_SETTINGS
    absent = named - set(inspect.signature(config.constructor()).parameters)
    absent |= {"source_ratio", "loss_weights"} if config.domains == "target" or config.finetune else set()
    absent |= {"width"} if config.finetune else set()
    settings = {name: value for name, value in draw.items() if name not in absent}
    first = config.first_stage()
    of_first = _settings(first, draw) if first else {}
    return {**{f"first.{name}": value for name, value in of_first.items()}, **settings}


@dataclass(frozen=True)
class Task:
    """One training of a comparison."""

    stage: str
    label: str
    changes: dict[str, Any]


def kept(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a `results.jsonl`; a last one that was cut off when its process was stopped is left out."""
    lines = path.read_text().splitlines()
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError:
        return [json.loads(line) for line in lines[:-1]]


def runs(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """`[label, key]` of each line of a table, for the page that is made of it later."""
    return [[line["label"], line["key"]] for line in results]


class _Store:
    """Results on disk, a line each; a run that stands there with the same settings and data is not repeated.

    The key of a line is made of the settings and of what the data files hold, so that results go on on another machine.
    """

    def __init__(self, path: pathlib.Path, config: RunConfig):
        self.path, self.config = path, config
        self.done: dict[str, dict[str, Any]] = {}
        if path.exists():
            lines = kept(path)
            if not path.read_text().endswith("\n"):
                files.write(path, "".join(json.dumps(line) + "\n" for line in lines))
            self.done = {line["key"]: line for line in lines}

    def _key(self, task: Task) -> str:
        return _key(self.config.with_changes(task.changes))

    def run(
        self, tasks: Sequence[Task], pool: concurrent.futures.Executor | None
    ) -> Iterator[dict[str, Any]]:
        waiting: dict[concurrent.futures.Future, Task] = {}
        failed: list[Exception] = []
        # No two processes train the same first stage, nor does the second wait for the first.
        if pool is not None:
            todo = [
                self.config.with_changes(task.changes) for task in tasks if self._key(task) not in self.done
            ]
            firsts = {_key(first): first for first in (run.first_stage() for run in todo) if first}
            list(pool.map(_train_first, firsts.values()))
        for task in tasks:
            if self._key(task) in self.done:
                yield {**self.done[self._key(task)], "label": task.label}
            elif pool is None:
                yield from self._keep(task, _train(task.changes), failed)
            else:
                waiting[pool.submit(_train, task.changes)] = task
        try:
            for future in concurrent.futures.as_completed(waiting):
                if future.cancelled():
                    continue
                try:
                    yield from self._keep(waiting[future], future.result(), failed)
                except Exception as error:  # what is being trained beside it is kept, the rest is not begun
                    failed.append(error)
                    for other in waiting:
                        other.cancel()
        finally:
            for future in waiting:
                future.cancel()
        if failed:
            raise failed[-1]

    def _keep(self, task: Task, result: dict[str, Any], failed: list[Exception]) -> list[dict[str, Any]]:
        """The line, written; none of a seed that diverged, which is told when the others are done."""
        if "failed" in result and task.stage != "search":
            failed.append(Diverged(f"{task.label} with seed {task.changes['seed']}: {result['failed']}"))
            return []
        line = {"key": self._key(task), **vars(task), "result": result}
        self.done[line["key"]] = line
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return [line]


def _key(config: RunConfig) -> str:
    everything = json.dumps(config.identity(), sort_keys=True, default=str)
    return hashlib.sha256(everything.encode()).hexdigest()[:16]


_worker: dict[str, Any] = {}


def _start(config: RunConfig, firsts: pathlib.Path) -> None:
    from cdrzoo.training import fitting

    _worker.update(config=config, prepared=fitting.prepare(config), firsts=firsts)


def _train(changes: dict[str, Any]) -> dict[str, Any]:
    from cdrzoo.training import run

    config = _worker["config"].with_changes(changes)
    first, begin = config.first_stage(), time.perf_counter()
    try:
        return run.fit_once(config, _worker["prepared"], _worker["firsts"] / _key(first) if first else None)
    except Diverged as error:
        seconds = time.perf_counter() - begin
        return {"validation": {"auc": math.nan}, "failed": str(error), "seconds": seconds}


def _train_first(config: RunConfig) -> None:
    from cdrzoo.training import fitting

    with contextlib.suppress(Diverged):  # the second stage's run says so
        fitting.fit_first(config, fitting.seen(config, _worker["prepared"]), _worker["firsts"] / _key(config))


@contextlib.contextmanager
def _pool(config: RunConfig, firsts: pathlib.Path, jobs: int) -> Iterator[concurrent.futures.Executor | None]:
    """A pool of processes that each prepare the data once; `None` for one job, which runs here."""
    if jobs < 2:
        _start(config, firsts)
        yield None
        return
    # TensorFlow would give every process a thread for each core.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        jobs, context, initializer=_start, initargs=(config, firsts)
    ) as pool:
        yield pool


# The table --------------------------------------------------------------------------------------------------------

COLUMNS = {
    "click": {"auc": "AUC", "gauc": "GAUC", "log_loss": "LogLoss", "ece": "ECE"},
    "rating": {"mae": "MAE", "rmse": "RMSE"},
}
TITLES = {metric: title for columns in COLUMNS.values() for metric, title in columns.items()}
RANKED = 6
"""Seeds from which the table has Wilcoxon's test, too: with fewer no p-value of it is below 0.05."""
GROUPS = "By the training rows that the target has of a user (cold: none, warm: some)."


def table(
    results: Sequence[Mapping[str, Any]],
    against: str,
    floors: Mapping[str, Mapping[str, float]] | None = None,
) -> list[dict[str, str]]:
    """Rows of the comparison's table, one a label, each cell as text.

    Args:
        results: of `compare`.
        against: label that the others are tested against, by a paired t-test over seeds on the first metric. Beside
            its p-value stands that of Holm's correction for having tested all the others, and from `RANKED` seeds on
            that of Wilcoxon's signed-rank test.
        floors: simple baselines, `{name: {metric: value}}`, put first.
    """
    columns = COLUMNS["click" if "auc" in results[0]["result"]["test"] else "rating"]
    found = tests(results, against)
    corrected = dict(zip(found, holm([test.p for test in found.values()])))
    ranked = any(test.seeds >= RANKED for test in found.values())
    titles = ["difference", "p", "p, Holm", *(["p, Wilcoxon"] if ranked else [])]
    rows = []
    for name, floor in (floors or {}).items():
        cells = {title: f"{floor[m]:.4f}" if m in floor else "" for m, title in columns.items()}
        empty = dict.fromkeys((*titles, "parameters", "seconds"), "")
        rows.append({"model": name, **cells, **empty})
    for label, runs in _by_label(results).items():
        row = {"model": label}
        for metric, title in columns.items():
            row[title] = _cell([run["test"][metric] for run in runs.values()])
        row |= dict.fromkeys(titles, "")
        if label in found:
            test = found[label]
            row["difference"] = f"{test.difference:+.4f}"
            row["p"] = p_text(test.p) or test.note
            row["p, Holm"] = p_text(corrected[label])
            if ranked:
                row["p, Wilcoxon"] = p_text(wilcoxon(*_both(results, label, against)))
        row["parameters"] = f"{next(iter(runs.values()))['parameters']:,}"
        row["seconds"] = f"{np.mean([run['seconds'] for run in runs.values()]):.1f}"
        rows.append(row)
    return rows


def group_tables(
    results: Sequence[Mapping[str, Any]], sizes: Mapping[str, int]
) -> dict[str, list[dict[str, str]]]:
    """Metrics by group of users, as MKT's Table 3 has them: `{title: rows}`, a row a label, a column a group.

    Args:
        results: of `compare`. Groups without a value in any run are left out, those whose value is that of all rows
            (under cold start every user is cold), and metrics without groups.
        sizes: test rows of the groups, for the first row: a group of three rows has an AUC, too.
    """
    tables = {TITLES[metric]: _by_group(results, metric, sizes) for metric in ("auc", "gauc", "mae", "rmse")}
    return {title: rows for title, rows in tables.items() if len(rows[0]) > 1}


def _by_group(
    results: Sequence[Mapping[str, Any]], metric: str, sizes: Mapping[str, int]
) -> list[dict[str, str]]:
    rows = []
    for label, runs in _by_label(results).items():
        values: dict[str, list[float]] = {}
        for run in runs.values():
            for name, value in run["test"].items():
                if name.startswith(f"{metric}@") and np.isfinite(value) and value != run["test"][metric]:
                    values.setdefault(name.partition("@")[2], []).append(value)
        rows.append({"model": label, **{group: _cell(found) for group, found in values.items()}})
    groups = dict.fromkeys(name for row in rows for name in row)
    if sizes:
        rows.insert(0, {"model": "test rows", **{group: f"{size:,}" for group, size in sizes.items()}})
    return [{name: row.get(name, "") for name in groups} for row in rows]


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def tests(results: Sequence[Mapping[str, Any]], against: str) -> dict[str, Paired]:
    """`{label: paired t-test over seeds}` of every other label against one, on the first metric of `COLUMNS`."""
    labels = _by_label(results)
    return {
        label: paired(*_both(results, label, against))
        for label in labels
        if label != against and against in labels
    }


def _both(results: Sequence[Mapping[str, Any]], label: str, against: str) -> list[list[float]]:
    """The first metric of two labels, on the seeds that both have."""
    both = [_by_label(results)[each] for each in (label, against)]
    metric = next(iter(COLUMNS["click" if "auc" in results[0]["result"]["test"] else "rating"]))
    return [[runs[seed]["test"][metric] for seed in sorted(both[0].keys() & both[1].keys())] for runs in both]


def best_alone(results: Sequence[Mapping[str, Any]]) -> str:
    """Of the labels that see the target alone the one with the best validation metric, the mean over its seeds."""
    merits = {
        label: float(np.mean([merit(run["validation"]) for run in runs.values()]))
        for label, runs in _by_label(results).items()
        if all(run["domains"] == "target" for run in runs.values())
    }
    return max(merits, key=merits.__getitem__)


def _by_label(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    by_label: dict[str, dict[int, Mapping[str, Any]]] = {}
    for line in results:
        by_label.setdefault(line["label"], {})[line["changes"]["seed"]] = line["result"]
    return by_label


def p_text(p: float) -> str:
    """A p-value for a table; empty where there is none."""
    return "" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """The table as Markdown."""
    titles = list(rows[0])
    lines = [titles, ["---"] * len(titles), *([row[title] for title in titles] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
