"""Whether a folder holds a finished run: asked before TensorFlow starts."""

from __future__ import annotations

import pathlib

from cdrzoo.errors import InputError

ARCHIVE = ".tar.zst"
"""How the name of a packed run ends."""


def check_finished(folder: pathlib.Path) -> None:
    """Raises an `InputError` if a folder does not hold a finished run."""
    if not (folder / "metrics.json").exists():
        if folder.name.endswith(ARCHIVE) and folder.is_file():
            raise InputError(f"{folder} is a packed run. Unpack it first: cdrzoo unpack {folder} --out RUN.")
        begun = (folder / "config.yaml").exists()
        hint = (
            "It was stopped: continue it with `cdrzoo train --resume`."
            if begun
            else "Give the folder of `cdrzoo train`."
        )
        raise InputError(f"{folder} holds no finished run. {hint}")
