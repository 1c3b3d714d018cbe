"""Representation enhancement: what it compares, its loss by hand, and which ids count."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import SchemaError
from cdrzoo.layers import FeatureEmbedding
from cdrzoo.layers.contrast import RepresentationEnhancement, ren_pairs
from cdrzoo.schema import Domain, Feature, Schema, Table
from tests.models.toys import toy_schema


def test_the_enhancement_pairs_users_and_behaviours():
    pairs = ren_pairs(toy_schema(), "books")
    assert pairs["id"] == [("films", "user", "user"), ("books", "user", "user")]
    assert pairs["sequence"] == [
        (d, ("book", "books_seen"), ("film", "films_seen")) for d in ("films", "books")
    ]


def test_an_item_that_both_domains_have_is_an_id_too():
    schema = toy_schema()

    def one_table(feature):
        return dataclasses.replace(feature, table="film" if feature.table == "book" else feature.table)

    domains = tuple(
        dataclasses.replace(d, features=tuple(map(one_table, d.features))) for d in schema.domains
    )
    shared = Schema(domains, "films", tuple(t for t in schema.tables if t.name != "book"))
    names = [(row, feature) for row, _, feature in ren_pairs(shared, "books")["id"]]
    assert names == [("films", "user"), ("films", "item"), ("books", "user"), ("books", "item")]


def small() -> tuple[RepresentationEnhancement, FeatureEmbedding, FeatureEmbedding]:
    """Users in both domains, films that list books and films; tables of width 2 with rows that are easy to compare."""

    def history(of):
        return Feature(of, "ids", "history", table=of, length=2, of=f"{of}s", field="item")

    user = Feature("user", "id", "user", table="user")
    domains = (
        Domain("books", (user, Feature("item", "id", "item", table="book")), user="user", item="item"),
        Domain(
            "films",
            (user, Feature("item", "id", "item", table="film"), history("book"), history("film")),
            user="user",
            item="item",
        ),
    )
    schema = Schema(
        domains, "films", tuple(Table(name, width=2, rows=5) for name in ("user", "book", "film"))
    )
    ren = RepresentationEnhancement(schema)
    ren.build()
    source, target = FeatureEmbedding(schema, ["books"]), FeatureEmbedding(schema, ["films"])
    rows = np.array([[0, 0], [1, 1], [1, 0], [0, 1], [1, 1]], "float32")
    for embedding in (source, target):
        embedding.build()
        for table in embedding.variables:
            table.assign(rows)
    target.table("user").assign(rows[[0, 1, 3, 3, 2]])  # of users 2, 3, 4: cosines 0, 1 and 1 / sqrt(2)
    return ren, source, target


def batch(users, books=((2, 0),), films=((2, 0),)):
    of_films = {"user": users["films"], "item": [2] * len(users["films"]), "book": books, "film": films}
    x = {"books": {"user": users["books"], "item": [2] * len(users["books"])}, "films": of_films}
    return {d: {name: tf.constant(v, "int32") for name, v in rows.items()} for d, rows in x.items()}


def test_the_loss_by_hand():
    ren, source, target = small()
    x = batch({"books": [2, 4, 4], "films": [2, 4]}, books=[[2, 3], [2, 0]], films=[[2, 0], [3, 0]])
    weights = {"books": tf.constant([1.0, 1.0, 0.0]), "films": tf.constant([1.0, 2.0])}
    ren.observe(x, weights)
    (loss,) = ren(x, weights, {"books": source}, target)
    half = 1 / np.sqrt(2)
    ids = (1 * 0 + 1 * half + 1 * 0 + 2 * half) / 5
    sequences = (1 * half + 2 * 0) / 3  # the mean of (1, 0), (0, 1) with (1, 0); (1, 0) with (0, 1)
    assert float(loss) == pytest.approx(ids - sequences, abs=1e-6)


def test_the_loss_is_least_where_no_item_differs_from_another():
    ren, source, target = small()
    for embedding, name in ((source, "book"), (target, "film")):
        embedding.table(name).assign([[0.0, 0.0], *[[3.0, 4.0]] * 4])
    target.table("user").assign(-source.table("user"))
    x = batch({"books": [2, 4], "films": [2, 4]}, books=[[2, 3], [4, 0]], films=[[2, 0], [3, 4]])
    ones = {"books": tf.ones(2), "films": tf.ones(2)}
    ren.observe(x, ones)
    assert float(*ren(x, ones, {"books": source}, target)) == pytest.approx(-2.0, abs=1e-6)


def test_an_id_counts_once_both_domains_have_trained_it():
    ren, source, target = small()
    x = batch({"books": [3], "films": [3]}, books=[[0, 0]])
    ones = {name: tf.ones(1) for name in x}
    losses = []
    for weights in ({"books": tf.zeros(1), "films": tf.ones(1)}, ones):
        ren.observe(x, weights)
        losses.append(float(*ren(x, ones, {"books": source}, target)))
    assert losses == pytest.approx([0.0, 1.0], abs=1e-6)
    assert [np.flatnonzero(seen).tolist() for seen in ren.state] == [[0, 3], [3]]  # 0 is nobody


def test_of_no_sources_the_loss_is_0():
    ren = RepresentationEnhancement(toy_schema(), ())
    ren.build()
    assert ren.state == [] and float(*ren({}, {}, {}, None)) == 0


def test_tables_of_two_widths_are_refused():
    schema = toy_schema()

    def renamed(feature):  # features of one name need one width
        named = feature.table == "book" and feature.kind == "id"
        return dataclasses.replace(feature, name="volume", column="item") if named else feature

    domains = tuple(dataclasses.replace(d, features=tuple(map(renamed, d.features))) for d in schema.domains)
    tables = tuple(dataclasses.replace(t, width=5) if t.name == "book" else t for t in schema.tables)
    with pytest.raises(SchemaError, match="whose tables are 5 and 4 wide"):
        RepresentationEnhancement(Schema(domains, schema.target, tables))
