"""A click log with two labels, a position and slices through the pipeline: measured by label, served by name."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

pytest.importorskip("tfx", reason="the pipeline needs the extra `tfx`, which this environment does not have")

import tensorflow as tf
import yaml

from cdrzoo import metrics
from cdrzoo.data.batches import shapes_of
from cdrzoo.data.rows import stored
from cdrzoo.data.rows.reading import StoredPart
from cdrzoo.export import verify
from cdrzoo.training.predict import predict
from tests.labelled import log, write
from tfx_pipeline import rows, runners
from tfx_pipeline._tfx import tft
from tfx_pipeline.config import PipelineConfig


@pytest.mark.slow
def test_two_labels_are_trained_measured_and_pushed(tmp_path, monkeypatch):
    run = write(tmp_path, rows=600)
    run["training"]["epochs"] = 1
    run["pipeline"] = {
        "name": "films",
        "thresholds": {"auc": {"min": 0.3}, "conversion.log_loss": {"max": 3}},
        "slices": ["row.users", "device", "hour"],
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(run, sort_keys=False))
    with monkeypatch.context() as patched:
        patched.setattr(stored, "HELD_BYTES", 0)
        found = runners.run(PipelineConfig.load(tmp_path / "pipeline.yaml"))
    assert found.blessed and str(verify(found.pushed))

    overall = found.metrics["overall"]
    serialized = rows.first_examples(found.artifacts["ExampleGen"]["examples"] + "/Split-films_test", 1000)
    names = [f"row.{kind}{end}" for kind in ("label", "weight") for end in ("", ".conversion")]
    spec = {name: tf.io.FixedLenFeature([], tf.float32) for name in names}
    of = {name: value.numpy() for name, value in tf.io.parse_example(serialized, spec).items()}
    served = tf.saved_model.load(found.pushed).signatures["serve_examples"](examples=tf.constant(serialized))
    known = of["row.weight.conversion"] > 0
    assert 0 < known.sum() < len(known) == overall["example_count"]
    labels, scores = of["row.label.conversion"], served["conversion"].numpy()
    assert overall["conversion.auc"] == pytest.approx(metrics.auc(labels[known], scores[known]), abs=1e-9)
    assert overall["auc"] == pytest.approx(metrics.auc(of["row.label"], served["click"].numpy()), abs=1e-9)
    assert 0 < overall["conversion.clicks"] == labels.sum() < overall["clicks"] == of["row.label"].sum()
    hours = [part for name, part in found.metrics.items() if name.startswith("hour=")]
    assert sum(part["conversion.clicks"] for part in hours) == labels.sum() and len(hours) == 4

    validation = json.loads(
        pathlib.Path(found.artifacts["Trainer.mmoe"]["model_run"], "metrics.json").read_text()
    )["validation"]
    assert {"auc", "conversion.auc", "conversion.auc@warm"} <= set(validation)
    card = json.loads(pathlib.Path(found.pushed, "assets.extra", "model_card.json").read_text())
    assert "position" not in card["inputs"] and set(card["outputs"]) == {"click", "conversion"}
    requests = log(20, 3)[["user", "item", "device"]].assign(films_seen=[[1, 2]] * 20)
    scored = predict(found.pushed, requests)
    assert (scored["conversion"] <= scored["click"] + 1e-6).all() and np.ptp(scored["click"]) > 0

    transform = tft.TFTransformOutput(found.artifacts["Transform"]["transform_graph"])
    folder, spec = found.artifacts["Transform"]["transformed_examples"], transform.transformed_feature_spec()
    domain = PipelineConfig.load(tmp_path / "pipeline.yaml").schema.target_domain
    files = tf.io.gfile.glob(f"{folder}/Split-films_train/*")
    held = rows.read(rows.packed(files, spec, domain), domain)
    part, _ = rows.store(rows.packed(files, spec, domain), len(held), tmp_path, "shards", domain, 1)
    read = StoredPart(tmp_path, part, shapes_of(domain), further=["conversion"])
    one, two = (np.sort(np.ravel(part.labels["conversion"])) for part in (held, read))
    np.testing.assert_array_equal(one, two)
    assert np.isnan(one).any() and 0 < np.nanmean(one) < held.y.mean()
