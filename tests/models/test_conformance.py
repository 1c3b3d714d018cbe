"""What every model of the registry keeps to."""

from __future__ import annotations

import unittest.mock

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cdrzoo.data.encoder import Encoder
from cdrzoo.export import save, verify
from cdrzoo.layers import FeatureEmbedding
from cdrzoo.models.base import placeholder_rows
from cdrzoo.optimizers import Adam
from cdrzoo.schema.transforms import LARGEST
from tests.models import oracle
from tests.models.conformance import (
    both,
    data,
    each_case,
    losses,
    paired,
    restore,
    same,
    saved,
    state,
    steps,
)
from tests.models.toys import alike_schema, kinds_schema, three_schema, toy_dataset, toy_rows


@pytest.fixture(scope="module")
def trained(case):
    """A model after 40 steps of `fit` with the target alone as validation data, and what was seen on the way."""
    keras.utils.set_random_seed(1)
    model = case.build()
    model.compile(Adam(0.02), metrics={"films": [keras.metrics.AUC(name="auc")], "books": ["accuracy"]})
    validation = toy_dataset(model.schema, {"films": 10}, 2, seed=7)
    before = {v.path: v.numpy() for v in model.trainable_variables}
    with unittest.mock.patch.object(model, "train_step", wraps=model.train_step) as traced:
        history = model.fit(data(model, 40), validation_data=validation, verbose=0).history
    model.before, model.history_seen, model.traces = before, history, traced.call_count
    return model


@pytest.fixture(scope="module")
def copy(trained, tmp_path_factory):
    """The trained model as it comes back from its file, for tests that train on."""
    return keras.models.load_model(saved(trained, tmp_path_factory.mktemp("copy")))


# Inputs and outputs -------------------------------------------------------------------------------------------------


@each_case()
def test_scores_come_by_domain_for_any_subset(trained):
    x, _ = both(trained)
    for domains in (*([name] for name in x), list(x)):
        scores = trained({name: x[name] for name in domains})
        assert list(scores) == domains
        for name, score in scores.items():
            assert score.shape == (len(x[name]["user"]), 1) and score.dtype == tf.float32
            assert np.logical_and(score >= 0, score <= 1).all()


@each_case()
def test_a_domain_scores_the_same_alone_and_in_company(trained):
    x, _ = both(trained)
    together = trained(x)
    for name in x:
        np.testing.assert_allclose(trained({name: x[name]})[name], together[name], atol=1e-6)


@pytest.mark.once
@each_case()
def test_rows_do_not_influence_each_other(trained):
    x, _ = both(trained)
    scores = trained(x)
    for name in x:
        order = np.random.default_rng(0).permutation(len(x[name]["user"]))
        shuffled = trained({name: {k: tf.gather(v, order) for k, v in x[name].items()}})[name]
        np.testing.assert_allclose(shuffled, scores[name].numpy()[order], atol=1e-6)
        for row in range(3):
            one = trained({name: {k: v[row : row + 1] for k, v in x[name].items()}})[name]
            np.testing.assert_allclose(one, scores[name][row : row + 1], atol=1e-6)


@each_case(quick=False)
def test_serving_gives_the_targets_scores(trained, copy):
    x, _ = both(trained)
    copy.prepare_export()
    features = {f.name: x["films"][f.name] for f in copy.serving_features}
    np.testing.assert_allclose(copy.serve(features), copy({"films": x["films"]})["films"][:, 0], atol=1e-6)


@pytest.mark.once
@each_case(own=None)
def test_what_stands_in_padded_steps_does_not_matter(case):
    model = oracle.built(case.build())  # not trained: scores near 0 and 1 would hide what little changes
    x, _ = both(model, missing=False)  # only sequences hold the padding row
    scores = model(x)
    # Padding reads as zeros, which a sum does not see. A mean or a softmax that counts steps sees how many there are.
    longer = {
        name: {k: tf.pad(v, [[0, 0], [0, 3]]) if v.shape.rank == 2 else v for k, v in rows.items()}
        for name, rows in x.items()
    }
    for layer in model._flatten_layers():
        if isinstance(layer, FeatureEmbedding):
            for table in layer.variables:
                table.assign(tf.concat([tf.fill([1, table.shape[1]], 1e3), table[1:]], axis=0))
    for rows in (x, longer):
        for name, again in model(rows).items():
            np.testing.assert_allclose(again, scores[name], atol=2e-6)


@pytest.mark.once
@each_case(quick=False)
def test_rows_of_nothing_but_padding_are_finite(copy):
    rows = placeholder_rows(copy.schema, 4)
    x = {name: rows[name] for name in copy.training_domains}
    assert all(np.isfinite(score).all() for score in copy(x).values())
    copy.train_step((x, {name: tf.constant([[0.0], [1.0], [0.0], [1.0]]) for name in x}))
    assert all(np.isfinite(array).all() for array in state(copy))


# Training -----------------------------------------------------------------------------------------------------------


@each_case()
def test_a_training_step_is_traced_once(trained):
    assert trained.traces == 1


@each_case()
def test_fit_logs_the_terms_of_every_domain_and_of_the_target_alone(trained):
    logs = trained.history_seen
    for name in trained.training_domains:
        assert f"{name}_loss" in logs
    assert {"loss", "val_loss", "val_films_loss", "val_auc"} <= set(logs)
    assert ("auc" in logs) == ("films" in trained.training_domains)
    assert "val_books_loss" not in logs
    assert all(np.isfinite(v).all() for v in logs.values())


@each_case()
def test_evaluate_and_predict_take_the_target_alone(trained):
    data = toy_dataset(trained.schema, {"films": 10}, 2, seed=7)
    logs = trained.evaluate(data, verbose=0, return_dict=True)
    assert float(logs["films_loss"]) == pytest.approx(trained.history_seen["val_films_loss"][-1], abs=1e-6)
    scores = trained.predict(data.map(lambda x, y: x), verbose=0)
    assert list(scores) == ["films"]
    labels = np.concatenate([y["films"] for _, y in data])
    p = np.clip(scores["films"], 1e-7, 1 - 1e-7)
    entropy = -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    assert float(logs["films_loss"]) == pytest.approx(entropy, abs=1e-5)


@each_case()
def test_training_lowers_the_loss_of_a_learnable_task(case, trained):
    if case.learns is None:
        pytest.skip("its own tests look at what it learns")
    x, _ = both(trained)
    y = {name: tf.cast(x[name][case.learns][:, None] % 2, "float32") for name in x}
    after = losses(trained, (x, y))
    assert after["films"] < 0.9 * 0.693


@each_case()
def test_every_trainable_variable_moves(case, trained):
    still = [v.path for v in trained.trainable_variables if (v.numpy() == trained.before[v.path]).all()]
    assert [path for path in still if not any(part in path for part in case.unmoved)] == []


@each_case()
def test_the_row_of_padding_stays_zero(trained):
    for layer in trained._flatten_layers():
        if isinstance(layer, FeatureEmbedding):
            assert all((table[0].numpy() == 0).all() for table in layer.variables)


@each_case()
def test_save_and_load_give_equal_scores_and_training_goes_on_alike(trained, tmp_path):
    copy = keras.models.load_model(saved(trained, tmp_path))
    x, _ = both(trained)
    scores = trained(x)
    for name, score in copy(x).items():
        np.testing.assert_array_equal(score, scores[name])
    assert copy.get_config() == trained.get_config()
    before = state(trained)
    assert same(state(copy), before)
    for model in (copy, trained):
        keras.utils.set_random_seed(5)
        steps(model, data(model, 2, seed=9))
    after = state(trained)
    restore(trained, before)
    assert same(state(copy), after)
    assert not same(after, before)


@pytest.mark.once
@each_case(quick=False)
def test_rows_of_weight_zero_do_not_count(case, trained, copy):
    x, y = both(copy)
    weights = {name: tf.cast(tf.range(len(x[name]["user"])) % 3 > 0, "float32") for name in x}

    def without_weight(kept, given):
        """`given` in the rows of weight 0."""
        return {
            name: {
                f: tf.where(_column(weights[name] > 0, v), v, given[name][f]) for f, v in kept[name].items()
            }
            for name in kept
        }

    other = x if case.whole_batch else without_weight(x, both(trained, seed=4)[0])
    flipped = {name: tf.where(weights[name][:, None] > 0, y[name], 1 - y[name]) for name in y}
    copy.compile(Adam(0.02))  # old moments would move the rows of tables that a gradient of 0 touches
    start, states = state(copy), []
    for batch in ((x, y, weights), (other, flipped, weights), (x, flipped)):
        restore(copy, start)
        keras.utils.set_random_seed(5)
        steps(copy, [batch])
        states.append(state(copy))
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


def _column(rows, like):
    """`[B]` as it is broadcast to the shape of `like`."""
    return tf.reshape(rows, [-1, *[1] * (len(like.shape) - 1)])


@pytest.mark.once
@each_case(quick=False)
def test_sample_weights_may_be_of_any_type_and_missing(copy):
    x, y = both(copy)
    for kind in ("float64", "int32", "float16"):
        copy.train_step((x, y, {name: tf.ones((len(y[name]), 1), kind) for name in y}))
    copy.train_step((x, y, {**dict.fromkeys(y), "films": tf.ones((len(y["films"]),))}))
    assert all(np.isfinite(array).all() for array in state(copy))


@pytest.mark.once
@each_case(quick=False)
def test_loss_weights_count(copy):
    if len(copy.training_domains) < 2:
        pytest.skip("trains on one domain")
    copy.compile(Adam(0.02))
    start, states = state(copy), []
    x, y = both(copy)
    for weight, labels in ((0.0, y), (0.0, {**y, "books": 1 - y["books"]}), (1.0, y)):
        copy.compile(Adam(0.02), loss_weights={"books": weight})
        restore(copy, start)
        keras.utils.set_random_seed(5)
        steps(copy, [(x, labels)])
        states.append(state(copy))
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


@each_case(quick=False)
def test_a_saturated_score_keeps_its_gradient(copy, monkeypatch):
    x, y = both(copy)
    scores = copy.scores

    def shifted(logits):
        return scores({k: z - tf.stop_gradient(z) + 60.0 for k, z in logits.items()})

    monkeypatch.setattr(copy, "scores", shifted)
    with tf.GradientTape() as tape:
        scores = copy(x)
        loss = copy.domain_losses({"films": tf.zeros_like(y["films"])}, scores)["films"]
    gradients = tape.gradient(loss, [v.value for v in copy.trainable_variables])
    assert (scores["films"].numpy() == 1).all()
    assert float(loss) == pytest.approx(60)
    assert any(g is not None and np.abs(tf.convert_to_tensor(g)).max() > 0.01 for g in gradients)


@each_case(quick=False)
def test_mixed_precision_keeps_tables_and_scores_in_float32(case):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = case.build()
    model.compile(Adam(0.01))
    x, y = both(model)
    steps(model, [(x, y), (x, y)])
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    for score in model(x).values():
        assert score.dtype == tf.float32 and np.isfinite(score).all()
        # Scores of bfloat16 would have 8 bits: they would tie by the dozen.
        assert not (score.numpy() == tf.cast(tf.cast(score, "bfloat16"), "float32").numpy()).all()
    assert all(np.isfinite(array).all() for array in state(model))


# More than two domains ------------------------------------------------------------------------------------------------


@pytest.mark.once
@each_case(own=None, quick=False)
def test_three_domains_are_trained_and_kept(case, tmp_path):
    model = case.build(three_schema() if case.uneven is None else alike_schema())
    model.compile(Adam(0.02))
    rows = {"books": 8, "music": 9, "films": 10}
    if pairs := paired(model):
        rows = dict.fromkeys(rows, 8)
    x, y = toy_rows(model.schema, rows, paired=pairs)
    before = state(model)
    logs = model.train_step(tuple({name: of[name] for name in model.training_domains} for of in (x, y)))
    assert all(np.isfinite(logs[f"{name}_loss"]) for name in model.training_domains)
    assert not same(state(model), before)
    again = keras.models.load_model(saved(model, tmp_path))
    seen = {name: x[name] for name in dict.fromkeys((*model.training_domains, "films"))}
    for name, score in model(seen).items():
        assert score.shape == (len(x[name]["user"]), 1) and np.isfinite(score).all()
        np.testing.assert_array_equal(again(seen)[name], score)


@pytest.mark.once
@each_case(own=(), quick=False)
def test_every_kind_of_feature_is_taken(case, tmp_path):
    model = case.build(kinds_schema(case.schema()))
    model.compile(Adam(0.02))
    x, y = both(model)
    before = state(model)
    logs = model.train_step(tuple({name: of[name] for name in model.training_domains} for of in (x, y)))
    assert all(np.isfinite(logs[f"{name}_loss"]) for name in model.training_domains)
    assert not same(state(model), before)
    again = keras.models.load_model(saved(model, tmp_path))
    np.testing.assert_array_equal(
        again({"films": x["films"]})["films"], model({"films": x["films"]})["films"]
    )


@pytest.mark.once
@each_case(own=None)
def test_a_score_is_finite_whatever_the_numbers(case):
    """What is beyond `LARGEST` is missing to the encoder; products of what is not stay within float32."""
    model = oracle.built(case.build(kinds_schema(case.schema())))
    x, _ = both(model)
    drawn = np.random.default_rng(0)
    for rows in x.values():
        for key, value in rows.items():
            if value.dtype == tf.float32 and not key.endswith("_weights"):
                signs = drawn.choice([-1, 0, 1], size=value.shape)
                rows[key] = tf.constant(LARGEST * signs, tf.float32)
    assert all(np.isfinite(scores).all() for scores in model(x).values())


# Export ---------------------------------------------------------------------------------------------------------------


def _frame(schema, domain, rows, seed):
    """Raw rows as they would stand in a log."""
    x, _ = toy_rows(schema, {domain: rows}, seed)
    columns = {}
    for feature in schema.domain(domain).features:
        value = x[domain][feature.name].numpy()
        if feature.kind == "ids":
            columns[feature.name] = [row[row != 0].tolist() for row in value]
        else:
            columns[feature.name] = np.where(value == 0, -1, value) if feature.kind == "id" else value
    return pd.DataFrame(columns)


@pytest.fixture(scope="module")
def encoders():
    """An encoder for every schema among the cases."""
    made = {}

    def get(schema):
        if schema not in made:
            made[schema] = Encoder(schema).adapt(
                {d.name: _frame(schema, d.name, 60, 0) for d in schema.domains}
            )
        return made[schema]

    return get


@pytest.mark.once
@each_case(quick=False)
def test_an_export_holds_the_targets_path_and_gives_equal_scores(case, encoders, tmp_path):
    encoder = encoders(case.schema())
    model = case.build(encoder.schema)
    model.compile(Adam(0.05))
    steps(model, data(model, 2))
    frame = _frame(encoder.schema, "films", 20, 1)
    path = save(model, encoder, tmp_path, examples=frame)
    verify(path, model, encoder, frame)  # signatures, variables, scores, independence of rows, edge inputs
    (graph,) = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    assert set(graph.signature_def["serving_default"].inputs) == {f.name for f in model.serving_features}
