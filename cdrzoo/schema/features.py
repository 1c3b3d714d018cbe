"""What stands in a domain: features, the tables they look up, and the domain itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cdrzoo.errors import (
    LARGEST_COUNT,
    WIDEST,
    SchemaError,
    check_choice,
    check_number,
    check_whole,
    is_number,
    is_whole,
    shown,
)

KINDS = ("id", "ids", "number")
ROLES = ("user", "item", "context", "history")
DTYPES = ("string", "int64", "float32")
TASKS = ("click", "rating")
LONGEST = 2**20
"""Ids of a sequence."""

BY_NAME = ""
"""A key that nobody has named: that of the feature called `user`, or `item`, if there is one."""

PADDING = 0
"""Row of every table that stands for padding and for a missing value; it reads as zeros."""
UNKNOWN = 1
"""Row of every table that stands for an id which was not seen in training."""
FIRST_KNOWN = 2
"""Row of the first known id."""


def _name(what: str, received: Any) -> None:
    if not isinstance(received, str) or not received or not received.replace("_", "").isalnum():
        raise SchemaError(
            f"{what} must be a word of letters, digits and underscores (it becomes the name of a tensor). "
            f"Received: {shown(received)}. Rename it; `column` may hold the raw column's own name."
        )


def _ascii(what: str, name: str) -> None:
    """Raises unless a name can stand in the names of variables and layers."""
    if not re.fullmatch("[A-Za-z0-9_]+", name):
        raise SchemaError(
            f"{what} becomes part of names of variables: TensorFlow takes ASCII letters, digits and underscores. "
            f"Received: {shown(name)}. Rename it."
        )


def default_dtype(kind: str) -> str:
    return "float32" if kind == "number" else "string"


def _positive(what: str, received: Any, most: int = LARGEST_COUNT) -> None:
    check_whole(what, received, 1, most, SchemaError)


def _words(instance: Any, what: str, *names: str) -> None:
    """Raises unless these fields, where they are set, are text."""
    for name in names:
        given = getattr(instance, name)
        if given is not None and (not isinstance(given, str) or not given):
            raise SchemaError(
                f"`{name}` of {what} must be text. Received: {shown(given)}. A number or true is text in quotes."
            )


@dataclass(frozen=True)
class Table:
    """An embedding table.

    Args:
        name: the name by which features look it up.
        width: columns of the embedding. Default 8, as in the papers of CCTL (section 3.1.3) and MKT.
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
        _ascii("The name of a table", self.name)
        _positive(f"`width` of table {self.name!r}", self.width, WIDEST)
        _positive(f"`min_count` of table {self.name!r}", self.min_count)
        if not isinstance(self.per_domain, bool):
            raise SchemaError(
                f"`per_domain` of table {self.name!r} must be true or false. Received: {shown(self.per_domain)}."
            )
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
        where: for a history: `{column: value}`, the events of `of` that it lists, for example `{type: buy}`; default:
            all. Histories of one domain with the same `where` run in step.
        serving_value: what the served model reads in place of the feature, which requests then do not hold, such as 0
            for the position at which a row was shown; default: what the request says. Training rows keep their own
            values; validation and test rows are scored as they would be served. Not of `ids`.
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
    where: Any = None
    serving_value: Any = None

    def __post_init__(self):
        _name("The name of a feature", self.name)
        here = f"feature {self.name!r}"
        check_choice(f"`kind` of {here}", self.kind, KINDS, SchemaError)
        check_choice(f"`role` of {here}", self.role, ROLES, SchemaError)
        if self.dtype is None:
            object.__setattr__(self, "dtype", default_dtype(self.kind))
        _words(self, here, "table", "of", "field", "column")
        if self.column is None:
            object.__setattr__(self, "column", self.name)
        check_choice(f"`dtype` of {here}", self.dtype, DTYPES, SchemaError)
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
            _positive(f"`length` of {here}", self.length, LONGEST)
        elif self.length is not None:
            raise SchemaError(
                f"Only `ids` have a `length`, but {here} of kind {self.kind!r} has one. Remove it."
            )
        if self.role == "history":
            if self.kind != "ids":
                raise SchemaError(
                    f"A history is a sequence: `kind` of {here} must be 'ids'. Received: {shown(self.kind)}."
                )
            if self.of is None:
                raise SchemaError(
                    f"History {here} must say of which domain's events it is: add `of: DOMAIN`."
                )
            object.__setattr__(self, "where", _conditions(here, self.where))
        elif (self.of, self.field, self.where) != (None, None, None):
            raise SchemaError(
                f"Only a history has `of`, `field` and `where`; {here} has role {self.role!r}. Remove them."
            )

        self._check_serving_value(here)

    def _check_serving_value(self, here: str) -> None:
        fits = {"string": lambda v: isinstance(v, str), "int64": is_whole, "float32": is_number}[
            str(self.dtype)
        ]
        if self.serving_value is not None and (self.kind == "ids" or not fits(self.serving_value)):
            wanted = {"string": "text", "int64": "a whole number of at least 0", "float32": "a number"}
            raise SchemaError(
                f"`serving_value` of {here} must be {wanted[str(self.dtype)]}, and {here} of one value a row. "
                f"Received: {shown(self.serving_value)}, of kind {self.kind!r}."
            )

    @property
    def events(self) -> tuple[str | None, Any]:
        """Of a history: which events it lists. Those that list the same events run in step."""
        return self.of, self.where


def _conditions(here: str, given: Any) -> tuple[tuple[str, str | int], ...] | None:
    """`where` in a form that can be a key, by the names of its columns."""
    found = dict(given) if isinstance(given, (Mapping, tuple)) else given
    if found is None:
        return None
    if not isinstance(found, dict) or not found or not all(_condition(*one) for one in found.items()):
        raise SchemaError(
            f"`where` of {here} must be {{column: value}}, a value being text or a whole number, for example "
            f"{{type: buy}}. Received: {shown(given)}."
        )
    return tuple(sorted(found.items()))


def _condition(column: Any, value: Any) -> bool:
    return isinstance(column, str) and bool(column) and (isinstance(value, str) or is_whole(value))


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
        user: raw column of the user's key; `None`: there is none, and so no GAUC and no groups of users. Default: the
            column of the `id` feature of role user that is called `user`, if there is one. What else is known of a
            user (age, city) is an attribute, never the key.
        item: raw column of the item's key; `None`: there is none, and so no negatives are drawn, and what rests on
            items is not measured. Default: the column of the `id` feature of role item that is called `item`.
        mean: mean label of the training rows, where a model's output starts. `prepare` fills it in; `None`: not known.
    """

    name: str
    features: tuple[Feature, ...]
    label: str = "label"
    task: str = "click"
    threshold: float | None = None
    time: str | None = None
    user: str | None = BY_NAME
    item: str | None = BY_NAME
    mean: float | None = None

    def __post_init__(self):
        _name("The name of a domain", self.name)
        _ascii("The name of a domain", self.name)
        here = f"domain {self.name!r}"
        _words(self, here, "label", "time")
        if self.label is None:
            raise SchemaError(f"`label` of {here} must be the name of a column. Received: null.")
        for name in ("threshold", "mean"):
            if getattr(self, name) is not None:
                check_number(f"`{name}` of {here}", getattr(self, name), error=SchemaError)
        object.__setattr__(self, "features", tuple(self.features))
        if not self.features:
            raise SchemaError(f"Domain {self.name!r} lists no feature. Give it at least one.")
        names = [feature.name for feature in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SchemaError(f"Domain {self.name!r} lists {twice[0]!r} more than once. Names must differ.")
        for history in self.histories():
            first = next(f for f in self.histories() if f.events == history.events)
            if history.length != first.length:
                raise SchemaError(
                    f"Domain {self.name!r} lists histories of {history.of!r} with lengths {first.length} "
                    f"({first.name}) and {history.length} ({history.name}). They describe the same events and run "
                    "in step: give them one length."
                )
        check_choice(f"`task` of domain {self.name!r}", self.task, TASKS, SchemaError)
        if self.threshold is not None and self.task == "rating":
            raise SchemaError(
                f"Domain {self.name!r} predicts ratings: `threshold` has no meaning. Remove it."
            )
        ids = {f.name: f for f in self.features if f.kind == "id"}
        for key in ("user", "item"):
            if getattr(self, key) == BY_NAME:
                called = ids.get(key)
                object.__setattr__(self, key, called.column if called and called.role == key else None)
            if not isinstance(getattr(self, key), (str, type(None))):
                raise SchemaError(
                    f"`{key}` of domain {self.name!r} must be the name of the column with the {key}'s key. "
                    f"Received: {shown(getattr(self, key))}."
                )

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
