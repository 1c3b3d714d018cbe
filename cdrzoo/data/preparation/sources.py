"""Where the rows of a domain are: what a data specification may say, and which columns are read of it."""

from __future__ import annotations

import dataclasses
import numbers
import pathlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cdrzoo import files
from cdrzoo.data import readers
from cdrzoo.data.readers import Wanted
from cdrzoo.data.readers.paths import format_of
from cdrzoo.errors import DataError, SchemaError, check_known, is_number, shown
from cdrzoo.schema import Domain, Reading, Schema

KINDS = ("interactions", "examples")
HOW = ("uniform", "popularity")
"""How negatives are drawn."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a domain's rows are; see `prepare` for what each entry means."""

    path: Any = None
    data: pd.DataFrame | None = None
    kind: str = "interactions"
    join: tuple[Mapping[str, Any], ...] = ()
    negatives: Mapping[str, Any] | None = None
    separator: str = Reading.separator
    delimiter: str | None = None
    weight: str | None = None
    history_min_label: float | None = None

    @property
    def reading(self) -> Reading:
        """How its text becomes values."""
        return Reading(separator=self.separator, delimiter=self.delimiter)

    def is_text(self) -> bool:
        """Whether sequences are text in the rows' file: ids joined by a separator."""
        return self.data is None and format_of(readers.files(self.path)[0]) == "csv"

    @classmethod
    def of(cls, domain: str, given: Any, folder: str | pathlib.Path = ".") -> Source:
        """From a path, a list of paths, a DataFrame or a mapping."""
        where = f"The data of domain {domain!r}"
        if isinstance(given, pd.DataFrame):
            return cls(data=given)
        if not isinstance(given, Mapping):
            return cls(path=_inside(folder, _paths(where, given)))
        known = [field.name for field in dataclasses.fields(cls)]
        check_known(where, given, sorted(known), DataError)
        given = {key: value for key, value in given.items() if value is not None}
        if (given.get("path") is None) == (given.get("data") is None):
            raise DataError(f"{where} must give `path` (a file) or `data` (a DataFrame), one of the two.")
        if given.get("path") is not None:
            given["path"] = _inside(folder, _paths(where, given["path"]))
        kinds: tuple[tuple[str, Any, str], ...] = (
            ("join", (list, tuple), "a list of {path: items.csv, on: item}"),
            ("separator", str, "text"),
            ("delimiter", str, "one character"),
            ("weight", str, "the name of a column"),
            ("history_min_label", numbers.Real, "a finite number"),
        )
        for key, kind, wanted in kinds:
            value = given.get(key)
            fits = isinstance(value, kind) and value != "" and (kind is not numbers.Real or is_number(value))
            if value is not None and not fits:
                raise DataError(f"{where}: `{key}` must be {wanted}. Received: {shown(value)}.")
        source = cls(**{**given, "join": tuple(given.get("join") or ())})
        try:
            source.reading  # noqa: B018
        except SchemaError as error:
            raise DataError(f"{where}: {error}") from None
        if source.kind not in KINDS:
            raise DataError(f"{where}: `kind` must be {' or '.join(KINDS)}. Received: {shown(source.kind)}.")
        for side in source.join:
            check_known(f"{where}, `join`", side, ["data", "delimiter", "on", "path"], DataError)
            if not isinstance(side.get("on"), str) or ("path" in side) == ("data" in side):
                raise DataError(
                    f"{where}: each `join` must give `path` (or `data`) and `on`, the name of the key column of both. "
                    f"Received: {shown(dict(side))}."
                )
        if source.negatives is not None:
            check_known(f"{where}, `negatives`", source.negatives, ["how", "per_positive"], DataError)
            each, how = source.negatives.get("per_positive", 1), source.negatives.get("how", "uniform")
            if isinstance(each, bool) or not isinstance(each, int) or each < 1 or how not in HOW:
                raise DataError(
                    f"{where}: `negatives` must give per_positive: a whole number from 1, and how: {' or '.join(HOW)}. "
                    f"Received: {shown(dict(source.negatives))}."
                )
            if source.kind == "examples":
                raise DataError(
                    f"{where}: negatives are drawn for interactions; examples hold their own. Remove one."
                )
        sides = tuple(
            {**s, **({"path": _inside(folder, s["path"])} if "path" in s else {})} for s in source.join
        )
        return dataclasses.replace(source, join=sides)


def _paths(where: str, given: Any) -> Any:
    """A path, or a list of them, as it is."""
    several = given if isinstance(given, (list, tuple)) else [given]
    if not several or not all(files.is_path(path) and str(path) for path in several):
        raise DataError(
            f"{where} must be a path, a list of paths, a mapping with `path`, or a DataFrame. Received: {shown(given)}."
        )
    return given


def _inside(folder: str | pathlib.Path, path: Any) -> Any:
    if isinstance(path, (list, tuple)):
        return [_inside(folder, one) for one in path]
    return files.home(path, folder) if files.is_path(path) else path


def place(domain: Domain, source: Source) -> str:
    if source.path is None:
        return f"The data of domain {domain.name!r}"
    return str(source.path[0] if isinstance(source.path, list) and len(source.path) == 1 else source.path)


def wanted(schema: Schema, domain: Domain, source: Source) -> dict[str, Wanted]:
    """The columns of a domain that anything needs: its features, and what histories of any domain list of it."""
    examples = source.kind == "examples"
    found: dict[str, Wanted] = {}
    made = set() if examples else {f.column for f in domain.features if f.derive}

    def want(column: str, new: Wanted, who: str) -> None:
        before = found.setdefault(column, new)
        if (before.dtype, before.many) != (new.dtype, new.many):
            raise DataError(
                f"Domain {domain.name!r}: column {column!r} is wanted as {_kind(before)} and, by {who}, "
                f"as {_kind(new)}. Give both the same dtype and kind, or make a second column."
            )

    for feature in domain.inputs():
        if examples or not feature.built:
            want(feature.column, Wanted.of(feature, source.reading), f"feature {feature.name!r}")
            if feature.column in (label.column for label in domain.outputs.values()):
                raise DataError(
                    f"Domain {domain.name!r}: feature {feature.name!r} reads the label column {feature.column!r}, so "
                    "the model would be given the answer. Remove the feature, or set another `column`."
                )
    if not examples:
        for other in schema.domains:
            for feature in other.histories(of=domain.name):
                one = Wanted(feature.field, feature.dtype)
                if feature.field not in made:
                    want(feature.field, one, f"history {feature.name!r} of {other.name!r}")
                for column, value in feature.where or ():
                    dtype = "string" if isinstance(value, str) else "int64"
                    want(column, Wanted(column, dtype), f"`where` of {feature.name!r} of {other.name!r}")
    for key, column in (("user", domain.user), ("item", domain.item)):
        if column is not None:
            one = found.setdefault(column, Wanted(column, "string"))
            if one.many or one.dtype == "float":
                raise DataError(
                    f"`{key}` of domain {domain.name!r} must be a column of one id a row. Received: {column!r}, "
                    f"{_kind(one)}."
                )
    return found


def _kind(want: Wanted) -> str:
    return ("a sequence of " if want.many else "") + want.dtype
