"""What completion and type checkers see of the package: every name, with its type."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import cdrzoo
from cdrzoo.models import CARDS

PROJECT = pathlib.Path(__file__).resolve().parent.parent
ROOMS = "data evaluation experiments export layers models report schema serving training".split()
FILES = "errors metrics optimizers training.callbacks".split()


@pytest.mark.parametrize("room", ["", *(f".{room}" for room in ROOMS)])
def test_a_room_shows_what_it_offers_and_nothing_else(room):
    module = importlib.import_module(f"cdrzoo{room}")
    assert dir(module) == module.__all__ == sorted(set(dir(module)))
    assert not {"Any", "annotations", "difflib", "importlib", "lazy"} & set(dir(module))
    for name in dir(module):
        assert getattr(module, name) is not None, name
    with pytest.raises(AttributeError, match=rf"'cdrzoo{room}' has no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("file", FILES)
def test_a_public_file_shows_its_own_names(file):
    module = importlib.import_module(f"cdrzoo.{file}")
    assert dir(module) == module.__all__ == sorted(set(dir(module)))
    for name in dir(module):
        value = getattr(module, name)
        assert getattr(value, "__module__", module.__name__) == module.__name__, name


def test_every_model_is_among_the_models():
    """Its card and its line in the stub name one class."""
    assert {card.cls for card in CARDS} == {name for name in dir(cdrzoo.models) if name[0].isupper()} - {
        "CARDS",
        "ModelCard",
    }
    for card in CARDS:
        assert getattr(cdrzoo.models, card.cls) is card.load()


RIGHT = """
import cdrzoo
from cdrzoo import Schema, data, export, models

schema = Schema.load("schema.yaml")
rows = data.prepare(schema, {"books": "books.csv", "films": "films.csv"}, split="time")
model = models.CCTL(rows.schema, sync_every=100, units=(64, 32), dropout=0.1, name="mine")
model.compile(optimizer=cdrzoo.optimizers.Adam(0.001))
model.fit(rows.train(256), epochs=2)
version = export.save(model, rows.encoder, "saved_models/films")
print(export.verify(version, model, rows.encoder).ok)
run = cdrzoo.train("run.yaml", "runs/cctl", settings={"model": "cctl"})
print(run.history["val_auc"].max(), run.evaluate()["auc"], run.model.schema.target)
found = cdrzoo.compare("run.yaml", "dnn,cctl", "runs/compare", seeds=3)
print(found.table, cdrzoo.transfer("runs/cctl", "runs/transfer").verdict)
"""
WRONG = """
from cdrzoo import Schema, data, export, models

schema = Schema.load("schema.yaml")
rows = data.prepare(schema, {"books": "books.csv", "films": "films.csv"}, split=3)
model = models.CCTL(rows.schema, sync_every="a")
models.DNN(rows.schema, nonsense=3)
model.fit(rows.trian(256), epochs=2)
export.save(model, "saved_models/films")
"""
MISTAKES = [5, 6, 7, 8, 9]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "right.py").write_text(RIGHT)
    (folder / "wrong.py").write_text(WRONG)
    (folder / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(PROJECT)]}))
    return folder


def checked(folder, *command: str) -> str:
    """What a type checker, as a user starts it, says of the scripts."""
    env = {**os.environ, "MYPYPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.once
def test_mypy_finds_five_mistakes_and_no_other(scripts):
    pytest.importorskip("mypy")
    cache = ["--config-file=", f"--cache-dir={scripts / 'cache'}"]
    said = checked(scripts, "mypy", "--follow-imports=silent", *cache, "right.py", "wrong.py")
    found = re.findall(r"^(\w+)\.py:(\d+): error", said, re.M)
    assert found == [("wrong", str(line)) for line in MISTAKES], said


@pytest.mark.slow
@pytest.mark.once
def test_pyright_finds_five_mistakes_and_no_other(scripts):
    pytest.importorskip("pyright")
    said = checked(scripts, "pyright", "--outputjson", "--pythonpath", sys.executable, "right.py", "wrong.py")
    errors = [each for each in json.loads(said)["generalDiagnostics"] if each["severity"] == "error"]
    found = [(pathlib.Path(each["file"]).stem, each["range"]["start"]["line"] + 1) for each in errors]
    assert found == [("wrong", line) for line in MISTAKES], said
