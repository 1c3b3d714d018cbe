"""Planted logs: what is said of them is so, and the oracle's target is the same."""

from __future__ import annotations

import numpy as np
import pytest

from cdrzoo.data import planted, prepare
from cdrzoo.errors import InputError
from cdrzoo.metrics import auc


@pytest.mark.parametrize("name", planted.PLANTS)
def test_the_oracle_has_the_same_target_and_rows_can_be_prepared(name, tmp_path):
    made, oracle = (planted.make(name, oracle=of, rows=(600, 300)) for of in (False, True))
    for column in ("time", "click"):
        np.testing.assert_array_equal(made.frames["films"][column], oracle.frames["films"][column])
    films = made.frames["films"]
    assert auc(films["click"].to_numpy("float64"), made.probabilities["films"]) > 0.7  # what can be known
    given = planted.pair(tmp_path, name)
    assert prepare(given["schema"], given["sources"], split=given["split"]).schema.target == "films"


@pytest.mark.parametrize("plant", ["poison", "shift"])
def test_the_bound_is_of_the_rows_that_are_the_test(plant, tmp_path):
    given = planted.pair(tmp_path, plant)
    rows = prepare(given["schema"], given["sources"], split=given["split"])
    test = rows.split.parts["films"]["test"]
    made = planted.make(plant)
    clicks = made.frames["films"]["click"].to_numpy("float64")[test]
    assert planted.bayes(plant) == auc(clicks, made.probabilities["films"][test])


@pytest.mark.parametrize("plant", planted.SPLITS)
def test_a_poor_target_has_the_whole_source_before_it(plant, tmp_path):
    given = planted.pair(tmp_path, plant)
    parts = prepare(given["schema"], given["sources"], split=given["split"]).split.parts
    assert len(parts["films"]["train"]) == 120 and len(parts["books"]["train"]) == 8_000


def test_books_of_the_poison_follow_the_films_where_they_are_useful():
    made = planted.make("poison")
    books, law = made.frames["books"], made.probabilities["books"]
    x = books[[f"x{k}" for k in range(planted.NUMBERS)]].to_numpy()
    logit = 1.5 * (1.5 * x[:, 0] + 1.5 * x[:, 1] * x[:, 2] + np.sin(2 * x[:, 3]))
    clicks = books["click"].to_numpy("float64")
    assert auc(clicks[made.useful], logit[made.useful]) > 0.85
    assert auc(clicks[~made.useful], logit[~made.useful]) < 0.15
    np.testing.assert_array_equal(made.useful, x[:, 5] > 0)
    np.testing.assert_allclose(law[made.useful], 1 / (1 + np.exp(-logit[made.useful])))


def test_what_is_bought_tells_taste_and_what_is_viewed_does_not():
    books = planted.make("types").frames["books"]
    spread = books.groupby(["type", "user"])["genre"].apply(
        lambda genres: genres.value_counts(normalize=True).max()
    )
    spread = spread.groupby("type").mean()
    assert set(books["type"]) == {"buy", "view"} and spread["buy"] > 0.5 > spread["view"]
    assert set(books["event"]) == {f"{kind} g{k}" for kind in ("buy", "view") for k in range(planted.GENRES)}


def test_there_is_no_other_plant():
    with pytest.raises(InputError, match="`plant` must be one of poison, pool, types, specific"):
        planted.make("weeds")
