"""What is done to a number before a model reads it, as a schema says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdrzoo.errors import SchemaError, is_number, shown

Step = tuple[str, Any]
"""A step by its name, and its argument: of `clip` the bounds `(low, high)`, of `cyclic` the period."""

LARGEST = 1e4
"""How far a number may lie from the mean, in deviations, and one of a vector from 0. Beyond, it is missing.

In a column of n rows nothing lies farther than sqrt(n - 1) deviations from the mean: of a hundred million training
rows none is. It is for requests: 1e30 multiplied by itself is no number any more, and neither is the score.
"""

FORMS = "log1p, {clip: [LOW, HIGH]} or {cyclic: PERIOD}, or a list of these, in their order"


def steps(here: str, given: Any) -> tuple[Step, ...] | None:
    """The steps of a `transform`, checked; a `SchemaError` where they are none.

    Args:
        here: the feature, for messages.
        given: a step, `"log1p"` or `{name: argument}`, or a list of steps.
    """
    if given is None:
        return None
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    found = tuple(_step(here, one, given) for one in listed)
    if not found:
        raise SchemaError(f"`transform` of {here} must be {FORMS}. Received: {shown(given)}.")
    names = [name for name, _ in found]
    if "cyclic" in names[:-1]:
        raise SchemaError(f"`cyclic` of {here} gives two columns, so it must be the last step.")
    low = None
    for name, argument in found:
        if name == "log1p" and low is not None and low < 0:
            raise SchemaError(
                f"log1p takes values of at least 0, but {here} is clipped at {low:g} before. Clip it at 0: "
                "{clip: [0, HIGH]}."
            )
        low = argument[0] if name == "clip" else low
    return found


def _step(here: str, one: Any, given: Any) -> Step:
    if isinstance(one, tuple) and len(one) == 2:  # as `steps` gives it
        one = {one[0]: one[1]}
    if one == "log1p" or one == {"log1p": None}:
        return "log1p", None
    argument: Any
    name, argument = next(iter(one.items())) if isinstance(one, Mapping) and len(one) == 1 else (one, None)
    if name == "clip":
        bounds: list[Any] = list(argument) if isinstance(argument, (list, tuple)) else []
        numbers = [one for one in bounds if one is not None]
        fits = len(bounds) == 2 and numbers and all(map(is_number, numbers))
        if not fits or (len(numbers) == 2 and numbers[0] >= numbers[1]):
            raise SchemaError(
                f"`clip` of {here} must be [LOW, HIGH], two numbers, LOW below HIGH; null is no bound. "
                f"Received: {shown(argument)}."
            )
        return "clip", tuple(bounds)
    if name == "cyclic":
        if not is_number(argument) or not argument > 0:
            raise SchemaError(
                f"`cyclic` of {here} must be a period above 0, such as cyclic: 24 for hours. "
                f"Received: {shown(argument)}."
            )
        return "cyclic", argument
    raise SchemaError(f"`transform` of {here} must be {FORMS}. Received: {shown(given)}.")


def plain(found: tuple[Step, ...]) -> Any:
    """The steps as YAML has them; `steps` reads it back."""
    written = [name if name == "log1p" else {name: _list(argument)} for name, argument in found]
    return written[0] if len(written) == 1 else written


def _list(argument: Any) -> Any:
    return list(argument) if isinstance(argument, tuple) else argument


def told(found: tuple[Step, ...]) -> str:
    """The steps in a line, for people: `clip(0, 100), log1p`."""

    def one(argument: Any) -> str:
        bounds = argument if isinstance(argument, tuple) else (argument,)
        return ", ".join("-" if each is None else f"{each:g}" for each in bounds)

    return ", ".join(name if name == "log1p" else f"{name}({one(argument)})" for name, argument in found)
