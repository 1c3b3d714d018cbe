"""The reference pages: every entry of a schema and of a run, read off the code that checks them."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
from collections.abc import Callable
from typing import Any

from cdrzoo.data import prepare
from cdrzoo.data.preparation.sources import Source
from cdrzoo.documents import dump_yaml, load_mapping
from cdrzoo.models import CARDS
from cdrzoo.models.cards import costs
from cdrzoo.schema import Domain, Feature, Label, Table
from cdrzoo.training.config import RunConfig, Training
from cdrzoo.training.reference import Entry, entries
from docs.render.results import markdown

PROJECT = pathlib.Path(__file__).resolve().parents[2]
CLASSES: dict[str, Callable[..., Any]] = {
    "table": Table,
    "domain": Domain,
    "label": Label,
    "feature": Feature,
    "run": RunConfig,
    "data": Source,
    "preparation": prepare,
    "training": Training,
}
NOT_IN_A_FILE = {"Source.data"}
"""A DataFrame has no place in YAML."""
WORDS = {
    "string": "text",
    "integer": "whole number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}


@functools.cache
def examples() -> dict[str, dict[str, str]]:
    """`{part: {entry: an example of it}}`, from examples.yaml."""
    given = load_mapping(pathlib.Path(__file__).with_name("examples.yaml"))
    schema, run = given["schema"], given["run"]
    domains = [{"name": name, **domain} for name, domain in schema["domains"].items()]
    parts = {
        "table": [{"name": name, **table} for name, table in schema["tables"].items()],
        "domain": domains,
        "label": [
            {"name": name, **label}
            for domain in domains
            for name, label in (domain.get("labels") or {}).items()
        ],
        "feature": [feature for domain in domains for feature in domain["features"]],
        "run": [run],
        "data": list(run["data"].values()),
        "preparation": [run["preparation"]],
        "training": [run["training"]],
    }
    long = ("features", "training", "data")
    return {
        part: {
            name: f"{name}: ..."
            if name in long
            else dump_yaml({name: value}, default_flow_style=True, width=999)
            for one in reversed(several)
            for name, value in one.items()
        }
        for part, several in parts.items()
    }


def shown(part: str) -> list[Entry]:
    return [e for e in entries(CLASSES[part]) if f"{CLASSES[part].__name__}.{e.name}" not in NOT_IN_A_FILE]


def table(part: str) -> str:
    """A row an entry: name, what it may be, default, example, meaning."""
    rows = []
    for entry in shown(part):
        what = " or ".join(WORDS.get(one, one) for one in entry.types if one != "null") or "see the text"
        if entry.choices:
            what = (
                ", ".join(f"`{word}`" for word in entry.choices)
                if len(entry.choices) < 9
                else "a model's name"
            )
        example = re.sub(r"^\{(.*)\}$", r"\1", examples()[part][entry.name].strip()).replace("|", "\\|")
        default = "required" if entry.required else _default(entry)
        about = re.sub(r" ?\(see `[^)]*\)", "", entry.about).replace("|", "\\|")
        rows.append([f"`{entry.name}`", what, default, f"`{example}`", _sentences(about)])
    return markdown(["entry", "it is", "default", "example", "meaning"], rows)


def _default(entry: Entry) -> str:
    if entry.default in (None, "", {}, [], ()):
        return "none"
    text = str(entry.default).replace("|", "\\|")
    return f"`{text.lower() if isinstance(entry.default, bool) else text}`"


def _sentences(text: str) -> str:
    """A docstring's halves of a sentence as sentences of their own; Python's words as YAML's."""
    for python, yaml in (
        ("`True`", "`true`"),
        ("`False`", "`false`"),
        ("`None`:", "without it:"),
        ("`None`", "null"),
    ):
        text = text.replace(python, yaml)
    parts = [part.strip() for part in re.split(r"; (?![^(]*\))", text)]
    return ". ".join(part[:1].upper() + part[1:] for part in parts)


def cost_of(name: str) -> str:
    """What a model costs beside the DNN of the target."""
    cost = costs()[name]
    return (
        f"`{name}` has {cost['parameters']:.2g} times the parameters of `dnn`, and a training step takes "
        f"{cost['step']:.2g} times as long\n([all models](index.md))."
    )


def models() -> str:
    """Every model with its page, needs, costs and paper."""
    rows = []
    for one in CARDS:
        cost = costs()[one.name]
        name = f"[`{one.name}`]({page(one.name)})"
        rows.append(
            [
                name,
                one.title,
                one.family,
                one.needs,
                f"{cost['parameters']:.2f}",
                f"{cost['step']:.1f}",
                one.paper,
            ]
        )
    return markdown(["name", "model", "family", "needs", "parameters", "step", "paper"], rows)


@functools.cache
def page(name: str) -> str:
    """The page, and the place on it, that describes a model, relative to docs/models."""
    folder = PROJECT / "docs" / "models"
    second = {one.after: one.name for one in CARDS}.get(name, name)
    for each in (name, second):
        if (folder / f"{each}.md").exists():
            return f"{each}.md"
    for path in sorted(folder.glob("*.md")):
        for heading in re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M):
            if f"`{name}`" in heading:
                return f"{path.name}#{slug(heading)}"
    raise LookupError(f"No page of docs/models has a heading with `{name}`.")


def slug(heading: str) -> str:
    """The anchor of a heading, as Markdown sites make it."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def api(package: str) -> str:
    """An entry of mkdocstrings for every public class and function of a package, a module whole."""
    found = public(package)
    if package == "cdrzoo":  # what a package of it offers has its place there
        elsewhere = {home for other in ("schema", "training") for home in public(f"cdrzoo.{other}").values()}
        found = {name: home for name, home in found.items() if home not in elsewhere}
    blocks = []
    for name, home in sorted(found.items(), key=lambda item: item[0].lower()):
        options = {"heading": f"{package}.{name}", "toc_label": name}
        blocks.append(
            f"::: {home}\n    options:\n" + "".join(f"      {k}: {v}\n" for k, v in options.items())
        )
    return "\n".join(blocks).rstrip()


def public(package: str) -> dict[str, str]:
    """`{name: where it is defined}` of what a package or module offers; constants and packages are left out."""
    path = PROJECT.joinpath(*package.split("."))
    stub, init = path / "__init__.pyi", path / "__init__.py"
    file = stub if stub.exists() else init if init.exists() else path.with_suffix(".py")
    found: dict[str, str] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cdrzoo."):
            found |= {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            found[node.name] = f"{package}.{node.name}"
    offered = re.compile(r"__all__ = \[(.*?)\]", re.S).search(file.read_text(encoding="utf-8"))
    names = set(ast.literal_eval(f"[{offered[1]}]")) if offered else set(found)
    return {name: home for name, home in found.items() if name in names and _shown(home)}


def _shown(home: str) -> bool:
    """Whether it is a class, a function or a module; a constant says little, and a package has a page of its own."""
    path = PROJECT.joinpath(*home.split("."))
    if path.is_dir() or path.with_suffix(".py").exists():
        return path.with_suffix(".py").exists()
    file = path.parent / "__init__.py" if path.parent.is_dir() else path.parent.with_suffix(".py")
    return bool(re.search(rf"^(?:class|def) {path.name}\b", file.read_text(encoding="utf-8"), re.M))
