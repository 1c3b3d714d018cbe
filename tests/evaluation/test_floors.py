"""The floors, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import prepare
from cdrzoo.evaluation.floors import floors
from cdrzoo.schema import Domain, Feature, Schema, Table


def test_smoothed_means_by_hand():
    def domain(name):
        features = (
            Feature("user", "id", "user", table="user"),
            Feature("item", "id", "item", table=f"{name}_item"),
        )
        return Domain(name, features)

    schema = Schema(
        (domain("books"), domain("films")), "films", (Table("user"), Table("books_item"), Table("films_item"))
    )
    columns = ["user", "item", "label", "split"]
    films = [("u1", "a", 1), ("u1", "b", 0), ("u2", "a", 1), ("u2", "b", 1)]
    films = [(*row, "train") for row in films] + [("u1", "a", 1, "valid"), ("u1", "a", 1, "test")]
    books = [("u1", "x", 1, "train"), ("u3", "x", 0, "train"), ("u3", "y", 0, "train")]
    frames = {"films": pd.DataFrame(films, columns=columns), "books": pd.DataFrame(books, columns=columns)}
    found = floors(prepare(schema, frames, split="given"))
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
