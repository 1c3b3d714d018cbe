"""The schema: what a row of each domain is.

A `Schema` names the domains, one of them the *target*, and the embedding *tables*. A `Feature` says how one column is
read and which table it looks up. Features of the same table share an embedding (an item and the history of that item;
a user in two domains). Features of the same *name* in two domains fill the same slot: what two domains both list is
shared, what one lists alone is specific to it.

This module imports neither TensorFlow nor Keras: a schema is checked in milliseconds, before any long work starts.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import numbers
import pathlib
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdrzoo.errors import SchemaError, check_choice

KINDS = ("id", "ids", "number")
ROLES = ("user", "item", "context", "history")
DTYPES = ("string", "int64", "float32")
TASKS = ("click", "rating")

PADDING = 0
"""Row of every table that stands for padding and for a missing value; it reads as zeros."""
UNKNOWN = 1
"""Row of every table that stands for an id which was not seen in training."""
FIRST_KNOWN = 2
"""Row of the first known id."""


def _choice(what: str, received: Any, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    near = difflib.get_close_matches(str(received), allowed, n=1)
    check_choice(what, received, allowed, f" Did you mean {near[0]!r}?" if near else "", SchemaError)


def _name(what: str, received: Any) -> None:
    if not isinstance(received, str) or not received or not received.replace("_", "").isalnum():
        raise SchemaError(
            f"{what} must be a word of letters, digits and underscores (it becomes the name of a tensor). "
            f"Received: {received!r}. Rename it; `column` may hold the raw column's own name."
        )


def _default_dtype(kind: str) -> str:
    return "float32" if kind == "number" else "string"


def is_number(value: Any) -> bool:
    """Whether it is a finite number; `True` is none."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)


def is_whole(value: Any, least: int = 0) -> bool:
    """Whether it is a whole number of at least so much; `True` is none."""
    return not isinstance(value, bool) and isinstance(value, int) and value >= least


def _positive(what: str, received: Any) -> None:
    if not is_whole(received, 1):
        raise SchemaError(f"{what} must be a whole number of at least 1. Received: {received!r}.")


@dataclass(frozen=True)
class Table:
    """An embedding table.

    Args:
        name: what features call it.
        width: columns of the embedding; default 8 (CCTL, section 3.1.3; MKT).
        per_domain: `True` gives each domain that uses the table its own copy; ids keep one vocabulary.
        min_count: an id seen fewer times in the training rows is unknown. With 1, the default, no training row has an
            unknown id, and what stands for the new ids of tomorrow is not trained; 2 trains it by the ids seen once.
        hash_buckets: no vocabulary; ids are hashed into so many rows.
        rows: rows of the table, padding and unknown included. The encoder fills it in; `None` before.
    """

    name: str
    width: int = 8
    per_domain: bool = False
    min_count: int = 1
    hash_buckets: int | None = None
    rows: int | None = None

    def __post_init__(self):
        _name("The name of a table", self.name)
        _positive(f"`width` of table {self.name!r}", self.width)
        _positive(f"`min_count` of table {self.name!r}", self.min_count)
        if self.hash_buckets is not None:
            _positive(f"`hash_buckets` of table {self.name!r}", self.hash_buckets)
        if self.rows is not None:
            _positive(f"`rows` of table {self.name!r}", self.rows)


@dataclass(frozen=True)
class Feature:
    """One column of a domain.

    Args:
        name: its name in batches and in the serving signature.
        kind: `"id"` (one id), `"ids"` (a sequence or a set of ids) or `"number"`.
        role: `"user"`, `"item"`, `"context"` or `"history"` (what the row's user did before the row).
        dtype: of the raw value: `"string"`, `"int64"` or `"float32"`. Default `"string"`, for a number `"float32"`.
        table: the table an id looks up.
        length: for `"ids"`: how many ids a row keeps (the newest ones); shorter rows are padded.
        of: for a history: the domain whose events it lists.
        field: for a history: the column of that domain's rows it lists. Default: the column of that domain's item
            feature with the same table.
        column: name of the raw column; default `name`.
    """

    name: str
    kind: str
    role: str
    dtype: str | None = None
    table: str | None = None
    length: int | None = None
    of: str | None = None
    field: str | None = None
    column: str | None = None

    def __post_init__(self):
        _name("The name of a feature", self.name)
        here = f"feature {self.name!r}"
        _choice(f"`kind` of {here}", self.kind, KINDS)
        _choice(f"`role` of {here}", self.role, ROLES)
        if self.dtype is None:
            object.__setattr__(self, "dtype", _default_dtype(self.kind))
        if self.column is None:
            object.__setattr__(self, "column", self.name)
        _choice(f"`dtype` of {here}", self.dtype, DTYPES)
        if self.kind == "number":
            for given in ("table", "length"):
                if getattr(self, given) is not None:
                    raise SchemaError(
                        f"A number has no `{given}`, but {here} has. Remove it, or make it an id."
                    )
            if self.dtype == "string":
                raise SchemaError(
                    f"`dtype` of the number {here} must be float32 or int64. Received: 'string'."
                )
        else:
            if self.table is None:
                raise SchemaError(
                    f"{here.capitalize()} is of kind {self.kind!r} and needs a `table` to look up."
                )
            if self.dtype == "float32":
                raise SchemaError(f"`dtype` of the id {here} must be string or int64. Received: 'float32'.")
        if self.kind == "ids":
            if self.length is None:
                raise SchemaError(
                    f"{here.capitalize()} is of kind 'ids' and needs a `length`, for example length: 50."
                )
            _positive(f"`length` of {here}", self.length)
        elif self.length is not None:
            raise SchemaError(
                f"Only `ids` have a `length`, but {here} of kind {self.kind!r} has one. Remove it."
            )
        if self.role == "history":
            if self.kind != "ids":
                raise SchemaError(
                    f"A history is a sequence: `kind` of {here} must be 'ids'. Received: {self.kind!r}."
                )
            if self.of is None:
                raise SchemaError(
                    f"History {here} must say of which domain's events it is: add `of: DOMAIN`."
                )
        elif self.of is not None or self.field is not None:
            raise SchemaError(
                f"Only a history has `of` and `field`; {here} has role {self.role!r}. Remove them."
            )


@dataclass(frozen=True)
class Domain:
    """One business domain: its features, its label and its keys.

    Args:
        name: the domain's name in batches.
        features: its features, in order.
        label: raw column of the label.
        task: `"click"` (label 0 or 1) or `"rating"` (label a number).
        threshold: for clicks: a label of at least this much is a click. `None`: the label is 0 or 1 already.
        time: raw column of the event's time (a number, in any unit that all domains share; a timestamp or a date as
            ISO 8601 writes it is read as Unix seconds); `None`: not known.
        user: raw column of the user's key. Default: the column of the first `id` feature of role user.
        item: raw column of the item's key. Default: the column of the first `id` feature of role item.
        mean: mean label of the training rows, where a model's output starts. `prepare` fills it in; `None`: not known.
    """

    name: str
    features: tuple[Feature, ...]
    label: str = "label"
    task: str = "click"
    threshold: float | None = None
    time: str | None = None
    user: str | None = None
    item: str | None = None
    mean: float | None = None

    def __post_init__(self):
        _name("The name of a domain", self.name)
        object.__setattr__(self, "features", tuple(self.features))
        if not self.features:
            raise SchemaError(f"Domain {self.name!r} lists no feature. Give it at least one.")
        names = [feature.name for feature in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SchemaError(f"Domain {self.name!r} lists {twice[0]!r} more than once. Names must differ.")
        for history in self.histories():
            first = self.histories(history.of)[0]
            if history.length != first.length:
                raise SchemaError(
                    f"Domain {self.name!r} lists histories of {history.of!r} with lengths {first.length} "
                    f"({first.name}) and {history.length} ({history.name}). They describe the same events and run "
                    "in step: give them one length."
                )
        _choice(f"`task` of domain {self.name!r}", self.task, TASKS)
        if self.threshold is not None and self.task == "rating":
            raise SchemaError(
                f"Domain {self.name!r} predicts ratings: `threshold` has no meaning. Remove it."
            )
        for key in ("user", "item"):
            if getattr(self, key) is None:
                columns = [f.column for f in self.features if f.role == key and f.kind == "id"]
                object.__setattr__(self, key, columns[0] if columns else None)

    def feature(self, name: str) -> Feature:
        """The feature called `name`."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise SchemaError(
            f"Domain {self.name!r} has no feature {name!r}. It has: {', '.join(f.name for f in self.features)}."
        )

    def with_role(self, role: str) -> tuple[Feature, ...]:
        """The features of one role, in order."""
        return tuple(feature for feature in self.features if feature.role == role)

    def histories(self, of: str | None = None) -> tuple[Feature, ...]:
        """The histories, of every domain or of the domain `of`."""
        return tuple(f for f in self.with_role("history") if of in (None, f.of))


@dataclass(frozen=True)
class Schema:
    """Any number of domains, one of them the target, and the tables they look up.

    Args:
        domains: the domains; the order is kept.
        target: name of the domain that is served.
        tables: the embedding tables.

    Raises:
        SchemaError: at construction, when anything in it contradicts anything else; the message names the fix.

    Example:

    ```python
    schema = Schema(
        target="films",
        tables=(Table("user"), Table("book"), Table("film")),
        domains=(
            Domain("books", (Feature("user", "id", "user", table="user"), Feature("item", "id", "item", table="book"))),
            Domain("films", (Feature("user", "id", "user", table="user"), Feature("item", "id", "item", table="film"))),
        ),
    )
    ```
    """

    domains: tuple[Domain, ...]
    target: str
    tables: tuple[Table, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "domains", tuple(self.domains))
        object.__setattr__(self, "tables", self._merge_tables(self.tables))
        names = [domain.name for domain in self.domains]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SchemaError(
                f"The schema lists domain {twice[0]!r} more than once. Merge the two, or rename one."
            )
        if self.target not in names:
            raise SchemaError(
                f"The target {self.target!r} is not among the domains: {', '.join(names) or 'none'}. "
                "Set `target` to the domain that is to be served."
            )
        object.__setattr__(
            self,
            "domains",
            tuple(
                dataclasses.replace(domain, features=tuple(self._resolve(domain, f) for f in domain.features))
                for domain in self.domains
            ),
        )
        self._check_slots()
        used = {feature.table for domain in self.domains for feature in domain.features}
        unused = [table.name for table in self.tables if table.name not in used]
        if unused:
            raise SchemaError(f"No feature looks up table {unused[0]!r}. Remove it, or name it in a feature.")

    @staticmethod
    def _merge_tables(tables: Iterable[Table]) -> tuple[Table, ...]:
        merged: dict[str, Table] = {}
        for table in tables:
            before = merged.setdefault(table.name, table)
            if before.width != table.width:
                raise SchemaError(
                    f"Table {table.name!r} is given two widths, {before.width} and {table.width}. Features that share "
                    "a table share its width: keep one, or make it two tables."
                )
            if before != table:
                raise SchemaError(
                    f"Table {table.name!r} is declared twice and differently. Keep one declaration."
                )
        return tuple(merged.values())

    def _resolve(self, domain: Domain, feature: Feature) -> Feature:
        """The feature, checked against the rest of the schema, with the column that a history lists filled in."""
        here = f"Feature {feature.name!r} of domain {domain.name!r}"
        tables = [table.name for table in self.tables]
        if feature.table is not None and feature.table not in tables:
            near = difflib.get_close_matches(feature.table, tables, n=1)
            raise SchemaError(
                f"{here} looks up table {feature.table!r}, which is not declared. Declared: "
                f"{', '.join(tables) or 'none'}. "
                + (f"Did you mean {near[0]!r}?" if near else "Add it under `tables`, or correct the name.")
            )
        if feature.role != "history":
            return feature
        names = [d.name for d in self.domains]
        if feature.of not in names:
            raise SchemaError(
                f"{here} is a history of domain {feature.of!r}, which does not exist. Domains: {', '.join(names)}. "
                "Correct `of`, or add the domain."
            )
        if feature.field is not None:
            return feature
        listed = [
            f.column for f in self.domain(feature.of).features if f.table == feature.table and f.kind == "id"
        ]
        if len(listed) != 1:
            raise SchemaError(
                f"{here} lists ids of table {feature.table!r} from domain {feature.of!r}, where exactly one id feature "
                f"should look that table up. Found: {', '.join(map(repr, listed)) or 'none'}. Say which column of that "
                "domain it lists with `field: COLUMN`."
            )
        return dataclasses.replace(feature, field=listed[0])

    def _check_slots(self) -> None:
        slots: dict[str, tuple[Domain, Feature]] = {}
        for domain in self.domains:
            for feature in domain.features:
                other_domain, other = slots.setdefault(feature.name, (domain, feature))
                for what, one, two in (
                    ("kind", other.kind, feature.kind),
                    ("role", other.role, feature.role),
                    ("length", other.length, feature.length),
                    ("width", self._width(other), self._width(feature)),
                ):
                    if one != two:
                        raise SchemaError(
                            f"Feature {feature.name!r} has {what} {one!r} in domain {other_domain.name!r} and {two!r} "
                            f"in {domain.name!r}. Features of one name fill one slot: make them alike, or rename one."
                        )

    def _width(self, feature: Feature) -> int:
        return 1 if feature.table is None else self.table(feature.table).width

    @property
    def target_domain(self) -> Domain:
        """The domain that is served."""
        return self.domain(self.target)

    @property
    def sources(self) -> tuple[Domain, ...]:
        """Every domain but the target, in order."""
        return tuple(domain for domain in self.domains if domain.name != self.target)

    def domain(self, name: str) -> Domain:
        """The domain called `name`."""
        for domain in self.domains:
            if domain.name == name:
                return domain
        names = [domain.name for domain in self.domains]
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SchemaError(f"The schema has no domain {name!r}. Domains: {', '.join(names)}.{hint}")

    def table(self, name: str) -> Table:
        """The table called `name`."""
        for table in self.tables:
            if table.name == name:
                return table
        raise SchemaError(
            f"The schema has no table {name!r}. Tables: {', '.join(t.name for t in self.tables)}."
        )

    def shared_features(self, *domains: str) -> tuple[str, ...]:
        """Names of the features that all the `domains` list (default: all domains), in the target's order."""
        chosen = [self.domain(name) for name in domains] or list(self.domains)
        common = set.intersection(*({f.name for f in domain.features} for domain in chosen))
        first = self.target_domain if self.target_domain in chosen else chosen[0]
        return tuple(f.name for f in first.features if f.name in common)

    def specific_features(self, domain: str) -> tuple[str, ...]:
        """Names of the features that `domain` lists and no other domain does."""
        others = {f.name for d in self.domains if d.name != domain for f in d.features}
        return tuple(f.name for f in self.domain(domain).features if f.name not in others)

    def only(self, *domains: str) -> Schema:
        """The schema of these domains alone; histories of the domains left out, and tables nobody reads, go."""
        kept = tuple(
            dataclasses.replace(
                domain, features=tuple(f for f in domain.features if f.role != "history" or f.of in domains)
            )
            for domain in (self.domain(name) for name in domains)
        )
        used = {feature.table for domain in kept for feature in domain.features}
        return Schema(kept, self.target, tuple(table for table in self.tables if table.name in used))

    def reading(self, features: Mapping[str, Sequence[Feature]]) -> Schema:
        """The schema whose domains list these features alone; domains that are not named stay, unread tables go."""
        kept = tuple(
            dataclasses.replace(d, features=tuple(features.get(d.name, d.features))) for d in self.domains
        )
        used = {feature.table for domain in kept for feature in domain.features}
        return Schema(kept, self.target, tuple(table for table in self.tables if table.name in used))

    def with_rows(self, rows: Mapping[str, int]) -> Schema:
        """The schema with the number of rows of each table filled in."""
        return self._with_tables(lambda table: {"rows": rows[table.name]})

    def with_means(self, means: Mapping[str, float | None]) -> Schema:
        """The schema with the mean label of some domains filled in."""
        domains = (dataclasses.replace(d, mean=means.get(d.name, d.mean)) for d in self.domains)
        return dataclasses.replace(self, domains=tuple(domains))

    def with_width(self, width: int) -> Schema:
        """The schema with every table of this width."""
        return self._with_tables(lambda table: {"width": width})

    def _with_tables(self, change: Callable[[Table], dict[str, Any]]) -> Schema:
        tables = tuple(dataclasses.replace(table, **change(table)) for table in self.tables)
        return dataclasses.replace(self, tables=tables)

    # In and out -------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists that `from_dict` reads back; what is default is left out."""
        return {
            "target": self.target,
            "tables": {table.name: _plain(table, skip=("name",)) for table in self.tables},
            "domains": {
                domain.name: {
                    **_plain(domain, skip=("name", "features")),
                    "features": [
                        _plain(
                            f,
                            skip=("column",) * (f.column == f.name)
                            + ("dtype",) * (f.dtype == _default_dtype(f.kind)),
                        )
                        for f in domain.features
                    ],
                }
                for domain in self.domains
            },
        }

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Schema:
        """The schema from what `to_dict` gives, or from the YAML file a person wrote."""
        _keys("The schema", config, {"target", "tables", "domains"}, required={"target", "domains"})
        tables = config.get("tables") or {}
        if isinstance(tables, Mapping):
            tables = [{"name": name, **(given or {})} for name, given in tables.items()]
        domains = config["domains"]
        if isinstance(domains, Mapping):
            domains = [{"name": name, **(given or {})} for name, given in domains.items()]
        return cls(
            domains=tuple(
                _build(
                    Domain,
                    f"Domain {domain.get('name')!r}",
                    {
                        **domain,
                        "features": tuple(
                            _build(Feature, f"A feature of domain {domain.get('name')!r}", feature)
                            for feature in domain.get("features") or ()
                        ),
                    },
                )
                for domain in domains
            ),
            target=config["target"],
            tables=tuple(_build(Table, "A table", table) for table in tables),
        )

    def to_yaml(self) -> str:
        """The schema as YAML."""
        return dump_yaml(self.to_dict(), width=120, default_flow_style=None)

    def to_json(self) -> str:
        """The schema as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def save(self, path: str | pathlib.Path) -> None:
        """Writes the schema to a `.yaml`, `.yml` or `.json` file."""
        path = pathlib.Path(path)
        path.write_text(self.to_json() if path.suffix == ".json" else self.to_yaml(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | pathlib.Path) -> Schema:
        """Reads the schema from a YAML or JSON file."""
        return cls.from_dict(load_mapping(path))


def load_mapping(path: str | pathlib.Path) -> dict[str, Any]:
    """Reads a YAML or JSON file whose top is a mapping (see `load_yaml`)."""
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SchemaError(f"Cannot read {path}: {error.strerror}. Check the path.") from None
    except UnicodeDecodeError:
        raise SchemaError(f"{path} is not a text file. A YAML or JSON file was wanted.") from None
    config = load_yaml(text, str(path))
    if not isinstance(config, dict):
        raise SchemaError(
            f"{path} must hold a mapping (`key: value` lines). Received: {type(config).__name__}."
        )
    return config


def load_yaml(text: str, where: str) -> Any:
    """What YAML says, and JSON is YAML: 1e-3 is a number; a key that stands twice is an error, not an overwrite.

    Args:
        text: the YAML.
        where: where it stands, for messages.
    """
    import yaml

    try:
        return yaml.load(text, Loader=_yaml()[0])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise SchemaError(f"{where}{line} is not valid YAML: {getattr(error, 'problem', error)}.") from None
    except ValueError as error:  # a date that there is not
        raise SchemaError(f"{where} is not valid YAML: {error}.") from None


def dump_yaml(value: Any, **style: Any) -> str:
    """YAML that `load_yaml` reads back."""
    import yaml

    try:
        return yaml.dump(value, Dumper=_yaml()[1], sort_keys=False, **style)
    except yaml.representer.RepresenterError as error:
        raise SchemaError(
            f"A YAML file cannot hold a {type(error.args[1]).__name__}: wanted are text, numbers, lists and mappings, "
            "and rows as the name of their file."
        ) from None


@functools.cache
def _yaml() -> tuple[Any, Any]:
    """Loader and dumper. PyYAML's own take 1e-3 for text, as YAML 1.1 has it; to that 1.0e-3 alone is a number."""
    import yaml

    class Loader(yaml.SafeLoader):
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
                        problem=f"{key!r} stands twice; keep one", problem_mark=key_node.start_mark
                    )
                seen.add(key)
            return super().construct_mapping(node, deep)

    class Dumper(yaml.SafeDumper):
        pass

    number = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")
    for cls in (Loader, Dumper):
        cls.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return Loader, Dumper


def _plain(instance: Any, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        field.name: getattr(instance, field.name)
        for field in dataclasses.fields(instance)
        if field.name not in skip and getattr(instance, field.name) != field.default
    }


def _keys(what: str, given: Any, allowed: set[str], required: set[str]) -> None:
    if not isinstance(given, Mapping):
        raise SchemaError(f"{what} must be a mapping with {', '.join(sorted(allowed))}. Received: {given!r}.")
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), sorted(allowed), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" It knows: {', '.join(sorted(allowed))}."
            raise SchemaError(f"{what} has an unknown entry {key!r}.{hint}")
    missing = sorted(required - set(given))
    if missing:
        raise SchemaError(f"{what} lacks {missing[0]!r}. Add it.")


def _build(cls: type, what: str, given: Any) -> Any:
    fields = dataclasses.fields(cls)
    if isinstance(given, Mapping) and "name" in given:
        what = f"{what} ({given['name']})"
    _keys(
        what,
        given,
        {field.name for field in fields},
        required={field.name for field in fields if field.default is dataclasses.MISSING},
    )
    return cls(**given)
