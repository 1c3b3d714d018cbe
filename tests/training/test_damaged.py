"""Whatever happens to a file of a run, the error names it and says what to do."""

from __future__ import annotations

import pathlib
import random
import shutil

import pytest

from cdrzoo.errors import InputError
from cdrzoo.training.folders import read_json
from cdrzoo.training.run import Run

FINISHED = pathlib.Path(__file__).parent / "finished" / "dadin"
FILES = [
    "config.yaml",
    "encoder/encoder.json",
    "encoder/schema.yaml",
    "encoder/vocab/click.txt",
    "encoder/vocab/user.txt",
    "history.csv",
    "metrics.json",
    "model.keras",
    "schema.yaml",
    "split.json",
]


def garbled(content: bytes) -> bytes:
    """Some bytes of it are others."""
    drawn, changed = random.Random(0), bytearray(content)
    for _ in range(max(5, len(content) // 50)):
        changed[drawn.randrange(len(content))] = drawn.randrange(128, 256)
    return bytes(changed)


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "garbled": garbled,
    "empty": lambda content: b"",
    "a list": lambda content: b"[]\n",
    "a mapping": lambda content: b"{}\n",
    "removed": None,
}


def spoil(path: pathlib.Path, damage: str) -> None:
    """Does a damage to a file."""
    change = DAMAGES[damage]
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))


HARMLESS = {("history.csv", "half")}
"""Fewer lines of a table are a table, too."""


def read(run: pathlib.Path) -> None:
    """All that a command may ask of a run."""
    found = Run(run)
    assert found.schema and found.encoder and found.metrics["test"] and len(found.history)
    read_json(run, "split.json")
    assert found.model


def test_the_run_itself_is_read():
    read(FINISHED)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named(file, damage, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(FINISHED, run)
    spoil(run / file, damage)
    if (file, damage) in HARMLESS:
        return read(run)
    with pytest.raises(InputError) as caught:
        read(run)
    said = str(caught.value)
    named = str(run) if (file, damage) == ("metrics.json", "removed") else str(run / file)
    assert named in said or (damage == "removed" and str((run / file).parent) in said)
    assert "--overwrite" in said or "--resume" in said
    assert len(said.splitlines()) <= 2


def test_a_model_of_somebody_else_is_none(tmp_path):
    import keras

    run = tmp_path / "run"
    shutil.copytree(FINISHED, run)
    keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)]).save(run / "model.keras")
    with pytest.raises(InputError, match=r"model\.keras is damaged.*no model of cdrzoo"):
        Run(run).model  # noqa: B018
