"""What the pages for those who join in name is there."""

from __future__ import annotations

import pathlib
import re

import pytest

import cdrzoo
from cdrzoo.documents import load_yaml

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PAGES = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/versions.md",
    ".github/PULL_REQUEST_TEMPLATE.md",
)
# Where the example of a page stands for a name; what the changelog says is gone.
NOT_FILES = ("NAME", "Containerfile", "CDRZOO")


def text(page: str) -> str:
    path = PROJECT / page
    if not path.exists() and page.startswith("."):
        pytest.skip("hidden files are not in an sdist")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_files_and_links_are_there(page):
    found, links = text(page), re.compile(r"\]\(([^)#:]+)\)")
    named = [
        name for name in re.findall(r"`([\w./-]+)`", found) if "/" in name.strip("/") or name.endswith(".md")
    ]
    for name in named:
        if not any(word in name for word in NOT_FILES):
            assert (PROJECT / name).exists() or (PROJECT / "cdrzoo" / name).exists(), name
    for name in links.findall(found):
        assert ((PROJECT / page).parent / name).exists(), name


def test_the_version_is_one():
    assert load_yaml(text("CITATION.cff"), "CITATION.cff")["version"] == cdrzoo.__version__
    assert re.search(r"^## (\S+)", text("CHANGELOG.md"), re.M)[1] == cdrzoo.__version__
