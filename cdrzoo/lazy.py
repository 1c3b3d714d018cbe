"""Packages whose names are imported when they are first asked for. A stub says which; type checkers read it, too."""

from __future__ import annotations

import ast
import importlib
import pathlib
import sys
from collections.abc import Callable
from typing import Any


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package.

    What it offers stands in its stub, `__init__.pyi`, as imports: `from cdrzoo.schema import Schema as Schema` is a
    name, `from cdrzoo import data as data` a module. So an import of the package costs nothing, and completion and
    type checkers see what they would see of plain imports.

    Args:
        package: its `__name__`.
        file: its `__file__`; the stub lies beside it.
    """
    stub = pathlib.Path(file).with_name("__init__.pyi")
    lines = ast.parse(stub.read_text(encoding="utf-8")).body
    homes = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in lines
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    own = [
        ast.unparse(node.target) for node in lines if isinstance(node, ast.AnnAssign)
    ]  # made here, not imported

    def __getattr__(name: str) -> Any:
        if name not in homes:
            # With these Python asks: Did you mean ...?
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package]
            )
        home, what = homes[name]
        if home == package:
            return importlib.import_module(f"{package}.{what}")
        return getattr(importlib.import_module(home), what)

    names = sorted([*homes, *own])
    return __getattr__, lambda: names, names
