"""A model whose schema lacks what its card says is refused when it is made, and read from a file as it was."""

from __future__ import annotations

import dataclasses
import re

import pytest

from cdrzoo.errors import SchemaError
from cdrzoo.models import CARDS, card
from cdrzoo.schema import Schema
from tests.models.cases import CASES
from tests.models.toys import three_schema, toy_schema

CASE = {case.name: case for case in CASES}


def schema_of(domains, tables):
    used = {f.table for d in domains for f in d.features}
    return Schema(tuple(domains), "films", tuple(t for t in tables if t.name in used))


def without(unwanted):
    """The toy schema without some features: `unwanted(domain, feature)`."""
    schema = toy_schema()
    domains = [
        dataclasses.replace(d, features=tuple(f for f in d.features if not unwanted(d, f)))
        for d in schema.domains
    ]
    return schema_of(domains, schema.tables)


def apart(names=True):
    """No table, and no name, of one domain in the other; no history of the other."""
    schema = without(lambda d, f: f.role == "history" and f.of != d.name)
    books, films = schema.domains
    features = [
        dataclasses.replace(
            f, name=f"b_{f.name}" if names else f.name, column=f.column, table=f.table and f"b_{f.table}"
        )
        for f in books.features
    ]
    own = [dataclasses.replace(table, name=f"b_{table.name}") for table in schema.tables]
    return schema_of([dataclasses.replace(books, features=tuple(features)), films], [*schema.tables, *own])


def widened(name):
    schema = toy_schema()
    tables = (dataclasses.replace(t, width=4 + (t.name == name)) for t in schema.tables)
    return dataclasses.replace(schema, tables=tuple(tables))


def no_histories():
    return without(lambda d, f: f.role == "history" and d.name == "films")


def no_source_histories():
    return without(lambda d, f: f.of == "books" and d.name == "films")


def no_users(everywhere=False):
    return without(lambda d, f: f.role == "user" and (everywhere or d.name == "books"))


def no_items():
    return without(lambda d, f: f.role == "item" and d.name == "films")


def items_alone():
    return without(lambda d, f: f.role != "item" and d.name == "books")


UNKEYED = [
    (lambda: no_users(everywhere=True), "role user"),
    (lambda: without(lambda d, f: f.name == "item" and d.name == "films"), "role item"),
    (lambda: widened("user"), "one width"),
    (lambda: apart(names=False), "one table of users"),
]

# What a card may say -> schemas that lack it, each with a word of the error.
LACKING = {
    "any feature": [],
    "tables of one width": [(lambda: widened("genre"), "one width")],
    "the same histories in all domains": [(three_schema, "same histories")],
    "with domains=all the same histories in all": [(three_schema, "same histories")],
    "the same histories in all": [(three_schema, "same histories")],
    "histories in the target's rows, best of every domain in the rows of all": [(no_histories, "no history")],
    "histories in the target's rows": [(no_histories, "no history")],
    "items in the target's rows, and histories of a source": [
        (no_items, "role item"),
        (no_source_histories, "no history"),
    ],
    "items in all domains": [(no_items, "role item")],
    "items, and users or context, in all domains": [
        (no_items, "role item"),
        (items_alone, "user or context"),
    ],
    "items, and users, context or histories, in all domains": [
        (no_items, "role item"),
        (items_alone, "user, context or history"),
    ],
    "users or items in one table of both domains, or histories of both": [(apart, "nothing to compare")],
    "with ren_weight=0 neither": [],
    "a feature that all domains list": [(apart, "no feature of one name")],
    "features of their own are aligned": [],
    "a feature that each source and the target list": [(apart, "no feature of one name")],
    "a user table both domains share": [(no_users, "no table of users in common")],
    "ids of users and items, of one width; a vocabulary of users all domains share": UNKEYED,
    "what MF needs, and histories of the source's items in the target's rows": UNKEYED
    + [(no_source_histories, "do not list it")],
    "what CML needs, and histories of the source's items in the target's rows": UNKEYED
    + [(no_source_histories, "do not list it")],
    "histories to cross with the candidate": [],
    "the package tensorflow-recommenders": [],
}


@pytest.mark.parametrize("name", [one.name for one in CARDS])
def test_what_a_card_says(name):
    said, lacking = card(name).needs, []
    for need in sorted(LACKING, key=len, reverse=True):
        if need in said:
            said = said.replace(need, "")
            lacking += LACKING[need]
    assert not re.sub("[;, ]|and", "", said), f"LACKING knows nothing of {said!r}"
    for make, word in lacking:
        with pytest.raises(SchemaError, match=word):
            CASE[name].build(make())
            pytest.fail(f"{name} takes a schema that lacks {word!r}")


@pytest.mark.parametrize("name", ["din", "conet", "mem"])
def test_a_file_of_before_is_read(name, monkeypatch):
    cls = card(name).load()
    schema = (
        apart()
        if name == "mem"
        else without(lambda d, f: f.role == "history" or (f.role == "user" and d.name == "books"))
    )
    with monkeypatch.context() as patch:  # as an earlier version made them
        for check in ("check_histories", "check_shared_users", "check_common"):
            patch.setattr(cls, check, lambda self, method: None)
        model = cls(schema)
    assert isinstance(cls.from_config(model.get_config()), cls)
