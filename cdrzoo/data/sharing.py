"""What domains share in vain: tables, and users, of which no two have an id in common."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from cdrzoo.data.preparation.keys import fingerprints
from cdrzoo.data.preparation.logs import Log
from cdrzoo.data.ragged import Ragged
from cdrzoo.data.raw import MISSING, factorize, missing
from cdrzoo.schema import Schema

Logs = Mapping[str, Log]
_NONE = np.array([], object)


@dataclasses.dataclass
class _Pair:
    """Ids of two places that should meet.

    Args:
        ids: distinct ones of both, of the logs of a piece.
        says: the warning, from an id of each.
        keys: whether they are users' keys, and then the domains that these are of.
        again: whether it is passed by where the same was said of the keys of these domains.
        hashes: of the ids of each that were seen.
        least: the first of them, as text is ordered.
    """

    ids: Callable[[Logs], tuple[np.ndarray, np.ndarray]]
    says: Callable[[Any, Any], str]
    keys: tuple[str, str] | None = None
    again: bool = False
    hashes: list[np.ndarray] = dataclasses.field(default_factory=lambda: [np.zeros(0, np.uint64)] * 2)
    least: list[list[Any]] = dataclasses.field(default_factory=lambda: [[], []])
    met: bool = False

    def look(self, logs: Logs) -> None:
        """Adds a piece, until two ids have met."""
        if self.met:
            return
        for at, ids in enumerate(self.ids(logs)):
            if len(ids):
                self.hashes[at] = np.union1d(self.hashes[at], fingerprints([ids.astype(object)]))
                self.least[at] = [min([*self.least[at], *ids.tolist()], key=str)]
        self.met = bool(np.isin(self.hashes[0], self.hashes[1]).any())


def in_vain(schema: Schema, pieces: Iterable[Logs]) -> Iterator[str]:
    """Says which tables and keys domains share although they have nothing in common.

    Args:
        schema: the schema.
        pieces: the rows of every domain, in any division. No more of them are looked at than it takes.
    """
    pairs: list[_Pair] | None = None
    for logs in pieces:
        pairs = _pairs(schema, logs) if pairs is None else pairs
        for pair in pairs:
            pair.look(logs)
        if all(pair.met for pair in pairs):
            return
    said = set()
    for pair in pairs or ():
        if not pair.met and all(pair.least) and not (pair.again and pair.keys in said):
            said.add(pair.keys)
            yield pair.says(*(each[0] for each in pair.least))


def _pairs(schema: Schema, logs: Logs) -> list[_Pair]:
    """Whatever should meet; users last, of which nothing is said where their table says it."""
    found = []
    of_keys = {f.table for d in schema.domains for f in d.features if f.column == d.user}
    for table in schema.tables:
        owners = {owner for owner, *_ in _columns(schema, table.name, logs)}
        for one, two in itertools.combinations((name for name in logs if name in owners), 2):
            found.append(_of_table(schema, table.name, one, two, table.name in of_keys))
    for domain in schema.domains:
        for history in domain.histories() if logs[domain.name].source.kind == "examples" else ():
            if history.field in logs[history.of].columns:
                found.append(_of_history(domain.name, history.column, history.of, history.field))
    listing = {(h.of, d.name) for d in schema.domains for h in d.histories() if h.of != d.name}
    for one, two in itertools.combinations(logs, 2):
        if listing & {(one, two), (two, one)} and all(logs[name].user is not None for name in (one, two)):
            found.append(_of_users(one, two))
    return found


def _of_table(schema: Schema, table: str, one: str, two: str, keys: bool) -> _Pair:
    def ids(logs: Logs) -> tuple[np.ndarray, np.ndarray]:
        found = distinct_ids(schema, table, logs)
        return found.get(one, _NONE), found.get(two, _NONE)

    def says(first: Any, second: Any) -> str:
        return (
            f"table {table!r}: {one} and {two} share it, and no id. {one} has {first!r}, {two} {second!r}: check that "
            "both are written alike, or give each its own table."
        )

    return _Pair(ids, says, (one, two) if keys else None)


def _of_history(domain: str, column: str, of: str, field: str) -> _Pair:
    def ids(logs: Logs) -> tuple[np.ndarray, np.ndarray]:
        columns = logs[domain].columns[column], logs[of].columns[field]
        listed, there = (factorize(_flat(values))[1] for values in columns)
        return listed, there

    def says(first: Any, second: Any) -> str:
        return (
            f"{domain}, column {column!r}: no id stands in {field!r} of {of}. The history has {first!r}, {of} "
            f"{second!r}: check that both are written alike."
        )

    return _Pair(ids, says)


def _of_users(one: str, two: str) -> _Pair:
    def ids(logs: Logs) -> tuple[np.ndarray, np.ndarray]:
        first, second = (factorize(key[~missing(key)])[1] for key in (logs[one].user, logs[two].user))
        return first, second

    def says(first: Any, second: Any) -> str:
        return (
            f"{one} and {two} have no user in common, so histories across them are empty. {one} has {first!r}, {two} "
            f"{second!r}: check that both are written alike."
        )

    return _Pair(ids, says, (one, two), again=True)


def distinct_ids(schema: Schema, table: str, logs: Logs) -> dict[str, np.ndarray]:
    """The ids of a table, each once, in every domain that has some; what a history lists is of the listed domain."""
    found: dict[str, list[np.ndarray]] = {domain.name: [] for domain in schema.domains}
    for owner, log, column, blank in _columns(schema, table, logs):
        ids = factorize(_flat(log.columns[column]))[1]
        found[owner].append(ids[ids != blank].astype(object))
    joined = {name: factorize(np.concatenate(ids))[1] for name, ids in found.items() if ids}
    return {name: ids for name, ids in joined.items() if len(ids)}


def _columns(schema: Schema, table: str, logs: Logs) -> Iterator[tuple[str, Log, str, Any]]:
    """Whose ids of a table stand in which column of which log, and what stands there for a missing one."""
    for domain in schema.domains:
        for feature in (
            f for f in domain.features if f.table == table and f.kind in ("id", "ids") and not f.cross
        ):
            owner, column, log = domain.name, feature.column, logs[domain.name]
            if feature.role == "history":
                owner = feature.of
                if log.source.kind != "examples":
                    column, log = feature.field, logs[owner]
            yield owner, log, column, MISSING[feature.dtype]


def _flat(values: Any) -> np.ndarray:
    return values.values if isinstance(values, Ragged) else values
