"""What the README shows works as it stands."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from cdrzoo import cli
from cdrzoo.schema import Schema
from cdrzoo.training.config import RunConfig

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def block(language: str, first: str) -> str:
    """The README's block of code whose first line is `first`."""
    return next(
        text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S) if text.startswith(first)
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the README's schema and logs that fit it, which is the working directory."""
    (tmp_path / "schema.yaml").write_text(block("yaml", "# schema.yaml"))
    (tmp_path / "run.yaml").write_text(block("yaml", "# run.yaml"))
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
    assert yaml.safe_load(block("yaml", "# run.yaml"))["training"]["batch_size"] == 256


@pytest.mark.once
@pytest.mark.slow
def test_the_python_example_runs(folder, capsys):
    code = (
        block("python", "import cdrzoo")
        .replace("rows.train(256)", "rows.train(64)")
        .replace("epochs=20", "epochs=2")
    )
    exec(compile(code, "README.md", "exec"), {})
    assert "verified" in capsys.readouterr().out


def test_the_table_of_models_is_that_of_the_command(capsys):
    cli.main(["models", "--markdown"])
    assert capsys.readouterr().out in README, "paste the output of `cdrzoo models --markdown`"
