"""The backtest: no day is trained on before it is predicted, and a stopped one goes on."""

from __future__ import annotations

import pytest
import yaml

from cdrzoo import cli
from cdrzoo.data import synthetic
from cdrzoo.errors import InputError
from cdrzoo.experiments import backtest
from cdrzoo.training import folders

DAY = 20 * 86_400


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backtest")
    made = synthetic.synthesize(
        users=60, source_rows=900, target_rows=900, source_items=20, target_items=20, drift=1.0
    )
    made.write(folder)
    given = {
        "schema": "schema.yaml",
        "data": {n: f"{n}.csv" for n in made.frames},
        "model": "dnn",
        "domains": "all",
    }
    given |= {"arguments": {"units": [4]}, "training": {"epochs": 1, "batch_size": 64}}
    (folder / "run.yaml").write_text(yaml.safe_dump(given))
    return folder


@pytest.mark.slow
@pytest.mark.once
def test_every_day_is_predicted_before_it_is_trained_on(home, capsys):
    pytest.importorskip("matplotlib")
    command = [
        "backtest",
        str(home / "run.yaml"),
        "--days",
        "2",
        "--day",
        str(DAY),
        "--out",
        str(home / "out"),
    ]
    assert cli.main(command) == 0
    found = backtest.Backtest.load(home / "out")
    assert list(found.table.index) == [
        "transfer, warm", "target alone, warm", "transfer, cold", "target alone, cold"
    ]  # fmt: skip
    for path in (home / "out/runs").glob("*/*"):
        start = found.result["days"][int(path.name[-1]) - 1]["start"]
        for parts in folders.read_json(path, "split.json")["parts"].values():
            assert parts["train"]["last"] < start - DAY <= parts["valid"]["first"]
            if parts["test"]["rows"]:
                assert start <= parts["test"]["first"] and parts["test"]["last"] < start + DAY
    first, second = found.result["days"]
    assert first["arms"]["transfer, warm"] == first["arms"]["transfer, cold"]
    warm, cold = (second["arms"][f"transfer, {refit}"]["trained"] for refit in ("warm", "cold"))
    assert warm < cold / 2
    page = (home / "out/report.html").read_text()
    assert "Calibration of every day" in page and "target alone, cold" in page
    assert all(found.last(arm).name == "day-002" and found.last(arm).is_dir() for arm in found.table.index)
    assert any(f"export {found.last(arm)} " in page for arm in found.table.index)  # what next

    (home / "out/backtest.json").unlink()
    done = {path: path.stat().st_mtime_ns for path in (home / "out/runs").glob("*/*/model.keras")}
    assert cli.main(command) == 0
    assert backtest.Backtest.load(home / "out").result == found.result
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_what_no_backtest_can_be_made_of_is_said(home, tmp_path):
    with pytest.raises(InputError, match="has no rows before the 31 last days"):
        backtest.backtest(home / "run.yaml", tmp_path, days=30, day=DAY)
    with pytest.raises(InputError, match="`refit` must be one of warm, cold, ctnet. Received: 'hot'"):
        backtest.backtest(home / "run.yaml", tmp_path, refit="hot")
    with pytest.raises(InputError, match="smallest has .* rows of 'films', less than a batch of 500"):
        backtest.backtest(home / "run.yaml", tmp_path, days=2, day=DAY, settings={"batch_size": 500})
    (tmp_path / "other").touch()
    with pytest.raises(InputError, match="no backtest"):
        backtest.backtest(home / "run.yaml", tmp_path, days=2, day=DAY)
    schema = yaml.safe_load((home / "schema.yaml").read_text())
    del schema["domains"]["films"]["time"]
    given = yaml.safe_load((home / "run.yaml").read_text()) | {"schema": schema}
    given["data"] = {name: str(home / path) for name, path in given["data"].items()}
    with pytest.raises(InputError, match="A backtest needs times"):
        backtest.backtest(given, tmp_path, days=2, day=DAY)
