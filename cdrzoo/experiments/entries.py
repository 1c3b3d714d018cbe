"""What is compared or tuned: models, each with its own settings, as a person writes them. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdrzoo.documents import load_yaml
from cdrzoo.errors import InputError, check_known, shown
from cdrzoo.models import cards
from cdrzoo.training.config import RunConfig, Training

RUN_SETTINGS = frozenset({"width", "slices", *(f.name for f in dataclasses.fields(Training))})
"""What may be set for every model, besides the arguments of a model."""


@dataclass(frozen=True)
class Entry:
    """A line of the comparison.

    Args:
        label: what the table calls it.
        changes: settings that make it, by their plain names (`RunConfig.with_changes`); `model` among them.
        searched: whether it has a search of its own, though another line is of the same model: a recipe, no ablation.
    """

    label: str
    changes: dict[str, Any] = field(default_factory=dict)
    searched: bool = False

    @classmethod
    def parse(cls, text: str) -> Entry:
        """From the command line's `model[:name=value...]`, for example `dnn:domains=all` or `cctl:ren_weight=0`."""
        model, *settings = re.split(r":(?![^{]*})", text)  # a value may be {name: number}
        cards.card(model)
        changes: dict[str, Any] = {"model": model}
        for setting in settings:
            name, _, value = setting.partition("=")
            if not name.strip() or not value.strip():
                raise InputError(f"A setting of {text!r} must read name=value. Received: {shown(setting)}.")
            if name in ("model", "seed"):
                raise InputError(
                    f"{text!r} sets {name!r}: the model is named first, and seeds are 0, 1, ... for all. Leave it out."
                )
            if name in changes:
                raise InputError(f"{text!r} sets {name!r} twice. Keep one.")
            changes[name] = load_yaml(value, f"{setting!r} of {text!r}")
        return cls(text, changes)


def read_entries(given: str | Sequence[str | Entry] | Mapping[str, str]) -> list[Entry]:
    """The entries of `"dnn,cctl:ren_weight=0"`, of a list of such texts, or of `{label: text}`."""
    if isinstance(given, Mapping):
        return [dataclasses.replace(Entry.parse(text), label=label) for label, text in given.items()]
    if isinstance(given, str):
        given = re.split(r",(?![^\[{]*[\]}])", given)  # a comma within brackets belongs to a list
    return [each if isinstance(each, Entry) else Entry.parse(each.strip()) for each in given]


def arguments_of(run: RunConfig) -> set[str]:
    """What the constructor of a configuration's model takes besides the schema; this imports the model."""
    return set(_parameters(run.constructor()))


def _parameters(constructor: Callable[..., Any]) -> list[str]:
    parts = ("schema", "pretrained", "trained", "kwargs")
    return [name for name in inspect.signature(constructor).parameters if name not in parts]


def check_names(entry: Entry) -> None:
    """Raises an `InputError` for a setting that the entry's model does not have; this imports the model."""
    card = cards.card(entry.changes["model"])
    cls: Any = card.load()
    known = ["model", "domains", "finetune", "seed", *sorted(RUN_SETTINGS), *_parameters(cls)]
    if hasattr(cls, "for_new_domain"):
        known += _parameters(cls.for_new_domain)
    if card.after:
        first = ["seed", *RUN_SETTINGS, *_parameters(cards.card(card.after).load())]
        known += [f"first.{name}" for name in first]
    check_known(f"{entry.label!r}", entry.changes, known)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raises an `InputError` where a setting is of one training alone."""
    if "model" in settings:
        raise InputError(
            "A setting is meant for all models, and `model` names one. Give it among the models."
        )
    if "seed" in settings:
        raise InputError(
            "The seeds are those of the command (a comparison has 0, 1, ..., as many as `seeds` says; the trials of a "
            "search have one): leave out `seed`. That of a run stands in its configuration."
        )


def with_settings(
    config: RunConfig, entries: Sequence[Entry], settings: Mapping[str, Any]
) -> tuple[RunConfig, list[Entry]]:
    """The configuration and the entries with settings that are meant for all of them.

    What is of the run or its training the configuration gets; an argument of models every entry whose model, or its
    first stage for `first.NAME`, has it. What an entry says itself stays.

    Raises:
        InputError: none of the models has such an argument, or the run goes on with another one.
    """
    if config.warm_start_from:
        raise InputError(
            "Models are compared by trainings from the start. Leave `warm_start_from` out; `cdrzoo backtest` compares "
            "what goes on with what is trained anew."
        )
    check_settings(settings)
    shared = {name: value for name, value in settings.items() if name in RUN_SETTINGS}
    config, changed = config.with_changes(shared), []
    left = {name: value for name, value in settings.items() if name not in shared}
    for entry in entries:
        run = config.with_changes(entry.changes)
        first = run.first_stage()
        known = {"domains", *arguments_of(run)}
        if first:
            known |= {f"first.{name}" for name in (*RUN_SETTINGS, *arguments_of(first))}
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
