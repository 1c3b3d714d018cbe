"""YAML and JSON files in and out, with the words of YAML 1.2."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Hashable
from typing import Any

import yaml

from cdrzoo.errors import LONGEST, SchemaError, shown

DEEPEST = 50
"""Levels that a document may have."""
LARGEST = 1_000_000
"""Values that a document may have, what an alias repeats counted each time."""

_ROWS = (".csv", ".tsv", ".parquet", ".jsonl", ".tfrecord", ".gz")
"""How the names of files of rows end."""

# YAML 1.2.2, section 10.3.2, the core schema: which plain words are no text. `on`, `no`, 1:30, 1_000 and 2023-11-15
# are text.
_WORDS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


def load_mapping(path: str | pathlib.Path) -> dict[str, Any]:
    """Reads a YAML or JSON file whose top is a mapping (see `load_yaml`)."""
    path = pathlib.Path(path) if isinstance(path, str) else path
    if path.name.endswith(_ROWS):
        raise SchemaError(
            f"{path} holds rows, by its ending. A schema or a configuration was wanted, a YAML or JSON file: it names "
            "the files of rows, under `data`."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SchemaError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from None
    except UnicodeDecodeError:
        raise SchemaError(f"{path} is not a text file. A YAML or JSON file was wanted.") from None
    except ValueError as error:  # a NUL in the path
        raise SchemaError(f"Cannot read {shown(str(path))}: {error}. Check the path.") from None
    config = load_yaml(text, str(path))
    if not isinstance(config, dict):
        raise SchemaError(
            f"{path} must hold a mapping (`key: value` lines). Received: {type(config).__name__}."
        )
    return config


def load_yaml(text: str, where: str) -> Any:
    """What YAML 1.2 says, and JSON is YAML: `on` is text, 1e-3 a number; a key that stands twice is an error.

    Of YAML 1.1 `<<: *anchor` is kept: a mapping takes over another.

    Args:
        text: the YAML.
        where: where it stands, for messages.

    Raises:
        SchemaError: it is not YAML, or a key stands twice in one mapping.
    """
    where = where if len(where) <= LONGEST else f"{where[:LONGEST]}..."
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        if isinstance(error, yaml.reader.ReaderError):
            line = f", line {text.count(chr(10), 0, error.position) + 1}"
            problem = f"a character that text cannot hold, {ascii(text[error.position])}"
        else:
            problem = str(getattr(error, "problem", None) or error)[:300]
        raise SchemaError(
            f"{where}{line} is not valid YAML: {problem}. Correct it; text that begins with a sign, such as * or {{, "
            "stands in quotes."
        ) from None
    except (ValueError, KeyError) as error:  # what a tag such as !!int promised and did not hold
        raise SchemaError(f"{where} is not valid YAML: {str(error)[:300]}.") from None


def dump_yaml(value: Any, **style: Any) -> str:
    """YAML that `load_yaml` reads back, and readers of YAML 1.1, too: `no` and 1:30 stand in quotes."""
    try:
        return yaml.dump(value, Dumper=_Dumper, sort_keys=False, **style)
    except yaml.representer.RepresenterError as error:
        raise SchemaError(
            f"A YAML file cannot hold a {type(error.args[1]).__name__}: wanted are text, numbers, lists and mappings, "
            "and rows as the name of their file."
        ) from None


class _Loader(yaml.SafeLoader):
    """PyYAML's own, which reads YAML 1.1, with the words of 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}

    def __init__(self, stream):
        super().__init__(stream)
        self.level = 0
        self.sizes: dict[int, int] = {}  # values in each finished node

    def compose_node(self, parent, index):
        """Counts levels and values: aliases of aliases are small in the file and endless in memory."""
        mark, alias = self.peek_event().start_mark, self.check_event(yaml.AliasEvent)
        self.level += 1
        if self.level > DEEPEST:
            raise yaml.composer.ComposerError(
                problem=f"it is nested too deep, over {DEEPEST} levels; write it flatter",
                problem_mark=mark,
            )
        node: Any = super().compose_node(parent, index)
        self.level -= 1
        if id(node) not in self.sizes:
            if alias:
                raise yaml.composer.ComposerError(problem="it holds itself", problem_mark=mark)
            inside = [] if isinstance(node, yaml.ScalarNode) else node.value
            parts = [part for one in inside for part in (one if isinstance(one, tuple) else (one,))]
            size = self.sizes[id(node)] = 1 + sum(self.sizes[id(part)] for part in parts)
            if size > LARGEST:
                raise yaml.composer.ComposerError(
                    problem=f"its aliases stand for more than {LARGEST:,} values; write out what is meant",
                    problem_mark=mark,
                )
        return node

    def construct_mapping(self, node, deep=False):
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *anchor`: what stands beside it wins
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # PyYAML says so
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{shown(key)} stands twice; keep one", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node):
        text = self.construct_scalar(node)
        if len(text) > 4000:  # Python reads no more than 4,300 digits
            raise yaml.constructor.ConstructorError(
                problem=f"a number of {len(text):,} digits; put it in quotes if it is text",
                problem_mark=node.start_mark,
            )
        return int(text[2:], {"0o": 8, "0x": 16}[text[:2]]) if text[:2] in ("0o", "0x") else int(text)


class _Dumper(yaml.SafeDumper):
    """PyYAML's own, with its own words besides: text that either reading takes for something else is quoted."""


for tag, words, first in _WORDS:
    for cls in (_Loader, _Dumper):
        cls.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{words})$"), first)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("<<$"), ["<"])
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
