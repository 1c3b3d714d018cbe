"""What stands in a domain: features, the tables they look up, and the domain itself."""

from __future__ import annotations

import dataclasses
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
        first_rows: how many they were at first, of a table that has grown since; a warm start fills it in.
    """

    name: str
    width: int = 8
    per_domain: bool = False
    min_count: int = 1
    hash_buckets: int | None = None
    rows: int | None = None
    first_rows: int | None = None

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
        if self.first_rows is not None:
            _positive(f"`first_rows` of table {self.name!r}", self.first_rows)


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
class Label:
    """One of several labels of a domain.

    Args:
        name: what the model's output is called, in metrics and when served.
        column: its raw column; default `name`. A row without a value weighs nothing in this label's loss and metrics;
            of the first label every row has one.
        task: `"click"` (0 or 1) or `"rating"` (a number).
        threshold: for clicks: a value of at least this much is a click. `None`: it is 0 or 1 already.
        given: an earlier label without which this one cannot be, such as the click of a conversion. The score is then
            the probability of both, that of the given label times that of this one once it is there (ESMM).
        mean: mean of the training rows. `prepare` fills it in; `None`: not known.
    """

    name: str
    column: str | None = None
    task: str = "click"
    threshold: float | None = None
    given: str | None = None
    mean: float | None = None

    def __post_init__(self):
        _name("The name of a label", self.name)
        _ascii("The name of a label", self.name)
        here = f"label {self.name!r}"
        if self.name in ("index", "item"):
            raise SchemaError(
                f"No label can be called {self.name!r}: `rank` gives something else by that name."
            )
        _words(self, here, "column", "given")
        if self.column is None:
            object.__setattr__(self, "column", self.name)
        check_choice(f"`task` of {here}", self.task, TASKS, SchemaError)
        for name in ("threshold", "mean"):
            if getattr(self, name) is not None:
                check_number(f"`{name}` of {here}", getattr(self, name), error=SchemaError)
        if self.threshold is not None and self.task == "rating":
            raise SchemaError(f"`threshold` of {here} has no meaning: it is a rating. Remove it.")


def _check_labels(domain: Domain) -> None:
    here, names = f"domain {domain.name!r}", [label.name.lower() for label in domain.labels]
    if len(names) < 2 or len(set(names)) < len(names):
        raise SchemaError(
            f"`labels` of {here} must be two or more, of different names. Received: {', '.join(names) or 'none'}. One "
            "label is `label: COLUMN`."
        )
    first = domain.labels[0]
    said = {
        "label": ("label", first.column),
        "task": ("click", first.task),
        "threshold": (None, first.threshold),
    }
    for name, allowed in said.items():
        if getattr(domain, name) not in allowed:
            raise SchemaError(
                f"Give `{name}` or `labels` of {here}, one of the two. Received: {shown(getattr(domain, name))}, too."
            )
    for at, label in enumerate(domain.labels):
        before = {each.name: each for each in domain.labels[:at]}
        if label.given is None:
            continue
        if label.given not in before or label.task != "click" or before[label.given].task != "click":
            raise SchemaError(
                f"`given` of label {label.name!r} must name an earlier label of {here}, and both be clicks. Earlier: "
                f"{', '.join(before) or 'none'}. Received: {shown(label.given)}."
            )


@dataclass(frozen=True)
class Domain:
    """One business domain: its features, its label and its keys.

    Args:
        name: the domain's name in batches.
        features: its features, in order.
        label: raw column of the label.
        labels: several labels in place of `label`, `task` and `threshold`, each with an output of its own, such as
            `{click: clicked, conversion: {column: bought, given: click}}`. The first is the main one: epochs are chosen
            by it, negatives drawn and models compared.
        task: `"click"` (label 0 or 1) or `"rating"` (label a number).
        threshold: for clicks: a label of at least this much is a click. `None`: the label is 0 or 1 already.
        time: raw column of the event's time (a number, in any unit that all domains share; a timestamp or a date as
            ISO 8601 writes it is read as Unix seconds); `None`: not known.
        user: raw column of the user's key; `None`: there is none, and so no GAUC and no groups of users. Default: the
            column of the `id` feature of role user that is called `user`, if there is one. What else is known of a
            user (age, city) is an attribute, never the key.
        item: raw column of the item's key; `None`: there is none, and so no negatives are drawn, and what rests on
            items is not measured. Default: the column of the `id` feature of role item that is called `item`.
        negatives_kept: of a log of clicks that kept a share of the rows without a click, this share, such as 0.1.
            Exports then give probabilities on all traffic, and metrics count such a row 1 / share times. Further labels
            must be `given` the first. Default: all were kept.
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
    labels: tuple[Label, ...] = ()
    negatives_kept: float | None = None

    def __post_init__(self):
        _name("The name of a domain", self.name)
        _ascii("The name of a domain", self.name)
        here = f"domain {self.name!r}"
        _words(self, here, "label", "time")
        object.__setattr__(self, "labels", tuple(self.labels or ()))
        if self.labels:
            _check_labels(self)
            for name, of in (("label", "column"), ("task", "task"), ("threshold", "threshold")):
                object.__setattr__(self, name, getattr(self.labels[0], of))
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
        if self.negatives_kept is not None:
            check_number(
                f"`negatives_kept` of {here}", self.negatives_kept, most=1, above=0, error=SchemaError
            )
            free = [label.name for label in self.labels[1:] if label.given is None]
            if self.task != "click" or free:
                raise SchemaError(
                    f"`negatives_kept` of {here} corrects clicks, and labels that are given one; it says nothing of "
                    f"{free[0] if free else 'ratings'!r}. Leave it out{', or say `given`' if free else ''}."
                )
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

    @property
    def outputs(self) -> dict[str, Label]:
        """What a model gives of its rows: the key in batches and the label. The first has the domain's own name.

        The further ones are called DOMAIN.LABEL. The output of a domain of one label is served under its task's name.
        """
        first = self.labels[0] if self.labels else Label(self.task, self.label, self.task, self.threshold)
        further = {f"{self.name}.{label.name}": label for label in self.labels[1:]}
        return {self.name: dataclasses.replace(first, mean=self.mean), **further}

    @property
    def heads(self) -> dict[str, Label]:
        """`outputs` with the mean of what the head of each says: given another label, among the rows that have it."""
        outputs = self.outputs
        means = {label.name: label.mean for label in outputs.values()}
        return {
            key: dataclasses.replace(label, mean=label.mean / given)
            if label.mean is not None and (given := means.get(str(label.given)))
            else label
            for key, label in outputs.items()
        }

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
