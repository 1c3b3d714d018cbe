"""What a run chooses its epoch by."""

from __future__ import annotations

import numpy as np
import pytest

from cdrzoo.data import synthetic
from cdrzoo.experiments import run
from cdrzoo.experiments.config import RunConfig, Training


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


def test_a_learning_rate_may_be_a_whole_number():
    made = synthetic.synthesize(users=40, source_rows=100, target_rows=100, source_items=10, target_items=10)
    config = RunConfig(schema=made.schema, data=made.sources, model="lr", training=Training(learning_rate=1))
    model = run.build(config, run.seen(config, run.prepare(config)))
    assert float(model.optimizer.learning_rate) == 1.0
