"""Sampled negatives: never touched, seeded, of the asked shape."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import prepare
from cdrzoo.data.preparation.negatives import sample_negatives
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema, Table


@pytest.mark.parametrize("how", ["uniform", "popularity"])
@pytest.mark.parametrize("seed", range(5))
def test_no_negative_was_ever_touched(seed, how):
    random = np.random.default_rng(seed)
    users, items = random.integers(0, 20, 300), random.integers(0, 30, 300) ** 2 // 29
    items = pd.factorize(items)[0]
    drawn = sample_negatives(users, items, 3, how, seed)
    assert drawn.shape == (300, 3)
    touched = set(zip(users.tolist(), items.tolist(), strict=True))
    assert not touched & {(int(u), int(i)) for u, row in zip(users, drawn, strict=True) for i in row}
    np.testing.assert_array_equal(drawn, sample_negatives(users, items, 3, how, seed))
    assert (drawn != sample_negatives(users, items, 3, how, seed + 100)).any()


def test_a_user_with_one_item_left_gets_that_item():
    users = np.array([0] * 199 + [1])
    items = np.array([*range(199), 199])
    for how in ("uniform", "popularity"):
        drawn = sample_negatives(users, items, 2, how)
        assert (drawn[users == 0] == 199).all()
        assert (drawn[users == 1] < 199).all()


def test_a_user_without_an_item_left_is_an_error():
    with pytest.raises(DataError, match="touched all 3 items"):
        sample_negatives(np.zeros(3, int), np.arange(3), 1)


def test_uniform_and_popularity_follow_their_shares():
    # User 0 has one item of his own; the rest of the log is others' and gives the popularity.
    users = np.array([0] * 5000 + [1] * 3000 + [2] * 1000)
    items = np.array([0] * 5000 + [1] * 3000 + [2] * 1000)
    for how, share in (("uniform", 0.5), ("popularity", 0.75)):
        drawn = sample_negatives(users, items, 4, how)[users == 0]
        assert abs((drawn == 1).mean() - share) < 0.02


def test_a_negative_keeps_user_and_context_and_takes_the_items_columns():
    schema = Schema(
        (
            Domain(
                "films",
                (
                    Feature("user", "id", "user", table="user"),
                    Feature("item", "id", "item", "int64", "film"),
                    Feature("minutes", "number", "item"),
                    Feature("tags", "ids", "item", table="tag", length=3),
                    Feature("device", "id", "context", table="device"),
                ),
                time="time",
            ),
        ),
        "films",
        (Table("user"), Table("film"), Table("tag"), Table("device")),
    )
    random = np.random.default_rng(0)
    item = random.integers(0, 40, 200)
    frame = pd.DataFrame(
        {
            "user": random.choice(list("abcdefgh"), 200),
            "item": item,
            "minutes": 100.0 + item,
            "tags": [[f"t{i % 3}", "all"] for i in item],
            "device": random.choice(["tv", "pc"], 200),
            "time": np.arange(200),
        }
    )
    source = {"films": {"data": frame, "negatives": {"per_positive": 3, "how": "popularity"}}}
    made = prepare(schema, source, seed=1)
    again = prepare(schema, source, seed=1)
    other = prepare(schema, source, seed=2)
    assert made.split.hash == again.split.hash != other.split.hash
    touched = set()
    for part, share in (("train", 0.7), ("valid", 0.1), ("test", 0.2)):
        rows = made.frame("films", part)
        pd.testing.assert_frame_equal(rows, again.frame("films", part))
        positives, negatives = rows[rows["label"] == 1], rows[rows["label"] == 0]
        assert len(positives) == 200 * share and len(negatives) == 3 * len(positives)
        assert (rows["minutes"] == 100 + rows["item"]).all()
        assert all(
            list(tags) == [f"t{i % 3}", "all"] for tags, i in zip(rows["tags"], rows["item"], strict=True)
        )
        # every negative has the user, device and time of a positive of the same part
        keys = set(zip(positives["user"], positives["device"], positives["time"], strict=True))
        assert set(zip(negatives["user"], negatives["device"], negatives["time"], strict=True)) == keys
        touched |= set(zip(positives["user"], positives["item"], strict=True))
        assert not touched & set(zip(negatives["user"], negatives["item"], strict=True))


def test_negatives_of_a_log_with_labels_are_refused():
    schema = Schema(
        (
            Domain(
                "films", (Feature("user", "id", "user", table="u"), Feature("item", "id", "item", table="f"))
            ),
        ),
        "films",
        (Table("u"), Table("f")),
    )
    frame = pd.DataFrame({"user": ["a", "b", "c"], "item": ["x", "y", "z"], "label": [1, 0, 1]})
    with pytest.raises(DataError, match="log of positives, but row 2 is none"):
        prepare(schema, {"films": {"data": frame, "negatives": {}}}, split="random")
    for negatives in ({"per_positive": 0}, {"how": "hard"}):
        with pytest.raises(
            DataError, match="per_positive: a whole number from 1, and how: uniform or popularity"
        ):
            prepare(schema, {"films": {"data": frame, "negatives": negatives}})
