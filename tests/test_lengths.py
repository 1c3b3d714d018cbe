"""How long files, functions and models may be: a reader sees one on a screen or two."""

from __future__ import annotations

import ast
import pathlib

from cdrzoo.models import CARDS

PROJECT = pathlib.Path(__file__).resolve().parent.parent
FILES = {
    path.relative_to(PROJECT).as_posix(): path.read_text(encoding="utf-8")
    for package in ("cdrzoo", "tfx_pipeline")
    for path in sorted((PROJECT / package).rglob("*.py"))
}
FILE, FUNCTION, MODEL = 500, 60, 160
HEADLINE = {f"cdrzoo/models/{name}.py": 200 for name in ("cctl", "dacdr", "dadin", "mem", "mkt")}
"""What their papers propose is more than others do."""
MODELS = {f"cdrzoo/models/{card.name}.py": MODEL for card in CARDS} | HEADLINE


def lengths(name: str) -> dict[str, tuple[int, int]]:
    """`{what: (lines, allowed)}` of a file and of its functions, with their docstrings."""
    found = {name: (len(FILES[name].splitlines()), MODELS.get(name, FILE))}
    for node in ast.walk(ast.parse(FILES[name])):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            what, length = f"{name}::{node.name}", (node.end_lineno - node.lineno + 1, FUNCTION)
            found[what] = max(length, found.get(what, length))  # of two of one name the longer one
    return found


def test_files_functions_and_models_are_short():
    every = {what: length for name in FILES for what, length in lengths(name).items()}
    long = {what: f"{n} lines, {allowed} are allowed" for what, (n, allowed) in every.items() if n > allowed}
    assert long == {}
