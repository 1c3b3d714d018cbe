"""Whether a folder holds a finished run: asked before TensorFlow starts."""

from __future__ import annotations

import pathlib

from cdrzoo.errors import InputError


def check_finished(folder: pathlib.Path) -> None:
    """Raises an `InputError` if a folder does not hold a finished run."""
    if not (folder / "metrics.json").exists():
        begun = (folder / "config.yaml").exists()
        hint = (
            "It was stopped: continue it with `cdrzoo train --resume`."
            if begun
            else "Give the folder of `cdrzoo train`."
        )
        raise InputError(f"{folder} holds no finished run. {hint}")
