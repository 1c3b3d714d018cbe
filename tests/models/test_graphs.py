"""What a training step would ask of a GPU, read off its traced graph."""

from __future__ import annotations

from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import graphs
from cdrzoo import replicas
from cdrzoo.layers.sampling import Dropout
from cdrzoo.models import DNN
from cdrzoo.optimizers import Adam
from cdrzoo.schema import Domain, Feature, Schema, Table
from docs.render import measured
from tests.models.conformance import data, each_case

COPIES = 4
"""What a step may copy to the host."""


def step_of(model) -> graphs.Step:
    model.compile(Adam())
    return graphs.training_step(model, next(iter(data(model, 1))))


@pytest.mark.once
@each_case(own=("train_step",))
def test_a_step_stays_on_a_gpu(case):
    step = step_of(case.build())
    assert len(step.to_host) <= COPIES, step.to_host
    assert not step.missing or case.name == "sscdr", step.missing


@pytest.mark.once
@pytest.mark.parametrize("name", ["dnn", "deepfm", "sscdr"])
def test_the_table_of_counts_is_up_to_date(name):
    (kept,) = (row for row in measured.kept("graphs")[0] if row[0] == name)
    step = graphs.step_of(name)
    found = [step.ops.total(), len(step.to_host), len(step.to_device)]
    assert kept[1:4] == list(map(str, found)), "call `python -m benchmarks.graphs`, `python -m docs.render`"


def with_tables(count: int) -> DNN:
    features = tuple(Feature(f"f{i}", "id", "context", table=f"f{i}") for i in range(count))
    tables = tuple(Table(f.name, width=4, rows=20) for f in features)
    return DNN(Schema((Domain("shop", features),), "shop", tables), units=(4,))


@pytest.mark.once
def test_a_further_table_costs_few_operations():
    x = {f"f{i}": tf.ones(16, tf.int32) for i in range(8)}
    counts = []
    for tables in (4, 8):
        model = with_tables(tables)
        model.compile(Adam())
        batch = {"shop": {name: x[name] for name in list(x)[:tables]}}, {"shop": tf.ones((16, 1))}
        counts.append(graphs.training_step(model, batch).ops.total())
    assert (counts[1] - counts[0]) / 4 <= 7, counts


def test_copies_are_counted_once_for_all_that_read_them_and_by_what_makes_them():
    @tf.function
    def step(ids, rows):
        found = ids + 1  # an int32: a GPU leaves it to the host
        return tf.gather(rows, found) * tf.gather(rows, found), tf.cast(rows, tf.int32) > 0

    spec = tf.TensorSpec([4], tf.int32), tf.TensorSpec([9], tf.float32)
    read = graphs.read(step.get_concrete_function(*spec).graph.as_graph_def())
    assert list(read.to_device) == ["add (AddV2)"] and read.to_device["add (AddV2)"] == {"GatherV2"}
    assert list(read.to_host) == ["Cast (Cast)"] and read.to_host["Cast (Cast)"] == {"Greater"}
    assert read.copies == 2 and not read.missing


def test_what_functions_call_is_counted_and_an_operation_without_a_kernel_named():
    inner = tf.function(lambda x: tf.strings.length(tf.strings.as_string(x)))

    @tf.function
    def step(x):
        return tf.cond(tf.reduce_any(x > 0), lambda: inner(x), lambda: tf.cast(x, tf.int32))

    read = graphs.read(step.get_concrete_function(tf.TensorSpec([4], tf.float32)).graph.as_graph_def())
    assert read.ops["AsString"] == read.ops["StringLength"] == read.ops["Cast"] == 1
    assert any(op.startswith("AsString") for op in read.missing)
    assert read.given == {"x": {"AsString"}} and not read.copies


@pytest.fixture(autouse=True)
def forgotten():
    yield
    keras.backend.clear_session()


@each_case(quick=False)
def test_a_step_as_a_gpu_has_it_gives_the_same_weights(case, monkeypatch):
    """XLA compiles parts of it there: numbers differ in their last digits. It draws others, so nothing is dropped."""
    monkeypatch.setattr(Dropout, "call", lambda self, inputs, training=False: inputs)
    after = []
    for gpu in (False, True):
        keras.utils.set_random_seed(3)
        model = case.build()
        model.compile(Adam())
        with mock.patch.object(replicas, "on_gpu", return_value=gpu):
            model.fit(data(model, 3), verbose=0, shuffle=False)
        after.append([v.numpy() for v in model.trainable_variables])
    for one, other in zip(*after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_all_but_factorisations_have_a_third_of_the_first_operations():
    now, first = (measured.kept(name)[0][1:] for name in ("graphs", "graphs_at_first"))
    had = {name: int(count) for name, count in first}
    above = [name for name, count, *_ in now if int(count) > had[name] / 3]
    assert above == ["mf", "cmf", "emcdr", "ptupcdr", "cml", "sscdr"]
