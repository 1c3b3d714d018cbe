"""What is said of rows that are read without an error and are hardly what was meant."""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np
import pandas as pd
import pytest

from cdrzoo import metrics
from cdrzoo.data import prepare, quality, synthetic
from cdrzoo.errors import DataError, DataWarning
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.schema.overview import as_text
from tests.attack.logs import log

ROWS = 2000


def schema(**films) -> Schema:
    user = Feature("user", "id", "user", table="user")
    books = (user, Feature("item", "id", "item", table="book"))
    own = (
        user,
        Feature("item", "id", "item", table="film"),
        Feature("tags", "ids", "item", table="tag", length=4),
    )
    return Schema(
        (
            Domain("books", books, label="click", time="time"),
            Domain("films", own, "click", time="time", **films),
        ),
        "films",
        tuple(map(Table, ("user", "book", "film", "tag"))),
    )


frame = functools.partial(log, rows=ROWS, start=0)
"""Clean rows, by a seed."""


def found(tmp_path, films: pd.DataFrame, books: pd.DataFrame | None = None, split="time", of=None, **source):
    """The warnings of rows in CSV files."""
    (frame(0) if books is None else books).to_csv(tmp_path / "books.csv", index=False)
    films.to_csv(tmp_path / "films.csv", index=False)
    sources = {"books": "books.csv", "films": {"path": "films.csv", **source}}
    prepared = prepare(schema() if of is None else of, sources, folder=tmp_path, split=split)
    return quality.warnings_of(prepared.schema, prepared.logs, prepared.split)


def some(values: pd.Series, share: float, new) -> pd.Series:
    """The values with the first share of them changed."""
    count = round(share * len(values))
    return pd.Series([new(v) if i < count else v for i, v in enumerate(values)])


def test_clean_rows_say_nothing(tmp_path):
    assert found(tmp_path, frame(1)) == []
    made = synthetic.synthesize(seed=3)
    prepared = prepare(made.schema, made.sources)
    assert quality.warnings_of(prepared.schema, prepared.logs, prepared.split) == []
    only = prepared.only("films")
    assert quality.warnings_of(only.schema, only.logs, only.split) == []


@pytest.mark.parametrize(
    ("column", "share", "change", "words"),
    [
        (
            "item",
            0.02,
            lambda v: "NULL",
            ["films, column 'item'", "'NULL' stands in 40 (2.0%)", "the cell empty"],
        ),
        ("item", 0.005, lambda v: "NULL", None),
        ("user", 0.5, lambda v: "\\N", ["column 'user'", r"'\\N' stands in 1,000 (50.0%)"]),
        ("item", 0.02, lambda v: "none", ["'none' stands in"]),
        ("tags", 0.1, lambda v: "nan|war", ["column 'tags'", "'nan' stands in"]),
        ("item", 0.001, lambda v: f" {v}", ["2 (0.1%) of the ids begin or end with a blank, such as ' i"]),
        (
            "tags",
            1.0,
            lambda v: v.replace("|", " | "),
            ["column 'tags'", "begin or end with a blank", "`separator`"],
        ),
        ("item", 0.02, lambda v: f"'{v}'", ["stand in quotes or brackets", "plain ids"]),
        ("item", 0.02, lambda v: f"b'{v}'", ["stand in quotes or brackets"]),
        ("item", 0.02, lambda v: f"[{v}]", ["stand in quotes or brackets"]),
        ("item", 1.0, lambda v: f"{v} (1999)", None),
        ("item", 1.0, lambda v: f"O'{v}", None),
        (
            "tags",
            1.0,
            lambda v: v.replace("|", ","),
            ["no row has more than one id", "such as 'war,zen'", "'|' never"],
        ),
        (
            "tags",
            1.0,
            lambda v: v.replace("|", " "),
            ["no row has more than one id", "'|' never stands there"],
        ),
        ("tags", 1.0, lambda v: str(v.split("|")), ["never stands there", "stand in quotes or brackets"]),
    ],
)
def test_odd_ids(tmp_path, column, share, change, words):
    rows = frame(1)
    rows[column] = some(rows[column], share, change)
    text = "\n".join(found(tmp_path, rows))
    assert all(word in text for word in words) if words else text == "", text


def test_line_breaks_are_said_before_the_encoder_refuses_them():
    rows = frame(1)
    rows["item"] = some(rows["item"], 0.001, lambda v: f"{v}\nx")
    _, (text,) = quality.examine(schema(), {"books": frame(0), "films": rows})
    assert "films, column 'item': 2 (0.1%) of the ids hold a line break" in text and "Mend the file" in text


def test_lists_of_one_id_want_no_separator():
    rows = frame(1)
    rows["tags"] = rows["tags"].map(lambda v: v.split("|")[:1])
    prepared = prepare(schema(), {"books": frame(0), "films": rows})
    assert quality.warnings_of(prepared.schema, prepared.logs, prepared.split) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (lambda n: f"i{n}", []),
        (
            lambda n: f"{n}.0",
            ["2,000 (100.0%) find no row in", "'item'", "has 'i", "the file '0.0'", "written alike"],
        ),
        (lambda n: f"i{n}" if n < 49 else "x", ["find no row in", "films has 'i49'"]),
    ],
)
def test_joins_say_how_many_rows_found_nothing(tmp_path, keys, words):
    rows = frame(1).drop(columns="tags")
    items = pd.DataFrame({"item": [keys(n) for n in range(50)], "tags": ["war|zen"] * 50})
    items.to_csv(tmp_path / "items.csv", index=False)
    text = "\n".join(found(tmp_path, rows, join=[{"path": "items.csv", "on": "item"}]))
    assert all(word in text for word in words) and bool(text) == bool(words), text
    shown, _ = quality.examine(
        schema(),
        {"books": "books.csv", "films": {"path": "films.csv", "join": [{"path": "items.csv", "on": "item"}]}},
        tmp_path,
    )
    assert "found in items.csv by item" in as_text(shown)


def test_rows_without_a_key_join_nothing_and_are_said(tmp_path):
    rows = frame(1).drop(columns="tags")
    rows["item"] = some(rows["item"], 0.1, lambda v: None)
    items = pd.DataFrame(
        {"item": [f"i{n}" for n in range(50)] + [""], "tags": ["war|zen"] * 50 + ["trap|trap"]}
    )
    items.to_csv(tmp_path / "items.csv", index=False)
    join = [{"path": "items.csv", "on": "item"}]
    (text,) = found(tmp_path, rows, join=join)
    assert "of 2,000 rows 200 (10.0%) have no key 'item' to join" in text
    made = prepare(
        schema(), {"books": "books.csv", "films": {"path": "films.csv", "join": join}}, folder=tmp_path
    )
    assert made.encoder.vocabularies["tag"].tolist() == ["war", "zen"]


def test_tables_that_domains_share_in_vain(tmp_path):
    books = frame(0)
    books["user"] = books["user"].str[1:] + ".0"
    (text,) = found(tmp_path, frame(1), books)
    assert "table 'user': books and films share it, and no id" in text and "written alike" in text
    assert "films 'u" in text and ".0'" in text


def test_users_that_do_not_meet_where_histories_cross_domains():
    def domain(name, *more):
        keys = (
            Feature("user", "id", "user", table=f"{name}_user"),
            Feature("item", "id", "item", table=name),
        )
        return Domain(name, (*keys, *more), label="click", time="time")

    read = Feature("read", "ids", "history", table="books", length=3, of="books")
    tables = tuple(map(Table, ("books_user", "films_user", "books", "films")))
    books = frame(0).assign(user=lambda rows: rows["user"] + "x")
    for of, said in (((domain("films", read)), True), (domain("films"), False)):
        both = Schema((domain("books"), of), "films", tables)
        prepared = prepare(both, {"books": books, "films": frame(1)})
        text = "\n".join(quality.warnings_of(prepared.schema, prepared.logs, prepared.split))
        assert ("no user in common, so histories across them are empty" in text) == said, text


@pytest.mark.parametrize(
    ("user", "features", "words"),
    [
        (
            "age",
            (),
            ["the key of users, 'age', has 3 values in 2,000 rows", "set `user` to the key, or to null"],
        ),
        (None, (), []),
        (
            None,
            (Feature("user_id", "id", "user", table="user", column="user"),),
            ["no key of users", "`user: user`"],
        ),
        (None, (Feature("user_age", "id", "user", table="user", column="age"),), []),
    ],
)
def test_a_key_of_users_that_is_none_or_was_forgotten(user, features, words):
    rows = frame(1).assign(age=lambda rows: rows["user"].str[-1].map(lambda n: str(int(n) % 3)))
    features += (Feature("item", "id", "item", table="film"), Feature("age", "id", "user", table="age"))
    tables = tuple(map(Table, dict.fromkeys(f.table for f in features)))
    one = Schema((Domain("films", features, "click", time="time", user=user),), "films", tables)
    prepared = prepare(one, {"films": rows})
    text = "\n".join(quality.warnings_of(prepared.schema, prepared.logs, prepared.split))
    assert all(word in text for word in words) and bool(text) == bool(words), text


def test_a_split_that_ties_kept_from_its_fractions(tmp_path):
    rows = frame(1)
    rows["time"] = rows["time"] // 700
    text = "\n".join(found(tmp_path, rows))
    assert "films: valid was to have 10% of the rows and has 0.0%" in text
    assert "films: test was to have 20% of the rows and has 30.0%" in text and "train" not in text
    assert "up to 600 have that of a cut" in text and "`cuts`" in text
    assert found(tmp_path, rows, split="random") == []


def test_parts_that_are_too_small_to_measure_on(tmp_path):
    rows = frame(1)
    rows["click"] = (rows["time"] % 100 == 0).astype(int)
    text = "\n".join(found(tmp_path, rows))
    assert "films, valid: 2 clicks in 200 rows are too few for its metrics to mean anything" in text
    assert "films, test: 4 clicks in 400 rows" in text and "standard error of an AUC is 0.1" in text
    (text,) = found(tmp_path, frame(1), frame(0).assign(click=1))
    assert "books, train: all" in text and "nothing can be learnt of them" in text


def spread_of_auc(scores, clicks):
    """The standard deviation of the AUC over rows of scores, the clicks' first."""
    return np.std((scores[:, :clicks, None] > scores[:, None, clicks:]).mean((1, 2)))


def test_the_standard_error_of_an_auc_is_the_one_that_draws_show():
    draw = np.random.default_rng(0)
    assert metrics.auc_error(20, 80) == pytest.approx(
        spread_of_auc(draw.normal(size=(3000, 100)), 20), rel=0.04
    )
    assert math.isnan(metrics.auc_error(0, 80))
    # The formula is exact where the scores of both classes are exponential: this area is 4 / 5.
    scores = np.repeat([4.0, 1.0], [20, 80]) * draw.exponential(size=(3000, 100))
    assert metrics.auc_error(20, 80, 0.8) == pytest.approx(spread_of_auc(scores, 20), rel=0.04)


def test_warnings_are_python_s_and_errors_where_that_is_asked_for(tmp_path):
    rows = frame(1)
    rows["item"] = "x " + rows["item"] + " "
    prepared = prepare(schema(), {"books": frame(0), "films": rows})
    with pytest.warns(DataWarning, match="films, column 'item'.*begin or end with a blank"):
        quality.heed(prepared)
    with pytest.raises(DataError, match=r"takes no warnings:\n  films, column 'item'"):
        quality.heed(prepared, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        quality.heed(prepare(schema(), {"books": frame(0), "films": frame(1)}), strict=True)
