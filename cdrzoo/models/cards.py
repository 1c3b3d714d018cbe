"""What a person needs to know of every model; `cards.yaml` as objects. A model is imported when asked for."""

from __future__ import annotations

import functools
import importlib
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cdrzoo.documents import load_yaml
from cdrzoo.errors import InputError, did_you_mean, shown


@dataclass(frozen=True)
class ModelCard:
    """What a person needs to choose a model: a line of `cards.yaml`.

    Args:
        name: what the command line calls it; its module.
        family: `single-domain`, `multi-domain` or `cross-domain`.
        cls: name of the class.
        title: its name in the field.
        paper: where it was published.
        needs: what it needs from the schema.
        paired: whether it trains on batches whose i-th rows, in all domains, are one user's.
        after: of a second stage: the name of the first, whose trained model is its argument `pretrained`.
        twin: of a cross-domain model without an argument `pooling`: the model of the target alone that it is most
            like, `din` if it attends to histories, else `dnn`.
        changed: `{argument: [before, now]}`, defaults that are others than once: files, runs and kept results without
            the argument were made with the one before.
        short: what tables and reports call it; default: its class.
    """

    name: str
    family: str
    cls: str
    title: str
    paper: str
    needs: str
    paired: bool = False
    after: str | None = None
    twin: str = "dnn"
    changed: Mapping[str, Any] = field(default_factory=dict)
    short: str = ""

    @property
    def domains(self) -> str:
        """Which domains it trains on unless told otherwise: `target` or `all`."""
        return "target" if self.family == "single-domain" else "all"

    def called(self, domains: str | None) -> str:
        """What reports call a model that is trained on these domains (`target` or `all`): `DNN, all domains`."""
        where = {"target": ", target alone", "all": "" if self.domains == "all" else ", all domains"}
        return (self.short or self.cls) + where[domains or self.domains]

    @property
    def before(self) -> dict[str, Any]:
        """The defaults that what does not say these arguments was made with."""
        return {name: before for name, (before, _) in self.changed.items()}

    @property
    def now(self) -> dict[str, Any]:
        """The defaults of these arguments today."""
        return {name: now for name, (_, now) in self.changed.items()}

    def load(self) -> type:
        """The model's class (this imports TensorFlow)."""
        return getattr(importlib.import_module(f"cdrzoo.models.{self.name}"), self.cls)


def _read(name: str) -> Any:
    path = pathlib.Path(__file__).with_name(name)
    return load_yaml(path.read_text(encoding="utf-8"), name)


CARDS = tuple(
    ModelCard(name, family, **card)
    for family, cards in _read("cards.yaml").items()
    for name, card in cards.items()
)


def card(name: str) -> ModelCard:
    """The card of the model called `name`, for example `"cctl"`."""
    names = {one.name: one for one in CARDS}
    if name not in names:
        hint = did_you_mean(str(name).lower(), names) or f"`cdrzoo models` lists them: {', '.join(names)}."
        raise InputError(f"There is no model {shown(name)}. {hint}")
    return names[name]


def before(cls: type) -> dict[str, Any]:
    """`ModelCard.before` of a model's class, or of the one that a class of a user's extends."""
    modules = {base.__module__ for base in cls.__mro__}
    return next((one.before for one in CARDS if one.changed and f"cdrzoo.models.{one.name}" in modules), {})


@functools.cache
def costs() -> dict[str, dict[str, float]]:
    """What models cost beside DNN, of which they were measured: `{name: {"parameters": ratio, "step": ratio}}`."""
    return _read("costs.yaml")


def table() -> list[tuple[str, ...]]:
    """The models as rows of text, the names of the columns first: what `cdrzoo models` shows."""
    rows: list[tuple[str, ...]] = [("name", "model", "family", "needs", "parameters", "step", "paper")]
    for one in CARDS:
        cost = costs()[one.name]
        ratios = (f"{cost['parameters']:.2f}", f"{cost['step']:.1f}")
        rows.append((one.name, one.title, one.family, one.needs, *ratios, one.paper))
    return rows
