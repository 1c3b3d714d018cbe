"""The side-by-side report."""

from __future__ import annotations

import pandas as pd
import pytest

from cdrzoo.data import check
from cdrzoo.schema import Domain, Feature, Schema, Table

SCHEMA = Schema(
    (
        Domain(
            "books",
            (
                Feature("user", "id", "user", table="user"),
                Feature("item", "id", "item", table="book"),
                Feature("genre", "id", "item", table="genre"),
            ),
            label="stars",
            threshold=4,
            time="time",
        ),
        Domain(
            "films",
            (
                Feature("user", "id", "user", table="user"),
                Feature("item", "id", "item", table="film"),
                Feature("genre", "id", "item", table="genre"),
                Feature("minutes", "number", "item"),
                Feature("read", "ids", "history", table="book", length=4, of="books"),
            ),
            time="time",
        ),
    ),
    "films",
    (Table("user"), Table("book"), Table("film"), Table("genre", width=4)),
)
BOOKS = pd.DataFrame(
    {
        "user": list("aab"),
        "item": list("xyx"),
        "genre": ["war", "zen", "war"],
        "stars": [5, 1, 4],
        "time": [1, 2, 3],
    }
)
FILMS = pd.DataFrame(
    {
        "user": list("bcdb"),
        "item": list("xpqr"),
        "genre": ["zen", None, "pop", ""],
        "minutes": [90, None, 100, 80],
        "label": [0, 1, 0, 0],
        "time": [2, 3, 4, 5],
    }
)


def lines(text: str) -> dict[str, list[str]]:
    return {line.split("  ")[1].strip(): line.split() for line in text.splitlines() if line.startswith("  ")}


def test_the_schema_alone():
    text = check(SCHEMA)
    assert "films (target)" in text and "click stars >= 4" in text
    assert text.index("shared features") < text.index("specific features") < text.index("tables")
    assert lines(text)["genre"][-3:] == ["4", "books,", "films"]


def test_with_data_it_counts():
    found = lines(check(SCHEMA, {"books": BOOKS, "films": FILMS}))
    assert found["rows"][1:] == ["3", "4"]
    assert found["users"][1:] == ["2", "3"]
    assert found["users also in another domain"][-4:] == ["1", "(50%)", "1", "(33%)"]
    assert found["mean label"][2:] == ["0.6667", "0.2500"]
    assert found["time to"][2:] == ["3", "5"]
    text = check(SCHEMA, {"books": BOOKS, "films": FILMS})
    assert "item id string 50.0%" in text  # the films' genre: two of four missing
    assert "item number float32 25.0%" in text
    assert "history ids[4] string 75.0%" in text  # only the last film of b comes after a book of his
    assert found["film"][-2:] == ["4", "0"]
    tables = text[text.index("tables") :]
    genre = next(line for line in tables.splitlines() if line.strip().startswith("genre"))
    assert genre.split() == ["genre", "4", "books,", "films", "3", "1", "(33%)"]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([5, 6, 7], None),
        ([6, 7, 8], "all events of books (6 to 8) lie after those of films (2 to 5): none is in a history"),
        ([0, 1, 1], "all events of books (0 to 1) lie before those of films (2 to 5)"),
    ],
)
def test_times_that_do_not_overlap_are_warned_of(times, words):
    text = check(SCHEMA, {"books": BOOKS.assign(time=times), "films": FILMS})
    assert (words in text) if words else "warning" not in text
