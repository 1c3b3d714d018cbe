"""What the pages for those who join in name is there."""

from __future__ import annotations

import pathlib
import re

import pytest

import cdrzoo
from cdrzoo.documents import load_yaml

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/versions.md",
    ".github/PULL_REQUEST_TEMPLATE.md",
)
# A name that the reader puts in, what the changelog says is gone, a folder that the reader may have.
NOT_FILES = ("NAME", "Containerfile", "shared/data")


def text(page: str) -> str:
    path = PROJECT / page
    if not path.exists() and page.startswith("."):
        pytest.skip("hidden files are not in an sdist")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_files_and_links_are_there(page):
    for name in re.findall(r"`([\w.-]+/[\w./-]+)`", text(page)):
        assert any(word in name for word in NOT_FILES) or (PROJECT / name).exists(), name
    for name in re.findall(r"\]\(([^)#:]+)\)", text(page)):
        assert ((PROJECT / page).parent / name).exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_make_are_targets(page):
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text(page), re.M)) <= set(targets)


def test_the_version_is_one():
    assert load_yaml(text("CITATION.cff"), "CITATION.cff")["version"] == cdrzoo.__version__
    assert re.search(r"^## (\S+)", text("CHANGELOG.md"), re.M)[1] == cdrzoo.__version__
