"""Serving what was exported: a client of TensorFlow Serving, its configuration, and a server for development.

Production is TensorFlow Serving; `Server` speaks its protocols on this machine alone, so that a client can be written
and tried without it. All of it needs `pip install 'cdrzoo[serving]'`.
"""

from __future__ import annotations

from typing import Any

from cdrzoo import lazy
from cdrzoo.errors import InputError

_find, __dir__, __all__ = lazy.attach(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        return _find(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("tensorflow_serving", "grpc", "urllib3"):
            raise
        raise InputError(
            f"Serving needs {error.name}, which is not installed. Install it with: pip install 'cdrzoo[serving]'"
        ) from None
