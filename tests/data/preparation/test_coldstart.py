"""The cold-start protocol: who is hidden, and that nothing of him leaks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data.preparation.coldstart import cold_start, without_histories_of
from cdrzoo.errors import DataError
from cdrzoo.evaluation.floors import floors
from cdrzoo.schema import Domain, Feature, Schema, Table


def schema(time="time", length=20):
    def domain(name):
        listed = [
            (f"{of}_{what}", of if what == "item" else "stars", of, what if what == "item" else "stars")
            for of in ("books", "films")
            for what in ("item", "rating")
        ]
        return Domain(
            name,
            (
                Feature("user", "id", "user", dtype="int64", table="user"),
                Feature("item", "id", "item", dtype="int64", table=name),
                *(
                    Feature(n, "ids", "history", dtype="int64", table=t, length=length, of=of, field=field)
                    for n, t, of, field in listed
                ),
            ),
            label="stars",
            task="rating",
            time=time,
        )

    tables = ("user", "books", "films", "stars")
    return Schema((domain("books"), domain("films")), "films", tuple(Table(name) for name in tables))


def logs(seed=0):
    """Users 0 to 59 have books, 20 to 79 films, so 40 are shared; items tell domain and row apart."""
    rng = np.random.default_rng(seed)
    frames = {}
    for name, (first, last), offset in (("books", (0, 60), 1000), ("films", (20, 80), 5000)):
        n = 600
        frames[name] = pd.DataFrame(
            {
                "user": rng.integers(first, last, n),
                "item": offset + rng.integers(0, 40, n),
                "stars": rng.integers(1, 6, n),
                "time": rng.integers(1, 500, n),
            }
        )
    return frames


def users(prepared, part, domain="films"):
    return set(prepared.parts[domain][part].user.tolist())


@pytest.mark.parametrize("beta", [0.2, 0.5, 0.8])
def test_a_share_of_the_shared_users_is_hidden(beta):
    frames = logs()
    prepared = cold_start(schema(), frames, beta, valid=0.25, seed=3)
    shared = set(frames["books"]["user"]) & set(frames["films"]["user"])
    train, valid, test = (users(prepared, part) for part in ("train", "valid", "test"))
    assert not (train & valid or train & test or valid & test)
    assert test | valid <= shared and train >= set(frames["films"]["user"]) - shared
    assert len(test) == pytest.approx(beta * len(shared), abs=1)
    assert len(valid) == pytest.approx(0.25 * (1 - beta) * len(shared), abs=1)
    assert sum(len(prepared.parts["films"][part].y) for part in ("train", "valid", "test")) == len(
        frames["films"]
    )
    assert len(prepared.parts["books"]["train"].y) == len(frames["books"])  # every row of the source trains
    groups = prepared.groups("test")
    assert not groups["target_rows"].any() and groups["source_rows"].all()


def test_who_is_hidden_at_a_smaller_beta_is_hidden_at_a_larger_one():
    hidden = [users(cold_start(schema(), logs(), beta, seed=1), "test") for beta in (0.2, 0.5, 0.8)]
    assert hidden[0] < hidden[1] < hidden[2]
    assert hidden[0] != users(cold_start(schema(), logs(), 0.2, seed=2), "test")


def test_nothing_of_a_hidden_row_is_in_what_training_sees():
    """Every row of a hidden user gets an item and a rating that nobody else has; none of them may be known."""
    frames = logs()
    hidden = users(cold_start(schema(), frames, 0.5, seed=1), "test")
    films = frames["films"]
    is_hidden = films["user"].isin(hidden)
    films["item"] = np.where(is_hidden, 90_000 + np.arange(len(films)), films["item"])
    films["stars"] = np.where(is_hidden, 7, films["stars"])
    prepared = cold_start(schema(), frames, 0.5, seed=1)
    assert users(prepared, "test") == hidden
    assert not (prepared.encoder.vocabularies["films"] >= 90_000).any()
    assert 7 not in prepared.encoder.vocabularies["stars"]
    assert set(prepared.parts["films"]["test"].x["item"].tolist()) == {1}  # all unknown
    for domain in prepared.schema.domains:
        assert not [f.name for f in domain.features if f.of == "films"]


def test_behaviours_are_earlier_than_the_rated_event():
    frames = logs()
    prepared = cold_start(schema(), frames, 0.5, seed=1)
    rows = prepared.frame("films", "test")
    books = frames["books"]
    for _, row in rows.iterrows():
        mine = books[(books["user"] == row["user"]) & (books["time"] < row["time"])]
        assert sorted(row["books_item"]) == sorted(mine.sort_values("time", kind="stable")["item"].tail(20))


def test_without_time_every_behaviour_in_the_source_is_listed():
    frames = logs()
    for prepared in (
        cold_start(schema(None), frames, 0.5, seed=1),
        cold_start(schema(), frames, 0.5, seed=1, time_aware=False),
    ):
        for _, row in prepared.frame("films", "test").iterrows():
            mine = frames["books"][frames["books"]["user"] == row["user"]]
            assert sorted(row["books_item"]) == sorted(mine["item"].tail(20)) or len(mine) > 20


def test_a_schema_without_histories_of_a_domain_keeps_no_table_for_them():
    toy = schema()
    kept = without_histories_of(toy, "books")
    assert all(f.of != "books" for d in kept.domains for f in d.features)
    assert {t.name for t in kept.tables} == {"user", "books", "films", "stars"}  # items still look them up
    assert {t.name for t in without_histories_of(kept, "films").tables} == {"user", "books", "films"}


def test_wrong_shares():
    for wrong in ({"beta": 0.0}, {"beta": 20}, {"beta": 0.5, "valid": 1.0}):
        with pytest.raises(DataError, match="must be a share between 0 and 1"):
            cold_start(schema(), logs(), **wrong)


@pytest.mark.parametrize(
    "folder, source, target, time, expected",
    [  # MAE and RMSE of the mean, the item's and the item's with the source user's offset, measured independently
        (
            "amazon_subcat_ratings",
            "subcat1",
            "subcat2",
            "timestamp",
            [(0.772, 1.009), (0.692, 0.950), (0.607, 0.896)],
        ),
        ("douban_book_music", "book", "music", None, [(0.744, 0.978), (0.692, 0.871), (0.675, 0.860)]),
    ],
)
def test_the_floors_of_real_data_are_what_they_were(real_data, folder, source, target, time, expected):
    folder = real_data(folder)
    plain = lambda name: Domain(  # noqa: E731
        name,
        (
            Feature("user", "id", "user", dtype="int64", table="user", column="user_id"),
            Feature("item", "id", "item", dtype="int64", table=name, column="item_id"),
        ),
        label="rating",
        task="rating",
        time=time,
    )
    both = Schema(
        (plain(source), plain(target)), target, tuple(Table(name) for name in ("user", source, target))
    )
    sources = {name: folder / f"interactions_{name}.csv.gz" for name in (source, target)}
    found = []
    for seed in range(3):
        prepared = cold_start(both, sources, 0.5, valid=0.001, seed=seed)
        scores = floors(prepared)
        names = ("target mean", "item mean", "item + user + source user mean")
        errors = [(scores[name]["mae"], scores[name]["rmse"]) for name in names]
        found.append(errors)
    # Which users are hidden and how strongly means are smoothed differ; the numbers must agree all the same.
    np.testing.assert_allclose(np.mean(found, axis=0), expected, atol=0.025)
