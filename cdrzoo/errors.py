"""Errors that mean the input is at fault. The command line prints them on a line or two and exits with 2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Something the user gave is wrong. The message says what was wanted, what was received and how to mend it."""


def check_choice(
    what: str, received: Any, allowed: Iterable[Any], hint: str = "", error: type[InputError] = InputError
) -> None:
    """Raises unless `received` is one of `allowed`. `what` names it, an argument in backticks."""
    allowed = list(allowed)
    if received not in allowed:
        raise error(f"{what} must be one of {', '.join(map(str, allowed))}. Received: {received!r}.{hint}")


class SchemaError(InputError):
    """The schema contradicts itself."""


class DataError(InputError):
    """The data does not fit the schema, or cannot be read."""


class Diverged(InputError):
    """A training gave no finite validation metric."""


class VerifyError(InputError):
    """An exported model does not do what the trained model does, or holds what it must not."""
