"""The package says what it needs, the pins keep to it, and what is built holds what is imported."""

from __future__ import annotations

import ast
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import cdrzoo

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = [Requirement(text) for text in PYPROJECT["dependencies"]]
DEV = [Requirement(text) for extra in ("test", "dev") for text in PYPROJECT["optional-dependencies"][extra]]
FOLDER = PROJECT / "requirements"
PINS = {"3.10": FOLDER / "tfx116.txt", "3.11": FOLDER / "py311.txt", "3.12": FOLDER / "tfx121.txt"}
# Distributions whose module has another name.
MODULE = {"pyyaml": "yaml", "scikit-learn": "sklearn", "protobuf": "google"}
MODULE |= {"tensorflow-serving-api": "tensorflow_serving", "grpcio": "grpc"}


def module_of(need: Requirement) -> str:
    return MODULE.get(need.name, need.name.replace("-", "_"))


def pins(path: pathlib.Path) -> dict[str, str]:
    return dict(line.split("==") for line in path.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("path", sorted((PROJECT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_pins_are_plain(path):
    """`name==version` and nothing else: no download address, hash, marker or comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) > 1
    odd = [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.+]*", line)]
    assert not odd


@pytest.mark.parametrize("python", PINS)
def test_pins_are_what_the_package_allows(python):
    pinned = pins(PINS[python])
    for need in DEPENDENCIES + [need for need in DEV if need.name != "cdrzoo"]:
        assert need.specifier.contains(pinned[canonicalize_name(need.name)]), need


@pytest.mark.parametrize("extra", ["bench", "parity"])
def test_pins_of_the_peers_are_what_the_extra_allows(extra):
    pinned = pins(PROJECT / "requirements" / f"{extra}.txt")
    for need in map(Requirement, PYPROJECT["optional-dependencies"][extra]):
        assert need.specifier.contains(pinned[canonicalize_name(need.name)]), need


def test_every_lower_bound_is_tested():
    """A bound that no environment holds is a guess: the oldest environment has exactly the lower bounds."""
    pinned = pins(PINS["3.10"])
    for need in DEPENDENCIES:
        lowest = [s.version for s in need.specifier if s.operator == ">="]
        assert len(lowest) == 1, f"{need} has no lower bound"
        assert SpecifierSet(f"=={lowest[0]}.*").contains(pinned[canonicalize_name(need.name)]), need


def test_every_import_is_a_declared_dependency():
    """What `cdrzoo` imports, `pip install` brings; what an extra brings is imported inside functions only.

    The modules of `cdrzoo.serving` are imported lazily by its `__init__`, which says what is missing.
    """
    extras = [
        text
        for name in ("serving", "report", "recommenders", "tune")
        for text in PYPROJECT["optional-dependencies"][name]
    ]
    declared = {module_of(need) for need in DEPENDENCIES} | set(sys.stdlib_module_names) | {"cdrzoo"}
    optional = {module_of(Requirement(text)) for text in extras}
    undeclared = []
    for path in sorted((PROJECT / "cdrzoo").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lazy = path.parent.name == "serving" and path.name != "__init__.py"
        at_top = set() if lazy else set(map(id, tree.body))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            for name in {full.split(".")[0] for full in names}:
                if name not in declared and (id(node) in at_top or name not in optional):
                    undeclared.append(f"{path.relative_to(PROJECT)}:{node.lineno} {name}")
    assert not undeclared


def test_the_installed_version_is_the_package_s():
    try:
        installed = importlib.metadata.version("cdrzoo")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("cdrzoo is on the path but not installed here")
    assert installed == cdrzoo.__version__


def test_wheel_holds_the_package_and_nothing_else(tmp_path):
    """Built from a copy by the declared backend: a file it leaves out would be missing only for users."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    for name in ("cdrzoo", "tfx_pipeline", "tests"):
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as backend; print(backend.build_wheel('..'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        names = set(wheel.namelist())
        info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
        entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    packages = ("cdrzoo", "tfx_pipeline")
    wanted = {str(p.relative_to(PROJECT)) for package in packages for p in (PROJECT / package).rglob("*.py")}
    wanted |= {
        "cdrzoo/py.typed",
        "cdrzoo/models/cards.yaml",
        "cdrzoo/models/costs.yaml",
        "tfx_pipeline/configs/films.yaml",
        "tfx_pipeline/Containerfile",
    }
    assert wanted <= names
    assert {name.split("/")[0] for name in names} == {"cdrzoo", "tfx_pipeline", info}
    assert f"{info}/licenses/LICENSE" in names
    assert "cdrzoo = cdrzoo.cli:main" in entry_points
