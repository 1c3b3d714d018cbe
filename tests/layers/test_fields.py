"""Fields: which features make one, how histories meet the candidate, how domains are brought to one width."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import SchemaError
from cdrzoo.layers import (
    FeatureEmbedding,
    FieldStack,
    FieldVectors,
    FirstOrder,
    RoleVectors,
    RowVectors,
    SlotConcat,
)
from cdrzoo.layers.fields import field_roles, field_widths
from cdrzoo.schema import Domain, Feature, Schema, Table
from tests.models.toys import toy_rows, toy_schema


def shop(*more, **tables) -> Schema:
    """One domain: an item with two categories of one table."""
    return Schema(
        target="shop",
        tables=(
            Table("item", 4),
            Table("category", 3),
            *(Table(name, width) for name, width in tables.items()),
        ),
        domains=(
            Domain(
                "shop",
                (
                    Feature("item", "id", "item", table="item"),
                    Feature("coarse", "id", "item", table="category"),
                    Feature("fine", "id", "item", table="category"),
                    *more,
                ),
            ),
        ),
    )


def history(name, table, field, **kwargs):
    return Feature(name, "ids", "history", table=table, length=2, of="shop", field=field, **kwargs)


def partners(schema, domain="shop"):
    return FieldVectors(schema, domain, pooling="attention")._partners


def test_a_history_meets_the_candidates_feature_of_its_table():
    assert partners(shop(history("seen", "item", "item"))) == {"seen": "item"}


def test_of_two_features_of_one_table_a_history_meets_the_one_it_lists():
    schema = shop(history("a", "category", "fine"), history("b", "category", "coarse"))
    assert partners(schema) == {"a": "fine", "b": "coarse"}


def test_a_history_of_another_table_meets_the_feature_of_its_name_if_the_widths_agree():
    assert partners(shop(history("seen", "other", "item"), other=4)) == {"seen": "item"}
    assert partners(shop(history("seen", "other", "item"), other=5)) == {"seen": None}


def test_across_domains_an_item_meets_an_item_and_ratings_meet_nothing():
    expected = {
        **dict.fromkeys(("books_seen", "films_seen"), "item"),
        **dict.fromkeys(("books_genres", "films_genres"), "genre"),
        **dict.fromkeys(("books_stars", "films_stars"), None),
    }
    for domain in ("books", "films"):
        assert partners(toy_schema(), domain) == expected


def test_the_columns_name_may_differ_from_the_features():
    renamed = Feature("kind", "id", "item", table="category", column="raw kind")
    schema = shop(renamed, history("kinds", "category", "raw kind"))
    assert partners(schema)["kinds"] == "kind"


def test_histories_of_one_domain_are_one_field_in_the_schemas_order():
    films = toy_schema().domain("films")
    assert list(field_roles(films)) == [
        "user",
        "age",
        "item",
        "genre",
        "device",
        "history_films",
        "history_books",
    ]
    assert field_roles(films)["history_books"] == "history"
    assert field_widths(toy_schema(), films) == {
        **dict.fromkeys(("user", "item", "genre", "device"), 4),
        "age": 1,
        "history_films": 12,
        "history_books": 12,
    }


def read(schema, ids, embedded, domain="shop", **kwargs):
    layer = FieldVectors(schema, domain, **kwargs)
    return layer, layer(
        {k: tf.constant(v) for k, v in ids.items()}, {k: tf.constant(v) for k, v in embedded.items()}
    )


def test_means_by_hand():
    tags = Feature("tags", "ids", "item", table="tag", length=3)
    schema = shop(tags, history("seen", "item", "item"), history("fines", "category", "fine"), tag=1)
    item, category = [1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0]
    _, fields = read(
        schema,
        # The first event lacks its category and is an event all the same; the second step is padding.
        {"item": [3], "coarse": [2], "fine": [2], "tags": [[4, 0, 2]], "seen": [[2, 0]], "fines": [[0, 0]]},
        {
            "item": [item],
            "coarse": [category],
            "fine": [category],
            "tags": [[[1.0], [50.0], [3.0]]],
            "seen": [[item, [9.0] * 4]],
            "fines": [[[0.0] * 3, [9.0] * 3]],
        },
    )
    assert list(fields) == ["item", "coarse", "fine", "tags", "history_shop"]
    np.testing.assert_allclose(fields["item"], [item])
    np.testing.assert_allclose(fields["tags"], [[2.0]])
    np.testing.assert_allclose(fields["history_shop"], [[*item, 0.0, 0.0, 0.0]])


def test_attention_compares_matched_columns_and_carries_the_others():
    schema = shop(history("stars", "star", "rating"), history("seen", "item", "item"), star=2)
    rng = np.random.default_rng(0)
    embedded = {
        "item": rng.normal(size=(3, 4)),
        "coarse": rng.normal(size=(3, 3)),
        "fine": rng.normal(size=(3, 3)),
        "stars": rng.normal(size=(3, 2, 2)),
        "seen": rng.normal(size=(3, 2, 4)),
    }
    embedded = {k: v.astype("float32") for k, v in embedded.items()}
    ids = {
        "stars": [[1, 1], [1, 0], [0, 0]],
        "seen": [[1, 1], [1, 0], [0, 0]],
        "item": [1, 1, 1],
        "coarse": [1, 1, 1],
        "fine": [1, 1, 1],
    }
    layer, fields = read(schema, ids, embedded, pooling="attention", attention_units=(3,))
    attention = layer.attentions["shop"]
    assert attention.kernel.shape == (4 * 4 + 2, 3)  # q, k, q - k, q * k of the item, and the stars
    attention.score.kernel.assign(tf.zeros_like(attention.score.kernel))
    attention.score.bias.assign([2.0])
    out = layer({k: tf.constant(v) for k, v in ids.items()}, embedded)["history_shop"]
    events = np.concatenate([embedded["seen"], embedded["stars"]], axis=-1)  # what is matched goes first
    expected = 2 * np.stack([events[0].sum(0), events[1, 0], np.zeros(6)])
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_without_a_partner_a_history_is_averaged():
    layer = FieldVectors(shop(history("stars", "star", "rating"), star=2), "shop", pooling="attention")
    assert layer.attentions == {}


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="`pooling` must be 'mean' or 'attention'. Received: 'max'"):
        FieldVectors(toy_schema(), "films", pooling="max")


def test_configuration_round_trip():
    layer = FieldVectors(toy_schema(), "films", pooling="attention", attention_units=(7, 3))
    again = FieldVectors.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (
        SlotConcat.from_config(SlotConcat(toy_schema()).get_config()).widths
        == SlotConcat(toy_schema()).widths
    )


def test_slots_by_hand():
    schema = Schema(
        target="b",
        tables=(Table("t", 2), Table("s", 1)),
        domains=(
            Domain("a", (Feature("own", "id", "item", table="s"), Feature("both", "id", "user", table="t"))),
            Domain("b", (Feature("both", "id", "user", table="t"), Feature("price", "number", "item"))),
        ),
    )
    rows = SlotConcat(schema)(
        {
            "b": {"both": tf.constant([[1.0, 2.0]]), "price": tf.constant([[3.0]])},
            "a": {"own": tf.constant([[4.0]]), "both": tf.constant([[5.0, 6.0]])},
        }
    )
    # both (2), price, own; then which domain it is: a, b
    np.testing.assert_array_equal(rows["b"], [[1, 2, 3, 0, 0, 1]])
    np.testing.assert_array_equal(rows["a"], [[5, 6, 0, 4, 1, 0]])


def test_one_domain_gets_no_one_hot():
    schema = toy_schema().only("films")
    assert SlotConcat(schema)(
        {"films": {n: tf.zeros((2, w)) for n, w in field_widths(schema, schema.domain("films")).items()}}
    )["films"].shape == (2, 4 * 4 + 1 + 12)


def test_histories_of_two_widths_are_refused():
    schema = toy_schema()
    books, films = schema.domains
    fewer = Domain("films", tuple(f for f in films.features if f.name != "books_stars"))
    with pytest.raises(SchemaError, match="Field 'history_books' is 8 wide in one domain and 12 in 'books'"):
        SlotConcat(Schema((books, fewer), "films", schema.tables))


def test_row_vectors_are_fields_side_by_side():
    schema = toy_schema()
    rows = RowVectors(schema, "attention", (5, 4))
    x, _ = toy_rows(schema, {"books": 3, "films": 2})
    found, embedded = rows(x), rows.embedding(x)
    expected = rows.concat({name: rows.fields[name](x[name], embedded[name]) for name in x})
    assert {name: row.shape[0] for name, row in found.items()} == {"books": 3, "films": 2}
    for name in x:
        np.testing.assert_array_equal(found[name], expected[name])
    again = RowVectors.from_config(rows.get_config())
    assert (again.pooling, again.attention_units, again.schema) == ("attention", (5, 4), schema)


def two_shops() -> Schema:
    """Domains with a feature in common, and each with one of its own."""
    return Schema(
        target="b",
        tables=(Table("t", 2, rows=4), Table("s", 2, rows=4)),
        domains=(
            Domain(
                "a",
                (Feature("own", "id", "item", table="s"), Feature("both", "id", "user", table="t")),
                mean=0.5,
            ),
            Domain(
                "b", (Feature("both", "id", "user", table="t"), Feature("price", "number", "item")), mean=0.25
            ),
        ),
    )


def test_a_stack_by_hand():
    layer = FieldStack(two_shops())
    embedded = {
        "b": {"both": tf.constant([[1.0, 2.0]]), "price": tf.constant([[3.0]])},
        "a": {"own": tf.constant([[4.0, 5.0]]), "both": tf.constant([[6.0, 7.0]])},
    }
    ids = {
        "b": {"both": tf.constant([1]), "price": tf.constant([3.0])},
        "a": {"own": tf.constant([1]), "both": tf.constant([1])},
    }
    layer(ids, embedded)
    layer.number_vectors.assign([[1.0, -1.0]])
    layer.domain_vectors.assign([[8.0, 8.0], [9.0, 9.0]])
    out = layer(ids, embedded)
    # both, price, own, the domain
    np.testing.assert_array_equal(out["b"], [[[1, 2], [3, -3], [0, 0], [9, 9]]])
    np.testing.assert_array_equal(out["a"], [[[6, 7], [0, 0], [4, 5], [8, 8]]])
    np.testing.assert_array_equal(layer({"a": ids["a"]}, embedded)["a"], out["a"])


def test_the_stack_of_one_domain_has_no_field_of_the_domain():
    schema = toy_schema().only("films")
    x, _ = toy_rows(schema, {"films": 6})
    layer = FieldStack(schema)
    out = layer(x, FeatureEmbedding(schema)(x))["films"]
    assert list(layer.slots) == [f.name for f in schema.target_domain.features]
    assert out.shape == (6, 8, 4) and len(layer.weights) == 1


def test_the_histories_of_a_stack_are_fields_each_and_run_in_step():
    schema = toy_schema().only("films")
    x, _ = toy_rows(schema, {"films": 3}, missing=False)
    rows = dict(x["films"])
    # The second event lacks its stars and counts as an event all the same.
    rows["films_seen"] = tf.constant([[2, 3, 0, 0, 0]] * 3)
    rows["films_genres"] = tf.constant([[4, 5, 0, 0, 0]] * 3)
    rows["films_stars"] = tf.constant([[6, 0, 0, 0, 0]] * 3)
    embedding = FeatureEmbedding(schema)
    stack = FieldStack(schema)
    out = stack({"films": rows}, embedding({"films": rows}))["films"]
    at = {name: index for index, name in enumerate(stack.slots)}
    film, stars = embedding.table("film").numpy(), embedding.table("stars").numpy()
    np.testing.assert_allclose(out[0, at["films_seen"]], (film[2] + film[3]) / 2, rtol=1e-5)
    np.testing.assert_allclose(out[0, at["films_stars"]], stars[6] / 2, rtol=1e-5)


def test_a_stack_needs_one_width():
    with pytest.raises(SchemaError, match=r"one width. Received: item 4, category 3.*with_width\(16\)"):
        FieldStack(shop())


def test_first_order_weights_start_at_the_mean_label_and_by_hand():
    layer = FirstOrder(two_shops())
    x = {
        "b": {"both": tf.constant([2, 0]), "price": tf.constant([3.0, 1.0])},
        "a": {"own": tf.constant([1]), "both": tf.constant([2])},
    }
    out = layer(x)
    np.testing.assert_allclose(out["b"], [[np.log(1 / 3)]] * 2, rtol=1e-6)  # the logit of 0.25
    np.testing.assert_allclose(out["a"], [[0]])
    layer.bias.assign([0.5, 0.25])
    layer.numbers["price"].assign(2.0)
    layer.embedding.table("both_t").assign([[0], [1], [2], [3]])
    layer.embedding.table("own_s").assign([[0], [10], [20], [30]])
    out = layer(x)
    np.testing.assert_allclose(out["b"], [[0.25 + 2 + 2 * 3], [0.25 + 2]])
    np.testing.assert_allclose(out["a"], [[0.5 + 2 + 10]])


def test_first_order_sums_stay_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    schema = two_shops()
    layer = FirstOrder(schema)
    assert layer.compute_dtype == layer.embedding.compute_dtype == "float32"
    assert FirstOrder.from_config(layer.get_config()).get_config() == layer.get_config()
    assert FieldStack.from_config(FieldStack(schema).get_config()).slots == FieldStack(schema).slots


def test_the_features_of_a_role_stand_in_the_same_columns_for_every_domain():
    """Books list item, genre, words (averaged) and price; films item and genre alone."""
    schema = toy_schema()
    embedding, layer = FeatureEmbedding(schema), RoleVectors(schema, ["films", "books"], "item")
    x, _ = toy_rows(schema, {"books": 6, "films": 5})
    embedded = embedding(x)
    assert layer.widths == {"item": 4, "genre": 4, "words": 4, "price": 1}
    films = layer(x["films"], embedded["films"]).numpy()
    np.testing.assert_array_equal(films[:, :8], np.hstack([embedded["films"][f] for f in ("item", "genre")]))
    assert films.shape == (5, 13) and not films[:, 8:].any()
    books = layer(x["books"], embedded["books"]).numpy()
    known = (x["books"]["words"].numpy() != 0)[..., None]
    words = (embedded["books"]["words"].numpy() * known).sum(1) / np.maximum(known.sum(1), 1)
    np.testing.assert_allclose(books[:, 8:12], words, rtol=1e-6)
    np.testing.assert_array_equal(books[:, 12], x["books"]["price"])
    again = RoleVectors.from_config(layer.get_config())
    np.testing.assert_array_equal(again(x["books"], embedded["books"]), books)


def test_a_role_that_no_domain_lists_is_no_column():
    schema = toy_schema()
    x, _ = toy_rows(schema, {"books": 6})
    embedded = FeatureEmbedding(schema)(x)
    assert RoleVectors(schema, ["books"], "context")(x["books"], embedded["books"]).shape == (6, 0)
