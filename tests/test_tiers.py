"""Which tests are run when, and that those without a mark for long ones stay quick."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

CONFTEST = pathlib.Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
BUSY = """
import time, pytest

@pytest.mark.parametrize("n", range(4))
{mark}
def test_busy(n):
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass

def test_idle():
    time.sleep(1.5)
"""


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("mark", ["", "slow"])
def test_a_file_without_a_mark_for_long_tests_fails_where_it_is_long(mark, workers, tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST.replace("LIMIT = 60.0", "LIMIT = 1.0"))
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\nmarkers =\n    slow\n")
    (tmp_path / "test_busy.py").write_text(BUSY.format(mark=mark and f"@pytest.mark.{mark}"))
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "--dist", "worksteal", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "5 passed" in done.stdout
    assert done.returncode == (0 if mark else 1)
    assert ("test_busy.py: its tests without a mark for long ones take" in done.stdout) == (not mark)
