"""The notebooks keep what they give: whole, small, without this machine's paths; and it is what they give now."""

from __future__ import annotations

import ast
import json
import pathlib
import re

import pytest

from tests.test_words import faults

PROJECT = pathlib.Path(__file__).resolve().parent.parent
BOOKS = {path.stem: path for path in sorted((PROJECT / "docs" / "notebooks").glob("*.ipynb"))}
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|usr|var|opt|private|Users)/")
LARGEST = 60_000
"""Bytes of a notebook."""

books = pytest.mark.parametrize("name", BOOKS)


def cells(name: str, kind: str = "code") -> list[dict]:
    book = json.loads(BOOKS[name].read_text(encoding="utf-8"))
    return [cell for cell in book["cells"] if cell["cell_type"] == kind]


def shown(output: dict) -> str:
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", ""))


@books
def test_outputs_are_of_one_run_and_small(name):
    assert BOOKS[name].stat().st_size < LARGEST
    assert not MACHINE.search(BOOKS[name].read_text(encoding="utf-8"))
    kept = cells(name)
    assert [cell["execution_count"] for cell in kept] == [*range(1, len(kept) + 1)]
    assert all(output["output_type"] != "error" for cell in kept for output in cell["outputs"])
    for cell in kept:
        ast.parse("".join(cell["source"]))


@books
def test_words_and_links(name):
    from docs.render.hooks import page

    texts = ["".join(cell["source"]) for cell in cells(name, "markdown")]
    assert not (found := faults("\n\n".join(texts))), "\n".join(found)
    links = [link for text in texts for link in re.findall(r"\]\(([^)\s:]+)\)", text)]
    assert links and all((BOOKS[name].parent / link.partition("#")[0]).exists() for link in links)
    made = page(json.loads(BOOKS[name].read_text(encoding="utf-8")), f"{name}.ipynb")
    assert made.count(".ipynb)") == 1 and "```python" in made  # links lead to pages, one to the file


def plain(text: str) -> list[str]:
    """Its lines without numbers and rules, in any order: models may change places by a little.

    NumPy puts blanks behind a number that has fewer digits than another, and a comma behind the blanks.
    """
    text = re.sub(r"[-+]?\d[\d,.]*(?:e[-+]?\d+)?(?: *,)?", "#", text)
    return sorted(" ".join(line.split()) for line in re.sub(r"-{2,}|\.{3,}", "", text).splitlines())


@pytest.mark.exhaustive
@pytest.mark.once
@books
def test_it_gives_what_it_keeps(name):
    from docs.render.notebooks import run

    kept, now = cells(name), [cell for cell in run(BOOKS[name]).cells if cell.cell_type == "code"]
    for before, after in zip(kept, now, strict=True):
        assert [*map(plain, map(shown, after["outputs"]))] == [*map(plain, map(shown, before["outputs"]))]
