"""The search of a comparison: the same trials for every model, chosen on validation rows. Imports no TensorFlow."""

from __future__ import annotations

import functools
import inspect
import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cdrzoo.documents import load_mapping
from cdrzoo.errors import Diverged
from cdrzoo.experiments.entries import RUN_SETTINGS, Entry, arguments_of
from cdrzoo.models import cards
from cdrzoo.training.config import RunConfig

SEED = 1000
"""Seed of the trials of a search; the seeds that are reported start at 0."""


@functools.cache
def _search() -> dict[str, Any]:
    return load_mapping(pathlib.Path(__file__).with_suffix(".yaml"))


def space() -> dict[str, list[Any]]:
    """`{setting: values}` that trials are drawn from."""
    return _search()["space"]


MOST_DRAWS = 1000
"""Draws after which a search with a small space has fewer trials than it was to have."""


def trials(config: RunConfig, number: int, fixed: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The first trials of `search.yaml`, then draws from its space, the same for every model; `number` in all.

    A setting that a model does not have (dropout of LR, the sources' share for a model of the target alone, the width
    of tables that are fine-tuned) is left out of its draws; the others keep their values. A model of two stages has the
    same draw in both. A trial that trains what an earlier one has trained is none: the next draw takes its place.

    Args:
        config: of the model.
        number: of trials.
        fixed: settings that no trial changes.
    """
    found: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    for draw in itertools.islice(_proposed(config), MOST_DRAWS):
        trial = changes_of(config, draw)
        trained = _trained(config, {name: v for name, v in trial.items() if name not in (fixed or {})})
        if trained not in told:
            found.append(trial)
            told.append(trained)
        if len(found) == number:
            break
    return found


def _proposed(config: RunConfig) -> Iterator[dict[str, Any]]:
    yield from _search()["first_trials"][config.schema.target_domain.task]
    if width := _search()["paper_widths"].get(config.model):
        yield {"width": width}
    rng = np.random.default_rng(SEED)
    while True:
        yield {name: values[int(rng.integers(len(values)))] for name, values in space().items()}


def _trained(config: RunConfig, trial: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial changes: its settings without those that the model has anyway."""
    first = config.first_stage() or config
    of = {name: first if name.startswith("first.") else config for name in trial}
    return {n: value for n, value in trial.items() if _usual(of[n], n.removeprefix("first.")) != value}


def _usual(config: RunConfig, name: str) -> Any:
    """What a setting is without a trial; `None` for a width where the tables have several."""
    if name == "width":
        widths = {config.width or table.width for table in config.schema.tables}
        return widths.pop() if len(widths) == 1 else None
    if hasattr(config.training, name):
        return getattr(config.training, name)
    return config.arguments.get(name, inspect.signature(config.constructor()).parameters[name].default)


def changes_of(config: RunConfig, draw: Mapping[str, Any]) -> dict[str, Any]:
    """What a draw changes: the settings that the model has, and those that its first stage has."""
    absent = set(draw) - RUN_SETTINGS - arguments_of(config)
    absent |= {"source_ratio", "loss_weights"} if not trains_on_sources(config) else set()
    absent |= {"source_ratio"} if cards.card(config.model).paired else set()  # batches have the target's rows
    absent |= {"width"} if config.finetune else set()
    settings = {name: value for name, value in draw.items() if name not in absent}
    first = config.first_stage()
    of_first = changes_of(first, draw) if first else {}
    return {**{f"first.{name}": value for name, value in of_first.items()}, **settings}


def trains_on_sources(config: RunConfig) -> bool:
    """Whether rows of a source teach the model anything."""
    if config.domains == "target" or config.finetune:
        return False
    targets = config.arguments.get("targets")  # DACDR sees the sources through the targets' histories alone
    return "targets" not in arguments_of(config) or targets == "all" or len(targets or ()) > 1


def leaders(config: RunConfig, entries: Sequence[Entry]) -> dict[str, Entry]:
    """`{label: the entry whose search it uses}`: variants of a model on the same domains share the first one's.

    An ablation must differ from the full model in what it leaves out, and in nothing else. A model that is fine-tuned
    and one that is trained from scratch are no variants of each other; an entry may say that it is none (`searched`).
    """
    first: dict[tuple[str | None, ...], Entry] = {}
    found = {}
    for entry in entries:
        run = config.with_changes(entry.changes)
        key = (run.model, run.domains, run.finetune)
        found[entry.label] = entry if entry.searched else first.setdefault(key, entry)
    return found


def best(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line of the best validation metric; a trial that diverged is none, and if all did a `Diverged` is raised."""
    found = max(lines, key=lambda line: merit(line["result"]["validation"]))
    if "failed" in found["result"]:
        raise Diverged(f"Every trial of {found['label']} failed. {found['result']['failed']}")
    return found


def merit(validation: Mapping[str, float]) -> float:
    """What a search maximises: AUC for clicks, minus RMSE for ratings."""
    value = validation["auc"] if "auc" in validation else -validation["rmse"]
    return value if np.isfinite(value) else -np.inf
