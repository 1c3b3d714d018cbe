"""What docs/python.md shows works as it stands, and means what it says."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pandas as pd
import pytest

PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The names that the page's code leaves, run from top to bottom, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("walk")
    names: dict = {"__name__": "walk"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
            exec(block, names)
        yield names, folder


@pytest.mark.exhaustive
def test_the_page_runs(walked):
    names, folder = walked
    assert (folder / "runs/watched/metrics.json").exists()
    assert list(names["scored"]) == list(names["served"]) and len(names["scored"]) == 5
    score = names["scored"].columns[-1]
    np.testing.assert_allclose(names["scored"][score], names["served"][score], atol=1e-6)
    assert list(names["requests"]) == list(names["scored"])[:-1]  # what was given stays as it was


@pytest.mark.exhaustive
def test_a_run_is_what_its_folder_says(walked):
    _, folder = walked
    import cdrzoo

    run = cdrzoo.load_run(folder / "runs/dann")
    assert run.evaluate() == pytest.approx(run.metrics["test"], abs=1e-6)
    pd.testing.assert_frame_equal(run.history, pd.read_csv(folder / "runs/dann/history.csv"))
    assert run.config.training.learning_rate == 0.003 and run.schema == run.encoder.schema
    assert "auc" in repr(run) and len(repr(run)) < 300
    run.folder = pathlib.Path("<script>")
    assert "<script>" not in run._repr_html_() and f"{run.metrics['test']['auc']:.4f}" in run._repr_html_()
    with pytest.raises(cdrzoo.InputError, match="holds no finished run"):
        cdrzoo.load_run(folder)
