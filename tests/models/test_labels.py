"""Models of several labels: a head each, ESMM's product, missing labels, one signature with named outputs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo import export, models, traffic
from cdrzoo.data import prepare
from cdrzoo.errors import SchemaError
from cdrzoo.training import callbacks, scoring
from cdrzoo.training.fitting import _by_class
from tests.labelled import log, schema

SPLIT = {"by": "days", "valid": 2, "test": 3}
SMALL = {
    "dnn": {"units": (8,)},
    "din": {"units": (8,), "attention_units": (4,)},
    "shared_bottom": {"units": (8,), "tower_units": (4,), "pooling": "attention"},
    "mmoe": {"expert_units": (8,), "experts": 2, "tower_units": (4,)},
    "ple": {"expert_units": (8,), "levels": 2, "tower_units": (4,)},
}
LATER = ("din", "mmoe", "shared_bottom")
KEYS = ("books", "films", "films.conversion")


def last(name):
    return pytest.param(name, marks=pytest.mark.exhaustive)


def rows(**target):
    data = {name: log(400, seed) for seed, name in enumerate(("books", "films"))}
    return prepare(schema(**target), data, split=SPLIT)


@pytest.fixture(scope="module")
def prepared():
    return rows()


def build(name, prepared):
    keras.utils.set_random_seed(0)
    model = models.card(name).load()(prepared.schema, **SMALL[name])
    model.compile(keras.optimizers.Adam(0.02))
    return model


@pytest.mark.parametrize("name", SMALL)
def test_every_label_has_a_head_and_a_missing_one_teaches_nothing(name, prepared):
    model = build(name, prepared)
    x, y, w = next(iter(prepared.train(64)))
    scores = model(x)
    assert tuple(scores) == KEYS and all(score.shape == (64, 1) for score in scores.values())
    assert (scores["films.conversion"].numpy() <= scores["films"].numpy()).all()  # a product
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), w)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    assert {f"{key}_loss" for key in KEYS} <= set(model.train_step((x, y, w)))
    missing = w["films.conversion"].numpy() == 0
    assert 0 < missing.sum() < 64
    other = {
        **y,
        "films.conversion": tf.where(missing[:, None], 1 - y["films.conversion"], y["films.conversion"]),
    }
    before, after = (model.domain_losses(labels, scores, w) for labels in (y, other))
    assert before == after
    known = {**y, "films.conversion": 1 - y["films.conversion"]}
    assert model.domain_losses(known, scores, w)["films.conversion"] != before["films.conversion"]
    alone = model({"films": x["films"]})
    for key in KEYS[1:]:
        np.testing.assert_allclose(alone[key], model(x)[key], atol=1e-6)


@pytest.mark.parametrize("name", ["dnn", "ple"])
def test_the_product_is_esmm_s(name, prepared):
    """P(click and conversion) = P(click) P(conversion | click), the latter from a head of its own."""
    model = build(name, prepared)
    x, *_ = next(iter(prepared.train(32)))
    seen = {}
    plain = model.scores
    model.scores = lambda logits: seen.update(logits) or plain(logits)
    scores = model(x)
    given = 1 / (1 + np.exp(-np.asarray(seen["films.conversion"], np.float64)))
    np.testing.assert_allclose(scores["films.conversion"], given * scores["films"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [last(name) if name in LATER else name for name in SMALL])
def test_a_file_and_an_export_hold_all_outputs(name, prepared, tmp_path):
    model = build(name, prepared)
    x, y, w = next(iter(prepared.train(64)))
    model.train_step((x, y, w))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for key, score in model(x).items():
        np.testing.assert_array_equal(again(x)[key], score)
    raw = prepared.examples(20)
    path = export.save(again, prepared.encoder, tmp_path / "films", examples=raw)
    assert export.verify(path, model, prepared.encoder).ok and export.verify(path).ok
    served = tf.saved_model.load(str(path)).signatures
    assert set(served["serving_default"].structured_outputs) == {"click", "conversion"}
    assert set(served["rank"].structured_outputs) == {"index", "item", "click", "conversion"}


def test_other_models_refuse_with_a_reason(prepared):
    for card in models.CARDS:
        if card.name in SMALL:
            continue
        cls = card.load()
        assert not cls.several_labels
    with pytest.raises(SchemaError, match="DeepFM learns one label, but domain 'films' has several.*mmoe"):
        models.DeepFM(prepared.schema)


def test_metrics_are_by_label_and_rows_without_one_do_not_count(prepared):
    model = build("mmoe", prepared)
    from cdrzoo import metrics

    outcomes = scoring.target_outputs(model, prepared.test(50))
    (found,) = scoring.by_label(model.schema, outcomes, metrics.evaluate)
    assert set(found) == {f"{of}{name}" for of in ("", "conversion.") for name in ("auc", "log_loss", "ece")}
    part = prepared.parts["films"]["test"]
    known = ~np.isnan(part.labels["conversion"])
    scores = model({"films": part.x})["films.conversion"].numpy()[:, 0]
    wanted = metrics.evaluate(part.labels["conversion"][known], scores[known], "click")
    for name, value in wanted.items():
        assert found[f"conversion.{name}"] == pytest.approx(value, abs=1e-6)
    assert (
        metrics.better("val_conversion.log_loss@device=a.b") == "min"
        and metrics.better("conversion.auc") == "max"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mmoe", last("cctl")])
def test_of_a_log_that_dropped_rows_without_a_click_what_is_served_is_the_probability_on_all_traffic(
    name, tmp_path
):
    kept = 0.2
    one = {"labels": None, "label": "clicked"} if name == "cctl" else {}
    made = rows(negatives_kept=kept, **one)
    keras.utils.set_random_seed(0)
    model = models.card(name).load()(made.schema, **SMALL.get(name, {}))
    model.compile()
    part = made.parts["films"]["test"]
    scores = {key: value.numpy()[:, 0].astype(float) for key, value in model({"films": part.x}).items()}
    raw = made.examples(len(part))
    path = export.save(model, made.encoder, tmp_path / "films", examples=raw)
    assert export.verify(path, model, made.encoder, raw).ok
    served = model.score_rows(part.x)
    wanted = traffic.prior_correction(scores["films"], kept)
    odds = scores["films"] / (1 - scores["films"]) * kept  # a fifth of the odds
    np.testing.assert_allclose(wanted, odds / (1 + odds), rtol=1e-9)
    np.testing.assert_allclose(served["click"], wanted, rtol=1e-5)
    if name == "mmoe":
        given = scores["films.conversion"] / scores["films"]
        np.testing.assert_allclose(served["conversion"], given * wanted, rtol=1e-5)
    labels, measured, weights = callbacks.target_scores(model, made.test(64))
    np.testing.assert_allclose(measured, wanted, rtol=1e-5)
    np.testing.assert_allclose(weights, np.where(labels == 1, 1, 5))


def test_class_weights_multiply_what_a_click_counts_and_a_missing_label_still_counts_nothing(prepared):
    rows = prepared.train(64)
    weighed = _by_class(rows, prepared.schema, {1: 5.0})
    assert weighed.cardinality() == rows.cardinality()
    for (_, y, before), (_, _, after) in zip(rows.take(2), weighed.take(2), strict=True):
        for key in KEYS:
            np.testing.assert_array_equal(after[key], before[key] * np.where(y[key][:, 0] == 1, 5, 1))
