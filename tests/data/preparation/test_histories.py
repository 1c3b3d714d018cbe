"""Histories against a loop over all pairs of events: same lists, and nothing from the row's own time or later."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data.preparation.histories import windows
from cdrzoo.data.preparation.logs import add_histories
from cdrzoo.data.preparation.negatives import add_negatives, catalogues
from cdrzoo.data.preparation.reading import read_logs
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema, Table


def two_domains(length: int = 3, time: str | None = "time") -> Schema:
    def histories(dtype: str = "int64") -> tuple[Feature, ...]:
        return (
            Feature("read", "ids", "history", dtype, "book", length, of="books"),
            Feature("seen", "ids", "history", dtype, "film", length, of="films"),
        )

    def domain(name: str, table: str) -> Domain:
        keys = (Feature("user", "id", "user", table="user"), Feature("item", "id", "item", "int64", table))
        return Domain(name, keys + histories(), time=time)

    return Schema(
        (domain("books", "book"), domain("films", "film")),
        "films",
        (Table("user"), Table("book"), Table("film")),
    )


def log(random: np.random.Generator, rows: int, first_item: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user": random.choice(["a", "b", "c", "d", ""], rows),  # "" is nobody
            "item": first_item + np.arange(rows),  # every event has its own item, so a list tells its events
            "time": random.integers(0, 12, rows),  # few times, so many ties
            "label": random.integers(0, 2, rows),
        }
    )


def brute_force(row: pd.Series, own: bool, events: pd.DataFrame, ties: bool) -> list[int]:
    found = []
    for event in events.itertuples():
        before = event.time < row.time or (ties and event.time == row.time)
        itself = own and event.item == row["item"]
        if row.user != "" and event.user == row.user and before and not itself:
            found.append((event.time, event.Index, event.item))
    return [item for _, _, item in sorted(found)]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_histories_equal_a_loop_over_all_events(seed, ties):
    random = np.random.default_rng(seed)
    frames = {"books": log(random, 80, 1000), "films": log(random, 60, 5000)}
    schema = two_domains()
    logs = read_logs(schema, frames)
    add_histories(schema, logs, {}, include_ties=ties)
    when = {
        item: time
        for frame in frames.values()
        for item, time in zip(frame["item"], frame["time"], strict=True)
    }
    for name, frame in frames.items():
        for column, of in (("read", "books"), ("seen", "films")):
            lists = logs[name].columns[column].to_lists()
            for (_, row), found in zip(frame.iterrows(), lists, strict=True):
                assert list(found) == brute_force(row, name == of, frames[of], ties)
                assert all(when[item] < row["time"] or (ties and when[item] == row["time"]) for item in found)
                assert row["item"] not in found
            padded = logs[name].columns[column].last(3)
            for found, cut in zip(lists, padded, strict=True):
                assert list(cut[cut > 0]) == list(
                    found[-3:]
                )  # the newest three, oldest first, padding behind


def test_no_future_event_changes_a_history():
    random = np.random.default_rng(0)
    frames = {"books": log(random, 80, 1000), "films": log(random, 60, 5000)}
    schema = two_domains()
    cut = 6
    past = {name: frame[frame["time"] < cut].reset_index(drop=True) for name, frame in frames.items()}
    whole, early = read_logs(schema, frames), read_logs(schema, past)
    for logs in (whole, early):
        add_histories(schema, logs, {})
    for name, frame in frames.items():
        for column in ("read", "seen"):
            rows = np.flatnonzero(frame["time"] < cut)
            with_future = whole[name].columns[column].take(rows).to_lists()
            without = early[name].columns[column].to_lists()
            assert [list(x) for x in with_future] == [list(x) for x in without]


def test_a_negative_has_its_positives_history_and_is_never_an_event():
    random = np.random.default_rng(3)
    frames = {"books": log(random, 80, 1000), "films": log(random, 60, 5000)}
    for frame in frames.values():
        frame["item"] = frame["item"] % 7 + 10
        frame["label"] = 1
        frame["user"] = [f"{user}{number % 9}" for number, user in enumerate(frame["user"])]
    schema = two_domains()
    logs = read_logs(
        schema,
        {"books": frames["books"], "films": {"data": frames["films"], "negatives": {"per_positive": 2}}},
    )
    plain = read_logs(schema, frames)
    codes = np.arange(60) % 3
    logs["films"] = add_negatives(logs["films"], codes, 0, catalogues(logs["films"], codes))
    assert len(logs["films"]) == 180
    for ties in (False, True):
        add_histories(schema, logs, {}, include_ties=ties)
        add_histories(schema, plain, {}, include_ties=ties)
        for column in ("read", "seen"):
            found, wanted = (each["films"].columns[column].to_lists() for each in (logs, plain))
            for row, event in enumerate(logs["films"].event):
                assert list(found[row]) == list(wanted[event])


def test_only_rows_of_a_least_label_are_listed():
    frame = pd.DataFrame({"user": "a", "item": [1, 2, 3, 4], "time": [1, 2, 3, 4], "label": [1, 0, 1, 0]})
    schema = two_domains()
    logs = read_logs(schema, {"books": {"data": frame, "history_min_label": 1}, "films": frame})
    add_histories(schema, logs, {})
    assert list(logs["films"].columns["read"].to_lists()[3]) == [1, 3]
    assert list(logs["films"].columns["seen"].to_lists()[3]) == [1, 2, 3]


def test_without_times_the_other_training_events_are_listed_and_no_held_out_one():
    schema = two_domains(time=None)
    frame = pd.DataFrame({"user": ["a", "a", "a", "b"], "item": [1, 2, 3, 4], "label": 0})
    logs = read_logs(schema, {"books": frame, "films": frame})
    with pytest.raises(DataError, match="needs times.*history: others"):
        add_histories(schema, logs, {})
    codes = {"books": np.array([0, 0, -1, 0]), "films": np.array([0, 2, 0, 0])}
    add_histories(schema, logs, codes, history="others")
    assert [list(x) for x in logs["films"].columns["seen"].to_lists()] == [[3], [1, 3], [1], []]
    assert [list(x) for x in logs["films"].columns["read"].to_lists()] == [[1, 2], [1, 2], [1, 2], [4]]


def test_a_missing_user_has_no_history():
    order, starts, stops = windows(
        np.array([-1, -1, 0]), np.array([1, 2, 3]), np.array([-1, 0]), np.array([9, 9])
    )
    assert list(order) == [2] and list(stops - starts) == [0, 1]


def test_windows_of_nothing():
    order, starts, stops = windows(np.array([], int), np.array([], int), np.array([0]), np.array([1]))
    assert len(order) == 0 and list(starts) == list(stops) == [0]


def test_users_must_have_one_dtype():
    schema = two_domains()
    numbers = Schema(
        (
            Domain(
                "books",
                (Feature("user", "id", "user", "int64", "user"), *schema.domain("books").features[1:]),
                time="time",
            ),
            schema.domain("films"),
        ),
        "films",
        schema.tables,
    )
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "time": [1, 2], "label": 0})
    logs = read_logs(numbers, {"books": frame, "films": frame})
    with pytest.raises(DataError, match="one dtype in all domains.*books: int64, films: string"):
        add_histories(numbers, logs, {})
