"""The package says what it needs, the pins keep to it, and what is built holds what is imported."""

from __future__ import annotations

import ast
import importlib.metadata
import os
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
WHOLE = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
PYPROJECT = WHOLE["project"]
DEPENDENCIES = [Requirement(text) for text in PYPROJECT["dependencies"]]
DEV = [Requirement(text) for extra in ("test", "dev") for text in PYPROJECT["optional-dependencies"][extra]]
FOLDER = PROJECT / "requirements"
PINS = {"3.10": FOLDER / "tfx116.txt", "3.11": FOLDER / "py311.txt", "3.12": FOLDER / "tfx121.txt"}
# Distributions whose module has another name.
MODULE = {"universal-pathlib": "upath", "pyyaml": "yaml", "scikit-learn": "sklearn", "protobuf": "google"}
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


NAMED = PYPROJECT["optional-dependencies"] | WHOLE["dependency-groups"]


@pytest.mark.parametrize("name", ["bench", "parity", "docs", "scale"])
def test_pins_of_other_environments_are_what_is_asked_for(name):
    pinned = pins(PROJECT / "requirements" / f"{name}.txt")
    for need in map(Requirement, NAMED[name]):
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
        for name in ("serving", "report", "recommenders", "tune", "beam", "dask", "spark", "remote")
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


def sources() -> set[str]:
    """The project's files without the hidden ones: what git tracks, or what an unpacked sdist lists."""
    if (PROJECT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout
    else:
        listed = (PROJECT / "cdrzoo.egg-info" / "SOURCES.txt").read_text(encoding="utf-8")
    return {name for name in listed.splitlines() if name[0] != "." and (PROJECT / name).exists()}


def run(*command: str, cwd: pathlib.Path) -> str:
    """What Python prints where only `cwd` is on its path."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(what: str, source: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """The sdist or wheel that the declared backend makes."""
    code = f"import setuptools.build_meta as backend; print(backend.build_{what}({str(to)!r}))"
    return to / run("-c", code, cwd=source).split()[-1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> pathlib.Path:
    """The folder of an unpacked sdist, made of a copy of the project."""
    source, to = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("sdist")
    for name in sources():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, source / name)
    sdist = build("sdist", source, to)
    shutil.unpack_archive(sdist, to)
    return to / sdist.name.removesuffix(".tar.gz")


def test_sdist_holds_the_project(unpacked):
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    made = {name for name in names if name.startswith("cdrzoo.egg-info/")} | {"PKG-INFO"}
    assert names - made == sources() - {"cdrzoo.egg-info/SOURCES.txt"}


@pytest.mark.exhaustive
def test_tests_run_from_the_sdist(unpacked):
    """Quick ones: of a module without TensorFlow, of a model, of a page."""
    where = run("-c", "import cdrzoo; print(cdrzoo.__file__)", cwd=unpacked)
    assert pathlib.Path(where.strip()).is_relative_to(unpacked)
    files = ("tests/test_schema.py", "tests/models/test_dnn.py", "tests/test_pitfalls.py")
    assert " passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", *files, cwd=unpacked)


def test_wheel_holds_the_package_and_nothing_else(unpacked, tmp_path):
    """Built from the sdist, as pip does: a file it leaves out would be missing only for users."""
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path)) as wheel:
        names = set(wheel.namelist())
        info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
        entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    packages = ("cdrzoo/", "tfx_pipeline/")
    assert {name for name in names if not name.startswith(info)} == {
        n for n in sources() if n.startswith(packages)
    }
    assert {"cdrzoo/py.typed", "tfx_pipeline/configs/films.yaml"} <= names
    assert {"cdrzoo/experiments/search.yaml", "cdrzoo/experiments/catalogue/pairs_clicks.yaml"} <= names
    assert f"{info}/licenses/LICENSE" in names
    assert "cdrzoo = cdrzoo.cli:main" in entry_points
