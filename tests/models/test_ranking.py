"""Candidates of one user: what is his is computed once, and the scores are those of whole rows."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.export import graph
from cdrzoo.models import DNN
from tests.models.conformance import each_case
from tests.models.toys import kinds_schema, toy_rows, toy_schema

ROWS = 6


def candidates(model, seed=1):
    """Rows of one user with many candidates, and the same with what is the user's once."""
    x, _ = toy_rows(model.schema, {model.schema.target: ROWS}, seed)
    features = x[model.schema.target]
    of_user = [f.name for f in model.serving_features if f.role != "item"]
    read = {f.name: features[f.name] for f in model.serving_features}
    whole = {name: tf.repeat(v[1:2], ROWS, axis=0) if name in of_user else v for name, v in read.items()}
    return whole, {**whole, **{name: whole[name][:1] for name in of_user}}


@pytest.mark.once
@each_case()
def test_a_user_once_and_his_candidates_get_the_scores_of_whole_rows(case):
    model = case.build()
    model.build()
    model.prepare_export()
    whole, once = candidates(model)
    spec = {
        name: tf.TensorSpec([None if len(v) == ROWS else 1, *v.shape[1:]], v.dtype)
        for name, v in once.items()
    }
    traced = tf.function(model.serve, input_signature=[spec])
    expected = np.asarray(model.serve(whole)).reshape(-1)
    np.testing.assert_allclose(np.asarray(traced(once)).reshape(-1), expected, rtol=0, atol=1e-6)
    assert graph.shares_user(model)
    repeats = [
        op.outputs[0].shape
        for op in traced.get_concrete_function().graph.get_operations()
        if op.type in ("BroadcastTo", "Tile")
    ]
    assert not [shape for shape in repeats if len(shape) > 2], "a history is repeated"


def test_a_model_that_joins_rows_as_they_are_is_found_out():
    class Own(DNN):
        def serve(self, features):
            vectors = [tf.cast(features[name], tf.float32)[:, None] for name in ("user", "item")]
            return keras.ops.sum(keras.ops.concatenate(vectors, axis=-1), axis=-1)

    model = Own(toy_schema(), units=(4,))
    assert not graph.shares_user(model)


def test_columns_of_numbers_and_vectors_of_a_user_are_read_once():
    assert graph.shares_user(DNN(kinds_schema(toy_schema()), units=(4,)))
