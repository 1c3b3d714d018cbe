"""Groups of users, and by the values of columns, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo import metrics
from cdrzoo.data import prepare
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.training.groups import by_rows, by_values, of_rows, user_groups


def test_groups_of_users_are_those_of_mkt():
    rows = np.array([0, 9, 10, 29, 30, 500])
    groups = user_groups(rows)
    assert {name: rows[mask].tolist() for name, mask in groups.items()} == {
        "0-9": [0, 9],
        "10-29": [10, 29],
        "30+": [30, 500],
    }
    assert list(by_rows(rows)) == ["cold", "warm", *groups] and rows[by_rows(rows)["cold"]].tolist() == [0]
    found = metrics.evaluate(np.ones(3), np.zeros(3), "rating", groups=user_groups(np.array([1, 12, 12])))
    assert found["mae@0-9"] == 1.0 and np.isnan(found["mae@30+"])


NAN = float("nan")


PAIRS = {value: [2 * at, 2 * at + 1] for at, value in enumerate("abcdef")}


@pytest.mark.parametrize(
    ("values", "reference", "expected"),
    [
        (list("aab"), list("c"), {"a": [0, 1], "b": [2]}),
        (["a", "", "a"], list("ab"), {"a": [0, 2], "missing": [1]}),
        ([*"aabbccddeeff", "g", ""], list("a"), {**PAIRS, "others": [12], "missing": [13]}),
        ([*"aabbccddeeff", "others", "missing"], list("a"), {**PAIRS, "others": [12, 13]}),
        (["others", "missing", ""], list("a"), {"others": [0], "missing": [1, 2]}),
        (["7", "8"], ["7", "8", "8"], {"8": [1], "7": [0]}),
        ([14102100, -1, 14102101], [7, 8], {"14102100": [0], "14102101": [2], "missing": [1]}),
        ([0.5, NAN], [0.5, 1.5], {"0.5": [0], "missing": [1]}),
        # Quarters of 1 to 8: 2.75, 4.5, 6.25.
        (
            [2.0, 3, 99, NAN],
            range(1, 9),
            {"up to 2.75": [0], "2.75 to 4.5": [1], "above 6.25": [2], "missing": [3]},
        ),
        ([2e9, 3e9], 2e9 + np.arange(1, 9), {"up to 2000000003": [0], "above 2000000006": [1]}),
        (["2.5", ""], [f"{n}.0" for n in range(1, 9)], {"up to 2.75": [0], "missing": [1]}),
        (["2.5", "x"], [f"{n}.0" for n in range(1, 9)], {"2.5": [0], "x": [1]}),
    ],
)
def test_groups_by_the_values_of_a_column(values, reference, expected):
    values, reference = (
        np.asarray(each, object if isinstance(each[0], str) else None) for each in (values, list(reference))
    )
    found = {name: np.flatnonzero(mask).tolist() for name, mask in by_values(values, reference, 6).items()}
    assert found == expected


def test_columns_to_group_by_are_features_or_not_and_change_nothing_else(tmp_path):
    features = (Feature("user", "id", "user", table="user"), Feature("item", "id", "item", table="film"),
                Feature("tags", "ids", "item", table="tag", length=2))  # fmt: skip
    schema = Schema(
        (Domain("films", features, time="time"),), "films", tuple(map(Table, ("user", "film", "tag")))
    )
    size = 200
    rows = pd.DataFrame(
        {"user": [f"u{n % 41}" for n in range(size)], "item": [f"f{n % 30}" for n in range(size)]}
    )
    rows["tags"], rows["time"], rows["hour"] = "x|y", range(size), [n % 7 % 3 for n in range(size)]
    rows.to_csv(tmp_path / "films.csv", index=False)
    pd.DataFrame({"item": [f"f{n}" for n in range(29)], "maker": [*"ab" * 14, "a"]}).to_csv(
        tmp_path / "items.csv", index=False
    )
    join = [{"path": "items.csv", "on": "item"}]
    source = {"path": "films.csv", "join": join, "negatives": {"per_positive": 2}}
    made = {
        slices: prepare(schema, {"films": source}, folder=tmp_path, slices=slices)
        for slices in ((), ("hour", "maker", "item", "user"))
    }
    plain, sliced = made.values()
    assert plain.split.hash == sliced.split.hash
    for name, values in plain.parts["films"]["test"].x.items():
        np.testing.assert_array_equal(values, sliced.parts["films"]["test"].x[name])
    found = of_rows(sliced)
    assert set(of_rows(plain)) < set(found) and {
        "hour=0",
        "hour=1",
        "hour=2",
        "maker=a",
        "item=others",
    } < set(found)
    frame = sliced.frame("films", "test")
    np.testing.assert_array_equal(
        found["hour=1"], frame["time"].to_numpy() % 7 % 3 == 1
    )  # a negative has its event's
    makers = {f"f{n}": maker for n, maker in enumerate([*"ab" * 14, "a"])}
    of_drawn = frame["item"].map(makers).to_numpy()
    np.testing.assert_array_equal(found["maker=a"], of_drawn == "a")
    assert found["maker=missing"].sum() == (frame["item"] == "f29").sum() > 0
    assert sliced.only("films").slices == sliced.slices
    with pytest.raises(DataError, match="columns of one value. Received: 'tags', a sequence"):
        prepare(schema, {"films": source}, folder=tmp_path, slices=["tags"])
    with pytest.raises(DataError, match="no column 'makers' to group by"):
        prepare(schema, {"films": source}, folder=tmp_path, slices=["makers"])
