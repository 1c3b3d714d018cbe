"""Factorisations and mappings, by numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.layers import Factorization, PersonalBridge, UserMapping
from cdrzoo.layers.mappings import bridged
from cdrzoo.schema import Schema
from tests.models.toys import toy_schema


def factorization(base="mf", kind="biased", **arguments):
    layer = Factorization(toy_schema("rating"), base, kind, **arguments)
    layer.build()
    return layer


def rows(user, item):
    return {"user": tf.constant([user]), "item": tf.constant([item])}


def put(layer, domain, user, item):
    """User 2 and item 3 of a domain get these numbers, [vector, bias]."""
    for table, at, value in (("user", 2, user), ("film" if domain == "films" else "book", 3, item)):
        table = layer.embedding.table(table, domain)
        table.assign(tf.tensor_scatter_nd_update(table.value, [[at]], [value]))


def test_a_biased_score_is_the_sum_of_all():
    layer = factorization()
    put(layer, "films", [1.0, 2.0, 0.0, 0.0, 0.5], [3.0, -1.0, 7.0, 0.0, -0.25])
    layer.mu["films"].assign(4.0)
    assert float(layer(rows(2, 3), domain="films")[0, 0]) == pytest.approx(4.0 + 0.5 - 0.25 + 1.0)


def test_without_biases_a_score_is_the_product_and_starts_at_the_mean_label():
    layer = factorization(kind="bias-free")
    put(layer, "films", [1.0, 2.0, 0.0, 0.0], [3.0, -1.0, 7.0, 0.0])
    assert float(layer(rows(2, 3), domain="films")[0, 0]) == pytest.approx(1.0)
    assert layer.vector_width == 4 and not layer.mu
    schema = toy_schema("rating").with_means({"films": 4.0})
    for start in (Factorization(schema, kind="bias-free"), Factorization(schema)):
        assert float(start(rows(5, 6), domain="films")[0, 0]) == pytest.approx(4.0, abs=0.5)
        for variable in start.trainable_variables:  # where weight decay leads
            variable.assign(tf.zeros_like(variable))
        assert float(start(rows(5, 6), domain="films")[0, 0]) == pytest.approx(4.0)


def test_the_bases():
    gmf = factorization("gmf", "bias-free")
    put(gmf, "films", [1.0, 2.0, 0.0, 0.0], [3.0, -1.0, 7.0, 0.0])
    gmf.w["films"].assign([2.0, 1.0, 1.0, 1.0])
    assert float(gmf(rows(2, 3), domain="films")[0, 0]) == pytest.approx(6.0 - 2.0)
    dnn = factorization("dnn")
    put(dnn, "films", [1.0, 2.0, 0.0, 0.0, 0.5], [3.0, -1.0, 7.0, 0.0, 0.0])
    dnn.W["films"].assign(2 * np.eye(4))
    dnn.c["films"].assign([0.0, 0.0, 1.0, 0.0])
    dnn.mu["films"].assign(0.0)
    np.testing.assert_allclose(dnn.user("films", tf.constant([2])), [[2.0, 4.0, 1.0, 0.0, 0.5]])
    assert float(dnn(rows(2, 3), domain="films")[0, 0]) == pytest.approx(6.0 - 4.0 + 7.0 + 0.5)


def test_domains_share_users_only_if_told_to():
    apart, shared = factorization(), factorization(shared_users=True)
    tables = lambda layer: [layer.embedding.table("user", d) for d in ("books", "films")]  # noqa: E731
    assert tables(apart)[0] is not tables(apart)[1]
    assert tables(shared)[0] is tables(shared)[1]


def test_training_notes_whom_a_domain_knows():
    layer = factorization()
    layer(rows(7, 3), domain="books", training=True)
    layer(rows(8, 3), domain="films", training=False)
    users = tf.constant([7, 8])
    assert layer.knows("books", users).numpy().tolist() == [True, False]
    assert layer.knows("films", users).numpy().tolist() == [False, False]


def test_a_schema_without_one_table_of_users_or_one_width_is_refused():
    schema = toy_schema("rating")
    wide = [dataclasses.replace(t, width=6) if t.name == "user" else t for t in schema.tables]
    with pytest.raises(SchemaError, match="one width"):
        Factorization(Schema(schema.domains, "films", tuple(wide)))
    books, films = schema.domains
    own = tuple(dataclasses.replace(f, table="reader") if f.name == "user" else f for f in books.features)
    readers = dataclasses.replace(schema.table("user"), name="reader")
    domains = (dataclasses.replace(books, features=own), films)
    with pytest.raises(SchemaError, match="'reader' in 'books', 'user' in 'films'"):
        Factorization(Schema(domains, "films", (*schema.tables, readers)))
    keyless = dataclasses.replace(
        films, features=tuple(f for f in films.features if f.name != "item"), item="item"
    )
    with pytest.raises(SchemaError, match="no id feature of role item"):
        Factorization(Schema((books, keyless), "films", tuple(t for t in schema.tables)))
    with pytest.raises(InputError, match="biased, bias-free"):
        Factorization(schema, kind="plain")


def test_a_mapping_starts_as_it_says_and_is_what_it_says():
    u = tf.constant([[1.0, 2.0]])
    linear, mlp = UserMapping("linear"), UserMapping("mlp")
    np.testing.assert_allclose(linear(u), u)
    linear.dense[0].kernel.assign([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(linear(u), [[7.0, 10.0]])
    mlp(u)
    hidden = np.tanh(u.numpy() @ mlp.dense[0].kernel.numpy() + mlp.dense[0].bias.numpy())
    assert hidden.shape == (1, 4)
    np.testing.assert_allclose(mlp(u), hidden @ mlp.dense[1].kernel.numpy(), rtol=1e-5)


def test_a_constant_bridge_is_a_linear_mapping_and_starts_at_the_identity():
    bridge, a = PersonalBridge(3), np.array([[1.0, 2.0], [3.0, 4.0]])
    u, history = tf.constant([[1.0, 2.0]]), tf.constant([[[5.0, 1.0], [2.0, 2.0], [9.0, 9.0]]])
    mask = tf.constant([[True, True, False]])
    bridge(u, history, mask)
    bridge.matrix.kernel.assign(np.zeros((3, 4)))
    np.testing.assert_allclose(bridge(u, history, mask), u)
    bridge.matrix.bias.assign(a.reshape(-1))
    np.testing.assert_allclose(bridge(u, history, mask), [[7.0, 10.0]])


def test_a_bridge_does_not_read_padding():
    bridge, u = PersonalBridge(3), tf.constant([[1.0, 2.0]])
    one = bridge(u, tf.constant([[[5.0, 1.0], [2.0, 2.0]]]), tf.constant([[True, False]]))
    two = bridge(u, tf.constant([[[5.0, 1.0], [-7.0, 9.0]]]), tf.constant([[True, False]]))
    np.testing.assert_allclose(one, two)
    none = bridge(u, tf.constant([[[5.0, 1.0], [2.0, 2.0]]]), tf.constant([[False, False]]))
    np.testing.assert_allclose(none, bridge(u, tf.zeros((1, 2, 2)), tf.constant([[True, True]])))


def test_who_is_mapped():
    own = tf.constant([[1.0], [1.0], [1.0], [1.0]])
    warm = tf.constant([True, False, False, False])
    mapped = [tf.constant([[3.0]] * 4), tf.constant([[5.0]] * 4)]
    known = [tf.constant([True, True, True, False]), tf.constant([True, True, False, False])]
    np.testing.assert_allclose(bridged(own, warm, mapped, known), [[1.0], [4.0], [3.0], [1.0]])
