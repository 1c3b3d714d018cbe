"""What a run chooses its epoch by."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cdrzoo.data import synthetic
from cdrzoo.experiments import run
from cdrzoo.experiments.config import RunConfig, Training
from cdrzoo.models import CARDS


def test_the_epoch_is_the_best_on_validation_rows_and_no_test_row_is_looked_at(tmp_path):
    """The best test epoch, which some report, is a choice made on test rows. Each of two stages is fitted like this."""
    made = synthetic.synthesize(users=80, source_rows=400, target_rows=500, source_items=30, target_items=20)
    # A learning rate at which validation soon gets worse again, so that the last epoch is not the best.
    training = Training(batch_size=64, learning_rate=0.1, epochs=4, patience=3)
    config = RunConfig(schema=made.schema, data=made.sources, model="lr", training=training)
    prepared = run.seen(config, run.prepare(config))
    prepared.parts["films"].pop("test")
    fitted = run.fit(config, prepared, tmp_path)
    watched = fitted.history["val_auc"]
    assert fitted.best_epoch == int(np.argmax(watched)) < len(watched) - 1
    assert run.evaluate(fitted.model, prepared, "valid")["auc"] == pytest.approx(max(watched), abs=1e-6)


@pytest.fixture(scope="module")
def small():
    made = synthetic.synthesize(users=60, source_rows=400, target_rows=400, source_items=20, target_items=20)
    return RunConfig(schema=made.schema, data=made.sources, training=Training(batch_size=32, epochs=1))


@pytest.mark.parametrize("name", [card.name for card in CARDS if card.paired])
def test_a_model_that_wants_pairs_is_trained_on_pairs(small, name, tmp_path, monkeypatch):
    class Caught(Exception):
        pass

    def fit(model, rows, **kwargs):
        raise Caught(rows)

    monkeypatch.setattr(keras.Model, "fit", fit)
    config = small.with_changes({"model": name, "source_ratio": 2.0})
    with pytest.raises(Caught) as caught:
        run.fit(config, run.prepare(config), tmp_path)
    (rows,) = caught.value.args
    users = [{domain: x[domain]["user"].numpy() for domain in ("books", "films")} for x, _ in rows]
    assert len(users) > 3 and all(len(np.unique(batch["films"])) > 5 for batch in users)
    for batch in users:
        np.testing.assert_array_equal(batch["books"], batch["films"])


def test_the_weights_of_domains_reach_the_stage_they_are_set_for(small, tmp_path):
    config = small.with_changes(
        {"model": "mkt", "loss_weights": {"films": 3}, "first.loss_weights": {"books": 0.5}}
    )
    prepared = run.prepare(config)
    first = run.build(config.first_stage(), prepared)
    assert first._terms.weights == {"books": 0.5, "films": 1.0}
    assert run.build(config, prepared, first)._terms.weights == {"books": 1.0, "films": 3.0}
    alone = small.with_changes({"model": "dnn", "loss_weights": {"books": 0.5, "films": 3}})
    assert run.build(alone, run.seen(alone, prepared))._terms.weights == {"films": 3.0}


def test_the_weight_of_a_source_changes_what_is_learnt(small):
    prepared = run.prepare(small)
    found = [
        run.fit_once(small.with_changes({"model": "cmf", "loss_weights": weights}), prepared)["test"]["auc"]
        for weights in (None, {"books": 1, "films": 1}, {"books": 0.1})
    ]
    assert found[0] == found[1] != found[2]


def test_a_learning_rate_may_be_a_whole_number():
    made = synthetic.synthesize(users=40, source_rows=100, target_rows=100, source_items=10, target_items=10)
    config = RunConfig(schema=made.schema, data=made.sources, model="lr", training=Training(learning_rate=1))
    model = run.build(config, run.seen(config, run.prepare(config)))
    assert float(model.optimizer.learning_rate) == 1.0
