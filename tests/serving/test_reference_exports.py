"""The exports in saved_models/, made by an earlier version: they still load and give the scores recorded with them."""

from __future__ import annotations

import pathlib
import re

import pytest

from cdrzoo.export import verify

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "saved_models"
EXPORTS = sorted(path.parent for path in FOLDER.glob("*/*/saved_model.pb"))


def test_the_headline_models_are_there():
    assert {path.parent.name for path in EXPORTS} >= {"cctl", "dacdr", "dadin", "mkt"}


@pytest.mark.slow
@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_it_gives_the_recorded_scores(path):
    """Eagerly and in a graph session, alone and in any order, and ranked; see `verify`."""
    report = verify(path)
    assert report.ok and report.rows == 64
    names = [check.name for check in report.checks]
    assert "serving_default, graph session" in names and "rank, best first" in names


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_it_names_no_path_of_a_machine_and_is_small(path):
    files = [file for file in path.rglob("*") if file.is_file()]
    for file in files:
        assert not re.search(rb"/(home|root|tmp|work|usr)/", file.read_bytes()), file
    assert sum(file.stat().st_size for file in files) < 2_000_000


def test_the_configuration_is_of_these_models():
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    from cdrzoo.serving.config import read_config, versions_of

    for name, served in read_config(FOLDER).items():
        assert served.labels.keys() == {"stable", "canary"}, name
        assert set(served.labels.values()) <= set(versions_of(served.path))
    for name in ("batching.config", "compose.yaml", "README.md"):
        assert (FOLDER / name).exists()
