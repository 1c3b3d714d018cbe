"""Mixed interest network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import SchemaError
from cdrzoo.models import MiNet
from cdrzoo.schema import Schema
from tests.models import oracle, slots
from tests.models.toys import three_schema, toy_rows, toy_schema, twin_schema

ROWS = {"books": 20, "music": 10, "films": 15}
PROFILE = {"books": ("user",), "music": ("user",), "films": ("user", "age", "device")}
CANDIDATE = {
    "books": ("item", "genre", "words", "price"),
    "music": ("item", "genre"),
    "films": ("item", "genre"),
}


def make(schema=None, **changes):
    model = MiNet(schema or toy_schema(), **{"units": (9, 7), "attention_units": 5, "rank": 3, **changes})
    model.build()
    oracle.randomise(model, scale=0.3)
    return model


def relu(x):
    return np.maximum(x, 0)


def forward(model, name, rows):
    """The logit of a domain's rows, and the interests' weights of the target's."""
    tables = oracle.tables(model.embedding, name)
    fields = oracle.fields(model.fields[name], tables, rows)
    q = np.concatenate([fields[f] for f in CANDIDATE[name]], -1)
    p = np.concatenate([fields[f] for f in PROFILE[name]], -1)
    row, v = [q, p], None
    if name == "films":
        interests = [p]
        for of, histories in model.histories.items():
            ids = [oracle.array(rows[f.name]) for f in histories]
            mask = np.any([i != 0 for i in ids], axis=0)
            r = np.concatenate([oracle.array(tables[f.table])[i] for f, i in zip(histories, ids)], -1)
            layer, steps = model.item[of], r.shape[1]
            q_t, p_t = (np.repeat(one[:, None], steps, axis=1) for one in (q, p))
            if of == "films":  # items and genres of films have a partner in the candidate, stars have none
                product = r[..., :8] * q_t
            else:
                product = (r @ oracle.array(layer.transfer_in) @ oracle.array(layer.transfer_out)) * q_t
            hidden = relu(np.concatenate([r, q_t, p_t, product], -1) @ oracle.array(layer.kernel))
            e = np.exp((hidden @ oracle.array(layer.score))[..., 0]) * mask
            weights = e / np.maximum(e.sum(1, keepdims=True), 1e-300)
            interests.append((weights[..., None] * r).sum(1))
        c = np.concatenate([q, *interests], -1)
        v = [
            np.exp(
                relu(c @ oracle.array(hidden.kernel)) @ oracle.array(score.kernel)
                + oracle.array(model.interest.bias)[i]
            )
            for i, (hidden, score) in enumerate(zip(model.interest.hidden, model.interest.score))
        ]
        row = [q, *(weight * one for weight, one in zip(v, interests))]
    h = oracle.mlp(model.networks[name], np.concatenate(row, -1))
    return oracle.dense(model.heads[name], h), v


@pytest.mark.parametrize("schema", [toy_schema, three_schema])
def test_equals_the_numpy_version(schema):
    model = make(schema())
    x, _ = toy_rows(model.schema, {d.name: ROWS[d.name] for d in model.schema.domains})
    for name, score in model(x).items():
        logit, v = forward(model, name, x[name])
        np.testing.assert_allclose(score, oracle.sigmoid(logit), atol=1e-5)
        if v is not None:
            found = model.interest_weights(x)
            assert list(found) == ["user", "history_films", "history_books"]
            np.testing.assert_allclose(np.stack(list(found.values()), 1), np.concatenate(v, 1), rtol=1e-4)


def test_padded_steps_take_no_attention():
    """In the authors' code the zero vectors of padded steps take part in the softmax."""
    model = make()
    x, _ = toy_rows(model.schema, {"films": 15})
    short = dict(x["films"])
    for name in ("seen", "genres", "stars"):
        short[f"books_{name}"] = tf.pad(x["films"][f"books_{name}"][:, :2], [[0, 0], [0, 3]])
    cut = {k: v[:, :2] if k.startswith("books_") else v for k, v in short.items()}
    np.testing.assert_allclose(model({"films": short})["films"], model({"films": cut})["films"], atol=1e-6)


def test_with_an_identity_transfer_both_attentions_are_one():
    """Two domains whose rows list the same; both histories of the target compared alike."""
    model = make(twin_schema(), rank=8)
    films, books = model.item["films"], model.item["books"]
    q, p = tf.random.normal((6, 8)), tf.random.normal((6, 4))
    r, mask = tf.random.normal((6, 5, 12)), tf.ones((6, 5), "bool")
    books.kernel.assign(films.kernel), books.score.assign(films.score)
    books.transfer_in.assign(np.eye(12, 8))
    books.transfer_out.assign(np.eye(8))
    for one, other in zip(films(q, p, r, mask), books(q, p, r, mask)):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_sources_rows_read_no_history_and_teach_its_network_alone():
    model = make()
    x, y = toy_rows(model.schema, {"books": 20})
    empty = {f.name: tf.zeros_like(x["books"][f.name]) for f in model.schema.domain("books").histories()}
    np.testing.assert_array_equal(model({"books": {**x["books"], **empty}})["books"], model(x)["books"])
    found = slots.taught(model, x, y)
    own = {id(v) for v in (*model.networks["books"].variables, *model.heads["books"].variables)}
    assert own <= found
    tables = {id(v) for v in model.embedding.variables}
    assert found <= own | tables
    assert id(model.embedding.table("user")) in found  # which the target shares


def test_the_long_term_interest_starts_with_the_most_weight():
    model = MiNet(toy_schema(), units=(4,))
    model.build()
    np.testing.assert_array_equal(model.interest.bias, [1.0, 0.0, 0.0])


def test_a_history_without_a_partner_in_the_candidate_is_transferred():
    """The target's own history lists stars alone, which no candidate has."""
    schema = toy_schema()
    films = dataclasses.replace(
        schema.target_domain,
        features=tuple(
            f for f in schema.target_domain.features if f.role != "history" or f.name == "films_stars"
        ),
    )
    model = MiNet(
        Schema((films,), "films", tuple(t for t in schema.tables if t.name not in ("book", "word")))
    )
    model.build()
    assert model.item["films"].rank == 10
    x, _ = toy_rows(model.schema, {"films": 4})
    assert np.isfinite(model(x)["films"]).all()


@pytest.mark.slow
def test_the_served_graph_reads_the_targets_network():
    model = make()
    x, _ = toy_rows(model.schema, {"films": 12})
    graph = tf.function(model.serve).get_concrete_function(x["films"])
    read = {id(variable.handle) for variable in graph.variables}
    of_books = (*model.networks["books"].variables, *model.heads["books"].variables)
    assert not {id(v.value.handle) for v in of_books} & read
    assert id(model.item["books"].transfer_in.value.handle) in read
    np.testing.assert_allclose(graph(x["films"]), model(x)["films"][:, 0], atol=1e-6)


def test_what_it_needs_is_said():
    schema = toy_schema()
    for role, message in (("item", "books.*role item"), ("user", "role user or context")):
        books = schema.domain("books")
        books = dataclasses.replace(books, features=tuple(f for f in books.features if f.role != role))
        used = {f.table for d in (books, schema.target_domain) for f in d.features}
        tables = tuple(t for t in schema.tables if t.name in used)
        with pytest.raises(SchemaError, match=message):
            MiNet(Schema((books, schema.target_domain), "films", tables))
    with pytest.raises(SchemaError, match="'films' lists no history"):
        films = schema.target_domain
        films = dataclasses.replace(films, features=tuple(f for f in films.features if f.role != "history"))
        used = {f.table for f in films.features}
        MiNet(Schema((films,), "films", tuple(t for t in schema.tables if t.name in used)))
