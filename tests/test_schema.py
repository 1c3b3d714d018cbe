"""The schema: what it accepts, what it refuses and in which words, and that files give it back unchanged."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import xml.etree.ElementTree

import pytest

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.schema import Domain, Feature, Schema, Table

USER = Feature("user", "id", "user", table="user")


def books(*more: Feature) -> Domain:
    return Domain("books", (USER, Feature("item", "id", "item", table="book"), *more))


def films(*more: Feature) -> Domain:
    return Domain("films", (USER, Feature("item", "id", "item", table="film"), *more))


TABLES = (Table("user"), Table("book"), Table("film"))


def test_what_is_left_out_is_filled_in():
    read = Feature("books_read", "ids", "history", table="book", length=5, of="books")
    schema = Schema((books(), films(read)), "films", TABLES)
    history = schema.domain("films").feature("books_read")
    assert (history.field, history.dtype, history.column) == ("item", "string", "books_read")
    assert (schema.target_domain.user, schema.target_domain.item) == ("user", "item")
    assert Feature("price", "number", "item").dtype == "float32"


def test_shared_and_specific_features_follow_the_names():
    schema = Schema((books(), films(Feature("minutes", "number", "item"))), "films", TABLES)
    assert schema.shared_features() == ("user", "item")
    assert schema.specific_features("films") == ("minutes",)
    assert schema.specific_features("books") == ()
    assert [domain.name for domain in schema.sources] == ["books"]


def test_reading_keeps_the_named_features_and_the_tables_that_are_still_read():
    read = Schema((books(), films()), "films", TABLES).reading({"books": books().with_role("user")})
    assert [f.name for f in read.domain("books").features] == ["user"]
    assert read.target_domain.features == films().features and read.domain("books").item == "item"
    assert [table.name for table in read.tables] == ["user", "film"]


def test_only_drops_histories_and_tables_of_the_domains_left_out():
    read = Feature("books_read", "ids", "history", table="book", length=5, of="books")
    alone = Schema((books(), films(read)), "films", TABLES).only("films")
    assert [feature.name for feature in alone.target_domain.features] == ["user", "item"]
    assert [table.name for table in alone.tables] == ["user", "film"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Schema((books(),), "films", TABLES[:2]), ["target 'films'", "books", "Set `target`"]),
        (
            lambda: Schema((books(), films()), "films", (*TABLES, Table("user", width=16))),
            ["two widths", "8 and 16"],
        ),
        (
            lambda: Schema((books(), films()), "films", (Table("user"), Table("book"), Table("fim"))),
            ["'fim'"],
        ),
        (
            lambda: Schema((books(),), "books", (*TABLES[:2], Table("tag"))),
            ["No feature looks up table 'tag'"],
        ),
        (lambda: books(USER), ["'user' more than once"]),
        (lambda: Feature("user", "idd", "user"), ["id, ids, number", "Did you mean 'id'?"]),
        (lambda: Feature("user", "id", "user"), ["needs a `table`"]),
        (lambda: Feature("tags", "ids", "item", table="tag"), ["needs a `length`"]),
        (lambda: Feature("price", "number", "item", dtype="string"), ["float32 or int64", "'string'"]),
        (lambda: Feature("seen", "ids", "history", table="film", length=3), ["add `of: DOMAIN`"]),
        (lambda: Feature("seen", "id", "history", table="film", of="films"), ["must be 'ids'", "'id'"]),
        (
            lambda: Feature("user id", "id", "user", table="user"),
            ["letters, digits", "'user id'", "`column`"],
        ),
        (
            lambda: Schema(
                (films(Feature("r", "ids", "history", table="film", length=3, of="music")),), "films", TABLES
            ),
            ["domain 'music', which does not exist", "films"],
        ),
        (lambda: Schema((films(), films()), "films", TABLES), ["domain 'films' more than once"]),
        (lambda: Domain("films", (USER,), task="rating", threshold=4), ["`threshold` has no meaning"]),
        (lambda: Table("user", width=0), ["`width` of table 'user'", "0"]),
        (
            lambda: Schema(
                (books(Feature("x", "number", "item")), films(Feature("x", "number", "user"))),
                "films",
                TABLES,
            ),
            ["'x' has role 'item'", "'user'", "rename one"],
        ),
    ],
)
def test_contradictions_are_refused_with_the_name_and_the_fix(make, words):
    with pytest.raises(SchemaError) as caught:
        make()
    message = str(caught.value)
    assert isinstance(caught.value, InputError)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_a_history_whose_column_is_ambiguous_asks_for_the_field():
    two = books(Feature("sequel", "id", "item", table="book"))
    read = Feature("read", "ids", "history", table="book", length=3, of="books")
    with pytest.raises(SchemaError, match=r"'item', 'sequel'.*field: COLUMN"):
        Schema((two, films(read)), "films", TABLES)


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_files_give_the_schema_back(tmp_path, ending):
    read = Feature(
        "books_read", "ids", "history", dtype="int64", table="book", length=5, of="books", column="read"
    )
    schema = Schema(
        (
            Domain(
                "books",
                (USER, Feature("item", "id", "item", "int64", "book")),
                label="stars",
                threshold=4,
                time="t",
            ),
            films(read, Feature("minutes", "number", "item", dtype="int64")),
        ),
        "films",
        (
            Table("user", 16, per_domain=True),
            Table("book", min_count=2, rows=9),
            Table("film", hash_buckets=7),
        ),
    )
    path = tmp_path / f"schema.{ending}"
    schema.save(path)
    assert Schema.load(path) == schema
    assert Schema.from_dict(schema.to_dict()) == schema


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("target: films\ntarget: books\n", ["line 2", "'target' stands twice"]),
        ("target: films\n", ["lacks 'domains'"]),
        ("target: films\ndomians: {}\ndomains: {}\n", ["'domians'", "'domains'"]),
        ("- a\n", ["must hold a mapping"]),
        ("target: [films\n", ["not valid YAML"]),
        ("? [films]\n: 1\n", ["line 1", "not valid YAML", "unhashable"]),
        (
            "target: f\ndomains:\n  f:\n    features:\n    - {name: u, kind: id, rol: user}\n",
            ["'rol'", "'role'"],
        ),
    ],
)
def test_a_bad_file_says_where(tmp_path, text, words):
    path = tmp_path / "schema.yaml"
    path.write_text(text)
    with pytest.raises(SchemaError) as caught:
        Schema.load(path)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(SchemaError, match="Check the path"):
        Schema.load(tmp_path / "none.yaml")


def test_the_schema_imports_no_heavy_library():
    code = (
        "import sys, cdrzoo, cdrzoo.schema, cdrzoo.data;"
        "print([name for name in ('tensorflow', 'keras', 'pandas') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_schema_shows_itself_in_short_and_as_html():
    schema = Schema(
        (
            dataclasses.replace(books(), label="<script>alert(1)</script>"),
            films(Feature("minutes", "number", "item"), Feature("year", "number", "item")),
        ),
        "films",
        (Table("user", 16), Table("book"), Table("film")),
    )
    assert repr(schema) == "<Schema: books (2 features), films (target, 4 features); 3 tables>"
    found = schema._repr_html_()
    assert "<script>" not in found and "&lt;script&gt;" in found
    root = xml.etree.ElementTree.fromstring(f"<div>{found}</div>")
    assert [table.findtext("caption") for table in root] == [
        None,
        "shared features",
        "specific features",
        "tables",
    ]
    assert [cell.text for cell in root[0].iter("th")] == [None, "books", "films (target)"]
    assert [cell.text for cell in root[-1].iter("td")][:3] == ["user", "16", "books, films"]


AGE = Feature("age", "id", "user", table="age")


@pytest.mark.parametrize(
    ("features", "given", "key"),
    [
        ((USER,), {}, "user"),
        ((AGE, USER), {}, "user"),
        ((AGE, dataclasses.replace(USER, column="uid")), {}, "uid"),
        ((AGE,), {}, None),
        ((AGE, dataclasses.replace(USER, name="member", column=None)), {}, None),
        ((AGE, dataclasses.replace(USER, role="context")), {}, None),
        ((AGE, Feature("user", "ids", "user", table="user", length=2)), {}, None),
        ((AGE,), {"user": "uid"}, "uid"),
        ((AGE, USER), {"user": "uid"}, "uid"),
        ((AGE,), {"user": None}, None),
        ((AGE, USER), {"user": None}, None),
    ],
)
def test_the_key_of_a_user_is_named_or_there_is_none(features, given, key):
    tables = tuple(Table(name) for name in sorted({feature.table for feature in features}))
    schema = Schema((Domain("films", features, **given),), "films", tables)
    for each in (
        schema,
        Schema.from_dict(schema.to_dict()),
        schema.with_means({"films": 0.5}),
        schema.only("films"),
    ):
        assert each.target_domain.user == key
    written = schema.to_dict()["domains"]["films"]
    # What is not said stays unsaid: the keys of kept results are made of it.
    assert written.get("user", "-") == (key if key or "user" in given and USER in features else "-")


GENRE = Feature("genre", "id", "item", table="genre")
ITEM = Feature("item", "id", "item", table="film", column="film_id")


@pytest.mark.parametrize(
    ("features", "given", "key"),
    [
        ((GENRE, ITEM), {}, "film_id"),
        ((GENRE,), {}, None),
        ((GENRE, dataclasses.replace(ITEM, name="film")), {}, None),
        ((GENRE,), {"item": "film_id"}, "film_id"),
        ((GENRE, ITEM), {"item": None}, None),
    ],
)
def test_the_key_of_an_item_is_named_or_there_is_none(features, given, key):
    """A genre that stood first was taken for the item: negatives, floors and what is ranked were of genres."""
    tables = tuple(Table(name) for name in sorted({feature.table for feature in features}))
    schema = Schema((Domain("films", features, **given),), "films", tables)
    for each in (schema, Schema.from_dict(schema.to_dict()), schema.with_means({"films": 0.5})):
        assert each.target_domain.item == key
    written = schema.to_dict()["domains"]["films"]
    assert written.get("item", "-") == (key if key or "item" in given else "-")


def test_a_key_is_the_name_of_a_column():
    with pytest.raises(
        SchemaError, match="`user` of domain 'films' must be the name of the column.*Received: 5"
    ):
        Domain("films", (USER,), user=5)
