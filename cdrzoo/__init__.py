"""cdrzoo: a Keras 3 model zoo for cross-domain recommendation."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# What stands here is imported when it is first asked for, so that `import cdrzoo` and the command line stay fast.
_LAZY = {
    "Domain": "cdrzoo.schema",
    "Feature": "cdrzoo.schema",
    "Schema": "cdrzoo.schema",
    "Table": "cdrzoo.schema",
    "InputError": "cdrzoo.errors",
}
_MODULES = {
    "callbacks": "cdrzoo.training.callbacks",
    **{
        name: f"cdrzoo.{name}"
        for name in (
            "data",
            "errors",
            "evaluation",
            "experiments",
            "export",
            "layers",
            "metrics",
            "models",
            "optimizers",
            "report",
            "schema",
            "serving",
            "training",
        )
    },
}

__all__ = sorted([*_LAZY, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'cdrzoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
