"""The floors, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import prepare
from cdrzoo.evaluation.floors import floors
from cdrzoo.schema import Domain, Feature, Schema, Table

COLUMNS = ["user", "item", "label", "split"]
FILMS = [("u1", "a", 1), ("u1", "b", 0), ("u2", "a", 1), ("u2", "b", 1)]
FILMS = [(*row, "train") for row in FILMS] + [("u1", "a", 1, "valid"), ("u1", "a", 1, "test")]
BOOKS = [("u1", "x", 1, "train"), ("u3", "x", 0, "train"), ("u3", "y", 0, "train")]


def found_of(books: str, films: str, task: str = "click", source=BOOKS):
    """The floors where the two domains list these of `user`, `item` and `age`, separated by blanks."""
    known = {
        "user": lambda domain: Feature("user", "id", "user", table="user"),
        "item": lambda domain: Feature("item", "id", "item", table=f"{domain}_item"),
        "age": lambda domain: Feature("age", "number", "context"),
    }
    domains = tuple(
        Domain(name, tuple(known[feature](name) for feature in listed.split()), task=task)
        for name, listed in (("books", books), ("films", films))
        if listed
    )
    tables = {feature.table for domain in domains for feature in domain.features if feature.table}
    frames = {
        "films": pd.DataFrame(FILMS, columns=COLUMNS).assign(age=1.0),
        "books": pd.DataFrame(source, columns=COLUMNS).assign(age=1.0),
    }
    schema = Schema(domains, "films", tuple(Table(name) for name in sorted(tables)))
    rows = {domain.name: frames[domain.name] for domain in domains}
    return floors(prepare(schema, rows, split="given"))


def test_smoothed_means_by_hand():
    found = found_of("user item", "user item")
    # Target: mean 3/4; a: (2 + 5 * 3/4) / 7, b: (1 + 5 * 3/4) / 7; u1's residuals 1 - a and 0 - b, over 2 + 5.
    a, b = 5.75 / 7, 4.75 / 7
    user = ((1 - a) + (0 - b)) / 7
    # Source: mean 1/3; x: (1 + 5 / 3) / 7; u1's residual over 1 + 5.
    source = (1 - (1 + 5 / 3) / 7) / 6
    expected = {
        "item mean": a,
        "item + user mean": a + user,
        "item + source user mean": a + source,
        "item + user + source user mean": a + user + source,
    }
    assert found.keys() == expected.keys()
    for name, score in expected.items():
        assert found[name]["log_loss"] == pytest.approx(-np.log(score)), name


def test_a_source_without_a_training_row_says_nothing():
    found = found_of("user item", "user item", source=[(*row[:3], "test") for row in BOOKS])
    loss = {name: metrics["log_loss"] for name, metrics in found.items()}
    assert loss["item + source user mean"] == loss["item mean"] == pytest.approx(-np.log(5.75 / 7))
    assert loss["item + user + source user mean"] == loss["item + user mean"] != loss["item mean"]


@pytest.mark.parametrize(
    ("books", "films", "task", "expected"),
    [
        ("", "user item", "click", ["item mean", "item + user mean"]),
        ("user item", "item", "click", ["item mean"]),
        ("item", "user item", "click", ["item mean", "item + user mean"]),
        ("user", "user item", "click", ["item mean", "item + user mean"]),
        ("", "user", "click", []),
        ("item", "item", "rating", ["target mean", "item mean"]),
        ("", "age", "rating", ["target mean"]),
        ("", "age", "click", []),
    ],
)
def test_what_rests_on_users_or_items_that_rows_do_not_have_is_left_out(books, films, task, expected):
    found = found_of(books, films, task)
    assert list(found) == expected
    assert all(("gauc" in metrics) == ("user" in films) for metrics in found.values() if task == "click")
    if "item mean" in found and task == "click":
        assert found["item mean"]["log_loss"] == pytest.approx(-np.log(5.75 / 7))
