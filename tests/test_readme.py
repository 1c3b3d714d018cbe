"""What the README and the page on one's own files show works as it stands."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from cdrzoo.models import CARDS
from cdrzoo.schema import Schema
from cdrzoo.training.config import RunConfig

PROJECT = pathlib.Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
OWN_FILES = (PROJECT / "docs" / "start" / "own_files.md").read_text(encoding="utf-8")


def block(page: str, language: str, first: str) -> str:
    """The page's block of code whose first line is `first`."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.S | re.M)
    return next(text for found, text in blocks if found == language and text.startswith(first))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the page's schema and logs that fit it, which is the working directory."""
    (tmp_path / "schema.yaml").write_text(block(OWN_FILES, "yaml", "# schema.yaml"))
    (tmp_path / "run.yaml").write_text(block(OWN_FILES, "yaml", "# run.yaml"))
    rng = np.random.default_rng(0)
    for name, rows in (("books", 900), ("films", 500)):
        pd.DataFrame(
            {
                "user": [f"u{i}" for i in rng.integers(0, 40, rows)],
                "item": [f"{name}{i}" for i in rng.integers(0, 30, rows)],
                "genre": rng.choice(["crime", "drama"], rows),
                "device": rng.choice(["phone", "television"], rows),
                "minutes": rng.integers(80, 180, rows),
                "stars": rng.integers(1, 6, rows),
                "time": np.sort(rng.integers(0, 10_000, rows)),
            }
        ).to_csv(tmp_path / f"{name}.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_schema_and_run_configuration_are_valid(folder):
    schema = Schema.load("schema.yaml")
    assert schema.shared_features() == ("user", "item", "genre", "books_read", "books_stars")
    assert schema.specific_features("films") == ("device", "minutes")
    assert RunConfig.load("run.yaml").model_arguments() == {"sync_every": 100}
    assert yaml.safe_load(block(OWN_FILES, "yaml", "# run.yaml"))["training"]["batch_size"] == 256


@pytest.mark.once
@pytest.mark.exhaustive
def test_the_python_of_the_page_runs(folder, capsys):
    code = (
        block(OWN_FILES, "python", "import cdrzoo")
        .replace("rows.train(256)", "rows.train(64)")
        .replace("epochs=20", "epochs=2")
    )
    exec(compile(code, "own_files.md", "exec"), {})
    assert "verified" in capsys.readouterr().out


@pytest.mark.once
@pytest.mark.slow
def test_the_twenty_lines_give_the_output_that_is_shown(tmp_path, monkeypatch, capsys):
    """Numbers may differ a little: another machine adds them up in another order."""
    monkeypatch.chdir(tmp_path)
    exec(compile(block(README, "python", "import keras"), "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    shown = block(README, "", "films alone").splitlines()
    number = re.compile(r"\d+\.\d+(?:e-\d+)?")
    for ours, theirs in zip([*printed[:2], printed[-1]], [*shown[:2], shown[-1]], strict=True):
        assert number.sub("#", ours) == number.sub("#", theirs)
        given, wanted = ([float(found) for found in number.findall(line)] for line in (ours, theirs))
        assert given == pytest.approx(wanted, abs=0.02)
    assert len(printed) - 3 == int(re.search(r"each of (\d+) checks", README)[1])
    assert all(line.startswith("ok ") for line in printed[2:-1])


def test_it_counts_the_models():
    count = int(re.search(r"(\d+) models on one footing", README)[1])
    assert count == len(CARDS) == int(re.search(r"\[All (\d+)\]", README)[1])


def test_it_stays_short():
    assert len(README.encode()) < 7_000
