"""What every model of the registry keeps to."""

from __future__ import annotations

import dataclasses
import inspect
import unittest.mock

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cdrzoo.data.encoder import Encoder
from cdrzoo.errors import InputError, SchemaError
from cdrzoo.export import save, verify
from cdrzoo.layers import FeatureEmbedding
from cdrzoo.models import CARDS, card
from cdrzoo.models.base import placeholder_rows
from cdrzoo.optimizers import Adam
from tests.models import oracle
from tests.models.cases import CASES, SLOTS, Case, Elsewhere
from tests.models.toys import alike_schema, three_schema, toy_dataset, toy_rows

ROWS = {"books": 24, "films": 16}
ONE_HEAD = {
    "afm",
    "cctl",
    "dadin",
    "dann",
    "dcn",
    "deepfm",
    "din",
    "dnn",
    "fibinet",
    "fm",
    "lr",
    "nfm",
    "wide_deep",
    "xdeepfm",
    "youtube_dnn",
}
"""Models that score the rows of all domains with one head."""
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def trained(request):
    """A model after 40 steps of `fit` with the target alone as validation data, and what was seen on the way."""
    case: Case = request.param
    keras.utils.set_random_seed(1)
    model = case.build()
    model.compile(Adam(0.02), metrics={"films": [keras.metrics.AUC(name="auc")], "books": ["accuracy"]})
    data = _data(model, 40)
    validation = toy_dataset(model.schema, {"films": 10}, 2, seed=7)
    before = {v.path: v.numpy() for v in model.trainable_variables}
    loss = _loss(model, _both(model))
    with unittest.mock.patch.object(model, "train_step", wraps=model.train_step) as traced:
        history = model.fit(data, validation_data=validation, verbose=0).history
    model.case, model.before, model.loss_before, model.history_seen = case, before, loss, history
    model.traces = traced.call_count
    return model


@pytest.fixture(scope="module")
def copy(trained, tmp_path_factory):
    """The trained model as it comes back from its file, for tests that train on."""
    return keras.models.load_model(_saved(trained, tmp_path_factory.mktemp("copy")))


def _rows(model) -> dict[str, int]:
    """Rows of each domain in a training batch; as many in all if they are pairs."""
    return {name: ROWS["films" if _paired(model) else name] for name in model.training_domains}


def _paired(model) -> bool:
    return {one.cls: one.paired for one in CARDS}[type(model).__name__]


def _data(model, batches, seed=0):
    learns = {card(case.name).cls: case.learns for case in CASES}[type(model).__name__]
    return toy_dataset(model.schema, _rows(model), batches, seed, learns or "genre", _paired(model))


def _both(model, seed=3, missing=True):
    """Rows of the domains that the model trains on, and of the target."""
    rows = {model.schema.target: ROWS[model.schema.target], **_rows(model)}
    return toy_rows(model.schema, rows, seed, missing, _paired(model))


def _loss(model, batch):
    x, y = batch
    return {k: float(v) for k, v in model.domain_losses(y, model(x)).items()}


def _variables(model) -> list[keras.Variable]:
    """Whatever training changes: weights, state, slots."""
    optimizers = [v for v in vars(model).values() if isinstance(v, keras.optimizers.Optimizer)]
    return [*model.variables, *(v for o in optimizers for v in o.variables)]


def _state(model) -> list[np.ndarray]:
    return [np.asarray(v.numpy()) for v in _variables(model)]


def _restore(model, state) -> None:
    for variable, value in zip(_variables(model), state, strict=True):
        variable.assign(value)


def _same(one, two) -> bool:
    return len(one) == len(two) and all(a.shape == b.shape and (a == b).all() for a, b in zip(one, two))


def _steps(model, batches) -> None:
    for batch in batches:
        model.train_step(batch)


# The table of cases -------------------------------------------------------------------------------------------------


def test_every_model_of_the_registry_has_a_case():
    assert sorted(case.name for case in CASES) == sorted(one.name for one in CARDS)


@each_case
def test_the_table_of_changes_covers_the_signature(case):
    arguments = [
        p.name
        for p in inspect.signature(card(case.name).load().__init__).parameters.values()
        if p.name not in ("self", "schema") and p.kind is not p.VAR_KEYWORD
    ]
    assert sorted(case.changes) == sorted(set(arguments) - set(case.parts(case.schema())))
    assert set(case.without_effect) <= set(case.changes)


# Configuration ------------------------------------------------------------------------------------------------------


@each_case
def test_configuration_holds_what_was_given(case):
    cls, schema = card(case.name).load(), case.schema()
    for changes in ({}, {k: v for k, v in case.changes.items() if not isinstance(v, Elsewhere)}):
        model = case.build(schema, **changes)
        config = model.get_config()
        for name, value in {**case.arguments, **changes}.items():
            assert config[name] == (list(value) if isinstance(value, tuple) else value), name
        again = cls.from_config(config)
        assert again.get_config() == config
        assert again.schema == schema


@each_case
def test_an_unknown_argument_is_an_error(case):
    with pytest.raises((TypeError, ValueError), match="unitz"):
        case.build(unitz=3)


@pytest.mark.once
@pytest.mark.parametrize(
    ("case", "argument"),
    [
        pytest.param(c, a, id=f"{c.name}-{a}")
        for c in CASES
        for a, v in c.changes.items()
        if a.endswith("units") and isinstance(v, tuple)
    ],
)
def test_no_hidden_layer_is_no_layer_or_a_clear_error(case, argument):
    try:
        model = case.build(**{argument: ()})
    except InputError as error:
        assert "layer" in str(error)
        return
    x, _ = _both(model)
    for name, scores in model(x).items():
        assert scores.shape == (len(x[name]["user"]), 1) and np.isfinite(scores).all()


def _trace(case, schema, **changes):
    """Shapes, then weights, then what each of two steps of training leaves: computed as far as it is asked for."""
    keras.utils.set_random_seed(2)
    try:
        model = case.build(schema, **changes)
        model.compile(Adam(0.01))
    except SchemaError:
        yield "refused"
        return
    yield [v.shape for v in model.weights]
    yield [v.numpy().tolist() for v in model.weights]
    for batch in _data(model, 2):
        model.train_step(batch)
        yield [array.tolist() for array in _state(model)]


@pytest.fixture(scope="module")
def usual():
    """The trace of a case's own arguments, made once."""
    made = {}

    def get(case, schema):
        if (case.name, schema) not in made:
            made[case.name, schema] = list(_trace(case, schema))
        return made[case.name, schema]

    return get


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "argument"), [pytest.param(c, a, id=f"{c.name}-{a}") for c in CASES for a in c.changes]
)
def test_every_argument_changes_something(case, argument, usual):
    change = case.changes[argument]
    schema, value = (
        (change.schema(), change.value) if isinstance(change, Elsewhere) else (case.schema(), change)
    )
    steps = zip(_trace(case, schema, **{argument: value}), usual(case, schema))
    assert any(one != other for one, other in steps) == (argument not in case.without_effect)


# Inputs and outputs -------------------------------------------------------------------------------------------------


def test_scores_come_by_domain_for_any_subset(trained):
    x, _ = _both(trained)
    for domains in (*([name] for name in x), list(x)):
        scores = trained({name: x[name] for name in domains})
        assert list(scores) == domains
        for name, score in scores.items():
            assert score.shape == (len(x[name]["user"]), 1) and score.dtype == tf.float32
            assert np.logical_and(score >= 0, score <= 1).all()


def test_a_domain_scores_the_same_alone_and_in_company(trained):
    x, _ = _both(trained)
    together = trained(x)
    for name in x:
        np.testing.assert_allclose(trained({name: x[name]})[name], together[name], atol=1e-6)


@pytest.mark.once
def test_rows_do_not_influence_each_other(trained):
    x, _ = _both(trained)
    scores = trained(x)
    for name in x:
        order = np.random.default_rng(0).permutation(len(x[name]["user"]))
        shuffled = trained({name: {k: tf.gather(v, order) for k, v in x[name].items()}})[name]
        np.testing.assert_allclose(shuffled, scores[name].numpy()[order], atol=1e-6)
        for row in range(3):
            one = trained({name: {k: v[row : row + 1] for k, v in x[name].items()}})[name]
            np.testing.assert_allclose(one, scores[name][row : row + 1], atol=1e-6)


def test_serving_gives_the_targets_scores(trained, copy):
    x, _ = _both(trained)
    copy.prepare_export()
    features = {f.name: x["films"][f.name] for f in copy.serving_features}
    np.testing.assert_allclose(copy.serve(features), copy({"films": x["films"]})["films"][:, 0], atol=1e-6)


@pytest.mark.once
@each_case
def test_what_stands_in_padded_steps_does_not_matter(case):
    model = oracle.built(case.build())  # not trained: scores near 0 and 1 would hide what little changes
    x, _ = _both(model, missing=False)  # only sequences hold the padding row
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
def test_rows_of_nothing_but_padding_are_finite(copy):
    rows = placeholder_rows(copy.schema, 4)
    x = {name: rows[name] for name in copy.training_domains}
    assert all(np.isfinite(score).all() for score in copy(x).values())
    copy.train_step((x, {name: tf.constant([[0.0], [1.0], [0.0], [1.0]]) for name in x}))
    assert all(np.isfinite(array).all() for array in _state(copy))


# Training -----------------------------------------------------------------------------------------------------------


def test_a_training_step_is_traced_once(trained):
    assert trained.traces == 1


def test_fit_logs_the_terms_of_every_domain_and_of_the_target_alone(trained):
    logs = trained.history_seen
    for name in trained.training_domains:
        assert f"{name}_loss" in logs
    assert {"loss", "val_loss", "val_films_loss", "val_auc"} <= set(logs)
    assert ("auc" in logs) == ("films" in trained.training_domains)
    assert "val_books_loss" not in logs
    assert all(np.isfinite(v).all() for v in logs.values())


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


def test_training_lowers_the_loss_of_a_learnable_task(trained):
    if trained.case.learns is None:
        pytest.skip("its own tests look at what it learns")
    x, _ = _both(trained)
    y = {name: tf.cast(x[name][trained.case.learns][:, None] % 2, "float32") for name in x}
    after = _loss(trained, (x, y))
    assert after["films"] < 0.9 * 0.693


def test_every_trainable_variable_moves(trained):
    still = [v.path for v in trained.trainable_variables if (v.numpy() == trained.before[v.path]).all()]
    assert [path for path in still if not any(part in path for part in trained.case.unmoved)] == []


def test_the_row_of_padding_stays_zero(trained):
    for layer in trained._flatten_layers():
        if isinstance(layer, FeatureEmbedding):
            assert all((table[0].numpy() == 0).all() for table in layer.variables)


def test_save_and_load_give_equal_scores_and_training_goes_on_alike(trained, tmp_path):
    copy = keras.models.load_model(_saved(trained, tmp_path))
    x, _ = _both(trained)
    scores = trained(x)
    for name, score in copy(x).items():
        np.testing.assert_array_equal(score, scores[name])
    assert copy.get_config() == trained.get_config()
    saved = _state(trained)
    assert _same(_state(copy), saved)
    for model in (copy, trained):
        keras.utils.set_random_seed(5)
        _steps(model, _data(model, 3, seed=9))
    further = _state(trained)
    _restore(trained, saved)
    assert _same(_state(copy), further)
    assert not _same(further, saved)


def _saved(model, folder):
    model.save(folder / "model.keras")
    return folder / "model.keras"


@pytest.mark.slow
def test_rows_of_weight_zero_do_not_count(trained, copy):
    x, y = _both(copy)
    weights = {name: tf.cast(tf.range(len(x[name]["user"])) % 3 > 0, "float32") for name in x}

    def without_weight(kept, given):
        """`given` in the rows of weight 0."""
        return {
            name: {
                f: tf.where(_column(weights[name] > 0, v), v, given[name][f]) for f, v in kept[name].items()
            }
            for name in kept
        }

    other = x if trained.case.whole_batch else without_weight(x, _both(trained, seed=4)[0])
    flipped = {name: tf.where(weights[name][:, None] > 0, y[name], 1 - y[name]) for name in y}
    copy.compile(Adam(0.02))  # old moments would move the rows of tables that a gradient of 0 touches
    start, states = _state(copy), []
    for batch in ((x, y, weights), (other, flipped, weights), (x, flipped)):
        _restore(copy, start)
        keras.utils.set_random_seed(5)
        _steps(copy, [batch])
        states.append(_state(copy))
    assert _same(states[0], states[1])
    assert not _same(states[0], states[2])


def _column(rows, like):
    """`[B]` as it is broadcast to the shape of `like`."""
    return tf.reshape(rows, [-1, *[1] * (len(like.shape) - 1)])


@pytest.mark.once
def test_sample_weights_may_be_of_any_type_and_missing(copy):
    x, y = _both(copy)
    for kind in ("float64", "int32", "float16"):
        copy.train_step((x, y, {name: tf.ones((len(y[name]), 1), kind) for name in y}))
    copy.train_step((x, y, {**dict.fromkeys(y), "films": tf.ones((len(y["films"]),))}))
    assert all(np.isfinite(array).all() for array in _state(copy))


@pytest.mark.slow
def test_loss_weights_count(copy):
    if len(copy.training_domains) < 2:
        pytest.skip("trains on one domain")
    copy.compile(Adam(0.02))
    start, states = _state(copy), []
    x, y = _both(copy)
    for weight, labels in ((0.0, y), (0.0, {**y, "books": 1 - y["books"]}), (1.0, y)):
        copy.compile(Adam(0.02), loss_weights={"books": weight})
        _restore(copy, start)
        keras.utils.set_random_seed(5)
        _steps(copy, [(x, labels)])
        states.append(_state(copy))
    assert _same(states[0], states[1])
    assert not _same(states[0], states[2])


def test_a_saturated_score_keeps_its_gradient(copy, monkeypatch):
    x, y = _both(copy)
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


@each_case
def test_mixed_precision_keeps_tables_and_scores_in_float32(case):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = case.build()
    model.compile(Adam(0.01))
    x, y = _both(model)
    _steps(model, [(x, y), (x, y)])
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    for score in model(x).values():
        assert score.dtype == tf.float32 and np.isfinite(score).all()
        # Scores of bfloat16 would have 8 bits: they would tie by the dozen.
        assert not (score.numpy() == tf.cast(tf.cast(score, "bfloat16"), "float32").numpy()).all()
    assert all(np.isfinite(array).all() for array in _state(model))


@each_case
def test_a_file_is_loaded_under_the_policy_it_was_saved_under(case, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = case.build()
    x, _ = _both(model)
    expected = {name: score.numpy() for name, score in model(x).items()}
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert keras.config.dtype_policy().name == "float32"
    for name, score in loaded(x).items():
        np.testing.assert_array_equal(score, expected[name])


# More than two domains ------------------------------------------------------------------------------------------------


@each_case
def test_histories_that_a_model_cannot_read_are_named(case):
    assert ("the same histories in all" in card(case.name).needs) == (case.uneven == SLOTS)
    if case.uneven is None:
        case.build(three_schema())
    else:
        with pytest.raises(SchemaError, match=case.uneven):
            case.build(three_schema())


@each_case
def test_one_head_for_clicks_and_ratings_is_refused(case):
    schema = case.schema()
    odd = "click" if schema.target_domain.task == "rating" else "rating"
    sources = (dataclasses.replace(source, task=odd) for source in schema.sources)
    mixed = dataclasses.replace(schema, domains=(*sources, schema.target_domain))
    if case.name in ONE_HEAD:
        with pytest.raises(SchemaError, match="both tasks"):
            case.build(mixed)
    else:
        case.build(mixed)


@pytest.mark.slow
@each_case
def test_three_domains_are_trained_and_kept(case, tmp_path):
    model = case.build(three_schema() if case.uneven is None else alike_schema())
    model.compile(Adam(0.02))
    paired = _paired(model)
    x, y = toy_rows(
        model.schema, {"books": 8, "music": 8 if paired else 9, "films": 8 if paired else 10}, paired=paired
    )
    before = _state(model)
    logs = model.train_step(tuple({name: of[name] for name in model.training_domains} for of in (x, y)))
    assert all(np.isfinite(logs[f"{name}_loss"]) for name in model.training_domains)
    assert not _same(_state(model), before)
    again = keras.models.load_model(_saved(model, tmp_path))
    seen = {name: x[name] for name in dict.fromkeys((*model.training_domains, "films"))}
    for name, score in model(seen).items():
        assert score.shape == (len(x[name]["user"]), 1) and np.isfinite(score).all()
        np.testing.assert_array_equal(again(seen)[name], score)


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


@pytest.mark.slow
@each_case
def test_an_export_holds_the_targets_path_and_gives_equal_scores(case, encoders, tmp_path):
    encoder = encoders(case.schema())
    model = case.build(encoder.schema)
    model.compile(Adam(0.05))
    _steps(model, _data(model, 2))
    frame = _frame(encoder.schema, "films", 20, 1)
    path = save(model, encoder, tmp_path, examples=frame)
    verify(path, model, encoder, frame)  # signatures, variables, scores, independence of rows, edge inputs
    (graph,) = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    assert set(graph.signature_def["serving_default"].inputs) == {f.name for f in model.serving_features}


# Mistakes -----------------------------------------------------------------------------------------------------------


@each_case
def test_a_schema_without_rows_is_refused(case):
    config = case.schema().to_dict()
    del config["tables"]["user"]["rows"]
    with pytest.raises(SchemaError, match="rows of table 'user'"):
        card(case.name).load()(config, **{**case.arguments, **case.parts(case.schema())})


def test_an_unknown_domain_is_refused(copy):
    for argument in (
        {"loss": {"filmz": "mse"}},
        {"loss_weights": {"filmz": 1.0}},
        {"metrics": {"filmz": ["auc"]}},
    ):
        with pytest.raises(SchemaError, match="Did you mean 'films'"):
            copy.compile(Adam(0.01), **argument)
    x, _ = _both(copy)
    with pytest.raises(ValueError, match="filmz"):
        copy({"filmz": x["films"]})
