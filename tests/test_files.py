"""Folders that one process writes to."""

import pytest

from cdrzoo import files
from cdrzoo.errors import InputError


def test_a_second_run_says_that_it_cannot_start(tmp_path):
    folder = tmp_path / "made" / "by the lock"
    with files.lock(folder):
        with pytest.raises(InputError, match="Another run is working"):
            with files.lock(folder):
                raise AssertionError("two runs at once")
    with files.lock(folder):
        pass
