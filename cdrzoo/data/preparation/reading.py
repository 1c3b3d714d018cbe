"""From where a domain's rows are to its log: what is read, of which files, joined with which others."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from cdrzoo import files
from cdrzoo.data import readers
from cdrzoo.data.preparation.derived import calendar
from cdrzoo.data.preparation.joins import Joining, Side
from cdrzoo.data.preparation.labels import further_labels, labels
from cdrzoo.data.preparation.logs import Log
from cdrzoo.data.preparation.sources import Source, place, wanted
from cdrzoo.data.readers import Columns, Wanted
from cdrzoo.errors import DataError, shown
from cdrzoo.schema import Domain, Schema


def read_logs(
    schema: Schema,
    sources: Mapping[str, Any],
    folder: str | pathlib.Path = ".",
    part_column: str | None = None,
    slices: Sequence[str] = (),
) -> dict[str, Log]:
    """Reads every domain's rows; every file's columns are looked at before the first is read whole.

    Args:
        schema, sources, folder, part_column, slices: as of `plans`.
    """
    found = plans(schema, sources, folder, part_column, slices)
    logs = {name: _read(plan) for name, plan in found.items()}
    check_units(
        {
            name: Times.of(np.quantile(log.time, [0.05, 0.5, 0.95, 0, 1]))
            for name, log in logs.items()
            if log.time is not None
        }
    )
    return logs


def _check_folder(name: str, source: Source, others: Collection[str]) -> None:
    """Raises where a domain's rows are all of a folder, and a file there is called like another domain."""
    if files.is_path(source.path) and files.is_folder(source.path):
        for file in readers.files(source.path):
            other = file.name.partition(".")[0]
            if other in others:
                raise DataError(
                    f"The data of domain {name!r} is the folder {source.path}, where {file.name} seems to hold the "
                    f"rows of {other!r}. Name the files of {name!r}."
                )


def plans(
    schema: Schema,
    sources: Mapping[str, Any],
    folder: str | pathlib.Path = ".",
    part_column: str | None = None,
    slices: Sequence[str] = (),
) -> dict[str, Plan]:
    """What to read of every domain; of the files their columns are looked at.

    Args:
        schema, sources, folder: as of `prepare`.
        part_column: of a split that is given.
        slices: columns of the target that its rows are to have as well.
    """
    names = [domain.name for domain in schema.domains]
    if not isinstance(sources, Mapping):
        raise DataError(
            f"Data is given as a mapping from domain to where its rows are. Received: {shown(sources)}."
        )
    for name in sources:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Domains: {', '.join(names)}."
            raise DataError(f"Data is given for domain {name!r}, which the schema does not have. {hint}")
    for name in names:
        if name not in sources:
            raise DataError(
                f"No data is given for domain {name!r}. Add it, or leave the domain out of the schema."
            )
    parsed = {domain.name: Source.of(domain.name, sources[domain.name], folder) for domain in schema.domains}
    for name, source in parsed.items():
        _check_folder(name, source, set(names) - {name})
    for domain in schema.domains:
        for feature in domain.histories() if parsed[domain.name].kind == "interactions" else ():
            if parsed[feature.of].kind == "examples":
                raise DataError(
                    f"History {feature.name!r} of {domain.name!r} is to be built from the events of {feature.of!r}, "
                    "whose rows are examples. Give both domains as interactions, or both as examples."
                )
    return {
        domain.name: _plan(
            schema, domain, parsed[domain.name], part_column, slices if domain.name == schema.target else ()
        )
        for domain in schema.domains
    }


@dataclasses.dataclass(frozen=True)
class Times:
    """The times of a log: 5 %, half and 95 % of them are no later, and the first and the last."""

    low: float
    middle: float
    high: float
    first: float
    last: float

    @classmethod
    def of(cls, numbers: np.ndarray) -> Times:
        """From all five, in this order."""
        low, middle, high, first, last = numbers.tolist()
        return cls(low, middle, high, first, last)

    def __str__(self) -> str:
        return f"{self.first:.10g} to {self.last:.10g}"


def check_units(times: Mapping[str, Times]) -> None:
    """Raises where one domain's times look like seconds and another's like milliseconds, or days, or ....

    Only times that lie far from 0, as those of a calendar do, say anything of their unit: a count from 0 may be long in
    one domain and short in another. Of the outermost 5 % nothing is taken: a stray time changes nothing.
    """
    found = {name: each.middle for name, each in times.items() if each.low < each.high < 10 * each.low}
    if not found:
        return
    early, late = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    if found[late] >= 300 * found[early]:
        raise DataError(
            f"The times of {early!r} and of {late!r} look like different units: those of {early!r} go from "
            f"{times[early]}, those of {late!r} from {times[late]}. Histories and splits compare them. "
            f"Give both in one unit; the factor is about {found[late] / found[early]:,.0f}."
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to read of a domain's rows.

    Args:
        domain, source: of the rows.
        own: columns of their own file.
        joins: other files.
    """

    domain: Domain
    source: Source
    own: dict[str, Wanted]
    joins: tuple[Joining, ...]


def _plan(
    schema: Schema, domain: Domain, source: Source, part_column: str | None, slices: Sequence[str]
) -> Plan:
    """What to read from the rows' own file and what from each joined file; raises when a column is nowhere."""
    main = source.data if source.data is not None else source.path
    where = place(domain, source)
    columns = wanted(schema, domain, source)
    made = {f.column for f in domain.features if f.derive}
    extra = {f"@slice {name}": Wanted(name, "text") for name in slices if name not in {*columns, *made}}
    own_labels = {label.column for label in domain.outputs.values()}
    others = {*own_labels, domain.time, source.weight, part_column, *(side["on"] for side in source.join)}
    named = {want.column for want in (columns | extra).values()} | (others - {None})
    names = readers.column_names(main, named, source.delimiter)
    sides = []
    for side in source.join:
        other = side.get("data", side.get("path"))
        has = readers.column_names(other, (side["on"],), side.get("delimiter"))
        key = columns.get(side["on"], Wanted(side["on"], "string"))
        readers.require({"on": key}, names, where)
        readers.require({"on": key}, has, f"The joined {other if 'path' in side else 'DataFrame'}")
        taken = {c: w for c, w in (columns | extra).items() if w.column not in names and w.column in has}
        sides.append(Joining(other, key, taken, side.get("delimiter")))
    joined = {column for side in sides for column in side.taken}
    own = {column: want for column, want in columns.items() if column not in joined}
    own.update({f"@on {side.key.column}": side.key for side in sides})
    for column, want in extra.items():
        if column not in joined:
            try:
                readers.require({column: want}, names, where)
            except DataError as error:
                raise DataError(f"There is no column {want.column!r} to group by: {error}") from None
            own[column] = want
    if source.negatives is None or domain.label in names:
        own["@label"] = Wanted(domain.label, "finite")
    for label in domain.labels[1:]:
        own[f"@label {label.name}"] = Wanted(str(label.column), "float")
    if domain.time is not None:
        own["@time"] = Wanted(domain.time, "time")
    if source.weight is not None:
        own["@weight"] = Wanted(source.weight, "finite")
    if part_column is not None and part_column in names:
        own["@part"] = Wanted(part_column, "string")
    readers.require(own, names, where)
    return Plan(domain, source, own, tuple(sides))


def _read(plan: Plan) -> Log:
    source = plan.source
    where = place(plan.domain, source)
    rows = source.data if source.data is not None else source.path
    columns = readers.read(rows, plan.own, where, source.delimiter)
    return log_of(plan, columns, [Side.read(join) for join in plan.joins], where)


def log_of(plan: Plan, columns: Columns, sides: Sequence[Side], where: str, before: int = 0) -> Log:
    """The log of some rows.

    Args:
        plan: what they were read by.
        columns: what was read, `plan.own`.
        sides: what is joined, `plan.joins`.
        where: what they were read from.
        before: rows that stand before them there.
    """
    domain, source = plan.domain, plan.source
    size = len(next(iter(columns.values())))
    joins = []
    for side in sides:
        found, joined = side.at(columns[f"@on {side.key.column}"])
        columns.update(found)
        joins.append(joined)
    readers.check_weights(columns, domain.features, where, before)
    for side in sides:
        columns.pop(f"@on {side.key.column}", None)
    raw = columns.pop("@label", None)
    if raw is None:  # a log of positives
        raw = np.ones(size)
    y = labels(domain, raw, where, before)
    weight = columns.pop("@weight", None)
    if weight is not None and (weight < 0).any():
        at = int(np.argmax(weight < 0))
        raise DataError(
            f"{where}, column {source.weight!r}, row {before + at + 1}: a weight of at least 0 wanted. "
            f"Received: {weight[at]:g}."
        )
    further = {one.name: columns.pop(f"@label {one.name}") for one in domain.labels[1:]}
    further_labels(domain, y, further, where, before)  # what is wrong is said of the row in its file
    if source.kind == "interactions":
        columns.update(calendar(domain, columns.get("@time"), where))
    return Log(
        domain=domain,
        source=source,
        columns=columns,
        raw=raw,
        y=y,
        time=columns.pop("@time", None),
        part=columns.pop("@part", None),
        weight=weight,
        user=None if domain.user is None else columns[domain.user],
        item=None if domain.item is None else columns[domain.item],
        event=np.arange(size),
        row=before + np.arange(size),
        size=size,
        joins=tuple(joins),
        further=further,
        extra={name: columns.pop(f"@slice {name}") for name in _slices(columns)},
    )


def _slices(columns: Columns) -> list[str]:
    return [name.removeprefix("@slice ") for name in columns if name.startswith("@slice ")]
