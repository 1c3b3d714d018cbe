"""Callbacks of the user's own: named in a configuration, checked before any work, made anew for every training."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from cdrzoo.errors import InputError, check_known, shown


def as_named(callbacks: Any) -> list[dict[str, Any]] | None:
    """Callbacks as a configuration writes them: `[{"name": "module.Class", "arguments": {...}}]`; `None` for none.

    Args:
        callbacks: a list; each a name, a class (or a function that makes a callback), or a mapping with `name` and
            `arguments`.
    """
    if callbacks is not None and not isinstance(callbacks, (list, tuple)):
        raise InputError(
            f"`callbacks` must be a list, such as [my_package.Logger]. Received: {shown(callbacks)}."
        )
    return [_entry(each) for each in callbacks or ()] or None


def _entry(given: Any) -> dict[str, Any]:
    entry = dict(given) if isinstance(given, Mapping) else {"name": given}
    check_known("An entry of `callbacks`", entry, ("name", "arguments"))
    name, arguments = entry.get("name"), entry.get("arguments") or {}
    if inspect.isroutine(name) or isinstance(name, type):
        name = f"{name.__module__}.{name.__qualname__}"
    if not isinstance(name, str) or "." not in name or not isinstance(arguments, Mapping):
        raise InputError(
            "An entry of `callbacks` must be the dotted name of a class, such as my_package.Logger, or "
            f"{{name: my_package.Logger, arguments: {{path: log.csv}}}}. Received: {shown(given)}."
        )
    return {"name": name, **({"arguments": dict(arguments)} if arguments else {})}


def check(callbacks: Iterable[Mapping[str, Any]] | None) -> None:
    """Raises an `InputError` if one cannot be imported, is no callback, or does not take its arguments."""
    for each in callbacks or ():
        name, arguments, cls = each["name"], each.get("arguments", {}), _found(each["name"])
        try:
            inspect.signature(cls).bind(**arguments)
        except TypeError as error:
            raise InputError(f"The callback {name} cannot be made with {arguments}: {error}.") from None
        except ValueError:  # it does not say what it takes
            pass


def make(callbacks: Iterable[Mapping[str, Any]] | None) -> list[Any]:
    """The callbacks, made anew."""
    made = [_found(each["name"])(**each.get("arguments", {})) for each in callbacks or ()]
    for each, callback in zip(callbacks or (), made):
        _check_callback(each["name"], type(callback))
    return made


def _found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"The callback {name} cannot be imported: {error}. Name it as module.Class; the module must be installed, "
            "or lie in a folder that PYTHONPATH names."
        ) from error
    if isinstance(found, type):
        _check_callback(name, found)
    elif not callable(found):
        raise InputError(f"The callback {name} must be a class. Received: {shown(found)}.")
    return found


def _check_callback(name: str, cls: type) -> None:
    import keras

    if not issubclass(cls, keras.callbacks.Callback):
        raise InputError(f"The callback {name} must be a keras.callbacks.Callback. Received: {shown(cls)}.")
