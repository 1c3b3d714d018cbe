"""What mechanisms do on logs in which they have something to do: effect sizes over seeds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.data import planted, prepare
from cdrzoo.experiments import mechanisms
from cdrzoo.experiments.catalogue import Part, experiments
from cdrzoo.experiments.comparison import Comparison
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


@pytest.mark.exhaustive
@pytest.mark.once
def test_the_enhancement_puts_all_items_on_one_line():
    """What `meaning` shows of REN at the paper's weight: the least of eq. 12 is where no item differs from another."""
    made = planted.make("meaning")
    rows = prepare(made.schema, {d: {"data": frame} for d, frame in made.frames.items()}, split=planted.SPLIT)
    shares = []
    for weight in (1.0, 0.0):
        keras.utils.set_random_seed(0)
        model = CCTL(rows.schema, units=(64, 32), pooling="mean", sync_every=5, ren_weight=weight)
        model.compile(Adam(0.002), steps_per_execution=16)
        model.fit(rows.train({"books": 64, "films": 64}, epoch=96, seed=0), epochs=6, verbose=0)
        items = np.asarray(model.mixed.embedding.table("item"))[2:]
        values = np.linalg.svd(items, compute_uv=False)
        shares.append(values[0] ** 2 / np.square(values).sum())  # of the table, along its main direction
    assert shares[0] > 0.9 > 0.5 > shares[1]


DOMAINS = {"M": "all", "M w/o A": "all", "DNN": "target"}


def found(scores, against=None):
    """A comparison, of `{label: AUC of each seed}`."""
    lines = [
        {
            "label": label,
            "changes": {"seed": seed},
            "result": {"domains": DOMAINS[label], "test": {"auc": value}},
        }
        for label, values in scores.items()
        for seed, value in enumerate(values)
    ]
    return Comparison(None, lines, {"against": against})


def test_the_table_of_the_bench():
    """The first model that is not the full one lacks the part, p is corrected, what is not run is empty."""
    models = {label: {"model": "dnn"} for label in DOMAINS}
    parts = {
        name: Part(models, against="M", pair={"plant": "poison"}) for name in ("one", "two", "no oracle")
    }
    parts |= {f"{name}, oracle": Part({"M w/o A": models["M w/o A"]}) for name in ("one", "two")}
    full = [0.8, 0.81, 0.82]
    one = found({"M": full, "M w/o A": [0.7, 0.72, 0.71], "DNN": [0.6] * 3}, "M")
    two = found({"M": full, "M w/o A": [0.8, 0.83, 0.80]}, "M")
    oracle = found({"M w/o A": [0.9] * 3})
    rows = mechanisms.rows(parts, {"one": one, "two": two, "no oracle": two, "one, oracle": oracle})
    assert [row["plant"] for row in rows] == ["one", "two"]
    assert rows[0] == {
        "plant": "one", "without": "A", "bound": "0.9285", "done by hand": "0.9000 ± 0.0000",
        "full model": "0.8100 ± 0.0100, M",
        "without it": "0.7100 ± 0.0100", "target alone": "0.6000 ± 0.0000", "difference": "-0.1000",
        "p, Holm": f"{2 * one.tests['M w/o A'].p:.3f}",
    }  # fmt: skip
    assert rows[1]["done by hand"] == rows[1]["target alone"] == "" and rows[1]["p, Holm"] == "1.000"


def test_every_plant_is_in_the_bench_with_its_oracle():
    parts = experiments()["mechanisms"].parts
    assert {name for name in parts if not name.endswith(mechanisms.ORACLE)} == set(planted.PLANTS)
    for name in planted.PLANTS:
        assert parts[name].against and parts[name + mechanisms.ORACLE].pair == {"plant": name, "oracle": True}
