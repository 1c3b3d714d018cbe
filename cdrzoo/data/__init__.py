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
    "Prepared": "cdrzoo.data.preparation.prepared",
    "Ragged": "cdrzoo.data.ragged",
    "Split": "cdrzoo.data.preparation.splits",
    "check": "cdrzoo.data.quality",
    "cold_start": "cdrzoo.data.preparation.coldstart",
    "evaluation_batches": "cdrzoo.data.batches",
    "extend": "cdrzoo.data.preparation.extension",
    "prepare": "cdrzoo.data.preparation.prepared",
    "read": "cdrzoo.data.readers",
    "stream": "cdrzoo.data.streams",
    "training_batches": "cdrzoo.data.batches",
}
_MODULES = ("datasets", "synthetic")

__all__ = sorted([*_LAZY, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"cdrzoo.data.{name}")
    raise AttributeError(f"module 'cdrzoo.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
