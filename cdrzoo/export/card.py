"""The model card of an export."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import math
import pathlib
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from cdrzoo.errors import InputError
from cdrzoo.export.rows import MISSING
from cdrzoo.files import read_json, reading
from cdrzoo.schema import Feature, Label, Reading, Schema

MEND = "Export the run again, as another version."
"""What to do about a damaged file of a version."""


def read_card(path: pathlib.Path) -> tuple[dict[str, Any], Schema, list[Feature]]:
    """What the model card of a version says, with the schema and the features that are served.

    Raises:
        InputError: it is missing or damaged.
    """
    file = path / "assets.extra" / "model_card.json"
    if not file.exists():
        raise InputError(
            f"{path} was not exported by cdrzoo: assets.extra/model_card.json is missing. Give a version folder, for "
            "example saved_models/films/1."
        )
    card = read_json(file, MEND, ("schema", "inputs", "variables"))
    with reading(file, MEND, whole=True):
        schema = Schema.from_dict(card["schema"])
        features = [schema.target_domain.feature(name) for name in card["inputs"]]
        if not features:
            raise ValueError("it names no input")
        Reading.from_dict(card.get("reading"))
        card.get("files", {}).items()
        if not all({"shape", "dtype"} <= set(variable) for variable in card["variables"].values()):
            raise ValueError("it does not say the variables")
    return card, schema, features


def digests(path: pathlib.Path) -> dict[str, str]:
    """`{file: sha256}` of what scoring reads: graph, variables, vocabularies."""
    found = [
        path / "saved_model.pb",
        *sorted((path / "variables").glob("*")),
        *sorted((path / "assets").glob("*")),
    ]
    return {str(file.relative_to(path)): _sha256(file) for file in found}


def _sha256(file: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def check_files(path: pathlib.Path, card: Mapping[str, Any]) -> None:
    """Raises an `InputError` if a file of a version is not as its card says; cards of version 0.1 say nothing of it."""
    for name, digest in card.get("files", {}).items():
        if not (path / name).exists():
            raise InputError(f"{path / name} is missing. {MEND}")
        if _sha256(path / name) != digest:
            raise InputError(f"{path / name} is damaged: it is not what the export wrote. {MEND}")


@contextlib.contextmanager
def loading(path: pathlib.Path, card: Mapping[str, Any]) -> Iterator[None]:
    """Around the loading of a version; where it fails, the file at fault is named."""
    try:
        with reading(path, MEND):
            yield
    except InputError:
        check_files(path, card)
        raise


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
        + ", ".join(map(_meant, domain.outputs.values()))
        + ".",
        "limits": "Ids that were not seen in training share one row of their table; a missing value reads as zeros. "
        "Scores mean what they meant in the training data: its period, its candidates, its share of positives.",
        "inputs": {
            f.name: {
                "dtype": f.dtype,
                "shape": "[batch, any length]" if f.ragged else f"[batch, {f.size}]" if f.size else "[batch]",
                "missing": "zeros" if f.size else "NaN" if f.dtype == "float32" else MISSING[f.dtype],
                **({"newest_steps_read": f.length} if f.ragged else {}),
            }
            for f in features
        },
        **(
            {"constants": constants}
            if (
                constants := {
                    f.name: f.serving_value for f in model.serving_features if f.serving_value is not None
                }
            )
            else {}
        ),
        "outputs": {
            label.name: {"dtype": "float32", "shape": "[batch]"} for label in domain.outputs.values()
        },
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


def _meant(label: Label) -> str:
    what = "the probability of a" if label.task == "click" else "the expected"
    return f"{what} {label.name}" + (f" (with its {label.given})" if label.given else "")


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
