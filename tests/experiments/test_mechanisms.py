"""What mechanisms do on logs in which they have something to do: effect sizes over seeds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.data import planted, prepare
from cdrzoo.metrics import auc
from cdrzoo.models import CCTL
from cdrzoo.optimizers import Adam


def tensors(x):
    return {name: tf.constant(values) for name, values in x.items()}


def trained(seed: int, group=None, steps: int = 1200, **arguments):
    """CCTL on the poison, the AUC of its selector's weights against use, and that of the target's test rows."""
    made = planted.make("poison", seed=seed)
    rows = prepare(made.schema, {d: {"data": frame} for d, frame in made.frames.items()}, split=planted.SPLIT)
    keras.utils.set_random_seed(seed)
    options = {"units": (32, 16), "selector_units": (16,), "align": False, "ren_weight": 0.0}
    model = CCTL(rows.schema, **options, sync_every=5, selector_every=4, **arguments)
    model.compile(Adam(0.002), steps_per_execution=50)
    model.fit(rows.train({"books": 64, "films": 64}, epoch=steps, seed=seed, group=group), verbose=0)
    books, films = rows.parts["books"]["train"], rows.parts["films"]["test"]
    weights = np.asarray(model.selector_weights({"books": tensors(books.x)})["books"])
    useful = made.useful[rows.split.parts["books"]["train"]].astype("float64")
    scores = np.asarray(model({"films": tensors(films.x)})["films"])[:, 0]
    return auc(useful, weights), auc(films.y[:, 0], scores)


@pytest.mark.exhaustive
@pytest.mark.once
def test_the_selector_finds_what_poisons_and_the_target_gains():
    found = [trained(seed, {"books": "x5"}) for seed in range(3)]
    all_rows = [trained(seed, selector_mode="none") for seed in range(3)]
    assert np.mean([selection for selection, _ in found]) > 0.85
    assert np.mean([target for _, target in found]) - np.mean([target for _, target in all_rows]) > 0.03
