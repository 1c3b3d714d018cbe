"""What examples/ctnet_daily.py prints is sane, and no day has seen the next."""

from __future__ import annotations

import collections
import importlib.util
import json
import pathlib

import keras
import numpy as np
import pytest

from cdrzoo import data
from cdrzoo.data import synthetic
from cdrzoo.export import verify

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
SIZES = {"users": 300, "source_rows": 12_000, "target_rows": 8_000, "source_items": 60, "target_items": 40}


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("ctnet_daily", EXAMPLES / "ctnet_daily.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_days_follow_one_another_and_an_increment_is_a_days_rows(example):
    made = synthetic.synthesize(**SIZES)
    (today, split), (_, tomorrow) = example.cut(made, 0), example.cut(made, 1)
    assert split["cuts"][1] == tomorrow["cuts"][0] == split["cuts"][0] + example.DAY
    assert max(log["time"].max() for log in today.frames.values()) < tomorrow["cuts"][1]
    prepared = data.prepare(made.schema, today.sources, split=split)

    def count(rows):
        return collections.Counter(
            zip(*(np.asarray(rows[name]).tolist() for name in ("user", "item", "price")))
        )

    class Model:
        training_domains = ("books",)
        seen: collections.Counter = collections.Counter()

        def fit(self, rows, **kwargs):
            for x, _ in rows:
                self.seen.update(count(x["books"]))

    example.increment(Model(), prepared, seed=0)
    day = count(prepared.parts["books"]["valid"].x)
    assert Model.seen <= day and day.total() - 64 < Model.seen.total()


@pytest.mark.once
@pytest.mark.exhaustive
def test_day_after_day(example, tmp_path):
    found = example.main(tmp_path, 2, SIZES)
    reported = json.loads((tmp_path / "run/metrics.json").read_text())["test"]["auc"]
    assert found[0]["stored"] == found[0]["run"] == pytest.approx(reported, abs=1e-6)
    for day in found:
        assert 0.001 < day["moved"] < 0.1  # a refresh is heard, and overthrows nothing
        assert day["refreshed"] > day["stored"] - 0.02 and day["trained"] > day["stored"] - 0.02
        assert day["trained"] > 0.65
    places = ("run/first/model.keras", "run/model.keras", "day_0/source.keras", "day_0/ctnet.keras")
    places += ("day_1/source.keras", "day_1/ctnet.keras")
    models = [keras.models.load_model(tmp_path / place) for place in places]
    for source, model in zip(models[::2], models[1::2]):  # each with the tower of its day
        for one, other in zip(model.pretrained.get_weights(), source.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    for of in (models[::2], models[1::2]):  # one training each, never begun anew
        first, second, third = (int(model.optimizer.iterations) for model in of)
        assert 0 < first < second < third
    verify(tmp_path / "films/1", models[-1], data.Encoder.load(tmp_path / "run/encoder"))
