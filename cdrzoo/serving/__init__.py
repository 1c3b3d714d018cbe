"""Serving what was exported: a client of TensorFlow Serving, its configuration, and a server for development.

Production is TensorFlow Serving; `Server` speaks its protocols on this machine alone, so that a client can be written
and tried without it. All of it needs `pip install 'cdrzoo[serving]'`.
"""

from __future__ import annotations

import importlib
from typing import Any

from cdrzoo.errors import InputError

_LAZY = {
    "Client": "cdrzoo.serving.client",
    "Server": "cdrzoo.serving.server",
    "write_config": "cdrzoo.serving.config",
}

__all__ = list(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'cdrzoo.serving' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("tensorflow_serving", "grpc", "urllib3"):
            raise
        raise InputError(
            f"Serving needs {error.name}, which is not installed. Install it with: pip install 'cdrzoo[serving]'"
        ) from None
