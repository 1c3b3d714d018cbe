"""Export: a SavedModel of the target's part of a trained model, and the proof that it does what the model does.

`save` writes a version, `verify` replays recorded rows through it. The others turn rows of a log into what a server
takes. What stands here is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

_LAZY = {
    "REPLAY_ROWS": "cdrzoo.export.saving",
    "missing_rows": "cdrzoo.export.rows",
    "parse_examples": "cdrzoo.export.rows",
    "raw_rows": "cdrzoo.export.rows",
    "save": "cdrzoo.export.saving",
    "serialize_rows": "cdrzoo.export.rows",
    "verify": "cdrzoo.export.verification",
}

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'cdrzoo.export' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
