"""What a person hands to `save` and `verify`, checked before any work."""

from __future__ import annotations

import os
from typing import Any

from cdrzoo.errors import InputError

_WANTED = {
    "model": (("serve", "serving_features"), "a trained model of cdrzoo"),
    "encoder": (
        ("encode", "graph", "schema"),
        "the encoder whose schema the model was made with: `encoder` of what `data.prepare` gives, or "
        "`data.Encoder.load` of a folder",
    ),
    "examples": (
        ("head", "columns"),
        "a DataFrame of raw rows of the target, such as `rows.frame('films', 'test')`",
    ),
}


def check_arguments(**given: Any) -> None:
    """An `InputError` for a `model`, an `encoder`, `examples` or a folder (any other name) that is none."""
    for name, value in given.items():
        names, wanted = _WANTED.get(name, ((), "a path"))
        fine = all(hasattr(value, each) for each in names) if names else isinstance(value, (str, os.PathLike))
        if not fine and not (name == "examples" and value is None):
            received = "None" if value is None else type(value).__name__
            raise InputError(f"`{name}` must be {wanted}. Received: {received}.")
