"""A log without users through the pipeline: metrics by columns, and no GAUC."""

from __future__ import annotations

import json
import pathlib

import pytest

pytest.importorskip("tfx", reason="the pipeline needs the extra `tfx`, which this environment does not have")

import yaml

from cdrzoo.export import verify
from tests.without_users import write
from tfx_pipeline import runners
from tfx_pipeline.config import PipelineConfig


@pytest.mark.slow
def test_a_log_without_users_is_trained_measured_and_pushed(tmp_path):
    run = write(tmp_path, rows=600)
    given = {
        **run,
        "slices": ["site_category", "hour"],
        "training": {"epochs": 1, "batch_size": 64, "learning_rate": 0.01},
        "pipeline": {"name": "app", "thresholds": {"auc": {"min": 0.4}}},
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(given))
    config = PipelineConfig.load(tmp_path / "pipeline.yaml")
    assert config.slices == ("site_category", "row.slice.hour")  # no feature: the examples hold it for slices
    found = runners.run(config)
    assert {"overall", "site_category=news", "site_category=shop"} <= set(found.metrics)
    parts = [found.metrics[f"site_category={word}"] for word in ("news", "shop")]
    assert sum(part["example_count"] for part in parts) == found.metrics["overall"]["example_count"] == 120
    hours = [part for name, part in found.metrics.items() if name.startswith("hour=")]
    assert len(hours) > 1 and sum(part["example_count"] for part in hours) == 120
    assert sum(part["clicks"] for part in hours) == found.metrics["overall"]["clicks"] > 0
    assert 0 < found.metrics["overall"]["auc_error"] < 0.2
    for name, metrics in found.metrics.items():
        assert (metrics["auc"] > 0 or "hour" in name) and not any("gauc" in metric for metric in metrics)
    assert found.blessed and str(verify(found.pushed))
    card = json.loads(pathlib.Path(found.pushed, "assets.extra", "model_card.json").read_text())
    assert set(card["inputs"]) == {"site_category", "age", "ad", "price"}
