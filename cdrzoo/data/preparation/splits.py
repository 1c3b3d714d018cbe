"""Splits: which rows train, which select the model, which are the test; named and hashed, so a number says on what.

Every split is made of the *target's* events; what it does with the source's rows is said with each. Rows of a source
that may not be trained on may still stand in the history of a later row: at that row's time they were known.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cdrzoo.data import readers
from cdrzoo.data.preparation.logs import Log
from cdrzoo.data.preparation.sources import Source, place
from cdrzoo.data.preparation.tallies import Tally, tallies
from cdrzoo.data.readers import Wanted
from cdrzoo.errors import DataError, is_number, is_whole, shown
from cdrzoo.schema import Schema

PARTS = ("train", "valid", "test")


UNUSED = -1

FORM = 2
"""How a split is hashed. The first hashed sorted fingerprints, which cannot be added up, and is not recorded."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Which rows are in which part.

    Args:
        name: such as `time-0.7-0.1-0.2`.
        arguments: what the split was made with.
        parts: `parts[domain][part]`: int64, positions of rows.
        summary: rows, users, mean label and time range of each part.
        hash: sha256 over name, arguments and user, item, time and label of the rows of each part; it depends on neither
            the order of the rows, nor the machine, nor the versions of the libraries.
        tallies: what `summary` is made of.
    """

    name: str
    arguments: dict[str, Any]
    parts: dict[str, dict[str, np.ndarray]]
    summary: dict[str, dict[str, dict[str, Any]]]
    hash: str
    tallies: dict[str, dict[str, Tally]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, arguments: dict[str, Any], logs: Mapping[str, Log], codes: Mapping[str, np.ndarray]
    ) -> Split:
        """The split of logs whose rows carry the part's number (index into `PARTS`), or -1 for none."""
        found = {domain: tallies(log, codes[domain], len(PARTS)) for domain, log in logs.items()}
        parts = {
            domain: {part: np.flatnonzero(codes[domain] == code) for code, part in enumerate(PARTS)}
            for domain in logs
        }
        return cls.named(name, arguments, parts, found)

    @classmethod
    def named(
        cls,
        name: str,
        arguments: dict[str, Any],
        parts: dict[str, dict[str, np.ndarray]],
        found: Mapping[str, Sequence[Tally]],
    ) -> Split:
        """The split whose parts, in the order of `PARTS`, hold what these tallies say."""
        digest = hashlib.sha256(json.dumps([name, arguments], sort_keys=True).encode())
        for domain, of_parts in found.items():
            for part, tally in zip(PARTS, of_parts, strict=True):
                digest.update(f"{domain}/{part}:{tally.rows}:{tally.content}".encode())
        summary = {
            d: {part: t.summary() for part, t in zip(PARTS, ts, strict=True)} for d, ts in found.items()
        }
        tallied = {d: dict(zip(PARTS, ts, strict=True)) for d, ts in found.items()}
        return cls(name, arguments, parts, summary, digest.hexdigest(), tallied)

    def with_means(self, schema: Schema) -> Schema:
        """The schema with the mean training label of each domain that has none."""
        lacking = [domain.name for domain in schema.domains if domain.mean is None]
        found: dict[str, float | None] = {}
        for name in lacking:
            found |= self.tallies[name]["train"].means(name)
        return schema.with_means(found)

    def check_weights(self, domain: str, target: str, source: Source, where: str) -> None:
        """Raises where all training rows of a domain weigh 0, or, of the target, all of another part."""
        for part, tally in self.tallies[domain].items():
            if (part == "train" or domain == target) and tally.rows and not tally.weights.units:
                what = {"train": "training", "valid": "validation"}.get(part, part)
                raise DataError(
                    f"{where}, column {source.weight!r}: the {what} rows of {domain!r} all weigh 0. Leave `weight` "
                    "out, or split the rows in another way."
                )

    def describe(self) -> str:
        """The split as a small table."""
        lines = [f"split {self.name}  {self.hash[:16]}"]
        for domain, parts in self.summary.items():
            for part, found in parts.items():
                if found["rows"]:
                    line = f"  {domain:<12} {part:<6} {found['rows']:>9,} rows"
                    line += f" {found['users']:>8,} users" if found["users"] is not None else ""
                    line += f"  mean label {found['label']:.4f}"
                    line += (
                        f"  time {found['first']:g} to {found['last']:g}"
                        if found["first"] is not None
                        else ""
                    )
                    lines.append(line)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """What a run records."""
        return {
            "name": self.name,
            "arguments": self.arguments,
            "hash": self.hash,
            "form": FORM,
            "parts": self.summary,
        }


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records, of one data, are of one split.

    Hashes of two forms cannot be compared: name, arguments and what is known of each part are. Versions of the first
    form drew other negatives.
    """
    if one.get("form", 1) == other.get("form", 1):
        return bool(one["hash"] == other["hash"])
    drawn = any(name.startswith("negatives of ") for name in one.get("arguments", ()))
    return not drawn and all(one.get(entry) == other.get(entry) for entry in ("name", "arguments", "parts"))


def settle(how: Any, seed: int = 0) -> tuple[str, dict[str, Any]]:
    """What a split is by, and its arguments, checked; see `assign`. This looks at no rows."""
    if not isinstance(how, (str, Mapping)):
        raise DataError(
            f"`split` must be a word or a mapping, for example {{by: time, fractions: [0.7, 0.1, 0.2]}}. "
            f"Received: {shown(how)}."
        )
    arguments: dict[str, Any] = {"by": how} if isinstance(how, str) else dict(how)
    arguments = {key: value for key, value in arguments.items() if value is not None}
    by = arguments.pop("by", None)
    if not isinstance(by, str) or by not in _KNOWN:
        raise DataError(
            f"`split` must be by {', '.join(_KNOWN)}. Received: {shown(by)}. Example: split: {{by: time}}."
        )
    known = _KNOWN[by]
    unknown = sorted(set(arguments) - set(known), key=str)
    if unknown:
        raise DataError(
            f"A split by {by} does not know {unknown[0]!r}. It knows: {', '.join(sorted(known)) or 'nothing'}."
        )
    if "seed" in known:
        arguments.setdefault("seed", seed)
    if "fractions" in known and "cuts" not in arguments:
        arguments["fractions"] = _fractions(arguments.get("fractions", (0.7, 0.1, 0.2)))
    for name, value in arguments.items():
        if name != "fractions" and not known[name][0](value):
            raise DataError(f"`{name}` of a split must be {known[name][1]}. Received: {shown(value)}.")
    if by == "days":
        arguments = {"valid": 1, "test": 1, **arguments}
    if by == "given":
        names_of(arguments)
    return by, arguments


def part_column(by: str, arguments: Mapping[str, Any]) -> str | None:
    """The column of a split that is given; `None` of any other."""
    return arguments.get("column", "split") if by == "given" else None


def names_of(arguments: Mapping[str, Any]) -> dict[str, int]:
    """Of a split that is given: the code of every value of its column. A part that is not named has its own name."""
    found: dict[str, int] = {}
    for code, part in enumerate(PARTS):
        given = arguments.get(part, part)
        for name in given if isinstance(given, (list, tuple)) else [given]:
            if found.setdefault(str(name), code) != code:
                raise DataError(
                    f"A split that is given has {str(name)!r} in two parts: {PARTS[found[str(name)]]} and {part}. "
                    "Name each value once."
                )
    return found


def _share(value: Any) -> bool:
    return is_number(value) and 0 < value <= 1


def _cuts(value: Any) -> bool:
    times = isinstance(value, Sequence) and len(value) in (2, 3) and all(map(is_number, value))
    return times and list(value) == sorted(value)


def _names(value: Any) -> bool:
    several = value if isinstance(value, (list, tuple)) else [value]
    return bool(several) and all((isinstance(name, str) and name != "") or is_whole(name) for name in several)


_Check = tuple[Callable[[Any], bool], str]
_SEED: _Check = (is_whole, "a whole number of at least 0")
_CUTS: _Check = (
    _cuts,
    "two times, the end of train and the end of valid, or three, the end of test too, as numbers (of dates: Unix "
    "seconds)",
)
_SHARE: _Check = (_share, "a share above 0 and at most 1")
_DAY: _Check = (lambda value: is_number(value) and value > 0, "a number above 0")
_DAYS: _Check = (is_whole, "a whole number of days, at least 0")
_NAMES: _Check = (_names, "a value of the column, or a list of values")
_THREE: _Check = (lambda value: True, "three shares")  # `_fractions` looks at them

_KNOWN: dict[str, dict[str, _Check]] = {
    "time": {"fractions": _THREE, "cuts": _CUTS},
    "days": {
        "valid": _DAYS,
        "test": (lambda value: is_whole(value, 1), "a whole number of days, at least 1"),
        "day": _DAY,
    },
    "last": {},
    "users": {"fractions": _THREE, "seed": _SEED},
    "random": {"fractions": _THREE, "seed": _SEED},
    "resample": {
        **dict.fromkeys(("train", "overlap", "users"), _SHARE),
        "day": _DAY,
        "literal": (lambda value: isinstance(value, bool), "true or false"),
        "seed": _SEED,
    },
    "given": {
        "column": (lambda value: isinstance(value, str), "the name of a column"),
        **dict.fromkeys(PARTS, _NAMES),
    },
}
"""By name what a split may be told, and what each must be."""


def _fractions(given: Any) -> list[float]:
    fine = isinstance(given, Sequence) and len(given) == 3 and all(is_number(f) and f >= 0 for f in given)
    if not fine or abs(sum(given) - 1) > 1e-6:
        raise DataError(
            f"`fractions` must be three numbers (train, valid, test) that sum to 1. Received: {shown(given)}."
        )
    return [float(f) for f in given]


def codes_of(given: np.ndarray, arguments: Mapping[str, Any], where: str, before: int = 0) -> np.ndarray:
    """The codes, int8 [n], of the column of a split that is given.

    Args:
        given: text [n], the column.
        arguments: of the split.
        where: what the rows were read from.
        before: rows that stand before these there.
    """
    names = names_of(arguments)
    found = np.select([given == name for name in names], list(names.values()), UNUSED).astype(np.int8)
    if (found == UNUSED).any():
        at = int(np.argmax(found == UNUSED))
        raise DataError(
            f"{where}, column {part_column('given', arguments)!r}, row {before + at + 1}: one of {', '.join(names)} "
            f"wanted. Received: {shown(given[at])}. Say what other words mean: {{by: given, train: [a, b], valid: c, "
            "test: d}."
        )
    return found


def check(schema: Schema, sources: Mapping[str, Any], how: Any, folder: str | pathlib.Path = ".") -> None:
    """Raises a `DataError` if the rows cannot be found or split: for what is said of them, or a given split's values.

    Of the rows the column of a given split is read, and nothing else.
    """
    by, arguments = settle(how)
    column = part_column(by, arguments)
    for domain in schema.domains:
        source = Source.of(domain.name, sources[domain.name], folder)
        if column is None:
            continue
        rows = source.path if source.data is None else source.data
        if column in readers.column_names(rows):
            read = readers.read(rows, {column: Wanted(column, "string")}, place(domain, source))
            codes_of(np.asarray(read[column]), arguments, place(domain, source))
