"""The oracle: a model that transfers wins where transfer is planted and does not lose where it is poison."""

from __future__ import annotations

import numpy as np
import pytest

from cdrzoo.data import synthetic
from cdrzoo.training import fitting, run
from cdrzoo.training.config import RunConfig, Training

TRAINING = Training(batch_size=128, source_ratio=4.0, epochs=10, patience=2)


def aucs(transfer: float, models: dict[str, dict]) -> dict[str, np.ndarray]:
    """Test AUC of each model over two seeds of the logs and of the training."""
    found: dict[str, list[float]] = {name: [] for name in models}
    for seed in range(2):
        made = synthetic.synthesize(transfer, seed=seed)
        config = RunConfig(schema=made.schema, data=made.sources, training=TRAINING, seed=seed)
        prepared = fitting.prepare(config)
        for name, changes in models.items():
            found[name].append(run.fit_once(config.with_changes(changes), prepared)["test"]["auc"])
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.parametrize(("transfer", "least"), [(0.9, 0.01), (0.0, -0.02), (-0.9, -0.02)])
def test_cctl_against_the_dnn_of_the_target_alone(transfer, least):
    found = aucs(
        transfer,
        {
            "dnn": {"model": "dnn", "dropout": 0.3},
            "cctl": {"model": "cctl", "pooling": "mean", "sync_every": 20, "dropout": 0.3},
        },
    )
    assert (found["cctl"] - found["dnn"]).mean() > least, found
