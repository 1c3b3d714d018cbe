"""An encoder extended by a domain: what was known keeps its rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from cdrzoo import data
from cdrzoo.data.preparation.extension import extend
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema, Table


def domain(name, dtype="string"):
    return Domain(
        name,
        (
            Feature("user", "id", "user", table="user"),
            Feature("item", "id", "item", dtype=dtype, table=name),
            Feature("genre", "id", "item", table="genre"),
            Feature("price", "number", "item"),
            *(
                []
                if name == "books"
                else [Feature("read", "ids", "history", table="books", of="books", length=4)]
            ),
        ),
        label="click",
        time="time",
    )


def frame(name, genres, price, seed):
    rng = np.random.default_rng(seed)
    n = 60
    return pd.DataFrame(
        {
            "user": rng.choice(["ann", "bob", "cem"], n),
            "item": [f"{name}{i}" for i in rng.integers(0, 9, n)],
            "genre": rng.choice(genres, n),
            "price": rng.normal(price, 1, n),
            "time": np.arange(n) + 1,
            "click": rng.integers(0, 2, n),
        }
    )


OLD = Schema(
    (domain("books"), domain("films")), "films", tuple(Table(n) for n in ("user", "books", "films", "genre"))
)
NEW = Schema((*OLD.domains, domain("comics")), "comics", (*OLD.tables, Table("comics")))
FRAMES = {"books": frame("b", ["war", "love"], 5, 0), "films": frame("f", ["war", "love"], 9, 1)}
ALL = {**FRAMES, "comics": frame("c", ["war", "manga", "manga"], 2, 2)}


def test_what_was_known_keeps_its_rows_and_the_new_domain_is_added():
    old = data.prepare(OLD, FRAMES).encoder
    fresh = data.prepare(NEW, ALL).encoder
    encoder = extend(old, fresh)
    for name in ("films", "books"):
        for feature, values in old.encode(name, FRAMES[name].assign(read=[["b1", "b2"]] * 60)).items():
            again = encoder.encode(name, FRAMES[name].assign(read=[["b1", "b2"]] * 60))[feature]
            np.testing.assert_array_equal(again, values)
    assert all(table in encoder.schema.tables for table in old.schema.tables)
    comics = encoder.encode("comics", ALL["comics"].assign(read=[["b1"]] * 60))
    assert (comics["item"] >= 2).mean() > 0.9  # its own vocabulary
    np.testing.assert_array_equal(
        comics["genre"] == 1, ALL["comics"]["genre"] == "manga"
    )  # unknown to the old table
    assert (
        encoder.numbers["comics"] == fresh.numbers["comics"]
        and encoder.numbers["films"] == old.numbers["films"]
    )


def test_it_prepares_rows_and_survives_saving(tmp_path):
    old = data.prepare(OLD, FRAMES).encoder
    encoder = extend(old, data.prepare(NEW, ALL).encoder)
    prepared = data.prepare(NEW, ALL, encoder=encoder)
    assert prepared.schema == encoder.schema and prepared.parts["comics"]["train"].x["read"].max() >= 2
    encoder.save(tmp_path)
    again = data.Encoder.load(tmp_path)
    rows = prepared.frame("comics", "test")
    for name, values in encoder.encode("comics", rows).items():
        np.testing.assert_array_equal(again.encode("comics", rows)[name], values)


def test_a_table_whose_ids_cannot_be_matched():
    numbers = [dataclasses.replace(d, features=tuple(
        dataclasses.replace(f, dtype="int64") if f.name == "user" else f for f in d.features
    )) for d in OLD.domains]  # fmt: skip
    frames = {n: f.assign(user=f["user"].map({"ann": 1, "bob": 2, "cem": 3})) for n, f in FRAMES.items()}
    encoder = data.prepare(dataclasses.replace(OLD, domains=numbers), frames).encoder
    with pytest.raises(DataError, match="Table 'user' holds numbers for one encoder and strings"):
        extend(encoder, data.prepare(OLD, FRAMES).encoder)
