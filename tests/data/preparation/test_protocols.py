"""Protocols: who is where, and that nothing held out reaches what is trained on, whatever the protocol."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import prepare
from cdrzoo.data.preparation.coldstart import protocol
from cdrzoo.data.preparation.protocols import source_categories
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema, Table

DAY = 100


def schema() -> Schema:
    def domain(name: str) -> Domain:
        histories = tuple(
            Feature(f"{of}_{what}", "ids", "history", "int64", table, 5, of=of, field=field)
            for of in ("books", "films")
            for what, table, field in (("items", of, "item"), ("ratings", "stars", "stars"))
        )
        keys = (
            Feature("user", "id", "user", "int64", table="user"),
            Feature("item", "id", "item", "int64", table=name),
            Feature("price", "number", "item"),
        )
        return Domain(name, (*keys, *histories), label="stars", task="rating", time="time")

    tables = tuple(Table(name) for name in ("user", "books", "films", "stars"))
    return Schema((domain("books"), domain("films")), "films", tables)


def frames(seed: int = 0) -> dict[str, pd.DataFrame]:
    """Users 0 to 39; items, prices and times are the row's own, so that a leak of any of them shows."""
    random = np.random.default_rng(seed)
    made = {}
    for name, offset, rows in (("books", 1_000, 500), ("films", 5_000, 400)):
        made[name] = pd.DataFrame(
            {
                "user": random.integers(0, 40, rows),
                "item": offset + random.permutation(rows),
                "price": random.random(rows),
                "stars": random.integers(1, 6, rows),
                "split": random.choice(["train", "train", "valid", "test"], rows),
                "time": random.permutation(10 * rows)[:rows] // (rows // 50),
            }
        )
        made[name]["fold"] = np.arange(rows) % 4
    return made


PROTOCOLS = {
    "time": {"schema": schema(), "split": {"by": "time", "fractions": [0.6, 0.2, 0.2]}},
    "last": {"schema": schema(), "split": "last"},
    "resample": {"schema": schema(), "split": {"by": "resample", "overlap": 0.3, "day": DAY}},
    "resample literal": {
        "schema": schema(),
        "split": {"by": "resample", "overlap": 0.3, "day": DAY, "literal": True},
    },
    "cold start 0.2": protocol(schema(), 0.2, valid=0.25),
    "cold start 0.5": protocol(schema(), 0.5, valid=0.25),
    "cold start 0.8": protocol(schema(), 0.8, valid=0.25, time_aware=False),
}


PROTOCOLS["days"] = {
    "schema": schema(),
    "split": {"by": "days", "valid": 2, "day": DAY},
    "include_ties": True,
}
# Held-out events stand between training events; at the last times of `last` several stand at one.
PROTOCOLS["given"] = {"schema": schema(), "split": "given"}
PROTOCOLS["given, words"] = {
    "schema": schema(),
    "split": {"by": "given", "column": "fold", "train": [0, 1], "valid": 2, "test": "3"},
}
PROTOCOLS["last, with ties"] = {"schema": schema(), "split": "last", "include_ties": True}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_training_is_the_same_whatever_the_held_out_rows_hold(name):
    """All that is held out but user and time is replaced: what is trained on and the encoder may not notice."""
    arguments, data = PROTOCOLS[name], frames()
    before = prepare(sources=data, **arguments)
    other = {domain: frame.copy() for domain, frame in data.items()}
    for domain, frame in other.items():
        trained = before.split.parts[domain]["train"]
        rows = np.setdiff1d(np.arange(len(frame)), trained)
        frame.loc[rows, "item"] = 90_000 + rows
        frame.loc[rows, "price"] = 1e6
        frame.loc[rows, "stars"] = 9
    after = prepare(sources=other, **arguments)
    assert after.encoder.vocabularies.keys() == before.encoder.vocabularies.keys()
    for table, tokens in before.encoder.vocabularies.items():
        np.testing.assert_array_equal(after.encoder.vocabularies[table], tokens)
    assert after.encoder.numbers == before.encoder.numbers
    for domain in data:
        for part in ("train", "valid", "test"):
            np.testing.assert_array_equal(before.split.parts[domain][part], after.split.parts[domain][part])
        train, poisoned = before.parts[domain]["train"], after.parts[domain]["train"]
        np.testing.assert_array_equal(train.y, poisoned.y)
        for feature in train.x:
            np.testing.assert_array_equal(train.x[feature], poisoned.x[feature], err_msg=feature)
    # The test can fail: what is held out did change.
    assert not np.array_equal(before.parts["films"]["test"].y, after.parts["films"]["test"].y)


@pytest.mark.parametrize("how", ["uniform", "popularity"])
def test_training_negatives_are_the_same_whatever_the_held_out_rows_hold(how):
    def domain(name):
        keys = (
            Feature("user", "id", "user", "int64", table="user"),
            Feature("item", "id", "item", "int64", table=name),
        )
        return Domain(name, (*keys, Feature("price", "number", "item")), time="time")

    clicks = Schema(
        (domain("books"), domain("films")), "films", tuple(map(Table, ("user", "books", "films")))
    )
    data = {name: frame.assign(item=frame["item"] % 50) for name, frame in frames().items()}
    drawn = {"per_positive": 2, "how": how}
    made = {}
    for when in ("before", "after"):
        made[when] = prepare(
            clicks, {n: {"data": f, "negatives": drawn} for n, f in data.items()}, split="time"
        )
        later = (f["time"] >= f["time"].quantile(0.7) for f in data.values())
        data = {
            n: f.assign(item=np.where(rows, 900 + f.index, f["item"]))
            for (n, f), rows in zip(data.items(), later)
        }
    before, after = made["before"], made["after"]
    new = set(after.frame("films", "test")["item"]) - set(before.frame("films", "test")["item"])
    assert new  # items that nobody touched before the test
    for name in data:
        train = before.frame(name, "train")
        assert (train["label"] == 0).sum() == 2 * (train["label"] == 1).sum()
        pd.testing.assert_frame_equal(train, after.frame(name, "train"))
    np.testing.assert_array_equal(before.encoder.vocabularies["films"], after.encoder.vocabularies["films"])
    # The test's own negatives are drawn from all items, the new ones too.
    test = after.frame("films", "test")
    assert new & set(test["item"][test["label"] == 0])


def resampled(literal: bool = False, **shares):
    data = frames()
    split = {"by": "resample", "train": 0.75, "overlap": 0.4, "day": DAY, "literal": literal, **shares}
    made = prepare(schema(), data, split=split, seed=3).split
    return data, {
        domain: {part: frame.iloc[made.parts[domain][part]] for part in ("train", "valid", "test")}
        for domain, frame in data.items()
    }


def test_resampling_is_algorithm_2_of_dadin():
    data, parts = resampled()
    films = parts["films"]
    everybody = set(data["films"]["user"])
    held = [set(films[part]["user"]) for part in ("valid", "test")]
    trained = set(films["train"]["user"])
    assert not held[0] & held[1] and abs(len(held[0]) - len(held[1])) <= 1
    out = (held[0] | held[1]) - trained  # step 4, and overlapping users with one day alone
    assert len(trained | (held[0] | held[1])) == len(everybody)
    assert abs(len(out) - 0.25 * len(everybody)) <= 2
    assert abs(len((held[0] | held[1]) & trained) - 0.3 * len(everybody)) <= 2  # step 3: 0.4 of 0.75
    last = data["films"].groupby("user")["time"].max() // DAY
    for part in ("valid", "test"):
        assert (films[part]["time"] // DAY == films[part]["user"].map(last)).all()
    both = trained & (held[0] | held[1])
    mine = films["train"][films["train"]["user"].isin(both)]
    assert (
        mine["time"] // DAY < mine["user"].map(last)
    ).all()  # "delete this part of data in the training set"
    others = trained - both
    assert (
        len(films["train"][films["train"]["user"].isin(others)]) == data["films"]["user"].isin(others).sum()
    )
    books = parts["books"]["train"]  # a source row of a held-out user comes before his held-out day
    later = books[books["user"].isin(held[0] | held[1])]
    assert len(later) and (later["time"] // DAY < later["user"].map(last)).all()
    assert out <= set(books["user"]) <= everybody
    assert not len(parts["books"]["test"])


def test_resampling_to_the_letter_and_of_a_part_of_the_users():
    _, loose = resampled()
    data, literal = resampled(literal=True)
    out = (set(loose["films"]["valid"]["user"]) | set(loose["films"]["test"]["user"])) - set(
        loose["films"]["train"]["user"]
    )
    assert not out & set(literal["books"]["train"]["user"])
    pd.testing.assert_frame_equal(loose["films"]["test"], literal["films"]["test"])
    _, half = resampled(users=0.5)
    users = {user for part in half["films"].values() for user in part["user"]}
    assert len(users) == 0.5 * data["films"]["user"].nunique()
    assert set(half["books"]["train"]["user"]) <= users
    with pytest.raises(DataError, match="share above 0"):
        resampled(train=80)


def test_no_history_shows_an_event_that_resampling_holds_out():
    data = frames()
    made = prepare(schema(), data, split={"by": "resample", "overlap": 0.5, "day": DAY})
    trained = {d: set(data[d]["item"].to_numpy()[made.split.parts[d]["train"]]) for d in data}
    for part in ("train", "valid", "test"):
        rows = made.frame("films", part)
        for of in data:
            assert {item for listed in rows[f"{of}_items"] for item in listed} <= trained[of]


def test_the_largest_categories_are_the_source():
    counts = {7: 50, 3: 30, 9: 10, 1: 10}
    assert source_categories(counts, 0.5) == {7}
    assert source_categories(counts, 0.7) == {7, 3}
    assert source_categories(counts, 0.85) == {7, 3, 1}  # a tie: the smaller number first
    assert source_categories(counts, 0.5, of="categories") == {7, 3}
    for wrong in ({"share": 1.0}, {"share": 0.01, "of": "categories"}):
        with pytest.raises(DataError, match="without a category"):
            source_categories(counts, **wrong)
    with pytest.raises(DataError, match="without a category"):
        source_categories({})
    with pytest.raises(DataError, match="of rows or of categories"):
        source_categories(counts, of="users")
