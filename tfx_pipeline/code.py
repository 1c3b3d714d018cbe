"""A hash of the code that a node runs. TFX does not look into functions that it is given by name: without this an
edited layer would be met by the cached model of yesterday."""

from __future__ import annotations

import ast
import functools
import hashlib
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("cdrzoo", "tfx_pipeline")
FRONT_DOORS = ("cdrzoo", "cdrzoo.models")


def code_hash(*modules: str, root: pathlib.Path = ROOT) -> str:
    """Hash of these modules and of all that they import of cdrzoo and this package, at whatever depth.

    Imports inside functions count, and so does what the stub of a package offers. Only what the front doors `cdrzoo`
    and `cdrzoo.models` merely offer does not: that is everything.
    """
    waiting, files = list(modules), {}
    while waiting:
        name = waiting.pop()
        path = _path(name, root)
        if path is None or name in files:
            continue
        files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        if name not in FRONT_DOORS:
            stub = path.with_suffix(".pyi")
            waiting += _imports(path) + (_imports(stub) if stub.exists() else [])
        waiting.append(name.rpartition(".")[0])
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]


def _path(name: str, root: pathlib.Path) -> pathlib.Path | None:
    if name.split(".")[0] not in PACKAGES or not all(part.isidentifier() for part in name.split(".")):
        return None
    path = root.joinpath(*name.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()), None)


def _imports(path: pathlib.Path) -> list[str]:
    stat = path.stat()
    return _parsed(path, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _parsed(path: pathlib.Path, changed: int, size: int) -> list[str]:
    """Every dotted name that may be a module: `from a import b` may mean `a.b`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found
