"""The code of the pages that wants names of the reader's runs, given these names."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any

import keras
import numpy as np
import pytest

import cdrzoo
from cdrzoo import data, models, optimizers
from cdrzoo.data import synthetic
from cdrzoo.data.rows.plan import Settings
from cdrzoo.schema import Schema, Table

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
SIZES = {"users": 80, "source_rows": 800, "target_rows": 500, "source_items": 30, "target_items": 20}

pytestmark = [pytest.mark.exhaustive, pytest.mark.once]


@pytest.fixture(scope="module")
def made():
    return synthetic.synthesize(**SIZES)


@pytest.fixture(scope="module")
def rows(made):
    return data.prepare(made.schema, made.sources)


def run(page: str, names: dict[str, Any], number: int = 0, **other: str) -> dict[str, Any]:
    """The names after a block of a page, in which some words are `other` ones."""
    code = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)[number]
    for word, here in other.items():
        assert word in code
        code = re.sub(rf"\b{word}\b", here, code)
    exec(compile(code, page, "exec"), names)
    return names


def batch(rows) -> Any:
    return next(iter(rows.train(32)))[0]


def test_cold_start(made):
    given = run("cold_start.md", {"schema": made.schema, "sources": made.sources})
    assert given["rows"].split.name.startswith("users-")


def test_rows_in_a_folder(made, tmp_path, monkeypatch):
    made.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    logs = {"books": "books.csv", "films": "films.csv"}
    data.prepare_to("rows", Settings(made.schema, logs), partitions=2)
    run("scale.md", {"cdrzoo": cdrzoo}, epochs="steps_per_epoch=2, epochs")


def test_what_dacdr_attends_to(rows, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    model = models.DACDR(rows.schema)
    given = run("models/dacdr.md", {"model": model, "x": batch(rows), "np": np}, books_read="books_shown")
    assert given["alpha"].shape == given["beta"].shape == (32, 30)


def test_a_new_domain(made, rows):
    films = made.schema.target_domain
    item = dataclasses.replace(next(f for f in films.features if f.name == "item"), table="comic")
    known = (f for f in films.features if f.role != "history" or f.of == "books")
    features = tuple(item if f.name == "item" else f for f in known)
    given = {
        "Schema": Schema,
        "Table": Table,
        "data": data,
        "DACDR": models.DACDR,
        "optimizers": optimizers,
        "old": made.schema,
        "comics": dataclasses.replace(films, name="comics", features=features),
        "sources": {**made.sources, "comics": made.sources["films"]},
        "trained": models.DACDR(rows.schema),
        "trained_encoder": rows.encoder,
    }
    given["trained"](batch(rows))
    run("models/dacdr.md", given, 1, epochs="steps_per_epoch=2, epochs")


def test_what_dadin_makes_of_a_row(rows):
    run("models/dadin.md", {"model": models.DADIN(rows.schema), "x": batch(rows)})


def test_the_two_stages_of_mkt(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = {"3072": "96", "1024": "32", "epochs": "steps_per_epoch=2, epochs"}
    run("models/mkt.md", {"prepared": rows}, products="books", posts="films", **sizes)
    assert keras.models.load_model("mkt.keras")


def test_an_increment(made, tmp_path, monkeypatch):
    made.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    times = np.quantile(made.frames["films"]["time"], [0.6, 0.8]).tolist()
    split = {"by": "time", "cuts": times}
    logs = {"books": "books.csv", "films": "films.csv"}
    config = {"schema": "schema.yaml", "data": logs, "split": split, "model": "ctnet"}
    cdrzoo.train({**config, "training": {"epochs": 1}}, "runs/ctnet")
    run("continual.md", {"schema": made.schema, "logs": logs, "day": times[0], "next_day": times[1]})
