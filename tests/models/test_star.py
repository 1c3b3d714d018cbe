"""Star topology adaptive recommender."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.models import STAR
from cdrzoo.optimizers import Adam
from tests.models import oracle, slots
from tests.models.toys import toy_rows, toy_schema

ROWS = {"books": 20, "films": 15}


def make(schema=None, randomise=True):
    model = STAR(schema or toy_schema(), units=(9, 7), aux_units=(5,))
    model.build()
    if randomise:
        oracle.randomise(model)
    return model


def forward(model, name, x, training=False):
    """The logit in float64."""
    row = slots.row(model, name, x)
    norm, array = model.normalization, oracle.array
    if training:
        mean, variance = row.mean(0), row.var(0)
    else:
        mean, variance = array(norm.means[name]), array(norm.variances[name])
    h = array(norm.gamma) * array(norm.gammas[name]) * (row - mean) / np.sqrt(variance + 1e-3)
    h = h + array(norm.beta) + array(norm.betas[name])
    for layer in (*model.star, model.output_layer):
        h = (
            h @ (array(layer.kernel) * array(layer.kernels[name]))
            + array(layer.bias)
            + array(layer.biases[name])
        )
        h = h if layer is model.output_layer else np.maximum(h, 0)
    return h + oracle.dense(model.auxiliary_output, oracle.mlp(model.auxiliary, row))


@pytest.mark.parametrize("training", [False, True])
def test_equals_the_numpy_version(training):
    model = make()
    x, _ = toy_rows(model.schema, ROWS)
    expected = {name: oracle.sigmoid(forward(model, name, x[name], training)) for name in x}
    for name, score in model(x, training=training).items():
        np.testing.assert_allclose(score, expected[name], atol=2e-5)


def test_the_output_is_not_cut_at_zero():
    model = make()
    for variable in model.auxiliary_output.variables:
        variable.assign(tf.zeros_like(variable))  # its logits are added, and would hide the cut
    x, _ = toy_rows(model.schema, ROWS)
    middle = np.median(np.concatenate([forward(model, name, x[name]) for name in x]))
    model.output_layer.bias.assign_sub([middle])
    scores = np.concatenate(list(model(x).values()))
    assert (scores < 0.5).any() and (scores > 0.5).any()


def test_one_domain_at_the_start_is_a_plain_network():
    model = make(toy_schema().only("films"), randomise=False)
    x, _ = toy_rows(model.schema, {"films": 12})
    row = slots.row(model, "films", x["films"])
    h = row / np.sqrt(1 + 1e-3)  # nothing seen yet: mean 0, variance 1
    for layer in model.star:
        h = np.maximum(h @ oracle.array(layer.kernel) + oracle.array(layer.bias), 0)
    h = h @ oracle.array(model.output_layer.kernel)
    expected = h + oracle.dense(model.auxiliary_output, oracle.mlp(model.auxiliary, row))
    np.testing.assert_allclose(model(x)["films"], oracle.sigmoid(expected), atol=1e-6)


def test_training_on_one_domain_leaves_what_another_owns_to_the_bit():
    model = make(randomise=False)
    model.compile(Adam(0.05))
    x, y = toy_rows(model.schema, ROWS)
    for _ in range(2):  # so that the optimizer has moments to push with
        model.train_step((x, y))
    parts = [model.normalization, *model.star, model.output_layer]
    owned = [v for part in parts for v in part.variables if v.name.startswith("films_")]
    assert len(owned) == 5 + 3 * 2
    before = [v.numpy() for v in owned]
    model.train_step(({"books": x["books"]}, {"books": y["books"]}))
    assert all((v.numpy() == b).all() for v, b in zip(owned, before))
    books = [v for part in parts for v in part.variables if v.name.startswith("books_")]
    now = [v.numpy() for v in books]
    model.train_step(({"books": x["books"]}, {"books": y["books"]}))
    assert all((v.numpy() != b).any() for v, b in zip(books, now))


def test_a_score_depends_neither_on_other_rows_nor_on_other_domains():
    model = make()
    x, _ = toy_rows(model.schema, ROWS)
    whole = model(x)["films"]
    one = {"films": {k: v[3:4] for k, v in x["films"].items()}}
    np.testing.assert_allclose(model(one)["films"], whole[3:4], atol=1e-6)
    other = {**x, "books": toy_rows(model.schema, {"books": 5}, seed=9)[0]["books"]}
    np.testing.assert_allclose(model(other)["films"], whole, atol=1e-6)


def test_after_a_few_steps_scoring_is_like_training():
    """Moving averages that start at 0 and 1 would still be far from the statistics of the rows."""
    model = make(randomise=False)
    x, y = toy_rows(model.schema, {"books": 200, "films": 200})
    model.compile(Adam(1e-9))
    for _ in range(3):
        model.train_step((x, y))
    for name, score in model(x).items():
        np.testing.assert_allclose(score, model(x, training=True)[name], atol=1e-3)


def test_the_auxiliary_network_reads_the_domain():
    model = make()
    one_hot = slots.row(model, "films", toy_rows(model.schema, ROWS)[0]["films"])[:, -2:]
    np.testing.assert_array_equal(one_hot, np.tile([0.0, 1.0], (15, 1)))
    kernel = model.auxiliary.dense[0].kernel
    x, _ = toy_rows(model.schema, ROWS)
    before = model(x)
    kernel.assign(tf.tensor_scatter_nd_add(kernel.value, [[kernel.shape[0] - 1]], [[1.0] * 5]))
    after = model(x)
    np.testing.assert_array_equal(after["books"], before["books"])
    assert np.abs(after["films"] - before["films"]).max() > 1e-3
