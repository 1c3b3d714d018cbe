"""Schemas: every key with values of every type, what must stand and does not, and the words of YAML."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from cdrzoo.documents import dump_yaml
from cdrzoo.schema import Schema
from tests.attack.cells import new
from tests.attack.judge import NO_VALUE, Case, command

VALUES: list[Any] = [
    *(None, True, False, 0, 5, -1, 1.5, -0.5, math.nan, math.inf, 10**30, 2**31, 2**53 + 1),
    *(
        "",
        " ",
        "x",
        "a b",
        "größe",
        "💥",
        "x" * 5000,
        "a\0b",
        "a\nb",
        "5",
        "true",
        "2023-11-15",
        "../nowhere",
        "a/b",
    ),
    *([], ["user"], [1, 2, 3], [[]], {}, {"a": 1}, {"user": {}}),
]
HISTORY = {"name": "read", "kind": "ids", "role": "history", "of": "books", "table": "book", "length": 4}


def domain(item: str, *more: dict[str, Any]) -> dict[str, Any]:
    """Users, items of a table and further features; what it is made of is its own."""
    user = {"name": "user", "kind": "id", "role": "user", "table": "user"}
    features = [user, {"name": "item", "kind": "id", "role": "item", "table": item}, *map(dict, more)]
    return {"label": "click", "time": "time", "features": features}


SCHEMA: dict[str, Any] = {
    "target": "films",
    "tables": {"user": {"width": 4}, "book": {}, "film": {}, "genre": {}},
    "domains": {
        "books": domain("book", HISTORY),
        "films": domain(
            "film",
            {"name": "genres", "kind": "ids", "role": "item", "table": "genre", "length": 3},
            {"name": "minutes", "kind": "number", "role": "item"},
            HISTORY,
        ),
    },
}
"""A small schema of every kind of feature."""

Fits = Callable[[Any], bool]


def whole(least: int, most: int = 2**31 - 1) -> Fits:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most


def number(v: Any) -> bool:
    return isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)


def text(v: Any) -> bool:
    return isinstance(v, str) and v != ""


def word(v: Any) -> bool:
    return isinstance(v, str) and re.fullmatch("[A-Za-z0-9_]+", v) is not None


def truth(v: Any) -> bool:
    return isinstance(v, bool)


def never(v: Any) -> bool:
    return False


def or_none(fits: Fits) -> Fits:
    return lambda v: v is None or fits(v)


FILMS = ("domains", "films")
USER, ITEM, GENRES, MINUTES, READ = ((*FILMS, "features", place) for place in range(5))
KEYS: dict[tuple[Any, ...], Fits] = {
    ("target",): never,
    ("tables",): never,
    ("tables", "user"): or_none(lambda v: v == {}),
    ("tables", "user", "width"): whole(1, 65536),
    ("tables", "user", "per_domain"): truth,
    ("tables", "user", "min_count"): whole(1),
    ("tables", "user", "hash_buckets"): or_none(whole(1)),
    ("tables", "user", "color"): never,
    ("domains",): never,
    FILMS: never,
    (*FILMS, "label"): text,
    (*FILMS, "time"): or_none(text),
    (*FILMS, "task"): never,
    (*FILMS, "threshold"): or_none(number),
    (*FILMS, "user"): or_none(text),
    (*FILMS, "item"): or_none(text),
    (*FILMS, "color"): never,
    (*FILMS, "features"): never,
    USER: never,
    (*ITEM, "name"): word,
    (*ITEM, "kind"): never,
    (*ITEM, "role"): never,
    (*ITEM, "table"): never,
    (*ITEM, "dtype"): or_none(never),
    (*ITEM, "length"): or_none(never),
    (*ITEM, "of"): or_none(never),
    (*ITEM, "column"): or_none(text),
    (*ITEM, "color"): never,
    (*GENRES, "length"): whole(1),
    (*GENRES, "dtype"): or_none(never),
    (*GENRES, "column"): or_none(text),
    (*MINUTES, "table"): or_none(never),
    (*MINUTES, "dtype"): or_none(never),
    (*READ, "length"): never,
    (*READ, "of"): never,
    (*READ, "field"): or_none(text),
    (*READ, "table"): never,
    ("color",): never,
}
"""Every key, and which values are right. A key that no schema has is right with none."""


def changed(path: tuple[Any, ...], value: Any, base: dict[str, Any] = SCHEMA) -> dict[str, Any]:
    """A copy with another value at a place; `...`: without it."""
    made = copy.deepcopy(base)
    inner: Any = made
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return made


def found(schema: Schema, path: tuple[Any, ...]) -> Any:
    """What a schema holds at a place."""
    if path[0] == "tables":
        table = next(table for table in schema.tables if table.name == path[1])
        return getattr(table, path[2]) if len(path) > 2 else None
    domain = schema.domain(path[1])
    return getattr(domain.features[path[3]], path[4]) if len(path) > 3 else getattr(domain, path[2])


def of_keys() -> Iterator[Case]:
    """Every key with every value, and without it."""
    for path, fits in KEYS.items():
        named = next(str(key) for key in reversed(path) if isinstance(key, str))
        named = named.rstrip("s")  # features: a feature
        for value in VALUES:

            def run(path: tuple[Any, ...] = path, value: Any = value, written: bool = fits(value)) -> Any:
                schema = Schema.from_dict(changed(path, value))
                again = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
                held = value if len(path) < 3 or value is None else found(schema, path)
                return held if again == schema else "not what was written"

            right = value if fits(value) else NO_VALUE
            # A default may stand in the place of null, and what may be left out may be so.
            right = (
                (lambda _: True)
                if value is None and path[-1] not in ("label", "color", "name", "kind")
                else right
            )
            words = None if fits(value) else (named,)
            if value is None:
                words = (named,)
            yield Case(f"{'.'.join(map(str, path))}: {value!r:.30}", run, right, words)
    for path in KEYS:
        if path[-1] in ("color", "films", "user", "books") or isinstance(path[-1], int):
            continue
        try:
            without = changed(path, ...)
        except KeyError:
            continue
        may = path[-1] in ("width", "time", "label") and path[0] in ("tables", "domains")
        yield Case(
            f"without {'.'.join(map(str, path))}",
            lambda without=without: Schema.from_dict(without),
            (lambda _: True) if may else NO_VALUE,
            None if may else (str(path[-1]).rstrip("s"),),
        )


def of_sense() -> Iterator[Case]:
    """What contradicts itself."""

    def with_features(
        *more: dict[str, Any], change: Callable[[dict[str, Any]], Any] = lambda made: None
    ) -> Any:
        made = copy.deepcopy(SCHEMA)
        made["domains"]["films"]["features"] += more
        change(made)
        return made

    one = {"name": "new", "kind": "id", "role": "context", "table": "genre"}
    cases: dict[str, tuple[Any, tuple[str, ...]]] = {
        "a name twice": (with_features({**one, "name": "item"}), ("item",)),
        "a number with a table": (with_features({**one, "kind": "number"}), ("new", "table")),
        "an id without a table": (with_features({**one, "table": None}), ("new", "table")),
        "an id with a length": (with_features({**one, "length": 4}), ("new", "length")),
        "ids without a length": (with_features({**one, "kind": "ids"}), ("new", "length")),
        "a float as id": (with_features({**one, "dtype": "float32"}), ("new", "dtype")),
        "text as number": (with_features({"name": "new", "kind": "number", "role": "item", "dtype": "string"}), ("new",)),
        "a history of one id": (with_features({**one, "role": "history", "of": "books"}), ("new", "ids")),
        "a history of nothing": (with_features({**HISTORY, "name": "new", "of": None}), ("new", "of")),
        "a history of another length": (with_features({**HISTORY, "name": "new", "length": 9}), ("new", "length")),
        "an item with `of`": (with_features({**one, "of": "books"}), ("new", "of")),
        "a table of nobody": (with_features(change=lambda m: m["tables"].update(zip={})), ("zip",)),
        "a table misspelt": (with_features({**one, "table": "genr"}), ("genr", "Did you mean 'genre'")),
        "another kind in another domain": (
            with_features({**one, "name": "k"}, change=lambda m: m["domains"]["books"]["features"].append({"name": "k", "kind": "number", "role": "context"})),
            ("k", "kind"),
        ),
        "another role in another domain": (
            with_features({**one, "name": "k"}, change=lambda m: m["domains"]["books"]["features"].append({**one, "name": "k", "role": "item"})),
            ("k", "role"),
        ),
        "a threshold of ratings": (with_features(change=lambda m: m["domains"]["films"].update(task="rating", threshold=4)), ("threshold",)),
        "a key in capitals": (with_features(change=lambda m: m["domains"]["films"].update(Label="x")), ("Label",)),
        "a list of domains": ({**SCHEMA, "domains": [SCHEMA["domains"]["films"]]}, ("name",)),
        "features as a mapping": (with_features(change=lambda m: m["domains"]["films"].update(features={"user": {"kind": "id"}})), ("features",)),
        "a domain that is a number": ({**SCHEMA, "domains": {**SCHEMA["domains"], 5: SCHEMA["domains"]["films"]}}, ("5",)),
        "a domain without a name": ({**SCHEMA, "domains": {**SCHEMA["domains"], None: SCHEMA["domains"]["films"]}}, ("domain",)),
        "a table that is a truth": ({**SCHEMA, "tables": {**SCHEMA["tables"], True: {}}}, ("True",)),
        "a domain that is a tuple": ({**SCHEMA, "domains": {**SCHEMA["domains"], (1, 2): SCHEMA["domains"]["films"]}}, ("(1, 2)",)),
    }  # fmt: skip
    for name, (given, words) in cases.items():
        yield Case(name, lambda given=given: Schema.from_dict(given), NO_VALUE, words)
    for name in (
        "self",
        "class",
        "None",
        "import",
        "lambda",
        "_",
        "__init__",
        "0",
        "1a",
        "k",
        "serving_default",
        "x" * 300,
    ):
        yield Case(
            f"a feature called {name:.20}",
            lambda name=name: Schema.from_dict(with_features({**one, "name": name})).domain("films").features[-1].name,
            name,
            (name,),
        )  # fmt: skip


def of_words() -> Iterator[Case]:
    """Files of YAML and JSON."""
    plain = dump_yaml(SCHEMA)

    def file(content: str | bytes, ending: str = ".yaml") -> Callable[[], Any]:
        def run() -> Any:
            path = new(ending)
            path.write_bytes(
                content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
            )
            command("schema", "check", str(path))
            return Schema.load(path)

        return run

    right = Schema.from_dict(SCHEMA)
    for name in ("on", "off", "yes", "no", "y", "n", "null_", "1_000", "0b1", "Yes", "NO", "1e", "0o8", "0x"):
        renamed = plain.replace("genre:", f"{name}:").replace("table: genre", f"table: {name}")
        expected = Schema.from_dict(json.loads(json.dumps(SCHEMA).replace('"genre"', json.dumps(name))))
        yield Case(f"a table called {name}", file(renamed), expected, None)
        renamed = plain.replace("label: click", f"label: {name}")
        expected = Schema.from_dict(json.loads(json.dumps(SCHEMA).replace('"click"', json.dumps(name))))
        yield Case(f"a label called {name}", file(renamed), expected, None)
    for name in (
        "true",
        "null",
        "~",
        "5",
        "1.5",
        "0x1F",
        "1e3",
        ".nan",
        "[]",
        "{}",
        "!!str",
        "*a",
        "&a",
        "!x y",
        "'",
        '"',
    ):
        yield Case(f"label: {name}", file(plain.replace("label: click", f"label: {name}")), NO_VALUE, ())
    forms: dict[str, tuple[str | bytes, Any, tuple[str, ...] | None]] = {
        "JSON": (json.dumps(SCHEMA), right, None),
        "JSON over lines": (json.dumps(SCHEMA, indent=2), right, None),
        "lines of Windows": (plain.replace("\n", "\r\n"), right, None),
        "a mark of byte order": ("\ufeff" + plain, right, None),
        "a mark of a document": ("---\n" + plain + "...\n", right, None),
        "comments": ("# ours\n" + plain.replace("\n", " # here\n"), right, None),
        "UTF-16": (plain.encode("utf-16"), right, (".yaml",)),
        "Latin-1": (plain.replace("click", "größe").encode("latin-1"), NO_VALUE, (".yaml", "text")),
        "tabs": (plain.replace("  ", "\t"), NO_VALUE, (".yaml", "line")),
        "two documents": (f"{plain}---\n{plain}", NO_VALUE, (".yaml",)),
        "nothing": ("", NO_VALUE, (".yaml", "mapping")),
        "a comment alone": ("# nothing\n", NO_VALUE, (".yaml", "mapping")),
        "a list": ("- a\n", NO_VALUE, (".yaml", "mapping")),
        "a word": ("schema", NO_VALUE, (".yaml", "mapping")),
        "a number": ("5", NO_VALUE, (".yaml", "mapping")),
        "a key twice": (plain + "target: books\n", NO_VALUE, (".yaml", "'target'", "twice")),
        "a domain twice": (plain.replace("  films:", "  books:"), NO_VALUE, (".yaml", "'books'", "twice")),
        "an anchor": (plain.replace("width: 4", "&w width: 4"), right, (".yaml",)),
        "an anchor that is not there": (plain.replace("width: 4", "width: *w"), NO_VALUE, (".yaml", "'w'")),
        "a file of Python": ("import os\n", NO_VALUE, (".yaml",)),
        "a tag of Python": ("!!python/object/apply:os.getcwd []", NO_VALUE, (".yaml",)),
        "a template": (plain.replace("films", "{{ target }}"), NO_VALUE, (".yaml",)),
        "a NUL": (plain + "\0", NO_VALUE, (".yaml",)),
        "a letter that is none": (plain + "\x07", NO_VALUE, (".yaml",)),
        "half a pair": (plain + "# \ud83d\n", NO_VALUE, (".yaml",)),
        "brackets 10,000 deep": ("[" * 10_000, NO_VALUE, (".yaml", "deep")),
        "mappings 1,000 deep": ("{a: " * 1_000, NO_VALUE, (".yaml", "deep")),
        "a number of 100,000 digits": (plain.replace("width: 4", f"width: {'4' * 100_000}"), NO_VALUE, (".yaml", "digits")),
        "an unclosed bracket": (plain + "x: [1, 2\n", NO_VALUE, (".yaml", "line")),
        "an unclosed quote": (plain.replace("label: click", 'label: "click'), NO_VALUE, (".yaml",)),
        "a bomb": ("a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)), NO_VALUE, (".yaml", "aliases")),
        "rows of CSV": ("user,item,click\nu1,i1,1\n", NO_VALUE, (".yaml", "mapping")),
        "Parquet": (b"PAR1" + bytes(range(256)) * 4, NO_VALUE, (".yaml", "text")),
        "a run configuration without data": ("schema: schema.yaml\nmodel: dnn\n", NO_VALUE, ("data",)),
    }  # fmt: skip
    for name, (content, value, words) in forms.items():
        yield Case(name, file(content), value, words)
    for name, given, words in (
        ("a schema that is not there", "nowhere.yaml", ("nowhere.yaml",)),
        ("a folder", ".", ("directory",)),
        ("a name too long", "a" * 5000, ("name",)),
    ):
        yield Case(name, lambda given=given: command("schema", "check", given), NO_VALUE, words)


def of_schemas(seed: int) -> Iterator[tuple[str, Case]]:
    """All of them."""
    for kind, cases in (
        ("schemas, every key", of_keys()),
        ("schemas, their sense", of_sense()),
        ("schemas, words and files", of_words()),
    ):
        for one in cases:
            yield kind, one
