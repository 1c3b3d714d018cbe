"""docs/pitfalls.md names tests that are there."""

from __future__ import annotations

import pathlib
import re

TESTS = pathlib.Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "pitfalls.md").read_text(encoding="utf-8")


def test_every_test_that_guards_a_pitfall_exists():
    tables = PAGE[PAGE.index("| pitfall |") :].splitlines()
    rows = [line for line in tables if line.startswith("| ") and "---" not in line]
    rows = [row for row in rows if not row.startswith("| pitfall |")]
    assert len(rows) > 40
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, name in named:
            assert f"\ndef {name}(" in (TESTS / file).read_text(encoding="utf-8"), f"{file}::{name}"
