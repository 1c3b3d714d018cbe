"""The schema itself: domains, one of them the target, checked against each other."""

from __future__ import annotations

import dataclasses
import difflib
import json
import keyword
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdrzoo.documents import dump_yaml, load_mapping
from cdrzoo.errors import InputError, SchemaError, check_known, shown
from cdrzoo.schema.features import BY_NAME, Domain, Feature, Label, Table, default_dtype
from cdrzoo.schema.overview import Block, as_html, describe


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
        self._check_served()
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
                    ("where", other.where, feature.where),
                    ("width", self._width(other), self._width(feature)),
                ):
                    if one != two:
                        raise SchemaError(
                            f"Feature {feature.name!r} has {what} {one!r} in domain {other_domain.name!r} and {two!r} "
                            f"in {domain.name!r}. Features of one name fill one slot: make them alike, or rename one."
                        )

    def _check_served(self) -> None:
        """The names of the target's features are those of a graph's inputs, and TensorFlow does not take every name."""
        lower: dict[str, str] = {}
        if all(feature.serving_value is not None for feature in self.target_domain.features):
            raise SchemaError(
                f"Every feature of the target {self.target!r} has a `serving_value`: a request would hold nothing. "
                "Leave it out of those that requests know."
            )
        for feature in self.target_domain.features:
            name = feature.name
            same = lower.setdefault(name.lower(), name)
            if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_]*", name):
                why = (
                    "TensorFlow names inputs with ASCII letters, digits and underscores, no underscore first"
                )
            elif keyword.iskeyword(name) or name == "self":
                why = "that is a word of Python's own, which TensorFlow does not take for an input"
            elif name == "k":
                why = "`rank` asks by that name how many candidates are wanted"
            elif same != name:
                why = f"TensorFlow does not tell it from {same!r}"
            else:
                continue
            raise SchemaError(
                f"Feature {name!r} of the target cannot be served: {why}. Rename it; `column: {feature.column}` goes "
                "on reading the raw column."
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
        raise SchemaError(f"The schema has no domain {shown(name)}. It has: {', '.join(names)}.{hint}")

    def output(self, key: str) -> tuple[Domain, Label]:
        """The domain and the label of an output of a model: DOMAIN, or DOMAIN.LABEL of a further label."""
        domain = self.domain(str(key).partition(".")[0])
        if key not in domain.outputs:
            raise SchemaError(
                f"Domain {domain.name!r} has no output {shown(key)}. It has: {', '.join(domain.outputs)}."
            )
        return domain, domain.outputs[key]

    @property
    def outputs(self) -> dict[str, Label]:
        """Those of all domains: the key in batches and the label."""
        return {key: label for domain in self.domains for key, label in domain.outputs.items()}

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

    def with_first_rows(self, before: Schema) -> Schema:
        """The schema with `first_rows` of each table that has grown, or had, since the schema `before`."""

        def first(table: Table) -> int | None:
            known = before.table(table.name)
            return known.first_rows or (known.rows if known.rows != table.rows else None)

        return self._with_tables(lambda table: {"first_rows": first(table)})

    def with_means(self, means: Mapping[str, float | None]) -> Schema:
        """The schema with the mean label of some outputs (`outputs`) filled in."""
        domains = (
            dataclasses.replace(
                d,
                mean=means.get(d.name, d.mean),
                labels=tuple(
                    dataclasses.replace(one, mean=means.get(f"{d.name}.{one.name}", one.mean))
                    for one in d.labels
                ),
            )
            for d in self.domains
        )
        return dataclasses.replace(self, domains=tuple(domains))

    def with_width(self, width: int) -> Schema:
        """The schema with every table of this width."""
        return self._with_tables(lambda table: {"width": width})

    def _with_tables(self, change: Callable[[Table], dict[str, Any]]) -> Schema:
        tables = tuple(dataclasses.replace(table, **change(table)) for table in self.tables)
        return dataclasses.replace(self, tables=tables)

    def check_batch(self, x: Any) -> None:
        """An `InputError` unless `x` is what models take, `{domain: {feature: tensor}}` of domains of this schema."""
        wanted, received = (
            "A model takes encoded rows by domain, {domain: {feature: tensor}}.",
            type(x).__name__,
        )
        if not isinstance(x, Mapping):
            fix = (
                f"Encode it: `model.predict({{{self.target!r}: encoder.encode({self.target!r}, frame)}})`, or "
                "`cdrzoo predict` for a run; `data.prepare` makes batches to train on."
                if received == "DataFrame"
                else f"For rows of the target: {{{self.target!r}: {{feature: tensor}}}}."
            )
            raise InputError(f"{wanted} Received: {received}. {fix}")
        for name, features in x.items():
            if not isinstance(features, Mapping):
                raise InputError(
                    f"{wanted} Received: {type(features).__name__} under {name!r}. If the keys are features, say of "
                    f"which domain: {{{self.target!r}: features}}."
                )
            self.domain(name)

    # For people -------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        domains = ", ".join(
            f"{d.name} ({'target, ' if d.name == self.target else ''}{len(d.features)} features)"
            for d in self.domains
        )
        return f"<Schema: {domains}; {len(self.tables)} tables>"

    def _repr_html_(self) -> str:
        return as_html(self.overview())

    def overview(self, **more: Any) -> list[Block]:
        """The domains side by side, and the tables: what `cdrzoo schema check` prints. `more`: see `describe`."""
        return describe(self.domains, self.target, self.tables, **more)

    # In and out -------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists that `from_dict` reads back; what is default is left out."""
        return {
            "target": self.target,
            "tables": {table.name: _plain(table, skip=("name",)) for table in self.tables},
            "domains": {
                domain.name: {
                    **_plain(domain, skip=("name", "features", "labels", *_unsaid(domain))),
                    **_plain_labels(domain),
                    "features": [
                        _plain(
                            f,
                            skip=("column",) * (f.column == f.name)
                            + ("dtype",) * (f.dtype == default_dtype(f.kind)),
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
        _entries("The schema", config, ["target", "tables", "domains"], required=["target", "domains"])
        return cls(
            domains=tuple(_domain(domain) for domain in _named("domains", config["domains"])),
            target=config["target"],
            tables=tuple(_build(Table, "A table", table) for table in _named("tables", config.get("tables"))),
        )

    def to_yaml(self) -> str:
        """The schema as YAML."""
        return dump_yaml(self.to_dict(), width=120, default_flow_style=None)

    def to_json(self) -> str:
        """The schema as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def save(self, path: str | pathlib.Path) -> None:
        """Writes the schema to a `.yaml`, `.yml` or `.json` file."""
        path = pathlib.Path(path)
        path.write_text(self.to_json() if path.suffix == ".json" else self.to_yaml(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | pathlib.Path) -> Schema:
        """Reads the schema from a YAML or JSON file."""
        return cls.from_dict(load_mapping(path))


def _plain(instance: Any, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    plain = {
        field.name: getattr(instance, field.name)
        for field in dataclasses.fields(instance)
        if field.name not in skip and getattr(instance, field.name) != field.default
    }
    return {**plain, "where": dict(plain["where"])} if "where" in plain else plain


def _plain_labels(domain: Domain) -> dict[str, Any]:
    if not domain.labels:
        return {}
    return {
        "labels": {
            one.name: _plain(one, skip=("name", *(("column",) * (one.column == one.name))))
            for one in domain.labels
        }
    }


def _unsaid(domain: Domain) -> tuple[str, ...]:
    """The keys that a domain does not have, and that are not read from the names of its features either."""
    found = dataclasses.replace(domain, user=BY_NAME, item=BY_NAME)
    of_labels = ("label", "task", "threshold") if domain.labels else ()
    return (
        *of_labels,
        *(key for key in ("user", "item") if getattr(domain, key) is getattr(found, key) is None),
    )


def _named(entry: str, given: Any) -> list[dict[str, Any]]:
    """The mappings of an entry of a schema, `{name: mapping}` or a list of mappings with `name`."""
    pairs = [(None, one) for one in given] if isinstance(given, (list, tuple)) else given
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif given is None and entry == "tables":
        return []
    elif not isinstance(given, (list, tuple)):
        raise SchemaError(
            f"`{entry}` must be a mapping from name to what it holds. Received: {shown(given)}."
        )
    for name, one in pairs:
        if not isinstance(one, (Mapping, type(None))):
            which = f"Entry {shown(name)} of `{entry}`" if name is not None else f"An entry of `{entry}`"
            raise SchemaError(f"{which} must be a mapping. Received: {shown(one)}.")
    return [{**({} if name is None else {"name": name}), **(one or {})} for name, one in pairs]


def _domain(given: Mapping[str, Any]) -> Domain:
    where = f"domain {shown(given.get('name'))}"
    features = given.get("features")
    if features is not None and not isinstance(features, (list, tuple)):
        raise SchemaError(f"`features` of {where} must be a list. Received: {shown(features)}.")
    for key in ("user", "item"):
        if given.get(key) == BY_NAME:
            raise SchemaError(f"`{key}` of {where} must be the name of a column, or null. Received: ''.")
    made = tuple(_build(Feature, f"A feature of {where}", feature) for feature in features or ())
    labels = {"labels": _labels(given["labels"], where)} if given.get("labels") is not None else {}
    return _build(Domain, f"D{where[1:]}", {**given, "features": made, **labels})


def _labels(given: Any, where: str) -> tuple[Label, ...]:
    """Labels from `{name: column}` or `{name: {column: ..., given: ...}}`."""
    if not isinstance(given, Mapping):
        raise SchemaError(
            f"`labels` of {where} must be a mapping, such as {{click: clicked, conversion: {{given: click}}}}. "
            f"Received: {shown(given)}."
        )
    found = []
    for name, one in given.items():
        plain = {"column": one} if isinstance(one, (str, type(None))) else one
        if not isinstance(plain, Mapping):
            raise SchemaError(
                f"Label {shown(name)} of {where} must be a column or a mapping. Received: {shown(one)}."
            )
        found.append(_build(Label, f"A label of {where}", {"name": name, **plain}))
    return tuple(found)


def _entries(what: str, given: Any, allowed: list[str], required: list[str]) -> None:
    check_known(what, given, sorted(allowed), SchemaError)
    for entry in sorted(required):
        if entry not in given:
            raise SchemaError(f"{what} lacks {entry!r}. Add it.")


def _build(cls: type, what: str, given: Any) -> Any:
    fields = dataclasses.fields(cls)
    if isinstance(given, Mapping) and "name" in given:
        what = f"{what} ({given['name']})"
    _entries(
        what,
        given,
        allowed=[field.name for field in fields],
        required=[field.name for field in fields if field.default is dataclasses.MISSING],
    )
    return cls(**given)
