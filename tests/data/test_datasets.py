"""The loaders: on small files in the published formats, and on the data itself where it is at hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import datasets, prepare
from cdrzoo.data.preparation.assignment import assign
from cdrzoo.data.preparation.reading import read_logs
from cdrzoo.errors import InputError
from cdrzoo.metrics import auc


def write_ratings(folder, names, time=True, rating=True, extra=()) -> None:
    random = np.random.default_rng(0)
    for name in names:
        frame = pd.DataFrame({"user_id": random.integers(0, 25, 300), "item_id": random.integers(0, 40, 300)})
        frame["user_id"] = frame["user_id"].where(frame.index > 0, 0)
        if rating:
            frame["rating"] = random.integers(1, 6, 300)
        if time:
            frame["timestamp"] = 86400 * random.integers(10_000, 10_100, 300)
        for column in extra:
            frame[column] = 0
        frame.to_csv(folder / f"interactions_{name}.csv.gz", index=False)


def test_ciao(tmp_path):
    write_ratings(tmp_path, ["cat01", "cat02"], extra=["helpfulness"])
    made = prepare(**datasets.ciao.pair(tmp_path, "01", "02"))
    assert made.schema.target == "cat02"
    assert set(np.unique(made.parts["cat02"]["train"].y)) == {0, 1}
    assert "helpfulness" not in made.frame("cat02", "test").columns
    ratings = prepare(**datasets.ciao.pair(tmp_path, "01", "02", task="rating"))
    assert set(np.unique(ratings.parts["cat02"]["train"].y)) == {1, 2, 3, 4, 5}
    for of, least in ((made, 5), (ratings, 1)):  # rare ids are known to ratings alone
        assert {table.min_count for table in of.schema.tables} == {least}
    assert (ratings.parts["cat02"]["train"].x["item"] > 1).all()


def test_histories_may_leave_the_ratings_out(tmp_path):
    write_ratings(tmp_path, ["cat01", "cat02"])
    for made in (
        datasets.ciao.pair(tmp_path, "01", "02", ratings=False),
        datasets.amazon_subcat.pair(tmp_path, ratings=False),
    ):
        schema = made["schema"]
        assert {f.field for f in schema.target_domain.features if f.role == "history"} == {"item_id"}
        assert "rating" not in {table.name for table in schema.tables}


def test_amazon_subcat(tmp_path):
    write_ratings(tmp_path, ["subcat1", "subcat2"])
    for name in ("subcat1", "subcat2"):
        items = pd.DataFrame(
            {"item_id": range(40), "category_ids": "0|1", "brand_id": 7, "also_viewed": ["1|2", ""] * 20}
        )
        items.to_csv(tmp_path / f"items_{name}.csv.gz", index=False)
    made = prepare(**datasets.amazon_subcat.pair(tmp_path, "subcat2", "subcat1"))
    frame = made.frame("subcat1", "test")
    assert (frame["brand_id"] == 7).all()
    assert all(
        list(v) == ([1, 2] if i % 2 == 0 else []) for v, i in zip(frame["also_viewed"], frame["item_id"])
    )
    schema = datasets.amazon_subcat.pair(tmp_path, item_features="target")["schema"]
    listed = {domain.name: {feature.name for feature in domain.features} for domain in schema.domains}
    assert listed["subcat2"] - listed["subcat1"] == {"brand", "also_viewed"}
    with pytest.raises(InputError, match="`item_features` must be one of both, target"):
        datasets.amazon_subcat.pair(tmp_path, item_features="own")


def test_amazon_food_kitchen(tmp_path):
    write_ratings(tmp_path, ["food", "kitchen"], rating=False, extra=["seq"])
    made = prepare(**datasets.amazon_food_kitchen.pair(tmp_path, per_positive=3))
    test = made.frame("kitchen", "test")
    assert test["label"].mean() == 0.25
    assert (test[test["label"] == 1].groupby("user_id").size() == 1).all()
    assert {table.min_count for table in made.schema.tables} == {2}


def test_douban(tmp_path):
    write_ratings(tmp_path, ["book", "music"], time=False)
    made = prepare(**datasets.douban.pair(tmp_path))
    assert not set(made.parts["music"]["train"].user) & set(made.parts["music"]["test"].user)
    frame = made.frame("music", "test")
    assert all(len(v) == 0 for v in frame["music_items"]) and all(len(v) > 0 for v in frame["book_items"])


def floors(arguments: dict) -> list[float]:
    """Test AUC of smoothed biases: of items; and of users; and of the same users in the source.

    The last 20 % of the target's time are the test, and the source is cut where they begin.
    """
    schema = arguments["schema"]
    logs = read_logs(schema, arguments["sources"])
    codes = assign(schema, logs, {"by": "time", "fractions": [0.8, 0.0, 0.2]})[2]

    def bias(keys, residual):
        grouped = pd.Series(residual).groupby(keys)
        return grouped.sum() / (grouped.count() + 5)

    def of_user_and_item(log, rows):
        y, mean = log.y, log.y[rows].mean()
        item = pd.Series(log.item).map(bias(log.item[rows], y[rows] - mean)).fillna(0).to_numpy()
        return item, bias(log.user[rows], (y - mean - item)[rows])

    target, source = logs[schema.target], logs[schema.sources[0].name]
    train, test = codes[schema.target] == 0, codes[schema.target] == 2
    item, users = of_user_and_item(target, train)
    user = pd.Series(target.user).map(users).fillna(0).to_numpy()
    _, readers = of_user_and_item(source, codes[schema.sources[0].name] == 0)
    reader = pd.Series(target.user).map(readers).fillna(0).to_numpy()
    return [auc(target.y[test], score[test]) for score in (item, item + user, item + user + reader)]


@pytest.mark.parametrize(
    ("name", "arguments", "wanted"),
    [
        ("amazon_subcat_ratings", ("subcat1", "subcat2"), (0.618, 0.627, 0.657)),
        ("amazon_subcat_ratings", ("subcat2", "subcat1"), (0.660, 0.702, 0.709)),
        ("ciao", ("01", "02"), (0.553, 0.669, 0.691)),
        ("ciao", ("10", "05"), (0.559, 0.604, 0.594)),
    ],
)
def test_biases_reach_the_known_floors(real_data, name, arguments, wanted):
    pair = datasets.ciao.pair if name == "ciao" else datasets.amazon_subcat.pair
    np.testing.assert_allclose(floors(pair(real_data(name), *arguments)), wanted, atol=6e-4)


def test_food_and_kitchen_itself(real_data):
    made = prepare(**datasets.amazon_food_kitchen.pair(real_data("amazon_food_kitchen")))
    parts = made.split.summary["kitchen"]
    assert (parts["test"]["rows"], parts["test"]["users"], parts["test"]["label"]) == (5 * 7144, 7144, 0.2)
    assert made.split.hash.startswith("8a73a70b887af58f")
