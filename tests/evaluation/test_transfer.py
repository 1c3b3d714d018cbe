"""The transfer report of a run: what it trains and writes, how it goes on, what it refuses."""

from __future__ import annotations

import json
import pathlib
import re
import tempfile

import keras
import numpy as np
import pandas as pd
import pytest
import yaml

from cdrzoo import cli
from cdrzoo.data import synthetic
from cdrzoo.errors import InputError
from cdrzoo.evaluation import transfer
from cdrzoo.evaluation.groups import rows_of
from cdrzoo.evaluation.lift import measure
from cdrzoo.training import callbacks, fitting, run
from cdrzoo.training.config import RunConfig, Training

DATA = {"books": "books.csv", "films": "films.csv"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small run of both domains, and what it was made from."""
    folder = tmp_path_factory.mktemp("demo")
    made = synthetic.synthesize(users=80, source_rows=800, target_rows=400, source_items=30, target_items=20)
    made.write(folder)
    training = {"epochs": 1, "batch_size": 64}
    config = {"schema": "schema.yaml", "data": DATA, "model": "dnn", "domains": "all", "training": training}
    (folder / "run.yaml").write_text(yaml.safe_dump({**config, "arguments": {"units": [4]}}))
    assert cli.main(["train", str(folder / "run.yaml"), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="module")
def reported(demo):
    pytest.importorskip("matplotlib")
    command = ["transfer", str(demo / "run"), "--seeds", "2", "--by", "device", "--out", str(demo / "report")]
    assert cli.main(command) == 0
    return demo / "report", command


@pytest.mark.slow
def test_a_report_of_a_run(reported, demo, capsys, monkeypatch):
    folder, command = reported
    result = json.loads((folder / "transfer.json").read_text())
    assert sorted(path.name for path in (folder / "runs").iterdir()) == [
        "model-seed-1",
        "twin-seed-0",
        "twin-seed-1",
    ]
    assert result["twin"]["domains"] == "target" and result["twin"]["arguments"] == {"units": [4]}
    tests = {
        role: [json.loads((pathlib.Path(run) / "metrics.json").read_text())["test"] for run in runs]
        for role, runs in result["runs"].items()
    }
    for name, lift in result["lift"].items():  # a run that is scored again scores as it did
        assert lift["first"] == pytest.approx(np.mean([test[name] for test in tests["model"]]), abs=1e-6)
        assert lift["second"] == pytest.approx(np.mean([test[name] for test in tests["twin"]]), abs=1e-6)
    rows = pd.read_parquet(folder / "scores.parquet")
    assert len(rows) == result["rows"] and {"model 0", "model 1", "twin 0", "twin 1", "device"} <= set(rows)
    assert {group["by"] for group in result["groups"]} >= {"device", "user in a source"}
    found = transfer.Transfer.load(folder)
    assert found.verdict == result["verdict"] and found.lift["first"].to_dict() == {
        name: lift["first"] for name, lift in result["lift"].items()
    }
    assert list(found.groups["p_holm"]) == [group["p_holm"] for group in result["groups"]]
    pd.testing.assert_frame_equal(found.rows, rows)
    assert transfer.sentence(result) in str(found) and "auc" in found._repr_html_()
    with pytest.raises(InputError, match="holds no transfer report"):
        transfer.Transfer.load(demo)
    page = (folder / "report.html").read_text()
    assert result["verdict"].capitalize() in page and "Lift by group" in page and "Calibration" in page

    def no_training(*arguments, **settings):
        raise AssertionError("what is trained is not trained again")

    monkeypatch.setattr(run, "train", no_training)
    assert cli.main(command) == 0
    assert json.loads((folder / "transfer.json").read_text()) == result
    assert transfer.sentence(result) in capsys.readouterr().out
    assert cli.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result
    # The twin as it stands there can be named, and a run can be reported on by itself.
    again = ["transfer", str(demo / "run"), "--twin", str(folder / "runs" / "twin-seed-0"), "--seeds", "1"]
    assert cli.main([*again, "--out", str(demo / "given")]) == 0
    assert "NOT the chance of training" in capsys.readouterr().out
    assert cli.main(["report", str(demo / "run"), "--out", str(demo / "run.html")]) == 0
    assert "Learning curves" in (demo / "run.html").read_text()


@pytest.mark.slow
def test_the_page_on_transfer_shows_the_other_tests(reported, capsys):
    folder, _ = reported
    page = (pathlib.Path(__file__).parents[2] / "docs" / "transfer.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(code.replace("runs/cctl_transfer", str(folder)).replace("range(3)", "range(2)"), {})
    delong, wilcoxon = capsys.readouterr().out.splitlines()
    first = json.loads((folder.parent / "run" / "metrics.json").read_text())["test"]["auc"]
    assert float(re.search(r"first=([0-9.]+)", delong)[1]) == pytest.approx(first, abs=1e-6)
    assert float(wilcoxon) in (0.5, 1.0)


@pytest.mark.exhaustive
@pytest.mark.once
def test_the_twin_makes_as_many_steps_as_the_model(demo, tmp_path, monkeypatch):
    """A pass over the longest domain is one over the target where there is no source."""
    made = yaml.safe_load((demo / "run.yaml").read_text())
    for name in ("schema.yaml", *DATA.values()):
        (tmp_path / name).write_bytes((demo / name).read_bytes())
    config = {**made, "training": {**made["training"], "epoch": "longest"}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run")]) == 0
    trained = []
    fit = keras.Model.fit

    def counted(self, rows, **arguments):
        trained.append(int(rows.cardinality()))
        return fit(self, rows, **arguments)

    monkeypatch.setattr(keras.Model, "fit", counted)
    result = transfer.transfer(tmp_path / "run", tmp_path / "out", seeds=2).result
    assert len(trained) == 3 and len(set(trained)) == 1 and trained[0] == result["twin"]["training"]["epoch"]
    assert result["model"]["training"]["epoch"] == "longest" and f"({trained[0]})" in result["why"]


@pytest.mark.exhaustive
@pytest.mark.once
def test_a_report_goes_on_where_a_run_was_stopped_before_its_configuration(demo, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    rename = pathlib.Path.replace

    def stop(path, other):
        if other.name == "config.yaml":  # written last of what comes before the training
            raise Stopped
        return rename(path, other)

    with monkeypatch.context() as context:
        context.setattr(pathlib.Path, "replace", stop)
        with pytest.raises(Stopped):
            transfer.transfer(demo / "run", tmp_path / "out", seeds=1)
    twin = tmp_path / "out" / "runs" / "twin-seed-0"
    assert sorted(path.name for path in twin.iterdir()) == [
        ".lock",
        "encoder",
        "schema.yaml",
        "split.json",
    ]
    (twin / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="stopped as it began"):
        transfer.transfer(demo / "run", tmp_path / "out", seeds=1)
    assert (twin / "notes.txt").read_text() == "mine"
    (twin / "notes.txt").unlink()
    transfer.transfer(demo / "run", tmp_path / "out", seeds=1)
    assert (twin / "metrics.json").exists()


@pytest.mark.slow
@pytest.mark.once
def test_mistakes_are_named_before_anything_is_trained(demo, reported, tmp_path, capsys, monkeypatch):
    folder, _ = reported
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "project" / "runs" / "cctl").mkdir(parents=True)
    twin = str(folder / "runs" / "twin-seed-0")
    for arguments, message in (
        (["--by", "colour"], "no column 'colour'"),
        (["--twin", str(demo / "run")], "saw sources, too"),
        (["--out", str(tmp_path / "mine")], "no transfer report"),
        (["--out", str(tmp_path / "project")], "no transfer report"),
    ):
        out = [] if "--out" in arguments else ["--out", str(tmp_path / "new")]
        assert cli.main(["transfer", str(demo / "run"), *arguments, *out]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "new").exists()
    with pytest.raises(SystemExit, match="2"):
        cli.main(["transfer", str(demo / "run"), "--seeds", "0", "--out", str(tmp_path / "new")])
    assert "from 1 to" in capsys.readouterr().err and not (tmp_path / "new").exists()
    assert cli.main(["transfer", twin, "--out", str(tmp_path / "new")]) == 2
    assert "saw the target alone" in capsys.readouterr().err


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.parametrize(("planted", "expected"), [(1.0, "helps"), (-1.0, "harms")])
def test_planted_transfer_is_found_by_training(planted, expected):
    """Tastes that carry over help a DNN of both domains; opposite ones harm it."""
    made = synthetic.synthesize(
        planted, users=400, source_rows=8000, target_rows=3000, source_items=60, target_items=40
    )
    config = RunConfig(
        schema=made.schema,
        data=made.sources,
        model="dnn",
        domains="all",
        arguments={"units": [16]},
        split={"by": "time", "fractions": [0.4, 0.1, 0.5]},
        training=Training(batch_size=128, epochs=5, learning_rate=0.003, source_ratio=4.0),
    )
    prepared = fitting.prepare(config)
    scores: dict[str, list[np.ndarray]] = {"all": [], "target": []}
    for domains, found in scores.items():
        for seed in range(3):
            settings = config.with_changes({"domains": domains, "seed": seed})
            seen = fitting.seen(settings, prepared)
            with tempfile.TemporaryDirectory() as folder:
                model = fitting.fit(settings, seen, pathlib.Path(folder)).model
            found.append(callbacks.target_scores(model, seen.test())[1])
    result = measure(rows_of(prepared), scores["all"], scores["target"])
    assert result["verdict"] == expected, result["lift"]["auc"]
