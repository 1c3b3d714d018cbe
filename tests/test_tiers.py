"""Which tests are run when, and that those without a mark for long ones stay quick."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
CONFTEST = (PROJECT / "tests" / "conftest.py").read_text(encoding="utf-8")
BUSY = """
import time, pytest

@pytest.mark.parametrize("n", range(4))
{mark}
def test_busy(n):
    end = time.process_time() + 0.6
    while time.process_time() < end:
        pass

def test_idle():
    time.sleep(1.5)
"""


def run(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(("mark", "workers"), [("", "2"), ("slow", "0")])
def test_a_file_without_a_mark_for_long_tests_fails_where_it_is_long(mark, workers, tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST.replace("LIMIT = 60.0", "LIMIT = 0.15"))
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\nmarkers =\n    slow\n")
    (tmp_path / "test_busy.py").write_text(BUSY.format(mark=mark and f"@pytest.mark.{mark}"))
    done = run(tmp_path, "-n", workers, "--dist", "worksteal", str(tmp_path))
    assert "5 passed" in done.stdout
    assert done.returncode == (0 if mark else 1)
    assert ("test_busy.py: its tests without a mark for long ones take" in done.stdout) == (not mark)


def test_a_model_that_there_is_not_is_named():
    done = run(PROJECT, "--model", "dnnn", "tests/models")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR and "Did you mean 'dnn'" in done.stderr


@pytest.mark.exhaustive
def test_a_models_tests_are_its_conformance_and_its_own():
    done = run(PROJECT, "--model", "dnn", "--collect-only", "tests/models")
    found = [line for line in done.stdout.splitlines() if "::" in line]
    assert found and all("[dnn]" in test or "/test_dnn.py::" in test for test in found)
    assert {test.split("::")[0].split("/")[-1] for test in found} >= {
        "test_arguments.py",
        "test_conformance.py",
        "test_dnn.py",
    }
