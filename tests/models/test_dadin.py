"""DADIN: the forward pass in float64, the losses and who learns from which, the variants, and what it refuses."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import SchemaError
from cdrzoo.models import DADIN
from cdrzoo.optimizers import SGD, Adam
from cdrzoo.schema import Schema
from tests.models import oracle
from tests.models.toys import three_schema, toy_rows, toy_schema

ROWS = {"books": 12, "music": 7, "films": 8}


def make(schema=None, optimizer=None, seed=1, randomise=True, **arguments):
    keras.utils.clear_session(free_memory=False)  # equal names of variables in every model
    keras.utils.set_random_seed(seed)
    model = DADIN(
        schema or toy_schema(), **{"units": (16,), "predictor_units": 5, "dropout": 0.0, **arguments}
    )
    model.compile(optimizer or Adam(0.01))
    if randomise:
        oracle.randomise(model, scale=0.8)
        for v in model.interest.trainable_variables if model.interest else ():
            v.assign(0.3 * v)  # exponentials of moderate numbers: float32 has to follow
        model.alignment.reversal.strength.assign(model.reversal)
    return model


def halved(**arguments):
    """A model whose threshold halves the rows, so that both classes have rows of both domains."""
    model = make(**arguments)
    scores = model(rows(model)[0])
    model.alignment.threshold = float(np.median(np.concatenate(list(scores.values()))))
    for score in scores.values():
        assert 0 < np.mean(score >= model.alignment.threshold) < 1
    return model


def rows(model, seed=0, **changes):
    return toy_rows(model.schema, {**{d.name: ROWS[d.name] for d in model.schema.domains}, **changes}, seed)


# The forward pass ---------------------------------------------------------------------------------------------------


def relu(x):
    return np.maximum(x, 0)


def forward(model, name, x):
    """DADIN of one domain's rows, in plain NumPy and float64, from the equations."""
    domain, table = model.schema.domain(name), oracle.tables(model.embedding)
    ids = {k: oracle.array(v) for k, v in x.items()}
    vectors = dict(zip(model.pooling.numbers, oracle.array(model.pooling.number_vectors)))
    field, known = {}, {}
    for f in domain.features:
        if f.kind == "number":
            vector = ids[f.name][:, None] * vectors[f.name]
        else:
            vector = table[f.table][ids[f.name]]
            if f.kind == "ids" and f.role != "history":
                vector = oracle.mean(vector, ids[f.name] != 0)
        history = f.name if model.separate_columns else f"history_{f.of}"
        where = history if f.role == "history" else "item" if f.role == "item" else "user"
        field[where] = field.get(where, 0) + vector
        if f.role == "history":
            known[where] = known.get(where, False) | (ids[f.name] != 0)
    q, p = field["item"], field["user"]
    m, beta = [q, p], {}
    for history in model.interests[1:]:
        if history not in field:
            m.append(np.zeros_like(q))
            continue
        r, mask = field[history], known[history]
        if not model.item_attention:
            m.append(oracle.mean(r, mask))
            beta[history] = mask / np.maximum(mask.sum(1, keepdims=True), 1)
            continue
        layer, steps = model.item[history], r.shape[1]
        q_t, p_t = (np.repeat(v[:, None], steps, axis=1) for v in (q, p))
        s = relu(np.concatenate([r, q_t, p_t, r * q_t], -1) @ oracle.array(layer.kernel)) @ oracle.array(
            layer.score
        )
        e = np.exp(s[..., 0]) * mask
        beta[history] = e / np.maximum(e.sum(1, keepdims=True), 1e-300)
        m.append((beta[history][..., None] * r).sum(1))
    c = np.concatenate(m, -1)
    v = np.ones((len(q), len(m) - 1))
    if model.interest_attention:
        for i, (hidden, score) in enumerate(zip(model.interest.hidden, model.interest.score)):
            exponent = (relu(c @ oracle.array(hidden.kernel)) @ oracle.array(score.kernel))[:, 0]
            b = oracle.array(model.interest.bias)[i]
            v[:, i] = np.exp(exponent) + b if model.bias_outside else np.exp(exponent + b)
    m = [m[0], *(v[:, [i]] * one for i, one in enumerate(m[1:]))]
    if model.domain_mark:
        m.append(0 * q + oracle.array(model.mark.marks)[model.mark.domains.index(name)])
    if model.bi_interaction:
        weighted = [weight * one for weight, one in zip(oracle.array(model.cross.c)[:, 0], m)]
        z = sum(weighted[i] * weighted[j] for i in range(len(m)) for j in range(i))
    else:
        z = np.concatenate(m, -1)
    if model.dnn:
        *hidden, last = model.deep.dense
        for layer in hidden:
            z = relu(oracle.dense(layer, z))
        h_spec = oracle.dense(last, z)
    else:
        h_spec = z if model.bi_interaction else oracle.dense(model.deep, z)
    h_da = relu(oracle.dense(model.agnostic, h_spec)) if model.domain_agnostic else h_spec
    h = h_da + h_spec if model.domain_agnostic else h_spec
    hidden = oracle.dense(model.predictor.dense[0], h)
    hidden = relu(hidden) if model.predictor_activation == "relu" else hidden
    last = model.heads["books"] if model.domain_heads and name == "books" else model.head
    return {"logit": oracle.dense(last, hidden), "h_spec": h_spec, "h_da": h_da, "v": v, "beta": beta}


VARIANTS = {
    "full": {},
    "1": {"item_attention": False},
    "2": {"interest_attention": False},
    "3": {"bi_interaction": False},
    "4": {"dnn": False},
    "5": {"bi_interaction": False, "dnn": False},
    "6": {"domain_agnostic": False},
    "7": {"domain_weight": 0.0},
    "8": {"class_weight": 0.0},
    "9": {"domain_weight": 0.0, "class_weight": 0.0},
    "bias outside": {"bias_outside": True},
    "relu": {"predictor_activation": "relu"},
    "marked": {"domain_mark": True, "domain_heads": True, "bi_interaction": False},
    "marked products": {"domain_mark": True},
    "columns": {"separate_columns": True, "bi_interaction": False},
}
"""The full model, the nine variants of Table 4, and options."""


@pytest.mark.parametrize("name", VARIANTS)
def test_the_forward_pass_equals_the_equations(name):
    model = make(**VARIANTS[name])
    x, _ = rows(model)
    states, scores, interests = model.states(x), model(x), model.interest_weights(x)
    for domain in x:
        expected = forward(model, domain, x[domain])
        assert expected["logit"].std() > 0.03 and (expected["h_spec"] != 0).any()
        for what in ("h_spec", "h_da", "logit"):
            np.testing.assert_allclose(states[what][domain], expected[what], rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(scores[domain], oracle.sigmoid(expected["logit"]), atol=1e-5)
        np.testing.assert_allclose(np.stack(list(interests[domain].values()), 1), expected["v"], rtol=1e-4)
        for history, beta in states["item_weights"][domain].items():
            np.testing.assert_allclose(beta, expected["beta"][history], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("1", "attention/kernel"),
        ("2", "interest_attention"),
        ("3", "bi_interaction"),
        ("6", "domain_agnostic"),
        ("7", "domain_classifier"),
        ("8", "class1_classifier"),
        ("9", "classifier"),
    ],
)
def test_a_variant_does_not_carry_what_it_leaves_out(name, absent):
    def paths(**arguments):
        return [v.path for v in make(randomise=False, **arguments).trainable_variables]

    assert any(absent in path for path in paths())
    assert not any(
        absent in path and "interest" not in path.replace(absent, "") for path in paths(**VARIANTS[name])
    )


def test_three_domains_have_a_history_and_an_interest_each():
    model = make(three_schema())
    x, y = rows(model)
    scores = model(x)
    for domain in x:
        np.testing.assert_allclose(
            scores[domain], oracle.sigmoid(forward(model, domain, x[domain])["logit"]), atol=1e-5
        )
    listed = {f.of for d in model.schema.domains for f in d.histories()}
    assert model.interests == ["user", *(f"history_{d}" for d in ("films", "books", "music") if d in listed)]
    logs = {k: float(v) for k, v in model.train_step((x, y)).items()}
    assert np.isfinite(list(logs.values())).all()


def test_interest_weights_of_zero_layers_give_variant_2():
    full, plain = make(), make(interest_attention=False)
    for v in full.interest.trainable_variables:
        v.assign(tf.zeros_like(v))
    shared = {v.path: v for v in full.variables}
    for v in plain.variables:
        v.assign(shared[v.path])
    x, _ = rows(full)
    for one, two in zip(full(x).values(), plain(x).values()):
        np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("schema", [toy_schema(), three_schema()])
def test_products_start_as_large_as_what_they_multiply(schema):
    """From products that are next to nothing some seeds never learn."""
    model = make(schema, randomise=False)
    fields = np.random.default_rng(0).uniform(-0.05, 0.05, (5000, 1 + len(model.interests), 8))
    assert np.std(model.cross(fields.astype("float32"))) == pytest.approx(fields.std(), rel=0.05)


def test_a_domain_agnostic_layer_of_zeros_leaves_h_spec():
    model = make()
    for v in model.agnostic.trainable_variables:
        v.assign(tf.zeros_like(v))
    states = model.states(rows(model)[0])
    np.testing.assert_array_equal(states["h_da"]["films"], 0)
    expected = model.head(model.predictor(states["h_spec"]["films"]))
    np.testing.assert_allclose(states["logit"]["films"], expected, atol=1e-6)


# The losses ---------------------------------------------------------------------------------------------------------


def terms(model, batch):
    x, y = batch
    model.reset_metrics()
    y_pred = model(x, training=True)
    total = model.compute_loss(x, y, y_pred, training=True)
    return float(total), {name: float(model._terms.means[name].result()) for name in model._terms.reported}


@pytest.mark.parametrize(
    "arguments", [{}, {"alpha": 0.2, "domain_weight": 0.7, "class_weight": 1.3}, {"stable": False}]
)
def test_the_total_is_that_of_equation_22_and_every_term_is_logged(arguments):
    model = halved(**arguments)
    x, y = rows(model)
    total, logged = terms(model, (x, y))
    errors = {d: oracle.cross_entropy(oracle.array(y[d]), forward(model, d, x[d])["logit"]) for d in x}
    for domain, error in errors.items():
        assert logged[f"{domain}_loss"] == pytest.approx(error.mean(), rel=1e-4)
    assert logged["prediction_loss"] == pytest.approx(np.concatenate(list(errors.values())).mean(), rel=1e-4)
    classes = model.alpha * logged["class0_loss"] + (1 - model.alpha) * logged["class1_loss"]
    expected = (
        logged["prediction_loss"] + model.domain_weight * logged["domain_loss"] + model.class_weight * classes
    )
    assert total == pytest.approx(expected, rel=1e-5)
    assert min(logged["class0_loss"], logged["class1_loss"], logged["domain_loss"]) > 0


def test_equation_21_as_printed_is_a_choice_of_alpha_and_weight():
    """alpha lambda_3 (L0 + (1 - alpha) L1) with alpha = 1/2, lambda_3 = 1 counts class 0 twice as much as class 1."""
    model = halved(alpha=2 / 3, class_weight=0.75, domain_weight=0.0)
    total, logged = terms(model, rows(model))
    printed = 0.5 * (logged["class0_loss"] + 0.5 * logged["class1_loss"])
    assert total == pytest.approx(logged["prediction_loss"] + printed, rel=1e-5)


def test_the_classifiers_read_h_da_of_target_rows_as_1():
    model = make(stable=False)
    x, y = rows(model)
    _, logged = terms(model, (x, y))
    classifier = model.alignment.classifiers["domain"]
    error = [
        oracle.cross_entropy(float(d == "films"), oracle.dense(classifier, forward(model, d, x[d])["h_da"]))
        for d in x
    ]
    assert logged["domain_loss"] == pytest.approx(np.concatenate(error).mean(), rel=1e-4)


def test_loss_weights_weigh_the_rows_of_a_domain():
    model = make()
    model.compile(Adam(0.01), loss_weights={"books": 0.25})
    _, logged = terms(model, rows(model))
    expected = (12 * 0.25 * logged["books_loss"] + 8 * logged["films_loss"]) / 20
    assert logged["prediction_loss"] == pytest.approx(expected, rel=1e-5)


def descent(model, batch):
    """What one step of gradient descent at rate 1 subtracts: the gradients, by path."""
    before = {v.path: v.numpy() for v in model.trainable_variables}
    model.train_step(batch)
    return {v.path: before[v.path] - v.numpy() for v in model.trainable_variables}


@pytest.mark.slow
def test_the_extractor_gets_the_difference_of_the_two_gradients():
    """With the reversal at lambda: dL_y - lambda dL_d for the extractor, dL_y alone for the predictor (eq. 24)."""
    batch = rows(make())
    steps = {s: descent(halved(stable=False, reversal=s, optimizer=SGD(1.0)), batch) for s in (0.0, 1.0, 0.5)}
    model = make(domain_weight=0.0, class_weight=0.0, optimizer=SGD(1.0))
    predictor = {v.path for v in (*model.predictor.trainable_variables, *model.head.trainable_variables)}
    plain = descent(model, batch)
    assert len(predictor) == 4 and predictor <= set(steps[0.0])
    for path, gradient in plain.items():
        np.testing.assert_allclose(steps[0.0][path], gradient, rtol=1e-3, atol=1e-5)  # lambda = 0: L_y alone
        half = (steps[0.0][path] + steps[1.0][path]) / 2
        np.testing.assert_allclose(steps[0.5][path], half, rtol=1e-3, atol=1e-5)
    for path in steps[0.0]:
        moved = np.abs(steps[1.0][path] - steps[0.0][path]).max()
        if "classifier" in path:
            assert moved == 0  # the classifiers' own gradients are not reversed
            assert np.abs(steps[1.0][path]).max() > 0
        elif path in predictor:
            assert moved == 0
    assert any(
        np.abs(steps[1.0][p] - steps[0.0][p]).max() > 1e-4 for p in steps[0.0] if "domain_agnostic" in p
    )


def test_domain_losses_give_the_predictor_no_gradient_at_all():
    model = make()
    x, y = rows(model)
    head = [v.value for v in (*model.head.trainable_variables, *model.predictor.trainable_variables)]
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True)
        found = model.auxiliary_losses(x, y, y_pred, None, training=True)
        loss = found["domain_loss"] + found["class0_loss"] + found["class1_loss"]
    assert all(g is None for g in tape.gradient(loss, head))


def test_only_the_candidates_of_the_rows_own_domain_get_a_gradient():
    model = make(toy_schema())
    x, y = rows(model)
    for domain, other in (("films", "book"), ("books", "film")):
        histories = {
            f.name: tf.zeros_like(x[domain][f.name]) for f in model.schema.domain(domain).histories()
        }
        with tf.GradientTape() as tape:
            scores = model({domain: {**x[domain], **histories}})[domain]
            loss = tf.reduce_mean(tf.square(scores - y[domain]))
        gradient = tape.gradient(loss, model.embedding.table(other).value)
        assert gradient is None or not np.abs(tf.convert_to_tensor(gradient)).any()


def test_evaluation_knows_no_domain_loss():
    model = make()
    x, y = rows(model)
    logs = model.evaluate({"films": x["films"]}, {"films": y["films"]}, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "films_loss", "prediction_loss"}
    assert logs["loss"] == pytest.approx(logs["films_loss"], rel=1e-6)


def test_training_on_the_target_alone_has_nothing_to_align():
    model = make(toy_schema().only("films"))
    assert not model.alignment.trainable_variables
    assert set(model.train_step(rows(model))) == {"loss", "films_loss", "prediction_loss"}


# Serving ------------------------------------------------------------------------------------------------------------


def test_the_served_graph_reads_no_classifier_and_no_other_candidates():
    model = make()
    x, _ = rows(model)
    spec = {
        f.name: tf.TensorSpec([None, *x["films"][f.name].shape[1:]], x["films"][f.name].dtype)
        for f in model.serving_features
    }
    graph = tf.function(model.serve).get_concrete_function(spec)
    read = {id(variable.handle) for variable in graph.variables}
    paths = {v.path for v in model.variables if id(v.value.handle) in read}
    assert not any("alignment" in path or "word" in path for path in paths)
    assert any("book" in path for path in paths)  # the history of books still needs their table
    np.testing.assert_allclose(graph(x["films"]), model(x)["films"][:, 0], atol=1e-6)


# Mistakes -----------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused():
    config = toy_schema().to_dict()
    config["tables"]["device"]["width"] = 6
    with pytest.raises(SchemaError, match="one width"):
        DADIN(Schema.from_dict(config))
    with pytest.raises(SchemaError, match="class_weight=0"):
        DADIN(toy_schema("rating"))
    schema = toy_schema()
    films = dataclasses.replace(
        schema.target_domain, features=tuple(f for f in schema.target_domain.features if f.role == "user")
    )
    tables = tuple(t for t in schema.tables if t.name == "user")
    with pytest.raises(SchemaError, match="no feature of role item"):
        DADIN(Schema((films,), "films", tables))


def test_ratings_without_classes():
    model = make(toy_schema("rating"), class_weight=0.0)
    logs = model.train_step(rows(model))
    assert {"domain_loss", "prediction_loss"} <= set(logs)
    assert np.isfinite([float(v) for v in logs.values()]).all()
