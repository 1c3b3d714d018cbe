"""The target-only twin of a cross-domain run: what it would have been without a source."""

from __future__ import annotations

import inspect
from typing import Any

from cdrzoo import models
from cdrzoo.errors import InputError
from cdrzoo.training.config import RunConfig

SHARED_ARGUMENTS = ("units", "dropout")
"""Arguments that a twin of another kind takes over, where both models have them."""


def twin_of(config: RunConfig) -> tuple[RunConfig, str]:
    """The target-only twin of a cross-domain run, and in words which one it is.

    A model that can do without a source (`dnn:domains=all`, STAR, ...) is its own twin, on the target alone. A model
    that cannot has DIN for a twin if it attends to histories, else DNN, as wide and with the same dropout. Seed,
    optimizer, batch, epochs, patience and width of tables are the run's.

    Raises:
        InputError: the run has no source.
    """
    card = models.card(config.model)
    if config.domains == "target" or len(config.schema.domains) < 2:
        raise InputError(
            f"The run of {card.title} saw the target alone: there is no transfer to measure. Give a run with "
            "`domains: all`."
        )
    if card.family != "cross-domain":
        return config.with_changes({"domains": "target"}), "the same model, trained on the target alone"
    own = _arguments(config)
    first = config.first_stage()
    own = {**(_arguments(first) if first else {}), **own}
    name = {"attention": "din", "mean": "dnn"}.get(str(own.get("pooling")), card.twin)
    known = inspect.signature(models.card(name).load()).parameters
    arguments = {key: own[key] for key in SHARED_ARGUMENTS if key in own and key in known}
    arguments = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}
    why = (
        f"{card.title} needs a source; {models.card(name).title} reads histories as it does"
        + (", as wide" if "units" in arguments else "")
        + ", on the target alone"
    )
    return config.with_changes({"model": name, **arguments}), why


def _arguments(config: RunConfig) -> dict[str, Any]:
    """The model's arguments, those that were left at their defaults included."""
    parameters = inspect.signature(models.card(config.model).load()).parameters
    defaults = {k: p.default for k, p in parameters.items() if p.default is not inspect.Parameter.empty}
    return {**defaults, **config.arguments}
