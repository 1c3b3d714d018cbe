"""What a schema and a run configuration may say, read off the classes that check them: for people and for editors."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from cdrzoo.data import prepare
from cdrzoo.data.preparation import sources
from cdrzoo.models import CARDS
from cdrzoo.schema import Domain, Feature, Label, Table, features
from cdrzoo.training.config import OPTIMIZERS, PLACES, RunConfig, Training

CHOICES: dict[str, tuple[str, ...]] = {
    "Feature.kind": features.KINDS,
    "Feature.role": features.ROLES,
    "Feature.dtype": features.DTYPES,
    "Feature.derive": features.DERIVED,
    "Table.by": features.CUTS,
    "Domain.task": features.TASKS,
    "Label.task": features.TASKS,
    "Source.kind": sources.KINDS,
    "Training.optimizer": OPTIMIZERS,
    "RunConfig.model": tuple(card.name for card in CARDS),
    "RunConfig.domains": ("all", "target"),
    "prepare.history": ("before", "others"),
}
"""The words that an entry may be."""
FILLED_IN = {
    "Table.rows",
    "Table.first_rows",
    "Domain.mean",
    "Label.mean",
    *(f"RunConfig.{name}" for name in PLACES),
}
"""What the library writes itself."""
ELSEWHERE = {f"prepare.{name}" for name in ("schema", "sources", "split", "slices", "folder", "encoder")}
"""Arguments of `prepare` that are entries of the run itself."""

TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "Mapping": "object",
    "list": "array",
    "tuple": "array",
    "Sequence": "array",
    "None": "null",
    "Training": "object",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry of a configuration.

    Args:
        name: its key.
        types: what it may be, in the words of JSON Schema; empty: anything.
        required: whether it must be there.
        default: what it is where it is not there.
        choices: the words that it may be; empty: it is not a word of a list.
        about: what it means.
    """

    name: str
    types: tuple[str, ...]
    required: bool
    default: Any
    choices: tuple[str, ...]
    about: str

    @property
    def schema(self) -> dict[str, Any]:
        """The entry in JSON Schema."""
        found: dict[str, Any] = {"description": self.about}
        if self.choices:
            found["enum"] = list(self.choices)
        elif self.types:
            found["type"] = list(self.types) if len(self.types) > 1 else self.types[0]
        if not self.required and isinstance(self.default, (str, int, float, bool)) and self.default != "":
            found["default"] = self.default
        return found


def entries(of: Callable[..., Any]) -> list[Entry]:
    """The entries that a class, or `prepare`, takes from a configuration, in order."""
    told = _told(of)
    found = []
    for name, parameter in inspect.signature(of).parameters.items():
        full = f"{of.__name__}.{name}"
        if full in FILLED_IN or full in ELSEWHERE:
            continue
        required = parameter.default is parameter.empty
        default = None if required else _default(of, name, parameter.default)
        types = tuple(
            dict.fromkeys(TYPES[word] for word in _words(str(parameter.annotation)) if word in TYPES)
        )
        if "Any" in str(parameter.annotation).split("[")[0]:
            types = ()
        found.append(Entry(name, types, required, default, CHOICES.get(full, ()), told.get(name, "")))
    return found


def _words(annotation: str) -> list[str]:
    """The names of a union, without what stands in brackets."""
    while (shorter := re.sub(r"\[[^\[\]]*\]", "", annotation)) != annotation:
        annotation = shorter
    return [word.strip() for word in annotation.split("|")]


def _default(of: Any, name: str, given: Any) -> Any:
    for field in dataclasses.fields(of) if dataclasses.is_dataclass(of) else ():
        if field.name == name and field.default_factory is not dataclasses.MISSING:
            made = field.default_factory()
            return made if isinstance(made, (dict, list)) else None
    return list(given) if isinstance(given, tuple) else given


def _told(of: Callable[..., Any]) -> dict[str, str]:
    """`{name: text}` of the section `Args` of a docstring; of `Source` what `prepare` says of its entries."""
    if of is sources.Source:
        told = re.findall(
            r"- `(\w+)`(?:, [^:]*| or `data`)?: (.*?)(?=\n *- `|\n\n)", _told(prepare)["sources"], re.S
        )
        return {name: _line(text) for name, text in told}
    text = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(of) or "", re.S | re.M)
    found = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", text[1] if text else "", re.S | re.M)
    return {name: body if name == "sources" else _line(body) for name, body in found}


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line[:1].upper() + line[1:]


def _object(of: Callable[..., Any], about: str, **other: Any) -> dict[str, Any]:
    found = entries(of)
    given = {entry.name: entry.schema for entry in found} | {name: o for name, o in other.items() if o}
    for name, one in other.items():
        if one is None:
            del given[name]
    required = [entry.name for entry in found if entry.required and entry.name in given]
    return {
        "type": "object",
        "description": about,
        "properties": given,
        "required": required,
        "additionalProperties": False,
    }


def _named(one: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping from name to such an object."""
    return {"type": "object", "additionalProperties": {"anyOf": [one, {"type": "null"}]}}


def _schema() -> dict[str, Any]:
    feature = _object(Feature, "One column of a domain.")
    label = {"anyOf": [{"type": "string"}, _object(Label, "One of several labels.", name=None)]}
    domain = _object(
        Domain,
        "A domain.",
        name=None,
        features={"type": "array", "items": feature, "minItems": 1},
        labels={"type": "object", "additionalProperties": label, "minProperties": 2},
    )
    table = _object(Table, "An embedding table.", name=None)
    return {
        "type": "object",
        "properties": {
            "target": {"type": "string", "description": "The domain that is served."},
            "tables": _named(table),
            "domains": _named(domain),
        },
        "required": ["target", "domains"],
        "additionalProperties": False,
    }


def _run() -> dict[str, Any]:
    paths = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    source = _object(sources.Source, "Where the rows of a domain are.", path=paths, data=None)
    found = _object(
        RunConfig,
        "Everything a run is made from.",
        schema={"anyOf": [{"type": "string", "description": "A file."}, _schema()]},
        data={
            "anyOf": [
                {"type": "string", "description": "A folder of prepared rows."},
                {"type": "object", "additionalProperties": {"anyOf": [*paths["anyOf"], source]}},
            ]
        },
        training=_object(Training, "How the model is trained."),
        preparation=_object(prepare, "Further arguments of `cdrzoo.data.prepare`."),
        split={"anyOf": [{"type": "string"}, {"type": "object"}], "default": "time"},
    )
    found["required"].remove("schema")  # prepared rows have theirs
    found["anyOf"] = [{"required": ["schema"]}, {"properties": {"data": {"type": "string"}}}]
    found["properties"]["pipeline"] = {"type": "object", "description": "The TFX pipeline's own section."}
    return found


def json_schema(of: str = "run") -> dict[str, Any]:
    """The JSON Schema of `run.yaml` or of `schema.yaml`, by which an editor completes and checks what is typed.

    It knows names, types and words. What depends on more than one entry is checked by `cdrzoo schema check`.

    Args:
        of: `run` or `schema`.
    """
    made = {"run": _run, "schema": _schema}[of]()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"cdrzoo {of}.yaml", **made}
