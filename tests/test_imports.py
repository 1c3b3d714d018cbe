"""The floors: which part of the package may import which. Read off the source: a lazy import counts too."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys
import textwrap

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent

# A part may import itself and what stands behind it here, nothing else. Imports thus go downwards only.
BASE = {
    "errors",
    "lazy",
    "documents",
    "files",
    "memory",
    "schema",
    "replicas",
    "losses",
    "metrics",
    "intervals",
    "traffic",
    "optimizers",
    "pieces",
    "xla",
}
FLOORS = {
    "lazy": set(),
    "errors": set(),
    "files": {"errors"},
    "memory": {"errors"},
    "documents": {"errors"},
    "schema": {"errors", "documents", "lazy"},
    "replicas": set(),
    "losses": {"errors", "schema", "replicas"},
    "metrics": {"errors"},
    "intervals": {"metrics"},
    "traffic": set(),
    "pieces": set(),
    "xla": {"replicas", "pieces"},
    "optimizers": {"errors", "replicas", "pieces", "xla"},
    "layers": BASE,
    "models": BASE | {"layers"},
    "data": BASE,
    "export": BASE,
    "serving": BASE | {"export"},
}
FLOORS["training"] = set(FLOORS)
FLOORS["evaluation"] = set(FLOORS)
FLOORS["experiments"] = set(FLOORS)
FLOORS["report"] = set(FLOORS)
FLOORS["cli"] = set(FLOORS)
FLOORS["__main__"] = set(FLOORS)

# What files may import of a room that they stand in: the version of the whole.
FRONT = {"cdrzoo"}

# What several models are made from; else a model reads without another model's file.
COMMON = ("arguments", "base", "cards", "new_domain", "stages")

# The core knows nothing of the pipeline that runs it.
PIPELINE = {
    "tfx_pipeline",
    "tfx",
    "tensorflow_transform",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
}
PIPELINE |= {"apache_beam", "tfx_bsl", "ml_metadata"}
FRAMEWORKS = {"tensorflow", "keras"}

# The one that runs the preparation on Beam, imported when it is asked for.
ADAPTER = ("cdrzoo.data.rows.executors", "apache_beam")


def module_names(package: str) -> dict[str, pathlib.Path]:
    """Dotted name -> file of every module of a package of this project."""
    found = {}
    for path in sorted((PROJECT / package).rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = module_names("cdrzoo")


def imports(name: str, source: str, is_package: bool, modules) -> dict[str, int]:
    """What a module imports, anywhere in it, by statement or by a module's name in a string -> line.

    `from a import b` is `a.b` where that is a module of the project, and `a` where it is not.
    """
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if is_package else name.split(".")[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, *([base] if base else [])])
            names = [full if (full := f"{base}.{alias.name}") in modules else base for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in modules:
            names = [node.value] if "." in node.value else []
        else:
            continue
        for target in names:
            found.setdefault(target, node.lineno)
    return found


def imports_of(name: str) -> dict[str, int]:
    path = MODULES[name]
    stub = path.with_suffix(".pyi")  # of a package whose names are imported when they are asked for
    source = path.read_text(encoding="utf-8") + (stub.read_text(encoding="utf-8") if stub.exists() else "")
    return imports(name, source, path.name == "__init__.py", MODULES)


def offence(importer: str, imported: str) -> str | None:
    """Why `importer` may not import `imported`; `None` if it may."""
    top = imported.split(".")[0]
    if top in PIPELINE and (importer, top) != ADAPTER:
        return "the core does not know the pipeline"
    if top != "cdrzoo":
        part = importer.split(".")[1] if "." in importer else ""
        if top in FRAMEWORKS and part in ("", "errors", "documents", "schema"):
            return "this module is imported before TensorFlow may be"
        return None
    if importer == "cdrzoo":
        return None  # the front door names everything, lazily
    if imported == "cdrzoo":  # its version
        return None if importer.startswith(("cdrzoo.cli", "cdrzoo.training")) else "import the module itself"
    part, other = importer.split(".")[1], imported.split(".")[1]
    if part not in FLOORS:
        return f"{part!r} has no floor: say in FLOORS of {pathlib.Path(__file__).name} what it may import"
    if part != other and other not in FLOORS[part]:
        return f"{part!r} may import only {', '.join(sorted(FLOORS[part])) or 'nothing of cdrzoo'}"
    own_package = {importer, "cdrzoo.models", *(f"cdrzoo.models.{name}" for name in COMMON)}
    if part == other == "models" and importer != "cdrzoo.models" and imported not in own_package:
        return "a model reads without another model's file: what two share is a layer"
    return None


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_downwards(name):
    offences = [
        f"{MODULES[name].relative_to(PROJECT)}:{line} imports {imported}: {why}"
        for imported, line in imports_of(name).items()
        if (why := offence(name, imported))
    ]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize(
    ("importer", "source", "allowed"),
    [
        ("cdrzoo.models.cctl", "from cdrzoo.layers.towers import MLP", True),
        ("cdrzoo.models.cctl", "from cdrzoo.models.base import CrossDomainModel", True),
        ("cdrzoo.models.cctl", "from cdrzoo.models.dnn import DNN", False),
        ("cdrzoo.models.cctl", "from .dnn import DNN", False),
        ("cdrzoo.models.cctl", "def f():\n    from cdrzoo import data", False),
        ("cdrzoo.models.cctl", "import importlib\nimportlib.import_module('cdrzoo.data')", False),
        ("cdrzoo.models.cctl", "import cdrzoo", False),
        ("cdrzoo.data.batches", "from cdrzoo.models import base", False),
        ("cdrzoo.data.batches", "from ..schema import Schema", True),
        ("cdrzoo.layers.towers", "import cdrzoo.models", False),
        ("cdrzoo.export.saving", "from cdrzoo.data.encoder import Encoder", False),
        ("cdrzoo.serving.client", "from cdrzoo.export.rows import raw_rows", True),
        ("cdrzoo.data.readers", "from cdrzoo.training import run", False),
        ("cdrzoo.training.run", "from cdrzoo.experiments import compare", False),
        ("cdrzoo.experiments.compare", "from cdrzoo.evaluation import floors", True),
        ("cdrzoo.evaluation.transfer", "from cdrzoo.report import pages", False),
        ("cdrzoo.experiments.compare", "from cdrzoo import cli", False),
        ("cdrzoo.cli.train", "from cdrzoo.training import run", True),
        ("cdrzoo.schema", "import keras", False),
        ("cdrzoo.training.run", "import apache_beam as beam", False),
        ("cdrzoo.novelty", "from cdrzoo.schema import Schema", False),
    ],
)
def test_the_floors_allow_and_forbid(importer, source, allowed):
    """The rules themselves, on modules that need not exist."""
    modules = {
        "cdrzoo.data",
        "cdrzoo.models",
        "cdrzoo.models.base",
        "cdrzoo.models.dnn",
        "cdrzoo.experiments",
        "cdrzoo.evaluation",
        "cdrzoo.report",
        "cdrzoo.training",
    }
    modules |= {"cdrzoo.training.run", "cdrzoo.cli", "cdrzoo.layers"}
    found = imports(importer, source, False, modules)
    assert all(offence(importer, target) is None for target in found) is allowed


def circles(graph: dict[str, list[str]]) -> list[str]:
    """Circles among modules, each as a line of text; empty if there is none."""
    found, done = [], set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append(" -> ".join([*trail[trail.index(name) :], name]))
        elif name not in done:
            for other in graph[name]:
                walk(other, (*trail, name))
            done.add(name)

    for name in graph:
        walk(name, ())
    return found


def test_no_circle_of_imports():
    """Of files, wherever an import stands: in a function and for types alone, too.

    A room's own `__init__.py` names what stands in it, for people outside; its files import one another.
    """
    rooms = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    graph = {name: [i for i in imports_of(name) if i in MODULES] for name in MODULES}
    for name, others in graph.items():
        inside = [o for o in others if o in rooms and name.startswith(f"{o}.") and o not in FRONT]
        assert not inside, f"{name} imports {inside[0]}, the room that it stands in: import the file"
        graph[name] = [] if name in rooms else [o for o in others if o not in rooms]
    assert not circles(graph)


def test_a_circle_is_found():
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b -> c -> b"]
    assert not circles({"a": ["b", "c"], "b": ["c"], "c": []})


@pytest.mark.parametrize("name", MODULES)
def test_keras_3_only(name):
    """`tf.keras` is Keras 2 where TF_USE_LEGACY_KERAS is set; the core must work beside it."""
    lines = []
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == "keras" and isinstance(node.value, ast.Name):
            if node.value.id in ("tf", "tensorflow"):
                lines.append(node.lineno)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{n}" for n in names]
            lines += [node.lineno for n in names if n.startswith(("tensorflow.keras", "tf_keras"))]
    assert not lines, f"{MODULES[name].relative_to(PROJECT)} uses tf.keras on lines {lines}; import keras"


def modules_after(code: str) -> tuple[set[str], str]:
    """Top-level modules that a fresh process holds after `code`, and what the code printed."""
    code = textwrap.dedent(code) + "\nimport sys\nprint('\\nMODULES', *sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    printed, _, names = done.stdout.rpartition("\nMODULES")
    return {name.split(".")[0] for name in names.split()}, printed + done.stderr


def test_import_cdrzoo_is_light_and_quiet():
    held, printed = modules_after("import cdrzoo; cdrzoo.Schema, cdrzoo.InputError")
    assert "cdrzoo" in held
    assert not held & {"tensorflow", "keras", "pandas", "pyarrow", "sklearn", "numpy"}
    assert printed == ""


def test_a_schema_error_needs_no_tensorflow():
    held, printed = modules_after(
        """
        from cdrzoo.errors import SchemaError
        from cdrzoo.schema import Table
        try:
            Table("films", width=0)
        except SchemaError as error:
            print(error)
        """
    )
    assert "width" in printed
    assert not held & FRAMEWORKS


def test_model_list_needs_no_tensorflow():
    held, _ = modules_after("import cdrzoo.models")
    assert "cdrzoo" in held and not held & FRAMEWORKS


@pytest.mark.parametrize("argument", ["--help", "models"])
def test_command_line_help_needs_no_tensorflow(argument):
    held, printed = modules_after(
        f"""
        from cdrzoo.cli import main
        try:
            status = main([{argument!r}])
        except SystemExit as leaving:
            status = leaving.code
        assert not status, status
        """
    )
    assert printed.strip()
    assert not held & FRAMEWORKS
