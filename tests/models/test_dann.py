"""Domain-adversarial neural network."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.errors import SchemaError
from cdrzoo.models import DANN, DNN
from cdrzoo.optimizers import SGD
from tests.models import oracle, slots
from tests.models.toys import toy_rows, toy_schema

ROWS = {"books": 20, "films": 20}
LETTER = {"stable": False, "reversal_warmup": 0}


def make(**changes):
    model = DANN(
        toy_schema(), **{"units": (9, 7), "tower_units": (5,), "domain_units": (4,), **LETTER, **changes}
    )
    model.compile(SGD(1.0))
    oracle.randomise(model)
    model.alignment.reversal.strength.assign(model.reversal)
    return model


def hidden(model, name, x):
    return oracle.mlp(model.extractor, slots.row(model, name, x))


def domain_error(model, x):
    """Cross-entropy of G_d for every row, by domain."""
    out = {}
    for name in x:
        z = oracle.mlp(model.alignment.hidden["domain"], hidden(model, name, x[name]))
        z = oracle.dense(model.alignment.classifiers["domain"], z)
        out[name] = oracle.cross_entropy(float(name == "films"), z)
    return out


def test_equals_the_numpy_version():
    model = make()
    x, _ = toy_rows(model.schema, ROWS)
    for name, score in model(x).items():
        h = hidden(model, name, x[name])
        np.testing.assert_allclose(model.states(x)[name], h, atol=1e-5)
        expected = oracle.sigmoid(oracle.dense(model.head, oracle.mlp(model.tower, h)))
        np.testing.assert_allclose(score, expected, atol=1e-5)


def test_it_scores_as_a_dnn_of_the_same_weights():
    model = make()
    dnn = DNN(model.schema, units=(9, 7, 5))
    dnn.build()
    dnn.rows.embedding.set_weights(model.rows.embedding.get_weights())
    dnn.mlp.set_weights([*model.extractor.get_weights(), *model.tower.get_weights()])
    dnn.head.set_weights(model.head.get_weights())
    x, _ = toy_rows(model.schema, ROWS)
    for name, score in dnn(x).items():
        np.testing.assert_allclose(model(x)[name], score, atol=1e-6)


@pytest.mark.parametrize("stable", [True, False])
def test_the_loss_is_that_of_the_labels_and_of_the_domain(stable):
    model = make(stable=stable)
    x, y = toy_rows(model.schema, {"books": 30, "films": 10})
    error = domain_error(model, x)
    expected = (
        (error["books"].mean() + error["films"].mean()) / 2
        if stable
        else np.concatenate(list(error.values())).mean()
    )
    logs = {k: float(v) for k, v in model.train_step((x, y)).items()}
    assert logs["domain_loss"] == pytest.approx(expected, rel=1e-4)
    total = logs["books_loss"] + logs["films_loss"] + logs["domain_loss"]
    assert logs["loss"] == pytest.approx(total, rel=1e-5)


def named(model):
    """The trainable variables, by names that are the same in every model made."""
    names = [re.sub(r"_\d+", "", v.path.split("/", 1)[1]) for v in model.trainable_variables]
    return {f"{name} {i}": v for i, (name, v) in enumerate(zip(names, model.trainable_variables))}


def descent(model, batch):
    """What one step of gradient descent at rate 1 subtracts: the gradients."""
    before = {name: v.numpy() for name, v in named(model).items()}
    model.train_step(batch)
    return {name: before[name] - v.numpy() for name, v in named(model).items()}


def label_gradients(model, batch):
    x, y = batch
    with tf.GradientTape() as tape:
        loss = sum(model.domain_losses(y, model(x)).values())
    variables = named(model)
    gradients = tape.gradient(loss, {name: v.value for name, v in variables.items()})
    return {
        name: np.zeros(variables[name].shape) if g is None else np.asarray(tf.convert_to_tensor(g))
        for name, g in gradients.items()
    }


def test_lambda_scales_what_the_extractor_gets_and_nothing_else():
    batch = toy_rows(toy_schema(), ROWS)
    labels = label_gradients(make(), batch)
    steps = {strength: descent(make(reversal=strength), batch) for strength in (0.0, 0.5, 1.0)}
    moved = 0
    for path, gradient in labels.items():
        none, half, full = (steps[s][path] for s in (0.0, 0.5, 1.0))
        if "alignment" in path:  # G_d learns as fast whatever lambda is
            np.testing.assert_array_equal(none, full)
            assert np.abs(full).max() > 0 and not gradient.any()
            continue
        np.testing.assert_allclose(none, gradient, rtol=1e-3, atol=1e-5)  # without lambda: the labels alone
        np.testing.assert_allclose(half, (none + full) / 2, rtol=1e-3, atol=1e-5)
        if path.startswith(("tower", "head")):
            np.testing.assert_array_equal(none, full)  # the label path is not reversed
        moved += np.abs(full - none).max() > 1e-4
    assert moved >= 4  # both layers of the extractor


def test_the_extractor_climbs_where_the_classifier_descends():
    batch = toy_rows(toy_schema(), ROWS)
    model = make()
    x, y = batch
    with tf.GradientTape() as tape:
        h = model.extractor(model.rows.concat(_fields(model, x))["films"])
        other = model.extractor(model.rows.concat(_fields(model, x))["books"])
        rows, target = tf.concat([other, h], 0), tf.constant([[0.0]] * 20 + [[1.0]] * 20)
        z = model.alignment.classifiers["domain"](model.alignment.hidden["domain"](rows))
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, z))
    plain = tape.gradient(loss, model.extractor.dense[1].kernel.value)
    full, none = descent(make(), batch), descent(make(reversal=0.0), batch)
    path = next(p for p in full if p.startswith("extractor") and full[p].shape == plain.shape)
    np.testing.assert_allclose(full[path] - none[path], -np.asarray(plain), rtol=1e-2, atol=1e-5)


def _fields(model, x):
    embedded = model.rows.embedding(x)
    return {name: model.rows.fields[name](x[name], embedded[name]) for name in x}


def test_lambda_rises_in_training_and_can_be_set():
    model = make(reversal_warmup=10)
    x, y = toy_rows(model.schema, ROWS)
    train = model.make_train_function() or model.train_function
    for _ in range(3):
        train(iter([(x, y)]))
    assert int(model.alignment.reversal.step) == 3
    # A number in Python would have been frozen in the traced step; a variable is read anew.
    model.alignment.reversal.strength.assign(0.0)
    expected = label_gradients(model, (x, y))
    before = {name: v.numpy() for name, v in named(model).items()}
    train(iter([(x, y)]))
    for name, v in named(model).items():
        if "alignment" not in name:
            np.testing.assert_allclose(before[name] - v.numpy(), expected[name], rtol=1e-3, atol=1e-5)


def test_evaluation_and_rows_of_one_domain_know_no_domain_loss():
    model = make()
    x, y = toy_rows(model.schema, {"films": 10})
    assert "domain_loss" not in model.evaluate(x, y, verbose=0, return_dict=True)
    assert "domain_loss" not in model.train_step((x, y))


def test_the_served_graph_holds_no_classifier():
    model = make()
    x, _ = toy_rows(model.schema, {"films": 10})
    graph = tf.function(model.serve).get_concrete_function(x["films"])
    read = {id(variable.handle) for variable in graph.variables}
    assert not {id(v.value.handle) for v in model.alignment.variables} & read


def test_a_target_alone_is_refused():
    with pytest.raises(SchemaError, match="DANN transfers from a source"):
        DANN(toy_schema().only("films"))
