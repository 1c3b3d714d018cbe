"""The model card of an export."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from cdrzoo.schema import Feature

if TYPE_CHECKING:
    pass
from cdrzoo.export.rows import MISSING


def facts(model: Any, features: Iterable[Feature], variables: Sequence[keras.Variable]) -> dict[str, Any]:
    """What the model itself can say on its card."""
    domain = model.schema.target_domain
    config = {
        key: value for key, value in model.get_config().items() if key not in ("schema", "name", "trainable")
    }
    return {
        "model": type(model).__name__,
        "exported": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "intended_use": f"Scores rows of {domain.name!r}: "
        + ("the probability of a click." if domain.task == "click" else "the expected rating."),
        "limits": "Ids that were not seen in training share one row of their table; a missing value reads as zeros. "
        "Scores mean what they meant in the training data: its period, its candidates, its share of positives.",
        "inputs": {
            f.name: {
                "dtype": f.dtype,
                "shape": "[batch, any length]" if f.kind == "ids" else "[batch]",
                "missing": "NaN" if f.dtype == "float32" else MISSING[f.dtype],
                **({"newest_steps_read": f.length} if f.kind == "ids" else {}),
            }
            for f in features
        },
        "outputs": {domain.task: {"dtype": "float32", "shape": "[batch]"}},
        "size": {
            "exported_variables": len(variables),
            "exported_parameters": _parameters(variables),
            "model_variables": len(model.weights),
            "model_parameters": _parameters(model.weights),
        },
        "variables": {v.path: {"shape": list(v.shape), "dtype": str(v.dtype)} for v in variables},
        "arguments": plain(config),
        "schema": model.schema.to_dict(),
        "libraries": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        },
    }


def _parameters(variables: Iterable[keras.Variable]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def plain(value: Any) -> Any:
    """As JSON has it: NumPy's types become Python's, what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(entry) for entry in value]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def markdown(facts: Mapping[str, Any]) -> str:
    lines = [f"# {facts['model']}", ""]
    for key, value in facts.items():
        if key in ("model", "schema", "variables"):  # model_card.json has these
            continue
        lines += [f"## {key.replace('_', ' ').capitalize()}", "", *_bullets(value), ""]
    return "\n".join(lines)


def _bullets(value: Any, indent: str = "") -> list[str]:
    if isinstance(value, Mapping):
        lines = []
        for key, entry in value.items():
            nested = isinstance(entry, Mapping)
            lines.append(f"{indent}- {key}:" + ("" if nested else f" {_inline(entry)}"))
            lines += _bullets(entry, indent + "  ") if nested else []
        return lines
    return [f"{indent}{_inline(value)}"]


def _inline(value: Any) -> str:
    if isinstance(value, str) and not value:
        return '""'
    if isinstance(value, list):
        return ", ".join(_inline(entry) for entry in value)
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
