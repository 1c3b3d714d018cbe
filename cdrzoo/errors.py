"""Errors that mean the input is at fault, and the checks that many make of a setting.

The command line prints these errors on a line or two and exits with 2.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import numbers
import re
import reprlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["DataError", "DataWarning", "Diverged", "InputError", "SchemaError", "VerifyError"]


def __dir__() -> list[str]:
    return __all__


class InputError(ValueError):
    """Something the user gave is wrong. The message says what was wanted, what was received and how to mend it.

    Of a word of many hundred characters, a name say, it shows the beginning and the end.
    """

    def __init__(self, *args: Any):
        super().__init__(*(_cut(text) if isinstance(text, str) else text for text in args))


def _cut(text: str) -> str:
    return re.sub(r"(?<!\S)\S{600,}", lambda word: f"{word[0][:200]}...{word[0][-100:]}", text)


class SchemaError(InputError):
    """The schema contradicts itself."""


class DataError(InputError):
    """The data does not fit the schema, or cannot be read."""


class DataWarning(UserWarning):
    """The data fits the schema, yet hardly says what was meant (see `cdrzoo.data.quality.warnings_of`)."""


class Diverged(InputError):
    """A training gave no finite validation metric."""


class VerifyError(InputError):
    """An exported model does not do what the trained model does, or holds what it must not: see `report`."""

    report: Any


@contextlib.contextmanager
def printed() -> Iterator[None]:
    """Prints each `DataWarning` once, on a line of its own; other warnings are shown as ever. For command lines."""
    seen: set[str] = set()

    def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, DataWarning):
            return before(message, category, *where, **more)
        if str(message) not in seen:
            print(f"warning: {message}", file=sys.stderr, flush=True)
        seen.add(str(message))

    with warnings.catch_warnings():
        before, warnings.showwarning = warnings.showwarning, show
        warnings.simplefilter("always", DataWarning)
        yield


LONGEST = 200
"""Characters of a message that show one value."""


class _Short(reprlib.Repr):
    """Takes time and room for what it shows, not for what there is: a value may hold itself a million times over."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxother = 4, LONGEST
        self.maxstring = self.maxlong = LONGEST // 2
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = self.maxarray = 12

    def repr_int(self, x: int, level: int) -> str:
        digits = int(x.bit_length() * math.log10(2))
        return repr(x) if digits < self.maxlong else f"an integer of some {digits:,} digits"

    def repr_dict(self, x: Mapping[Any, Any], level: int) -> str:
        """As it stands there, not sorted."""
        if level <= 0 and x:
            return "{...}"
        shown = [
            f"{self.repr1(key, level - 1)}: {self.repr1(x[key], level - 1)}" for key in [*x][: self.maxdict]
        ]
        return "{" + ", ".join([*shown, "..."] if len(x) > self.maxdict else shown) + "}"

    def repr_str(self, x: str, level: int) -> str:
        return repr(x) if len(x) <= self.maxstring else f"{x[: self.maxstring]!r}... ({len(x):,} characters)"

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x) if len(x) <= self.maxstring else f"{x[: self.maxstring]!r}... ({len(x):,} bytes)"


def shown(value: Any) -> str:
    """A value in a message: its `repr`, cut short where it is long."""
    text = _Short().repr(value)
    return text if len(text) <= 2 * LONGEST else f"{text[: 2 * LONGEST]}..."


def is_number(value: Any) -> bool:
    """Whether it is a finite number; `True` is none."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)


def is_whole(value: Any, least: int = 0) -> bool:
    """Whether it is a whole number of at least so much; `True` is none."""
    return not isinstance(value, bool) and isinstance(value, int) and value >= least


COUNTS = {"seeds": (1, 1_000), "search": (0, 10_000), "trials": (1, 10_000), "jobs": (1, 256)}
"""From how many to how many the commands and functions that train many models are asked for."""
LARGEST_COUNT = 2**31 - 1
"""Of rows, epochs, steps: what every library beneath takes."""
MAX_VERSION = 2**63 - 1
"""The highest number of a version that TensorFlow Serving reads."""
WIDEST = 2**16
"""Columns of a table, units of a layer."""


def check_whole(
    what: str,
    received: Any,
    least: int = 0,
    most: int | None = LARGEST_COUNT,
    error: type[InputError] = InputError,
) -> None:
    """Raises unless `received` is a whole number within these bounds. `what` names it, an argument in backticks."""
    if not is_whole(received, least) or (most is not None and received > most):
        plain = most is None or (most == LARGEST_COUNT and not is_whole(received, least))
        bounds = f"of at least {least}" if plain else f"from {least} to {most}"
        raise error(f"{what} must be a whole number {bounds}. Received: {shown(received)}.")


def check_number(
    what: str,
    received: Any,
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    error: type[InputError] = InputError,
) -> None:
    """Raises unless `received` is a finite number within these bounds, and larger than `above`."""
    fits = is_number(received) and all(
        (
            least is None or received >= least,
            most is None or received <= most,
            above is None or received > above,
        )
    )
    if not fits:
        parts = ((above, "above"), (least, "of at least"), (most, "of at most"))
        bounds = " and ".join(f"{word} {bound}" for bound, word in parts if bound is not None)
        kind = "finite number" if isinstance(received, float) and not math.isfinite(received) else "number"
        raise error(f"{what} must be a {kind} {bounds}".rstrip() + f". Received: {shown(received)}.")


def did_you_mean(received: Any, allowed: Iterable[Any]) -> str:
    """`Did you mean 'films'?`, or nothing where none of the allowed words is near."""
    received = received if isinstance(received, str) else shown(received)
    near = difflib.get_close_matches(received[:LONGEST], [str(word) for word in allowed], n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


def check_choice(
    what: str, received: Any, allowed: Iterable[Any], error: type[InputError] = InputError
) -> None:
    """Raises unless `received` is one of `allowed`. `what` names it, an argument in backticks."""
    allowed = list(allowed)
    if received not in allowed:
        wanted = ", ".join(map(str, allowed))
        hint = did_you_mean(received, allowed)
        raise error(f"{what} must be one of {wanted}. Received: {shown(received)}. {hint}".rstrip())


def check_share(what: str, received: float) -> None:
    """Raises unless `received` lies in [0, 1]. `what` names it, an argument in backticks."""
    if not 0 <= received <= 1:
        raise InputError(f"{what} must lie in [0, 1]. Received: {received}.")


def check_dropout(received: Any) -> None:
    """Raises unless `received` can be a share of units that is dropped; of 1 nothing would be left."""
    if not is_number(received) or not 0 <= received < 1:
        raise InputError(
            f"`dropout` must be a number of at least 0 and below 1. Received: {shown(received)}."
        )


def check_known(what: str, given: Any, allowed: Iterable[str], error: type[InputError] = InputError) -> None:
    """Raises unless `given` is a mapping whose keys are all among `allowed`."""
    allowed = list(allowed)
    if not isinstance(given, Mapping):
        raise error(f"{what} must be a mapping with {', '.join(allowed)}. Received: {shown(given)}.")
    for key in given:
        if key not in allowed:
            hint = did_you_mean(key, allowed) or f"It knows: {', '.join(allowed) or 'nothing'}."
            raise error(f"{what} has an unknown entry {shown(key)}. {hint}")
