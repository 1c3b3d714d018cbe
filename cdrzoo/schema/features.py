"""What a row is made of: features, and the tables they look up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cdrzoo.errors import (
    LARGEST_COUNT,
    WIDEST,
    SchemaError,
    check_choice,
    check_whole,
    is_number,
    is_whole,
    shown,
)
from cdrzoo.schema import transforms

KINDS = ("id", "ids", "number", "vector")
WEIGHTS = "weights"
"""The kind of what stands beside weighted ids (`Feature.weighing`); no schema lists it."""
ROLES = ("user", "item", "context", "history")
DTYPES = ("string", "int64", "float32")
TASKS = ("click", "rating")
DERIVED = ("hour", "weekday", "recency", "mean")
"""What a preparation makes of times, and of events before the row."""
CUTS = ("quantile", "width")
"""How a table of buckets cuts numbers: as many training values in each, or each as wide."""
LONGEST = 2**20
"""Ids of a sequence."""
MOST_BUCKETS = 2**16
"""Buckets that numbers are cut into."""

BY_NAME = ""
"""A key that nobody has named: that of the feature called `user`, or `item`, if there is one."""

PADDING = 0
"""Row of every table that stands for padding and for a missing value; it reads as zeros."""
UNKNOWN = 1
"""Row of every table that stands for an id which was not seen in training."""
FIRST_KNOWN = 2
"""Row of the first known id."""


def checked_name(what: str, received: Any) -> None:
    if not isinstance(received, str) or not received or not received.replace("_", "").isalnum():
        raise SchemaError(
            f"{what} must be a word of letters, digits and underscores (it becomes the name of a tensor). "
            f"Received: {shown(received)}. Rename it; `column` may hold the raw column's own name."
        )


def checked_ascii(what: str, name: str) -> None:
    """Raises unless a name can stand in the names of variables and layers."""
    if not re.fullmatch("[A-Za-z0-9_]+", name):
        raise SchemaError(
            f"{what} becomes part of names of variables: TensorFlow takes ASCII letters, digits and underscores. "
            f"Received: {shown(name)}. Rename it."
        )


def default_dtype(kind: str) -> str:
    return "string" if kind in ("id", "ids") else "float32"


def _positive(what: str, received: Any, most: int = LARGEST_COUNT) -> None:
    check_whole(what, received, 1, most, SchemaError)


def checked_words(instance: Any, what: str, *names: str) -> None:
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
        buckets: for numbers: they are cut into so many buckets, a row each, at values learnt from the feature's own
            training rows.
        by: how they are cut: `"quantile"` (as many training values in each bucket) or `"width"` (each as wide).
        rows: rows of the table, padding and unknown included. The encoder fills it in; `None` before.
        first_rows: how many they were at first, of a table that has grown since; a warm start fills it in.
    """

    name: str
    width: int = 8
    per_domain: bool = False
    min_count: int = 1
    hash_buckets: int | None = None
    rows: int | None = None
    first_rows: int | None = None
    buckets: int | None = None
    by: str = "quantile"

    def __post_init__(self):
        checked_name("The name of a table", self.name)
        checked_ascii("The name of a table", self.name)
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
        if self.first_rows is not None:
            _positive(f"`first_rows` of table {self.name!r}", self.first_rows)
        check_choice(f"`by` of table {self.name!r}", self.by, CUTS, SchemaError)
        if self.buckets is not None:
            check_whole(f"`buckets` of table {self.name!r}", self.buckets, 2, MOST_BUCKETS, SchemaError)
            if self.hash_buckets is not None or self.min_count != 1:
                raise SchemaError(
                    f"Table {self.name!r} has `buckets` of numbers, so no ids: remove `hash_buckets` and `min_count`, "
                    "or `buckets`."
                )
        elif self.by != "quantile":
            raise SchemaError(
                f"Table {self.name!r} says `by`, but has no `buckets`. Add them, or remove `by`."
            )


@dataclass(frozen=True)
class Feature:
    """One column of a domain.

    Args:
        name: its name in batches and in the serving signature.
        kind: `"id"` (one id), `"ids"` (a sequence or a set of ids), `"number"` or `"vector"` (an embedding of a text or
            an image).
        role: `"user"`, `"item"`, `"context"` or `"history"` (what the row's user did before the row).
        dtype: of the raw value: `"string"`, `"int64"` or `"float32"`. Default `"string"`, for a number `"float32"`.
        table: the table an id looks up; of a number one with `buckets`, where it has one; of a vector the projection
            that makes it as wide as the table.
        length: for `"ids"`: how many ids a row keeps (the newest ones); shorter rows are padded. Of `derive: mean` how
            many events count.
        of: for a history: the domain whose events it lists; of `recency` and `mean` the domain whose events count
            (default: its own).
        field: for a history: the column of that domain's rows it lists. Default: the column of that domain's item
            feature with the same table.
        column: name of the raw column; default `name`.
        where: for a history: `{column: value}`, the events of `of` that it lists, for example `{type: buy}`; default:
            all. Histories of one domain with the same `where` run in step.
        serving_value: what the served model reads in place of the feature, which requests then do not hold, such as 0
            for the position at which a row was shown; default: what the request says. Training rows keep their own
            values; validation and test rows are scored as they would be served. Not of `ids`.
        transform: of a number: `log1p`, `{clip: [LOW, HIGH]}` (null is no bound) or `{cyclic: PERIOD}` (sine and
            cosine, two columns), or a list of steps in their order. It comes before the buckets of a table.
        flag: of a number without a table: `True` adds a column that is 1 where there is a value and 0 where it is
            missing.
        derive: what is made in place of a column. `hour` (0 to 23, UTC) and `weekday` (0 is Monday) are of the row's
            time in Unix seconds. `recency` is a number: the time since the user's last event in `of`, strictly before
            the row. `mean` is a vector: the mean of those of the user's last `length` events in `of` before the row.
        size: of a vector: how many numbers it has.
        cross: of an id, in place of a column: the `id` features of its domain, two or more, that are hashed together
            into the `hash_buckets` of its table. It is missing where one of them is.
        weights: of ids that are no history: the column of their weights, as many in each row. The row is then their
            weighted mean. In batches and requests the weights are called `NAME_weights`.
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
    transform: Any = None
    flag: bool = False
    derive: str | None = None
    size: int | None = None
    cross: Any = None
    weights: str | None = None

    def __post_init__(self):
        checked_name("The name of a feature", self.name)
        here = f"feature {self.name!r}"
        if self.kind != WEIGHTS:
            check_choice(f"`kind` of {here}", self.kind, KINDS, SchemaError)
        check_choice(f"`role` of {here}", self.role, ROLES, SchemaError)
        if self.dtype is None:
            dtype = "int64" if self.derive in ("hour", "weekday") else default_dtype(self.kind)
            object.__setattr__(self, "dtype", dtype)
        checked_words(self, here, "table", "of", "field", "column", "weights")
        if self.column is None:
            object.__setattr__(self, "column", self.name)
        check_choice(f"`dtype` of {here}", self.dtype, DTYPES, SchemaError)
        self._check_number(here)
        self._check_derived(here)
        self._check_cross(here)
        self._check_kind(here)
        if self.weights is not None and (self.kind != "ids" or self.role == "history"):
            raise SchemaError(
                f"Only ids that are no history have `weights`, but {here} is of kind {self.kind!r} and role "
                f"{self.role!r}. Remove them; of a history, what was done (stars, seconds) is a history of its own."
            )
        if self.ragged:
            if self.length is None:
                raise SchemaError(
                    f"{here.capitalize()} is of kind 'ids' and needs a `length`, for example length: 50."
                )
            _positive(f"`length` of {here}", self.length, LONGEST)
        elif self.length is not None and self.derive != "mean":
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
        elif (not self.of_events and (self.of or self.field)) or self.where is not None:
            raise SchemaError(
                f"Only a history has `of`, `field` and `where`; {here} has role {self.role!r}. Remove them."
            )

        self._check_serving_value(here)

    def _check_serving_value(self, here: str) -> None:
        fits = {"string": lambda v: isinstance(v, str), "int64": is_whole, "float32": is_number}[
            str(self.dtype)
        ]
        single = self.kind in ("id", "number") and self.cross is None
        if self.serving_value is not None and not (single and fits(self.serving_value)):
            wanted = {"string": "text", "int64": "a whole number of at least 0", "float32": "a number"}
            raise SchemaError(
                f"`serving_value` of {here} must be {wanted[str(self.dtype)]}, and {here} of one value a row. "
                f"Received: {shown(self.serving_value)}, of kind {self.kind!r}."
            )

    def _check_kind(self, here: str) -> None:
        """Table, dtype and size, by kind."""
        if self.kind == "vector":
            check_whole(f"`size` of the vector {here}", self.size, 1, WIDEST, SchemaError)
            if self.table is None or self.dtype != "float32":
                raise SchemaError(
                    f"The vector {here} needs a `table` (the projection, as wide as the model reads it) and dtype "
                    "float32."
                )
        elif self.size is not None:
            raise SchemaError(f"Only a vector has a `size`, but {here} is of kind {self.kind!r}. Remove it.")
        elif self.kind == "number":
            if self.length is not None:
                raise SchemaError(f"A number has no `length`, but {here} has. Remove it, or make it an id.")
            if self.dtype == "string":
                raise SchemaError(
                    f"`dtype` of the number {here} must be float32 or int64. Received: 'string'."
                )
        elif self.kind != WEIGHTS:
            if self.table is None:
                raise SchemaError(
                    f"{here.capitalize()} is of kind {self.kind!r} and needs a `table` to look up."
                )
            if self.dtype == "float32":
                raise SchemaError(f"`dtype` of the id {here} must be string or int64. Received: 'float32'.")

    def _check_number(self, here: str) -> None:
        """What numbers alone may say."""
        if not isinstance(self.flag, bool):
            raise SchemaError(f"`flag` of {here} must be true or false. Received: {shown(self.flag)}.")
        object.__setattr__(self, "transform", transforms.steps(here, self.transform))
        said = "transform" if self.transform else "flag" if self.flag else None
        if said and self.kind != "number":
            raise SchemaError(
                f"Only a number has a `{said}`, but {here} is of kind {self.kind!r}. Remove it."
            )
        if said and self.table is not None and (self.flag or self.period):
            raise SchemaError(
                f"{here.capitalize()} looks up table {self.table!r}, so it is the row of a bucket, and row 0 where it "
                "is missing: it has no `flag` and no `cyclic`. Remove it, or the `table`."
            )

    def _check_derived(self, here: str) -> None:
        if self.derive is None:
            return
        check_choice(f"`derive` of {here}", self.derive, DERIVED, SchemaError)
        if self.derive == "mean":
            if self.kind != "vector" or self.role != "user" or self.length is None:
                raise SchemaError(
                    f"A mean of the vectors of events is a vector of the user: {here} wants `kind: vector`, "
                    "`role: user` and a `length`, such as length: 20."
                )
            _positive(f"`length` of {here}", self.length, LONGEST)
            return
        recency = self.derive == "recency"
        if self.role not in ("user", "context"):
            raise SchemaError(
                f"What is made of times is no item's: set `role: context` or `role: user` of {here}."
            )
        if recency and (self.kind, self.dtype) != ("number", "float32"):
            raise SchemaError(
                f"A recency is a number of dtype float32, but {here} is not. Set `kind: number`."
            )
        if not recency and (
            self.kind not in ("id", "number") or self.dtype != "int64" or self.role == "history"
        ):
            raise SchemaError(
                f"`derive: {self.derive}` of {here} gives one whole number a row: set `kind: id` or `kind: number`, "
                "and `dtype: int64`, or leave `dtype` out."
            )

    def _check_cross(self, here: str) -> None:
        if self.cross is None:
            return
        names = tuple(self.cross) if isinstance(self.cross, (list, tuple)) else ()
        if len(names) < 2 or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise SchemaError(
                f"`cross` of {here} must list two or more features, such as [site, hour]. Received: "
                f"{shown(self.cross)}."
            )
        if self.kind != "id" or self.dtype != "string" or self.derive or self.column != self.name:
            raise SchemaError(
                f"{here.capitalize()} is a cross: it is of kind id, and has no `column`, `dtype` or `derive`. Remove "
                "them."
            )
        object.__setattr__(self, "cross", names)

    @property
    def of_events(self) -> bool:
        """Whether it is made of the user's events before the row, a history excepted."""
        return self.derive in ("recency", "mean")

    @property
    def built(self) -> bool:
        """Whether interactions do not hold it: a history, and what is made of times and events."""
        return self.role == "history" or self.derive is not None

    @property
    def is_id(self) -> bool:
        """Whether an encoded row holds rows of a table, int32; if not, numbers, float32."""
        return self.table is not None and self.kind != "vector"

    @property
    def values(self) -> int | None:
        """How many values an encoded row holds, `[n, values]`; `None`: one, `[n]`."""
        if self.kind == "number" and self.table is None:
            columns = (2 if self.period else 1) + self.flag
            return columns if columns > 1 else None
        return self.size or self.length

    @property
    def raw_shape(self) -> tuple[int | None, ...]:
        """The shape of raw values in a request; `None`: any."""
        return (None, None) if self.ragged else (None, self.size) if self.size else (None,)

    @property
    def ragged(self) -> bool:
        """Whether raw rows hold any number of values: ids, and their weights."""
        return self.kind in ("ids", WEIGHTS)

    @property
    def weighing(self) -> Feature | None:
        """The weights of its ids as a feature, float32, which stand where the ids do; `None`: all weigh the same."""
        if self.weights is None:
            return None
        return Feature(f"{self.name}_weights", WEIGHTS, self.role, column=self.weights, length=self.length)

    @property
    def period(self) -> float | None:
        """Of a number that is cyclic, its period."""
        return dict(self.transform or ()).get("cyclic")

    @property
    def events(self) -> tuple[str | None, Any]:
        """Of a history: which events it lists. Those that list the same events run in step."""
        return self.of, self.where


def with_weights(features: Iterable[Feature]) -> tuple[Feature, ...]:
    """The features, behind each that has `weights` these (`Feature.weighing`)."""
    return tuple(each for f in features for each in (f, f.weighing) if each is not None)


def together(features: Iterable[Feature]) -> tuple[tuple[Feature, ...], ...]:
    """The sequences that run in step: histories of the same events, any other sequence by itself."""
    groups: dict[Any, list[Feature]] = {}
    for f in features:
        if f.kind == "ids":
            groups.setdefault(f.events if f.role == "history" else f.name, []).append(f)
    return tuple(map(tuple, groups.values()))


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
