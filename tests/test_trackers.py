"""The code of docs/trackers.md runs, where the trackers are installed."""

from __future__ import annotations

import importlib
import pathlib
import re
import sys

import pytest

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "trackers.md"


@pytest.mark.exhaustive
@pytest.mark.once
def test_every_training_is_tracked(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        if code.startswith("# my_loggers.py"):
            pathlib.Path("my_loggers.py").write_text(code)
            importlib.invalidate_caches()
        else:
            exec(compile(code, PAGE.name, "exec"), names)
    monkeypatch.delitem(sys.modules, "my_loggers")
    assert len(list(pathlib.Path("wandb").glob("offline-run-*"))) == 1 + 4
    tracked = mlflow.search_runs()
    assert len(tracked) == 1 + 4 and set(tracked["status"]) == {"FINISHED"}
    assert tracked["metrics.val_auc"].between(0.3, 1).all() and tracked["metrics.test_auc"].notna().sum() == 1
