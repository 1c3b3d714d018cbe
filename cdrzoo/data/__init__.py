"""From logs to Keras batches: readers, histories, labels, splits, the encoder, batches, synthetic logs.

`prepare` is the front door. What stands here is imported when it is first asked for, so that a schema error or
`--help` never waits for pandas or TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

_LAZY = {
    "Encoder": "cdrzoo.data.encoder",
    "Part": "cdrzoo.data.batches",
    "Prepared": "cdrzoo.data.prepare",
    "Ragged": "cdrzoo.data.ragged",
    "Split": "cdrzoo.data.splits",
    "batches": "cdrzoo.data.batches",
    "check": "cdrzoo.data.check",
    "evaluation_batches": "cdrzoo.data.batches",
    "prepare": "cdrzoo.data.prepare",
    "read": "cdrzoo.data.readers",
    "stream": "cdrzoo.data.streams",
}
_MODULES = ("datasets", "synthetic")

__all__ = sorted([*_LAZY, *_MODULES])


def __getattr__(name: str) -> Any:
    # A function and its module may share a name (`prepare`): asking for it always gives the function.
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"cdrzoo.data.{name}")
    raise AttributeError(f"module 'cdrzoo.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
