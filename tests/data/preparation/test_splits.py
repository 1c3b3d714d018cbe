"""Splits: who is in which part, what the sources give up, and a hash that names the content."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data.preparation.assignment import assign
from cdrzoo.data.preparation.keys import fingerprints
from cdrzoo.data.preparation.reading import read_logs
from cdrzoo.data.preparation.splits import Split, same
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema, Table


def schema(time: str | None = "time") -> Schema:
    def domain(name: str) -> Domain:
        keys = (Feature("user", "id", "user", table="user"), Feature("item", "id", "item", "int64", name))
        return Domain(name, keys, time=time)

    return Schema(
        (domain("books"), domain("films")), "films", (Table("user"), Table("books"), Table("films"))
    )


def frames(seed: int = 0) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(seed)
    return {
        name: pd.DataFrame(
            {
                "user": random.choice([f"u{n}" for n in range(30)], rows),
                "item": np.arange(rows),
                "time": random.integers(0, 40, rows),
                "label": random.integers(0, 2, rows),
            }
        )
        for name, rows in (("books", 400), ("films", 200))
    }


def split(how, data=None, time="time", seed=0) -> tuple[Split, dict[str, pd.DataFrame]]:
    data = data or frames()
    column = how.get("column", "split") if isinstance(how, dict) and how["by"] == "given" else None
    logs = read_logs(schema(time), data, part_column=column)
    name, arguments, codes = assign(schema(time), logs, how, seed)
    return Split.of(name, arguments, logs, codes), data


def test_by_time_everything_held_out_is_strictly_later_than_everything_trained_on():
    made, data = split({"by": "time", "fractions": [0.6, 0.2, 0.2]})
    times = {
        d: {part: data[d]["time"].to_numpy()[rows] for part, rows in made.parts[d].items()} for d in data
    }
    trained = max(times["films"]["train"].max(), times["books"]["train"].max())
    chosen = max(times["films"]["valid"].max(), times["books"]["valid"].max())
    assert trained < min(times["films"]["valid"].min(), times["books"]["valid"].min())
    assert chosen < min(times["films"]["test"].min(), times["books"]["test"].min())
    assert sum(map(len, made.parts["films"].values())) == 200
    assert len(made.parts["films"]["train"]) <= 120  # a tie with the cut goes to the later part
    assert made.name == "time-0.6-0.2-0.2"


def test_by_time_with_cuts():
    made, data = split({"by": "time", "cuts": [10, 30]})
    for domain, frame in data.items():
        assert set(frame["time"].iloc[made.parts[domain]["train"]]) == set(range(10))
        assert set(frame["time"].iloc[made.parts[domain]["valid"]]) == set(range(10, 30))
        assert set(frame["time"].iloc[made.parts[domain]["test"]]) == set(range(30, 40))


def test_by_time_without_validation():
    made, _ = split({"by": "time", "fractions": [0.8, 0, 0.2]})
    assert len(made.parts["films"]["valid"]) == 0 and len(made.parts["films"]["test"]) >= 40


@pytest.mark.parametrize(("valid", "test", "cuts"), [(1, 1, [20, 30]), (2, 1, [10, 30]), (0, 2, [20, 20])])
def test_by_days_is_by_time_with_cuts_where_the_last_days_begin(valid, test, cuts):
    data = frames()
    data["films"].loc[0, "time"] = 34  # the last day has begun
    data["films"] = data["films"][data["films"]["time"] < 35].reset_index(drop=True)
    data["books"].loc[0, "time"] = 1_000  # a source's last day says nothing
    made, _ = split({"by": "days", "valid": valid, "test": test, "day": 10}, data)
    wanted, _ = split({"by": "time", "cuts": cuts}, data)
    for domain, parts in wanted.parts.items():
        for part, rows in parts.items():
            np.testing.assert_array_equal(made.parts[domain][part], rows)
    assert made.name == f"days-{valid}-{test}" and made.hash != wanted.hash


def test_days_of_unix_seconds_begin_at_midnight_and_milliseconds_are_not_taken_for_seconds():
    midnight = 1_704_067_200  # 2024-01-01T00:00Z
    data = {
        name: frame.assign(time=midnight - 86_400 * 3 + frame.index * 3_600)
        for name, frame in frames().items()
    }
    data = {name: frame[frame["time"] < midnight + 7_200] for name, frame in data.items()}
    made, _ = split("days", data)
    assert [len(rows) for rows in made.parts["films"].values()] == [48, 24, 2]
    for frame in data.values():
        frame["time"] *= 1_000
    with pytest.raises(DataError, match="of milliseconds day: 86400000"):
        split("days", data)
    again, _ = split({"by": "days", "day": 86_400_000}, data)
    assert [len(rows) for rows in again.parts["films"].values()] == [48, 24, 2]


def test_last_event_is_the_test_and_the_sources_stop_before_the_first_held_out_one():
    made, data = split("last")
    films, books = data["films"], data["books"]
    part = np.full(len(films), "", object)
    for name, rows in made.parts["films"].items():
        part[rows] = name
    source = set(made.parts["books"]["train"])
    for user, rows in films.groupby("user"):
        ordered = rows.sort_values("time", kind="stable").index
        wanted = (
            ["train"] * (len(ordered) - 2) + ["valid", "test"]
            if len(ordered) >= 3
            else ["train"] * len(ordered)
        )
        assert list(part[ordered]) == wanted
        first = films["time"][ordered[-2]] if len(ordered) >= 3 else np.inf
        own = books[books["user"] == user]
        assert set(own.index[own["time"] < first]) == source & set(own.index)
    assert len(made.parts["books"]["valid"]) == len(made.parts["books"]["test"]) == 0
    only_books = books[~books["user"].isin(films["user"])]
    assert set(only_books.index) <= source


def test_users_hides_all_target_rows_of_some_shared_users():
    data = frames()
    data["films"].loc[:9, "user"] = "films only"
    made, _ = split({"by": "users", "fractions": [0.5, 0.2, 0.3]}, data)
    users = {part: set(data["films"]["user"].iloc[rows]) for part, rows in made.parts["films"].items()}
    assert not users["train"] & users["valid"] and not users["train"] & users["test"]
    assert not users["valid"] & users["test"]
    assert users["valid"] | users["test"] <= set(data["books"]["user"])
    assert "films only" in users["train"]
    shared = set(data["films"]["user"]) & set(data["books"]["user"])
    assert abs(len(users["test"]) - 0.3 * len(shared)) <= 1
    assert len(made.parts["books"]["train"]) == 400


def test_random_and_users_follow_content_and_seed_not_the_order_of_rows():
    for how in ("random", "users"):
        first, data = split(how, seed=3)
        shuffled = {d: f.sample(frac=1, random_state=1).reset_index(drop=True) for d, f in data.items()}
        second, _ = split(how, shuffled, seed=3)
        assert first.hash == second.hash
        items = [
            set(d["films"]["item"].iloc[s.parts["films"]["test"]])
            for s, d in ((first, data), (second, shuffled))
        ]
        assert items[0] == items[1]
        assert split(how, data, seed=4)[0].hash != first.hash


def test_random_shares():
    made, _ = split({"by": "random", "fractions": [0.5, 0.25, 0.25]})
    assert [len(rows) for rows in made.parts["films"].values()] == [100, 50, 50]
    assert len(made.parts["books"]["train"]) == 400


def test_given():
    data = frames()
    data["films"]["fold"] = ["train", "valid", "test", "train"] * 50
    made, _ = split({"by": "given", "column": "fold"}, data)
    assert made.parts["films"]["valid"].tolist() == list(range(1, 200, 4))
    assert len(made.parts["books"]["train"]) == 400
    data["films"].loc[5, "fold"] = "dev"
    with pytest.raises(DataError, match="row 6: one of train, valid, test wanted. Received: 'dev'"):
        split({"by": "given", "column": "fold"}, data)
    with pytest.raises(DataError, match="lacks the column 'split'"):
        split({"by": "given"}, frames())
    words = {"by": "given", "column": "fold", "valid": ["valid", "dev"]}
    assert split(words, data)[0].parts["films"]["valid"].tolist() == list(range(1, 200, 4))


def test_the_hash_is_of_the_content_and_stays_what_it_was():
    first, data = split("time")
    assert split("time")[0].hash == first.hash
    # Written down once: a change of machine, Python, NumPy or pandas must not change it.
    assert first.hash == "a2449f128f93f9f8722b8d6b2c8c6eaa53ebf8c7d5def401378f63fab66c81f2"
    changed = {d: f.copy() for d, f in data.items()}
    changed["films"].loc[0, "label"] = 1 - changed["films"]["label"][0]
    assert split("time", changed)[0].hash != first.hash
    floats = {d: f.astype({"time": float, "label": float}) for d, f in data.items()}
    assert split("time", floats)[0].hash == first.hash  # 4 and 4.0 are one value
    assert split({"by": "time", "fractions": [0.7, 0.2, 0.1]})[0].hash != first.hash


def test_fingerprints_tell_rows_apart():
    users = np.array(["a", "b", "a", "a"], object)
    items = np.array([1, 1, 2, 1])
    found = fingerprints([users, items])
    assert found[0] == found[3] and len(set(found.tolist())) == 3
    assert found[0] == fingerprints([users[:1], items[:1]])[0]  # a row's own, whatever stands beside it
    assert fingerprints([np.array([0.0])])[0] == fingerprints([np.array([-0.0])])[0]


def test_records_of_two_forms_are_compared_by_what_they_say():
    made, _ = split("time")
    now = made.to_dict()
    before = {**{k: v for k, v in now.items() if k != "form"}, "hash": "of the first form"}
    assert same(before, now) and same(now, now) and not same({**now, "hash": "another"}, now)
    fewer = {**before, "parts": {**before["parts"], "films": {}}}
    drawn = {**before, "arguments": {**before["arguments"], "negatives of films": {"per_positive": 1}}}
    assert not same(fewer, now) and not same(drawn, {**now, "arguments": drawn["arguments"]})


def test_describe_and_record():
    made, _ = split("time")
    text = made.describe()
    assert "time-0.7-0.1-0.2" in text and made.hash[:16] in text and "films" in text and "mean label" in text
    record = made.to_dict()
    assert record["hash"] == made.hash and record["arguments"]["fractions"] == [0.7, 0.1, 0.2]
    assert record["parts"]["films"]["train"]["rows"] == len(made.parts["films"]["train"])


@pytest.mark.parametrize(
    ("how", "time", "words"),
    [
        ("tme", "time", "must be by time, days, last, users, random, resample, given. Received: 'tme'"),
        ({"by": "time", "fraction": [1, 0, 0]}, "time", "does not know 'fraction'"),
        ({"by": "time", "fractions": [0.5, 0.5]}, "time", "three numbers"),
        ({"by": "time", "fractions": [0.9, 0.2, 0.1]}, "time", "sum to 1"),
        ({"by": "time", "cuts": [30, 10]}, "time", "two times"),
        ({"by": "time", "cuts": ["2023-12-01", "2023-12-20"]}, "time", "Unix seconds"),
        ({"by": "random", "seed": "x"}, "time", "`seed` of a split must be a whole number"),
        ({"by": "users", "seed": -1}, "time", "`seed` of a split must be a whole number"),
        ({"by": "resample", "train": "most"}, "time", "`train` of a split must be a share"),
        ({"by": "resample", "day": 0}, "time", "`day` of a split must be a number above 0"),
        ({"by": "resample", "literal": "no"}, "time", "true or false"),
        ({"by": "given", "column": 5}, "time", "the name of a column"),
        ({"by": "given", "valid": ""}, "time", "a value of the column, or a list of values"),
        (
            {"by": "given", "train": ["a", "dev"], "valid": "dev"},
            "time",
            "'dev' in two parts: train and valid",
        ),
        ({"by": "given", "train": "test"}, "time", "'test' in two parts: train and test"),
        ({"by": "days", "test": 0}, "time", "`test` of a split must be a whole number of days, at least 1"),
        ({"by": "days", "valid": 1.5}, "time", "`valid` of a split must be a whole number of days"),
        ("days", "time", "leaves no train rows"),
        ("days", None, "needs times"),
        ({"by": ["time"]}, "time", "must be by time"),
        (["time"], "time", "must be a word or a mapping"),
        ({"by": "time", "cuts": [0, 1]}, "time", "leaves no train rows"),
        ({"by": "random", "fractions": [1, 0, 0]}, "time", "leaves no test rows"),
        ("time", None, "needs times, but domain 'books' has none"),
        ("last", None, "needs times"),
    ],
)
def test_mistakes_are_said(how, time, words):
    with pytest.raises(DataError) as caught:
        split(how, time=time)
    assert words in str(caught.value)
