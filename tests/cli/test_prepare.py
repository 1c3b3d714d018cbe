"""`cdrzoo prepare`: rows to a folder, from the command line."""

from __future__ import annotations

import json

from cdrzoo.cli.main import main
from cdrzoo.data import synthetic
from cdrzoo.documents import dump_yaml

MADE = synthetic.synthesize(0.5, users=60, source_rows=600, target_rows=400, source_items=40, target_items=30)


def test_rows_of_a_run_are_prepared_once_and_what_is_wrong_is_said(tmp_path, capsys):
    MADE.write(tmp_path)
    run = {
        "schema": "schema.yaml",
        "data": {d: f"{d}.csv" for d in MADE.frames},
        "split": "time",
        "model": "dnn",
    }
    (tmp_path / "run.yaml").write_text(dump_yaml(run))
    command = ["prepare", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "rows"), "--jobs", "1"]
    assert main([*command, "--slices", "device"]) == 0
    said = capsys.readouterr()
    assert "holds 1,000 rows; split time-0.7-0.1-0.2" in said.out and "s to go" in said.err
    assert json.loads((tmp_path / "rows" / "prepared.json").read_text())["slices"] == ["device"]
    assert main([*command, "--slices", "device"]) == 0
    assert "holds these rows already" in capsys.readouterr().err
    assert main([*command, "--slices", "device", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["split"]["name"] == "time-0.7-0.1-0.2" and told["folder"] == str(tmp_path / "rows")
    parts = [part for domain in told["domains"].values() for part in domain.values()]
    assert sum(part["rows"] for part in parts) == 1000
    assert sum(part["labels"] for part in parts) == sum(f["click"].sum() for f in MADE.frames.values())
    assert main(command) == 2
    assert "`slices` differs. Choose a new folder" in capsys.readouterr().err
    assert main([*command[:-2], "--beam", "runner=FlinkRunner"]) == 2
    assert "`--beam` is of --executor beam" in capsys.readouterr().err
    for memory, words in (
        ("9e5", "gigabytes of this machine"),
        ("0.1", "is too little"),
    ):
        assert main([*command, "--memory", memory]) == 2
        assert words in capsys.readouterr().err
    (tmp_path / "stored.yaml").write_text(dump_yaml({"data": "rows", "model": "dnn"}))
    assert main(["schema", "check", str(tmp_path / "stored.yaml")]) == 0
    assert "films" in (said := capsys.readouterr().out) and "test" in said
