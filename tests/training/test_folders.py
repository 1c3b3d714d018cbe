"""Whose a folder is, and what may be done with it."""

from __future__ import annotations

import pytest

from cdrzoo.errors import InputError
from cdrzoo.training.config import RunConfig
from cdrzoo.training.folders import check_begun, claim, discard
from tests.models.toys import toy_schema

CONFIG = RunConfig(schema=toy_schema(), data={"books": "books.csv", "films": "films.csv"})


@pytest.mark.parametrize("left", [["schema.yaml"], ["schema.yaml", "encoder"], [".config.yaml.unfinished"]])
def test_a_run_that_stopped_as_it_began_is_overwritten(left, tmp_path):
    for name in (".lock", *left):
        (tmp_path / name).mkdir() if name == "encoder" else (tmp_path / name).touch()
    with pytest.raises(InputError, match="stopped before its training began. Start it anew.*`--overwrite`"):
        check_begun(tmp_path)
    with pytest.raises(InputError, match="a run that stopped as it began.*discard it with `--overwrite`"):
        claim(tmp_path, CONFIG, resume=False, overwrite=False)
    claim(tmp_path, CONFIG, resume=False, overwrite=True)
    discard(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


@pytest.mark.parametrize(
    "names", [["schema.yaml"], ["model.keras", "metrics.json", "history.csv"], ["schema.yaml", "x"]]
)
def test_what_is_somebody_elses_is_not_overwritten(names, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="no run of cdrzoo"):
        claim(tmp_path, CONFIG, resume=False, overwrite=True)
    (tmp_path / ".lock").touch()
    if "x" in names:
        with pytest.raises(InputError, match="holds more than a run: x"):
            claim(tmp_path, CONFIG, resume=False, overwrite=True)
