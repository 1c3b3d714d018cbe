"""The synthetic logs: what was planted can be found again, in the sign it was planted with."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import prepare, synthetic
from cdrzoo.errors import InputError
from cdrzoo.metrics import auc


def bias(frame: pd.DataFrame, key: str, residual: np.ndarray) -> pd.Series:
    """Smoothed mean of the residual by key."""
    grouped = residual.groupby(frame[key])
    return grouped.sum() / (grouped.count() + 5)


def scores(transfer: float, seed: int = 0) -> tuple[float, float, float]:
    """AUC on the films' last fifth: of film and user biases, with the user's bias in books, and of the truth."""
    made = synthetic.synthesize(transfer, seed=seed)
    books, films = made.frames["books"], made.frames["films"]
    late = films["time"] >= films["time"].quantile(0.8)
    train, test = films[~late], films[late]
    books = books[books["time"] < test["time"].min()]
    mean = train["click"].mean()
    of_item = bias(train, "item", train["click"] - mean)
    of_user = bias(train, "user", train["click"] - mean - train["item"].map(of_item))
    of_reader = bias(books, "user", books["click"] - books["click"].mean())
    own = test["item"].map(of_item).fillna(0) + test["user"].map(of_user).fillna(0)
    both = own + test["user"].map(of_reader).fillna(0)
    truth = made.best_probability("films", test)
    click = test["click"].to_numpy()
    return auc(click, own.to_numpy()), auc(click, both.to_numpy()), auc(click, truth)


def test_books_help_where_transfer_is_planted_and_harm_where_it_is_poison():
    own, both, truth = scores(0.9)
    assert both > own + 0.02 and truth > both + 0.02
    own, both, truth = scores(-0.9)
    assert both < own - 0.05 and truth > own


def test_without_transfer_books_say_nothing_of_films():
    own, both, _ = scores(0.0)
    assert both < own + 0.005


@pytest.mark.parametrize("transfer", [-1.0, 0.0, 0.9])
def test_the_true_probability_is_calibrated_and_learnable(transfer):
    made = synthetic.synthesize(transfer)
    for domain, frame in made.frames.items():
        p, click = made.probabilities[domain], frame["click"].to_numpy()
        assert 0.35 < click.mean() < 0.6
        assert 0.75 < auc(click, p) < 0.86
        for low in np.arange(0, 1, 0.2):  # within each fifth clicks are as frequent as said
            rows = (p >= low) & (p < low + 0.2)
            assert abs(click[rows].mean() - p[rows].mean()) < 4 * np.sqrt(0.25 / rows.sum())


def test_cold_users_have_books_and_no_early_film():
    made = synthetic.synthesize(0.9)
    films, books = made.frames["films"], made.frames["books"]
    cold = films[films["user"].isin(made.cold_users)]
    start, end = films["time"].min(), films["time"].max()
    assert len(made.cold_users) > 100 and len(cold) > 400
    assert cold["time"].min() >= start + synthetic.LATE * (end - start) * 0.99
    assert books["user"].isin(made.cold_users).sum() > 1000
    groups = prepare(made.schema, made.sources).groups("test")
    assert ((groups["target_rows"] == 0) & (groups["source_rows"] > 0)).mean() > 0.1


def test_seed_and_sizes():
    one, two, other = (
        synthetic.synthesize(0.3, users=50, source_rows=300, target_rows=90, seed=s) for s in (1, 1, 2)
    )
    for domain, rows in (("books", 300), ("films", 90)):
        pd.testing.assert_frame_equal(one.frames[domain], two.frames[domain])
        assert len(one.frames[domain]) == rows and one.frames[domain]["time"].is_monotonic_increasing
        assert not one.frames[domain]["click"].equals(other.frames[domain]["click"])
    assert set(one.frames["films"]) - set(one.frames["books"]) == {"minutes", "device"}
    with pytest.raises(InputError, match="between -1 and 1"):
        synthetic.synthesize(1.5)
    with pytest.raises(InputError, match="not events of 'films'"):
        one.best_probability("films", pd.DataFrame({"event": [10_000]}))


def test_the_signal_is_in_the_schema():
    schema = synthetic.schema()
    assert schema.specific_features("films") == ("minutes", "device")
    assert schema.target == "films"
    for domain in schema.domains:
        assert {history.of for history in domain.histories()} == {"books", "films"}
