"""MKT: both stages against a NumPy version of the paper, and what each promises."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo import data, metrics
from cdrzoo.data import synthetic
from cdrzoo.errors import InputError, SchemaError
from cdrzoo.export import save, verify
from cdrzoo.layers import HFA
from cdrzoo.layers.entities import entity_groups
from cdrzoo.layers.pairs import cosine
from cdrzoo.models import DNN, MEM, MKT
from cdrzoo.optimizers import SGD, Adam
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.traffic import prior_correction
from tests import serving_case
from tests.models import oracle
from tests.models.toys import three_schema, toy_dataset, toy_rows, toy_schema

ROWS = {"books": 24, "films": 16}
GROUPS = ("user", "sequence", "shared", "specific")
SMALL = {"expert_units": (8, 6), "tower_units": (5,), "align_units": 7}


def uneven_schema() -> Schema:
    """Three entities: books with three fields of their own, films with one, songs with none."""
    user, genre = Feature("user", "id", "user", table="user"), Feature("genre", "id", "item", table="genre")
    own = {
        "books": (Feature("pages", "number", "item"), Feature("age", "id", "user", table="age"), _words()),
        "films": (Feature("director", "id", "item", table="name"),),
        "songs": (),
    }
    return Schema(
        target="films",
        tables=(
            Table("user", width=4, rows=30),
            Table("genre", width=4, rows=9, per_domain=True),
            Table("name", width=3, rows=12),
            Table("age", width=2, rows=5),
        ),
        domains=tuple(Domain(name, (user, *fields, genre)) for name, fields in own.items()),
    )


def _words():
    return Feature("words", "ids", "item", table="name", length=3)


def mem(schema=None, **changes) -> MEM:
    return oracle.built(MEM(schema or toy_schema(), **{**SMALL, **changes}))


def mkt(pretrained=None, schema=None, **changes) -> MKT:
    pretrained = pretrained or mem(schema)
    model = MKT(schema or pretrained.schema, pretrained, **{"units": (9, 6), "tower_units": (5,), **changes})
    model.build()
    oracle.randomise(model, seed=1)
    return model


def values(model) -> list[np.ndarray]:
    return [v.numpy() for v in model.variables]


def equal(one, two) -> bool:
    return all((a == b).all() for a, b in zip(one, two))


# The NumPy version --------------------------------------------------------------------------------------------------


def vectors(fields, tables, groups, rows):
    found = oracle.fields(fields, tables, rows)
    return {g: np.concatenate([found[f] for f in names], axis=1) for g, names in groups.items() if names}


def cat(v, *names):
    return np.concatenate([v[name] for name in names if name in v], axis=1)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def importance(model, domain, v):
    """Eqs. 3-6."""
    gate = model.align[domain].gate
    x0 = x = cat(v, "specific", "shared") if model.hfa_input == "specific+shared" else v["specific"]
    implicit = np.maximum(oracle.dense(gate.implicit, x0), 0)
    for kernel, bias in zip(gate.explicit.kernels, gate.explicit.biases):
        w, b = oracle.array(kernel), oracle.array(bias)
        x = x * (x0 @ w) + b + x0 if model.cross == "literal" else x0 * (x @ w) + b + x
    return 2 * oracle.sigmoid(oracle.dense(gate.fc, np.concatenate([x, implicit], axis=1)))


def stage_one(model, domain, rows):
    """The groups of v, g_com, g_ind and the logit."""
    v = vectors(model.fields[domain], _tables(model, domain), model.groups[domain], rows)
    if domain in model.align:
        hfa = model.align[domain]
        p = importance(model, domain, v) if model.hfa else np.ones((len(v["specific"]), len(hfa.widths)))
        weighed = v["specific"] * np.repeat(p, hfa.widths, axis=1)
        aligned = np.maximum(oracle.dense(hfa.fc, weighed), 0)
    else:
        aligned = np.zeros((len(v["user"]), model.align_units))
    q = np.concatenate([v["shared"], aligned], axis=1)
    x = q if model.cke_input == "q" else np.concatenate([cat(v, "user", "sequence"), q], axis=1)
    cgc = model.cke.extractors[0]
    task = cgc.tasks.index(domain)
    own, shared = oracle.mlp(cgc.specific_experts[task], x), oracle.mlp(cgc.shared_experts[0], x)
    gate = softmax(x @ oracle.array(cgc.gates[task].kernel))
    mixture = gate[:, :1] * own + gate[:, 1:] * shared
    common = shared if model.common == "shared" else mixture
    independent = oracle.mlp(model.extractors[domain], cat(v, *GROUPS))
    h = oracle.mlp(model.towers[domain], np.concatenate([mixture, independent], axis=1))
    return v, common, independent, oracle.dense(model.heads[domain], h)


def _tables(model, domain):
    return oracle.tables(model.embedding, domain)


def cosines(one, other):
    return (one * other).sum(1) / np.sqrt((one**2).sum(1) * (other**2).sum(1) + 1e-16)


@pytest.mark.parametrize(
    "schema, changes",
    [
        (toy_schema, {}),
        (toy_schema, {"hfa": False, "pooling": "mean"}),
        (toy_schema, {"cross": "literal", "hfa_input": "specific+shared", "pooling": "mean"}),
        (toy_schema, {"cke_input": "q", "common": "shared", "pooling": "mean"}),
        (three_schema, {"pooling": "mean"}),
        (uneven_schema, {}),
    ],
)
def test_stage_one_equals_the_numpy_version(schema, changes):
    model = mem(schema(), **changes)
    x, _ = toy_rows(model.schema, {d.name: 12 for d in model.schema.domains})
    scores, similarity = model(x), model.similarity(x)
    for name, rows in x.items():
        _, common, independent, logit = stage_one(model, name, rows)
        np.testing.assert_allclose(scores[name], oracle.sigmoid(logit), atol=1e-5)
        np.testing.assert_allclose(similarity[name], cosines(common, independent), atol=1e-5)


@pytest.mark.parametrize("pdl", ["cosine", "abs", "square"])
@pytest.mark.parametrize("weighting", ["rows", "domains"])
def test_the_loss_of_stage_one_equals_the_numpy_version(pdl, weighting):
    model = mem(pdl=pdl, weighting=weighting, gamma=0.3, knowledge_activation="linear", pooling="mean")
    model.compile(Adam(0.0), loss_weights={"books": 0.5})
    x, y = toy_rows(model.schema, ROWS)
    measure = {"cosine": lambda c: c, "abs": np.abs, "square": np.square}[pdl]
    entropy, polarised = {}, {}
    for name in x:
        v = vectors(model.fields[name], _tables(model, name), model.groups[name], x[name])
        _, common, independent, _ = stage_one_linear(model, name, v)
        polarised[name] = measure(cosines(common, independent)).mean()
        logit = np.log(model(x)[name] / (1 - model(x)[name]))
        entropy[name] = oracle.cross_entropy(y[name].numpy(), logit).mean()
    share = {name: ROWS[name] / 40 if weighting == "rows" else 1.0 for name in ROWS}
    expected = 0.5 * share["books"] * entropy["books"] + share["films"] * entropy["films"]
    logs = model.train_step((x, y))
    assert float(logs["loss"]) == pytest.approx(expected + 0.3 * sum(polarised.values()), abs=1e-4)
    assert float(logs["pdl"]) == pytest.approx(sum(polarised.values()), abs=1e-5)
    assert {k: float(v) for k, v in logs.items() if k.startswith("pdl_")} == pytest.approx(
        {f"pdl_{name}": value for name, value in polarised.items()}, abs=1e-5
    )


def stage_one_linear(model, domain, v):
    """Stage one whose extractors end without ReLU, given the groups of v."""

    def linear(layer, x):
        for i, hidden in enumerate(layer.dense):
            x = oracle.dense(hidden, x)
            x = np.maximum(x, 0) if i < len(layer.dense) - 1 else x
        return x

    weighed = v["specific"] * np.repeat(importance(model, domain, v), model.align[domain].widths, axis=1)
    aligned = np.maximum(oracle.dense(model.align[domain].fc, weighed), 0)
    x = np.concatenate([cat(v, "user", "sequence", "shared"), aligned], axis=1)
    cgc = model.cke.extractors[0]
    task = cgc.tasks.index(domain)
    gate = softmax(x @ oracle.array(cgc.gates[task].kernel))
    mixture = gate[:, :1] * linear(cgc.specific_experts[task], x) + gate[:, 1:] * linear(
        cgc.shared_experts[0], x
    )
    return v, mixture, linear(model.extractors[domain], cat(v, *GROUPS)), None


@pytest.mark.parametrize("schema, pooling", [(toy_schema, "attention"), (uneven_schema, "mean")])
def test_stage_two_equals_the_numpy_version(schema, pooling):
    model = mkt(mem(schema()), pooling=pooling)
    x, _ = toy_rows(model.schema, {"films": 12})
    known, common, _, _ = stage_one(model.pretrained, "films", x["films"])
    v = vectors(model.fields, oracle.tables(model.embedding, "films"), model.groups, x["films"])

    def gated(name, vector):
        gate = model.gates[name]
        return oracle.dense(gate.value, vector) * oracle.sigmoid(oracle.dense(gate.gate, vector))

    for group in v:
        if group != "specific":
            v[group] = v[group] + gated(group, known[group])
    g = oracle.mlp(model.body, cat(v, *GROUPS)) + gated("cross", common)
    expected = oracle.sigmoid(oracle.dense(model.head, oracle.mlp(model.tower, g)))
    np.testing.assert_allclose(model({"films": x["films"]})["films"], expected, atol=1e-5)


# What is shared, what is specific -------------------------------------------------------------------------------------


def test_groups_are_read_off_the_schema():
    histories = ("history_films", "history_books")
    common = {"user": ("user",), "sequence": histories, "shared": ("item", "genre")}
    assert entity_groups(toy_schema()) == {
        "books": {**common, "specific": ("words", "price")},
        "films": {**common, "specific": ("age", "device")},
    }
    # Music lists films_seen alone, where the others list more of a film: those histories are not the same.
    common = {"user": ("user",), "sequence": (), "shared": ("item", "genre")}
    groups = entity_groups(three_schema())
    assert groups["music"] == {**common, "specific": ("history_music", "history_films")}
    assert groups["films"] == {**common, "specific": ("age", "device", *histories)}
    # What describes a user in one domain alone is specific, too.
    assert {k: v["specific"] for k, v in entity_groups(uneven_schema()).items()} == {
        "books": ("pages", "age", "words"),
        "films": ("director",),
        "songs": (),
    }


def test_what_the_common_knowledge_reads_is_equally_wide_for_all():
    model = mem(uneven_schema())
    assert [hfa.widths for hfa in model.align.values()] == [(1, 2, 3), (3,)]
    x, _ = toy_rows(model.schema, {"books": 5, "films": 6, "songs": 7})
    shapes = {d: model.knowledge(d, v)["common"].shape for d, v in model.rows(x).items()}
    assert shapes == {"books": (5, 6), "films": (6, 6), "songs": (7, 6)}


def test_no_domain_needs_features_of_its_own():
    schema = uneven_schema()
    shared = ("user", "genre")
    domains = [dataclasses.replace(d, features=tuple(map(d.feature, shared))) for d in schema.domains]
    model = mkt(mem(Schema(domains, "films", tuple(schema.table(t) for t in shared))))
    assert (
        model.pretrained.align == {}
        and model.feature_importance(toy_rows(model.schema, {"films": 3})[0]) == {}
    )
    x, _ = toy_rows(model.schema, {"films": 3})
    assert model(x)["films"].shape == (3, 1)


def test_domains_share_the_attention_over_a_history_that_they_compare_alike():
    model = mem()
    one, two = (model.fields[d].attentions for d in ("books", "films"))
    assert one["films"] is two["films"] and one["books"] is two["books"]
    assert len({id(v) for v in model.trainable_variables}) == len(model.trainable_variables)


# Alignment ----------------------------------------------------------------------------------------------------------


def test_importance_without_an_opinion_is_the_plain_alignment():
    v = tf.constant(np.random.default_rng(0).normal(size=(5, 4)), "float32")
    hfa, plain = HFA((1, 3), 6), HFA((1, 3), 6, importance=False)
    hfa(v), plain(v)
    plain.fc.set_weights(hfa.fc.get_weights())
    assert np.abs(hfa(v) - plain(v)).max() > 1e-3
    hfa.gate.fc.set_weights([np.zeros(w.shape) for w in hfa.gate.fc.get_weights()])
    np.testing.assert_array_equal(hfa(v), plain(v))


@pytest.mark.slow
def test_feature_importance_can_be_asked_for():
    model = mkt()
    x, _ = toy_rows(model.schema, ROWS)
    importances = model.pretrained.feature_importance(x)
    assert {d: list(p) for d, p in importances.items()} == {
        "books": ["words", "price"],
        "films": ["age", "device"],
    }
    v = vectors(
        model.pretrained.fields["films"], _tables(model.pretrained, "films"), model.groups, x["films"]
    )
    expected = importance(model.pretrained, "films", v)
    for i, p in enumerate(model.feature_importance(x).values()):
        assert p.dtype == tf.float32
        np.testing.assert_allclose(p, expected[:, i], atol=1e-5)
    np.testing.assert_array_equal(mem(hfa=False).feature_importance(x)["films"]["age"], np.ones(16))


# The polarised distribution loss --------------------------------------------------------------------------------------


def test_cosine_in_its_limits():
    one = tf.constant(np.random.default_rng(0).normal(size=(6, 4)), "float32")
    np.testing.assert_allclose(cosine(one, one), np.ones(6), rtol=1e-6)
    np.testing.assert_allclose(cosine(one, -3.0 * one), -np.ones(6), rtol=1e-6)
    other = tf.reverse(one, [0])
    np.testing.assert_allclose(cosine(10.0 * one, 0.1 * other), cosine(one, other), atol=1e-6)
    np.testing.assert_array_equal(cosine(one, tf.zeros_like(one)), np.zeros(6))


def test_pdl_is_2_where_both_extractors_say_the_same_and_0_at_the_most_polar():
    model = mem(pooling="mean", hfa=False, specific_experts=0, cke_input="all")
    model.compile(Adam(0.0))
    x, y = toy_rows(model.schema, ROWS)
    for model_part in (*model.extractors.values(), model.cke.extractors[0].shared_experts[0]):
        model_part.dense[-1].set_weights([np.zeros((8, 6)), np.arange(1.0, 7.0)])
    assert float(model.train_step((x, y))["pdl"]) == pytest.approx(2.0, abs=1e-5)
    for extractor in model.extractors.values():  # no step in common with the experts, which say (1, ..., 6)
        extractor.dense[-1].bias.assign(
            [6.0, 0, 0, 0, 0, -1.0]
        )  # ReLU ends the extractor: (6, 0, 0, 0, 0, 0)
    model.cke.extractors[0].shared_experts[0].dense[-1].bias.assign([0.0, 2, 3, 4, 5, 6])
    model.compile(Adam(0.0))
    assert float(model.train_step((x, y))["pdl"]) == pytest.approx(0.0, abs=1e-5)


def test_without_gamma_the_loss_is_that_of_the_predictions():
    model = mem(gamma=0.0, pooling="mean")
    model.compile(Adam(0.0))
    x, y = toy_rows(model.schema, ROWS)
    logs = {k: float(v) for k, v in model.train_step((x, y)).items()}
    assert logs["loss"] == pytest.approx((24 * logs["books_loss"] + 16 * logs["films_loss"]) / 40, rel=1e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("weighting", ["rows", "domains"])
def test_a_domain_without_rows_adds_nothing(weighting):
    x, y = toy_rows(toy_schema(), ROWS)
    none = keras.tree.map_structure(lambda t: t[:0], (x["books"], y["books"]))
    batches = {
        "empty": ({**x, "books": none[0]}, {**y, "books": none[1]}),
        "absent": ({"films": x["films"]}, {"films": y["films"]}),
    }
    results = {}
    for name, batch in batches.items():
        keras.utils.set_random_seed(0)
        model = mem(pooling="mean", weighting=weighting)
        model.compile(SGD(0.5))
        before = values(model)
        logs = {k: float(v) for k, v in model.train_step(batch).items()}
        results[name] = logs, values(model)
        assert not equal(before, values(model))
    (empty, one), (absent, other) = results["empty"], results["absent"]
    assert equal(one, other)
    assert empty["books_loss"] == empty["pdl_books"] == 0.0
    assert {k: empty[k] for k in ("films_loss", "pdl")} == {k: absent[k] for k in ("films_loss", "pdl")}


@pytest.mark.slow
@pytest.mark.parametrize("pdl", ["cosine", "square"])
def test_pdl_weighs_rows_by_their_sample_weight(pdl):
    model = mem(pdl=pdl)
    model.compile(Adam(0.0))
    x, y = toy_rows(model.schema, ROWS)
    weights = {name: tf.cast(tf.range(rows) % 3, "float32") for name, rows in ROWS.items()}
    logs = {k: float(v) for k, v in model.train_step((x, y, weights)).items()}
    similarity = model.similarity(x)
    for name, cosines in similarity.items():
        measured = np.square(cosines) if pdl == "square" else cosines
        assert logs[f"pdl_{name}"] == pytest.approx(np.average(measured, weights=weights[name]), rel=1e-4)


# Who learns from whom -------------------------------------------------------------------------------------------------


def test_rows_of_the_source_do_not_teach_what_the_target_owns():
    model = mem(pooling="mean")
    model.compile(Adam(0.1))
    before = {v.path: v.numpy() for v in model.trainable_variables}
    x, y = toy_rows(model.schema, {"books": 24})
    model.train_step((x, y))
    owned = [
        *model.align["films"].trainable_variables,
        *model.extractors["films"].trainable_variables,
        *model.towers["films"].trainable_variables,
        *model.heads["films"].trainable_variables,
        *model.cke.extractors[0].specific_experts[model.cke.tasks.index("films")].trainable_variables,
        *model.cke.extractors[0].gates[model.cke.tasks.index("films")].trainable_variables,
    ]
    assert all((v.numpy() == before[v.path]).all() for v in owned)
    shared = model.cke.extractors[0].shared_experts[0].trainable_variables
    assert all(
        (v.numpy() != before[v.path]).any() for v in (*shared, *model.heads["books"].trainable_variables)
    )


@pytest.mark.exhaustive
def test_the_second_stage_leaves_the_first_as_it_is(tmp_path):
    first = mem(dropout=0.5)
    first.compile(Adam(0.05), run_eagerly=True)  # a handful of steps is not worth tracing
    data = toy_dataset(first.schema, ROWS, 4)
    first.fit(data, verbose=0)
    before = values(first)
    model = mkt(first, dropout=0.5)
    for v, value in zip(first.variables, before):
        v.assign(value)
    model.compile(Adam(0.05), run_eagerly=True)
    target = data.map(lambda x, y: ({"films": x["films"]}, {"films": y["films"]}))
    model.fit(target, epochs=2, verbose=0)
    assert equal(values(first), before)
    mine = {id(v) for v in first.variables}
    assert not any(id(v) in mine for v in model.trainable_variables)
    assert {id(v) for v in model.optimizer._trainable_variables} == {id(v) for v in model.trainable_variables}
    # And after loading, where the first stage comes out of the file.
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert equal(values(again.pretrained), before)
    assert len(again.trainable_variables) == len(model.trainable_variables)
    again.fit(target, verbose=0)
    assert equal(values(again.pretrained), before)
    assert not equal(values(again), values(model))


def test_the_first_stage_is_used_without_dropout():
    model = mkt(mem(dropout=0.9))
    x, _ = toy_rows(model.schema, {"films": 16})
    np.testing.assert_array_equal(model(x, training=True)["films"], model(x)["films"])


def test_the_second_stage_drops_out_although_the_first_does_not():
    model = mkt(dropout=0.5)
    x, _ = toy_rows(model.schema, {"films": 16})
    assert np.abs(model(x, training=True)["films"] - model(x)["films"]).max() > 1e-3


@pytest.mark.slow
def test_a_first_stage_that_is_part_of_a_second_does_not_go_on_training_unnoticed():
    first = mem()
    first.compile(Adam(0.05), run_eagerly=True)
    data = toy_dataset(first.schema, ROWS, 2)
    first.fit(data, verbose=0)
    mkt(first)
    with pytest.raises(ValueError, match="compile"):
        first.fit(data, verbose=0)


@pytest.mark.slow
def test_the_tables_of_the_first_stage_train_on_request():
    model = mkt(train_embeddings=True, pooling="mean")
    model.compile(Adam(0.1))
    x, y = toy_rows(model.schema, {"films": 16})
    before = {id(v): v.numpy() for v in model.pretrained.variables}
    model.train_step((x, y))
    moved = {v.path.split("/")[-1] for v in model.pretrained.variables if (v.numpy() != before[id(v)]).any()}
    assert moved == {"user", "book", "film", "genre", "stars", "device"}  # not `word`: only books have words
    tables = {id(v) for v in model.pretrained.embedding.variables}
    assert {id(v) for v in model.pretrained.trainable_variables} == tables


@pytest.mark.slow
def test_a_warm_start_copies_the_tables():
    first = mem(uneven_schema())
    for warm in (True, False):
        model = MKT(first.schema, first, units=(6,), warm_start=warm)
        model.build()
        for name in ("user", "genre", "name"):
            mine, old = model.embedding.table(name).numpy(), first.embedding.table(name, "films").numpy()
            assert (mine == old).all() == warm


@pytest.mark.slow
def test_any_domain_of_the_first_stage_may_be_the_target():
    first = mem(uneven_schema())
    schema = dataclasses.replace(first.schema, target="songs")
    model = mkt(first, schema)
    x, y = toy_rows(schema, {"songs": 8})
    model.compile(Adam(0.01))
    model.train_step((x, y))
    assert model.training_domains == ("songs",)


# Gates --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_with_closed_gates_it_is_the_network_alone():
    model = mkt()
    for gate in model.gates.values():
        gate.gate.kernel.assign(tf.zeros_like(gate.gate.kernel))
        gate.gate.bias.assign(tf.fill(gate.gate.bias.shape, -30.0))
    x, _ = toy_rows(model.schema, {"films": 12})
    v = vectors(model.fields, oracle.tables(model.embedding, "films"), model.groups, x["films"])
    g = oracle.mlp(model.body, cat(v, *GROUPS))
    expected = oracle.sigmoid(oracle.dense(model.head, oracle.mlp(model.tower, g)))
    np.testing.assert_allclose(model(x)["films"], expected, atol=1e-5)
    assert all(float(tf.reduce_max(activity)) < 1e-12 for activity in model.gate_activity(x).values())


def test_gate_activity_can_be_asked_for():
    model = mkt()
    x, _ = toy_rows(model.schema, {"films": 12})
    activity = model.gate_activity(x)
    assert {name: a.shape for name, a in activity.items()} == {
        "user": (12, 4), "sequence": (12, 24), "shared": (12, 8), "cross": (12, 6),
    }  # fmt: skip
    assert all(((a >= 0) & (a <= 1)).numpy().all() for a in activity.values())


# Serving ------------------------------------------------------------------------------------------------------------


def read(model, x):
    """The variables that the served graph reads, by where they belong."""
    graph = tf.function(model.serve).get_concrete_function(x["films"]).graph
    handles = {id(handle) for handle, _ in graph.captures}
    return [v for v in model.variables if id(v.value.handle) in handles]


@pytest.mark.parametrize("levels, experts", [(1, 2), (2, 5)])
def test_the_served_graph_reads_the_second_stage_and_what_it_needs_of_the_first(levels, experts):
    model = mkt(mem(levels=levels, pooling="mean"), pooling="mean")
    x, _ = toy_rows(model.schema, {"films": 12})
    found, first = read(model, x), model.pretrained
    own = {id(v) for v in first.variables}
    assert {id(v) for v in found if id(v) not in own} == {id(v) for v in model.variables if id(v) not in own}
    tables = {v.path.split("/")[-1] for v in found if any(v is t for t in first.embedding.variables)}
    assert tables == {"user", "film", "book", "genre", "stars", "device"}  # not `word`: only books have words
    excluded = [
        *first.extractors.values(),
        *first.towers.values(),
        *first.heads.values(),
        first.align["books"],
    ]
    assert not {id(v) for part in excluded for v in part.variables} & {id(v) for v in found}
    # With two levels the shared gate of the lower one mixes the source's expert in, and the upper one needs it not.
    every = [e for level in first.cke.extractors for e in (*level.specific_experts, *level.shared_experts)]
    of_experts = {id(v) for expert in every for v in expert.variables}
    assert sum(id(v) in of_experts for v in found) == 4 * experts
    hfa, gates = len(first.align["films"].variables), {1: 1, 2: 3}[levels]
    of_second = len(model.variables) - len(first.variables)
    assert len(found) == of_second + 6 + hfa + 4 * experts + gates


@pytest.mark.slow
def test_the_served_scores_are_those_of_the_model():
    model = mkt()
    x, _ = toy_rows(model.schema, {"films": 12})
    served = tf.function(model.serve)(x["films"])
    np.testing.assert_allclose(served, model(x)["films"][:, 0], atol=1e-6)


def test_the_first_stage_serves_by_itself():
    model = mem(pooling="mean")
    x, _ = toy_rows(model.schema, {"films": 12})
    found = {id(v) for v in read(model, x)}
    assert (
        not {id(v) for v in (*model.towers["books"].variables, *model.extractors["books"].variables)} & found
    )
    assert {id(v) for v in (*model.towers["films"].variables, *model.extractors["films"].variables)} <= found
    np.testing.assert_allclose(model.serve(x["films"]), model(x)["films"][:, 0], atol=1e-6)


def test_prior_correction_by_hand():
    # 100 clicks and 900 other rows, of which a third was kept: 100 / 400 in the log, 100 / 1000 on all traffic.
    assert prior_correction(0.25, 1 / 3) == pytest.approx(0.1)
    assert prior_correction(0.25, 1) == 0.25
    np.testing.assert_allclose(prior_correction(tf.constant([0.0, 1.0]), 0.1), [0.0, 1.0])


@pytest.mark.parametrize("stage", [mem, mkt])
def test_what_is_served_can_be_corrected_for_dropped_negatives(stage):
    model = stage(negatives_kept=0.25)
    x, _ = toy_rows(model.schema, {"films": 12})
    p = model(x)["films"][:, 0].numpy().astype("float64")
    np.testing.assert_allclose(model.serve(x["films"]), p / (p + (1 - p) / 0.25), rtol=1e-5)
    odds = p / (1 - p)
    np.testing.assert_allclose(
        model.serve(x["films"]) / (1 - model.serve(x["films"])), odds * 0.25, rtol=1e-4
    )


# Tasks and mistakes ---------------------------------------------------------------------------------------------------


def test_ratings():
    schema = toy_schema("rating")
    first = MEM(schema, **SMALL, pooling="mean")
    first.compile(Adam(0.01))
    x, y = toy_rows(schema, ROWS)
    first.train_step((x, y))
    model = MKT(schema, first, units=(6,), pooling="mean")
    model.compile(Adam(0.01))
    logs = model.train_step(({"films": x["films"]}, {"films": y["films"]}))
    assert float(logs["films_loss"]) > 1  # squared errors of ratings from 1 to 5, untrained
    with pytest.raises(InputError, match="the target has ratings"):
        MKT(schema, first, negatives_kept=0.5)


def test_mistakes_are_named():
    schema = toy_schema()
    with pytest.raises(InputError, match="`pdl` must be one of cosine, abs, square. Received: 'cos'"):
        MEM(schema, pdl="cos")
    with pytest.raises(InputError, match="one of dcn, literal, dcn_v2. Received: 'dnc'"):
        MEM(schema, cross="dnc")
    with pytest.raises(InputError, match="set shared_experts to 1 or more"):
        MEM(schema, common="shared", shared_experts=0)
    with pytest.raises(
        InputError, match="`negatives_kept` must be a share above 0 and at most 1. Received: 0"
    ):
        MEM(schema, negatives_kept=0)
    with pytest.raises(SchemaError, match="the schema has the target alone"):
        MEM(schema.only("films"))
    with pytest.raises(InputError, match="must be a trained MEM, the first stage of MKT. Received: str"):
        MKT(schema, "mem.keras")
    first = mem()
    with pytest.raises(SchemaError, match="trained with another schema"):
        MKT(schema.only("films"), first)
    with pytest.raises(SchemaError, match="trained with another schema"):
        MKT(schema.with_width(5), first)
    model = mkt(first)
    x, _ = toy_rows(schema, ROWS)
    with pytest.raises(InputError, match="reads rows of the target 'films' alone. Received: rows of 'books'"):
        model(x)


def test_common_knowledge_of_nothing_is_refused():
    user = Feature("user", "id", "user", table="user")
    domains = [Domain("books", (user,), item="item"), Domain("films", (user,), item="item")]
    schema = Schema(domains, "films", (Table("user", rows=5),))
    with pytest.raises(SchemaError, match="List a feature of role item, or use cke_input='all'"):
        MEM(schema, cke_input="q")
    assert MEM(schema, **SMALL)(toy_rows(schema, {"films": 3})[0])["films"].shape == (3, 1)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["one", "two"])
def test_matrix_crosses_in_both_stages(stage, tmp_path):
    pytest.importorskip("tensorflow_recommenders", reason="tensorflow-recommenders is not installed")
    first = mem(cross="dcn_v2", pooling="mean")
    model = first if stage == "one" else mkt(first, pooling="mean")
    x, _ = toy_rows(model.schema, {"films": 12})
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x)["films"], model(x)["films"])


@pytest.mark.once
@pytest.mark.exhaustive
def test_it_wins_where_transfer_is_planted():
    made = synthetic.synthesize(0.9, seed=1)
    prepared = data.prepare(made.schema, made.sources)
    schema, batch = prepared.schema, {"books": 512, "films": 128}
    test = prepared.parts["films"]["test"]
    part = {"units": (64, 32), "dropout": 0.2}

    def fitted(model, epochs, domains):
        model.compile(Adam(1e-3, weight_decay=0.1))
        rows = prepared.train(batch, domains=domains)
        wanted = {name: [f.name for f in model.schema.domain(name).features] for name in domains}
        picked = rows.map(lambda x, y: ({d: {f: x[d][f] for f in names} for d, names in wanted.items()}, y))
        model.fit(picked, epochs=epochs, verbose=0)
        x = {f.name: test.x[f.name] for f in model.schema.target_domain.features}
        return metrics.auc(test.y[:, 0], model.predict({"films": x}, verbose=0)["films"][:, 0])

    keras.utils.set_random_seed(0)
    dnn = fitted(DNN(schema.only("films"), **part), 6, ("films",))
    first = MEM(schema, expert_units=(64, 32), tower_units=(16,), align_units=16, dropout=0.2)
    one = fitted(first, 8, ("books", "films"))
    two = fitted(MKT(schema, first, tower_units=(16,), **part), 2, ("films",))
    assert one > dnn + 0.02 and two > dnn + 0.02, (dnn, one, two)


@pytest.mark.exhaustive
def test_an_export_scores_raw_rows_and_holds_what_serving_reads(tmp_path):
    encoder = serving_case.make_encoder()
    first = mem(encoder.schema, pooling="mean")
    model = mkt(first, pooling="mean", negatives_kept=0.5)
    path = save(model, encoder, tmp_path / "mkt", examples=serving_case.make_frame("films", 12, seed=3))
    verify(path, model=model, encoder=encoder)
    held = tf.train.list_variables(str(path / "variables" / "variables"))
    held = [name for name, _ in held if "OBJECT_GRAPH" not in name]
    x = {"films": encoder.encode("films", serving_case.make_frame("films", 4))}
    assert len(held) == len(read(model, keras.tree.map_structure(tf.constant, x)))
