"""What models share: losses, weights and metrics by domain, the random state."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.models import CCTL, DNN, card
from cdrzoo.optimizers import SGD, Adam, LossScaleOptimizer
from cdrzoo.schema import Schema
from tests.models.toys import toy_dataset, toy_rows, toy_schema

ROWS = {"books": 12, "films": 8}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return DNN(toy_schema(), units=(6,))


@pytest.fixture
def batch(model):
    return toy_rows(model.schema, ROWS)


def step(model, batch):
    model.reset_metrics()
    return {name: float(value) for name, value in model.test_step(batch).items()}


def entropy(y, p):
    y, p = np.asarray(y, "float64"), np.asarray(p, "float64")
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def test_the_default_loss_is_that_of_the_task(model, batch):
    model.compile(Adam(0.01))
    x, y = batch
    logs, scores = step(model, batch), model(x)
    expected = {f"{name}_loss": entropy(y[name], scores[name]) for name in y}
    assert logs == pytest.approx({**expected, "loss": sum(expected.values())}, abs=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        "binary_crossentropy",
        keras.losses.binary_crossentropy,
        keras.losses.BinaryCrossentropy(),
        {"books": "bce"},
    ],
    ids=["name", "function", "object", "by domain"],
)
def test_a_loss_may_be_a_name_a_function_or_an_object_and_takes_weights(model, batch, loss):
    x, y = batch
    weights = {"books": tf.constant([0.0, 2.0] * 6), "films": tf.constant([1.0] * 8)}
    model.compile(Adam(0.01))
    expected = step(model, (x, y, weights))
    model.compile(Adam(0.01), loss=loss)
    assert step(model, (x, y, weights)) == pytest.approx(expected, abs=1e-5)
    assert step(model, (x, y))["books_loss"] != pytest.approx(expected["books_loss"], abs=1e-3)


def test_loss_weights_scale_the_sum_and_not_what_is_logged(model, batch):
    model.compile(Adam(0.01))
    plain = step(model, batch)
    model.compile(Adam(0.01), loss_weights={"books": 0.25})
    weighted = step(model, batch)
    assert weighted["books_loss"] == plain["books_loss"]
    assert weighted["loss"] == pytest.approx(0.25 * plain["books_loss"] + plain["films_loss"], rel=1e-6)


def test_metrics_of_the_target_keep_their_names_and_see_weights(model, batch):
    x, y = batch

    def mean_score(labels, scores):
        return scores[:, 0]

    model.compile(
        Adam(0.01), metrics={"films": ["accuracy", mean_score, keras.metrics.AUC(name="auc")], "books": "auc"}
    )
    weights = {"films": tf.constant([1.0] * 4 + [0.0] * 4)}
    logs, scores = step(model, (x, y, weights)), model(x)["films"][:4]
    assert {"accuracy", "mean_score", "auc", "books_auc"} <= set(logs)
    assert logs["accuracy"] == pytest.approx(np.mean((scores > 0.5) == (y["films"][:4] > 0.5)))
    assert logs["mean_score"] == pytest.approx(np.mean(scores), rel=1e-5)
    assert "books_auc" not in step(model, ({"films": x["films"]}, {"films": y["films"]}))


def test_terms_start_anew_each_epoch(model, batch):
    model.compile(Adam(0.01))
    data = tf.data.Dataset.from_tensors(batch)
    first, second = (model.evaluate(data, verbose=0, return_dict=True) for _ in range(2))
    assert float(first["books_loss"]) == float(second["books_loss"])


@pytest.mark.exhaustive
@pytest.mark.parametrize("size", ["fixed", "any"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=getattr(pytest.mark, tier))
        for n, tier in (("dnn", "slow"), ("dadin", "slow"), ("mem", "exhaustive"))
    ],
)
def test_a_domain_without_rows_adds_nothing(name, size):
    x, y = toy_rows(toy_schema(), ROWS)
    none = keras.tree.map_structure(lambda t: t[:0], (x["books"], y["books"]))
    alone = {"films": x["films"]}, {"films": y["films"]}
    weights, logs = [], []
    for batch in (({**x, "books": none[0]}, {**y, "books": none[1]}), alone):
        keras.utils.set_random_seed(0)
        model = card(name).load()(toy_schema(), dropout=0.0)
        model.compile(SGD(0.1))
        if size == "any":
            spec = keras.tree.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), batch)
            graph = tf.function(lambda x, y, model=model: model.train_step((x, y)), input_signature=spec)
        before = model.get_weights()
        result = model.train_step(batch) if size == "fixed" else graph(*batch)
        logs.append({key: float(value) for key, value in result.items()})
        weights.append(model.get_weights())
        assert any((v != old).any() for v, old in zip(weights[-1], before))
    for one, other in zip(*weights):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert logs[0]["books_loss"] == 0 and logs[0]["films_loss"] == pytest.approx(logs[1]["films_loss"])


def test_the_loss_of_a_domain_is_a_mean_over_its_rows(model):
    """Batches in which it has none, or few rows, say nothing, or little, about it."""
    model.compile(Adam(0.0))
    batches = [toy_rows(model.schema, {"books": 0, "films": 8}), toy_rows(model.schema, ROWS, 1)]
    batches.append(toy_rows(model.schema, {"books": 3, "films": 8}, 2))
    model.reset_metrics()
    for batch in batches:
        logs = model.test_step(batch)
    for name in ROWS:
        y = np.concatenate([labels[name] for _, labels in batches])
        p = np.concatenate([model(x)[name] for x, _ in batches])
        assert float(logs[f"{name}_loss"]) == pytest.approx(entropy(y, p), abs=1e-5)


def test_serving_features_and_training_domains(model):
    assert [f.name for f in model.serving_features] == [f.name for f in model.schema.target_domain.features]
    assert model.training_domains == ("books", "films")


def test_what_is_not_by_domain_is_refused(model, batch):
    x, y = batch
    with pytest.raises(InputError, match=r"`loss_weights` must be \{domain: weight\}. Received: 0.5"):
        model.compile(Adam(0.01), loss_weights=0.5)
    with pytest.raises(InputError, match="give `weighted_metrics` as `metrics`"):
        model.compile(Adam(0.01), weighted_metrics=["auc"])
    model.compile(Adam(0.01))
    with pytest.raises(InputError, match="Sample weights come by domain"):
        model.test_step((x, y, tf.ones((8,))))
    with pytest.raises(InputError, match="Labels come by domain"):
        model.test_step((x, y["films"]))
    with pytest.raises(InputError, match="Labels of domain 'books' came without its features"):
        model.test_step(({"films": x["films"]}, y))


@pytest.mark.parametrize("method", ["__call__", "predict", "evaluate", "fit"])
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (lambda x: pd.DataFrame({"user": ["a"]}), ["DataFrame", "encoder.encode('films', frame)"]),
        (lambda x: x["films"], ["under 'user'", "{'films': features}"]),
        (lambda x: np.zeros((2, 3)), ["ndarray", "{'films': {feature: tensor}}"]),
        (lambda x: {"filmz": x["films"]}, ["no domain 'filmz'", "Did you mean 'films'"]),
    ],
    ids=["frame", "no domain", "array", "misspelt"],
)
def test_rows_that_no_model_takes_are_refused_in_plain_words(model, batch, method, rows, words):
    model.compile(Adam(0.01))
    with pytest.raises(InputError) as caught:
        getattr(model, method)(rows(batch[0]))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "Arguments received" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("method", ["evaluate", "fit"])
@pytest.mark.parametrize("shape", [(8,), (8, 2)])
def test_labels_that_are_no_column_are_refused(method, shape):
    """Keras's losses make a column of `[B]`; a loss of one's own would give `[B, B]`, and nobody would know."""
    model = DNN(toy_schema(), units=(6,))
    x, _ = toy_rows(model.schema, ROWS)
    model.compile(Adam(0.01), loss=lambda y, p: keras.ops.mean(keras.ops.square(y - p)))
    rows = tf.data.Dataset.from_tensors(({"films": x["films"]}, {"films": tf.zeros(shape)}))
    with pytest.raises(
        InputError, match=r"Labels of domain 'films' must be a column, \[B, 1\]. Received: shape \(8,"
    ):
        getattr(model, method)(rows, verbose=0)


def test_a_term_that_is_called_like_a_domains_loss_is_refused():
    config = toy_schema().to_dict()
    config["domains"] = {
        "pure" if name == "books" else name: given for name, given in config["domains"].items()
    }
    for domain in config["domains"].values():
        for feature in domain["features"]:
            feature["of"] = {"books": "pure"}.get(feature.get("of"), feature.get("of"))
            if feature["of"] is None:
                del feature["of"]
    model = CCTL(Schema.from_dict(config), units=(4,), pooling="mean")
    model.compile(Adam(0.01))
    with pytest.raises(InputError, match="CCTL logs a term 'pure_loss', which is also a domain's loss"):
        model.train_step(toy_rows(model.schema, {"pure": 4, "films": 4}))


def test_unknown_models_and_schemas_without_rows_are_named():
    with pytest.raises(InputError, match="Did you mean 'cctl'"):
        card("ccttl")
    schema = toy_schema().to_dict()
    for table in schema["tables"].values():
        table.pop("rows")
    with pytest.raises(SchemaError, match="Give the model the schema of an adapted"):
        DNN(Schema.from_dict(schema))


def test_a_policy_that_is_not_the_global_one_is_refused(tmp_path):
    for cls in (DNN, CCTL):
        with pytest.raises(InputError, match=r"set_dtype_policy\('mixed_bfloat16'\)"):
            cls(toy_schema(), dtype="mixed_bfloat16")
    assert DNN(toy_schema(), dtype="float32").dtype_policy.name == "float32"
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = DNN(toy_schema(), dtype=keras.dtype_policies.get("mixed_bfloat16"))
    model.build()
    assert model.mlp.compute_dtype == "bfloat16"
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    assert keras.models.load_model(tmp_path / "model.keras").mlp.compute_dtype == "bfloat16"


@pytest.mark.slow
@pytest.mark.parametrize("given", [None, 512.0])
def test_float16_is_trained_with_a_loss_scale_that_sees_every_row(given, tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    model, optimizer = DNN(toy_schema(), units=(8,)), Adam(0.01)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer, given) if given else optimizer)
    assert model.optimizer.inner_optimizer is optimizer
    model.fit(toy_dataset(model.schema, {"books": 6, "films": 6}, 3), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").optimizer
    for one in (model.optimizer, again):
        assert type(one) is LossScaleOptimizer and one.initial_scale == (given or 2**15)
    assert int(again.inner_optimizer.iterations) == 3


def test_a_saved_model_draws_the_numbers_it_would_have_drawn(tmp_path):
    model = DNN(toy_schema(), units=(16,), dropout=0.5)
    model.compile(Adam(0.01))
    batch = toy_rows(model.schema, ROWS)
    model.train_step(batch)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    again, other = (
        keras.models.load_model(tmp_path / "model.keras"),
        DNN(toy_schema(), units=(16,), dropout=0.5),
    )
    other.build()
    other.load_weights(tmp_path / "model.weights.h5")
    drawn = [one(batch[0], training=True)["films"].numpy() for one in (model, again, other)]
    assert (drawn[0] == drawn[1]).all() and (drawn[0] == drawn[2]).all()
    assert np.any(drawn[0] != model(batch[0])["films"])
