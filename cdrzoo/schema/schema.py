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
from cdrzoo.errors import InputError, SchemaError, shown
from cdrzoo.schema.domains import Domain, Label
from cdrzoo.schema.features import Feature, Table, default_dtype
from cdrzoo.schema.overview import Block, as_html, describe
from cdrzoo.schema.written import build, check_entries, domain_of, named, plain, plain_labels, unsaid


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
        if feature.table is not None:
            self._check_use(here, feature)
        if feature.role != "history" and not feature.of_events:
            return feature
        names = [d.name for d in self.domains]
        if feature.of is None:
            feature = dataclasses.replace(feature, of=domain.name)
        if feature.of not in names:
            what = "a history" if feature.role == "history" else "made of the events"
            raise SchemaError(
                f"{here} is {what} of domain {feature.of!r}, which does not exist. Domains: {', '.join(names)}. "
                "Correct `of`, or add the domain."
            )
        if feature.derive == "recency" or feature.field is not None:
            return feature
        kind = "vector" if feature.derive == "mean" else "id"
        listed = [
            f.column
            for f in self.domain(feature.of).features
            if f.table == feature.table and f.kind == kind and f.derive != "mean"
        ]
        if len(listed) != 1:
            raise SchemaError(
                f"{here} lists {kind}s of table {feature.table!r} from domain {feature.of!r}, where exactly one {kind} "
                f"should look that table up. Found: {', '.join(map(repr, listed)) or 'none'}. Say which column of that "
                "domain it lists with `field: COLUMN`."
            )
        return dataclasses.replace(feature, field=listed[0])

    def _check_use(self, here: str, feature: Feature) -> None:
        """A table holds rows of ids, rows of buckets, or a projection of vectors."""
        table = self.table(str(feature.table))
        sizes = {f.size for d in self.domains for f in d.features if f.table == feature.table}
        if len(sizes) > 1:
            users = [
                "ids" if size is None else f"vectors of {size} numbers" for size in sorted(sizes, key=str)
            ]
            raise SchemaError(
                f"{here} looks up table {feature.table!r}, and so do {' and '.join(users)}. A table is looked up by "
                "ids or projects vectors of one size: give each a table of its own."
            )
        if feature.cross is not None and table.hash_buckets is None:
            raise SchemaError(
                f"{here} is a cross, which is hashed: give table {feature.table!r} `hash_buckets`, such as 100000."
            )
        buckets = table.buckets is not None
        if buckets != (feature.kind == "number"):
            wrong = (
                f"is a number, and table {feature.table!r} has no `buckets` to cut it into. Add `buckets: 20` to it"
                if feature.kind == "number"
                else f"is of kind {feature.kind!r}, and table {feature.table!r} has `buckets`, which are of numbers. "
                "Make it a number"
            )
            raise SchemaError(f"{here} {wrong}, or let it look up another table.")

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
                    ("values", other.values, feature.values),
                    ("cross", other.cross, feature.cross),
                    ("weights", other.weights is not None, feature.weights is not None),
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
        for feature in self.target_domain.tensors:
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

    def has_vocabulary(self, table: str) -> bool:
        """Whether the ids of a table are counted; those of others are hashed, and numbers are cut into buckets."""
        found = self.table(table)
        return found.hash_buckets is None and found.buckets is None and self.vector_size(table) is None

    def vector_size(self, table: str) -> int | None:
        """How many numbers the vectors have that a table projects; `None`: it is looked up."""
        return next((f.size for d in self.domains for f in d.features if f.table == table), None)

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
                domain, features=tuple(f for f in domain.features if f.of is None or f.of in domains)
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
            "tables": {table.name: plain(table, skip=("name",)) for table in self.tables},
            "domains": {
                domain.name: {
                    **plain(domain, skip=("name", "features", "labels", *unsaid(domain))),
                    **plain_labels(domain),
                    "features": [
                        plain(
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
        check_entries("The schema", config, ["target", "tables", "domains"], required=["target", "domains"])
        return cls(
            domains=tuple(domain_of(domain) for domain in named("domains", config["domains"])),
            target=config["target"],
            tables=tuple(build(Table, "A table", table) for table in named("tables", config.get("tables"))),
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
