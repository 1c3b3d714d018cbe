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
from cdrzoo.data.preparation.keys import drawn, fingerprints
from cdrzoo.data.preparation.logs import Log, user_codes
from cdrzoo.data.preparation.sources import Source, place
from cdrzoo.data.raw import factorize
from cdrzoo.data.readers import Wanted
from cdrzoo.errors import DataError, is_number, is_whole, shown
from cdrzoo.schema import Schema

PARTS = ("train", "valid", "test")


UNUSED = -1


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
    """

    name: str
    arguments: dict[str, Any]
    parts: dict[str, dict[str, np.ndarray]]
    summary: dict[str, dict[str, dict[str, Any]]]
    hash: str

    @classmethod
    def of(
        cls, name: str, arguments: dict[str, Any], logs: Mapping[str, Log], codes: Mapping[str, np.ndarray]
    ) -> Split:
        """The split of logs whose rows carry the part's number (index into `PARTS`), or -1 for none."""
        digest = hashlib.sha256(json.dumps([name, arguments], sort_keys=True).encode())
        parts: dict[str, dict[str, np.ndarray]] = {}
        summary: dict[str, dict[str, dict[str, Any]]] = {}
        for domain, log in logs.items():
            keys = fingerprints(log.key_columns())
            parts[domain] = {part: np.flatnonzero(codes[domain] == code) for code, part in enumerate(PARTS)}
            for part, rows in parts[domain].items():
                digest.update(f"{domain}/{part}:{len(rows)}".encode())
                digest.update(np.sort(keys[rows]).astype("<u8").tobytes())
            summary[domain] = {part: _summary(log, rows) for part, rows in parts[domain].items()}
        return cls(name, arguments, parts, summary, digest.hexdigest())

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
        return {"name": self.name, "arguments": self.arguments, "hash": self.hash, "parts": self.summary}


def _summary(log: Log, rows: np.ndarray) -> dict[str, Any]:
    if not len(rows):
        return {"rows": 0, "users": 0, "label": None, "first": None, "last": None}
    times = None if log.time is None else log.time[rows]
    return {
        "rows": len(rows),
        "users": None if log.user is None else int(factorize(log.user[rows])[1].size),
        "label": round(float(log.y[rows].mean(dtype=np.float64)), 6),
        "first": None if times is None else float(times.min()),
        "last": None if times is None else float(times.max()),
    }


def assign(
    schema: Schema, logs: Mapping[str, Log], how: str | Mapping[str, Any], seed: int = 0
) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Gives every row of every log the number of its part.

    Args:
        schema: names the target.
        logs: the rows, all of them events (before negatives are drawn).
        how: `{by: ...}`, or the word alone:

            - `time` with `fractions: [0.7, 0.1, 0.2]` of the target's rows in order of time, or with `cuts: [a, b]`.
              Train is `time < a`, valid `a <= time < b`, test `time >= b`; rows that tie with a cut go to the later
              part. The sources are cut at the same two times, so validation and test come after everything trained on.
            - `last`: each user's last event in the target is the test, the one before it valid; users with fewer than
              three stay in train. Of a source, a user's rows before his first held-out event are trained on (and all
              rows of users without one). Other users' later rows are trained on too: that is the protocol's nature.
            - `users` with `fractions`: of the users that the target shares with a source, so many (by a hash of their
              key and the seed) have all their target rows in valid or test: the cold-start protocol. All sources train.
              No history lists a held-out event, so that the hidden users stay cold.
            - `random` with `fractions`: target rows by a hash of their content and the seed. All sources train. No
              history lists a held-out event: an earlier row's label must not be read off a later row.
            - `resample` with `train` (0.8), `overlap` (0.1), `users` (1.0), `day` (86400), `literal` (false): DADIN's
              Algorithm 2. Of the target's users `users` take part, of these `train` train with all their rows; of the
              training users `overlap`, and all other users, are held out on their own last day: one half of them in
              valid, the other in test. All else of the target of the other users is unused. Source rows train if they
              are older than the user's held-out day; with `literal`, as the algorithm is printed, only those of the
              training users. Users of the sources alone take no part. No history lists a held-out event. `day` is the
              length of a day in the unit of the times. The paper gives no shares and does not say whose last day.
            - `given` with `column` (default `split`) that says `train`, `valid` or `test`; a domain without it trains.

        seed: of `random`, `users` and `resample`.

    Returns:
        The split's name, its arguments and, by domain, int8 codes [n].
    """
    by, arguments = settle(how, seed)
    functions: dict[str, Any] = {
        "time": _by_time,
        "last": _by_last,
        "users": _by_users,
        "random": _at_random,
        "resample": _resampled,
        "given": _given,
    }
    codes = functions[by](schema, logs, **arguments)
    for part, code in (("train", 0), ("test", 2)):
        if not (codes[schema.target] == code).any():
            raise DataError(
                f"The split by {by} leaves no {part} rows in {schema.target!r}. Change its fractions or cuts."
            )
    shown = arguments.get("cuts") or arguments.get("fractions") or []
    name = "-".join([by, *(f"{number:g}" for number in shown)])
    return name + (f"-seed{arguments['seed']}" if "seed" in arguments else ""), {"by": by, **arguments}, codes


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
    unknown = sorted(set(arguments) - known, key=str)
    if unknown:
        raise DataError(
            f"A split by {by} does not know {unknown[0]!r}. It knows: {', '.join(sorted(known)) or 'nothing'}."
        )
    if "seed" in known:
        arguments.setdefault("seed", seed)
    if "fractions" in known and "cuts" not in arguments:
        arguments["fractions"] = _fractions(arguments.get("fractions", (0.7, 0.1, 0.2)))
    for name, value in arguments.items():
        if name != "fractions" and not _FINE[name][0](value):
            raise DataError(f"`{name}` of a split must be {_FINE[name][1]}. Received: {shown(value)}.")
    return by, arguments


def _share(value: Any) -> bool:
    return is_number(value) and 0 < value <= 1


def _cuts(value: Any) -> bool:
    two = isinstance(value, Sequence) and len(value) == 2 and all(map(is_number, value))
    return two and value[0] <= value[1]


_KNOWN = {
    "time": {"fractions", "cuts"},
    "last": set(),
    "users": {"fractions", "seed"},
    "random": {"fractions", "seed"},
    "resample": {"train", "overlap", "users", "day", "literal", "seed"},
    "given": {"column"},
}


_FINE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": (is_whole, "a whole number of at least 0"),
    "cuts": (
        _cuts,
        "two times, the end of train and the end of valid, as numbers (of dates: Unix seconds)",
    ),
    **dict.fromkeys(("train", "overlap", "users"), (_share, "a share above 0 and at most 1")),
    "day": (lambda value: is_number(value) and value > 0, "a number above 0"),
    "literal": (lambda value: isinstance(value, bool), "true or false"),
    "column": (lambda value: isinstance(value, str), "the name of a column"),
}


def _fractions(given: Any) -> list[float]:
    fine = isinstance(given, Sequence) and len(given) == 3 and all(is_number(f) and f >= 0 for f in given)
    if not fine or abs(sum(given) - 1) > 1e-6:
        raise DataError(
            f"`fractions` must be three numbers (train, valid, test) that sum to 1. Received: {shown(given)}."
        )
    return [float(f) for f in given]


def _by_time(
    schema: Schema,
    logs: Mapping[str, Log],
    fractions: Sequence[float] = (),
    cuts: Sequence[float] | None = None,
) -> dict[str, np.ndarray]:
    for name, log in logs.items():
        _needs_time(name, log, "time")
    times = logs[schema.target].time
    if cuts is None:
        ordered = np.sort(times)
        places = [round(fractions[0] * len(ordered)), round((fractions[0] + fractions[1]) * len(ordered))]
        cuts = [ordered[place] if place < len(ordered) else np.inf for place in places]
    return {
        name: ((log.time >= cuts[0]).astype(np.int8) + (log.time >= cuts[1])) for name, log in logs.items()
    }


def _needs_time(name: str, log: Log, by: str) -> None:
    if log.time is None:
        raise DataError(
            f"A split by {by} needs times, but domain {name!r} has none. Set `time: COLUMN` in the schema, "
            "or split at random, by users, or by a given column."
        )


def _by_last(schema: Schema, logs: Mapping[str, Log]) -> dict[str, np.ndarray]:
    for name, log in logs.items():
        _needs_time(name, log, "last event")
    codes = user_codes(logs)
    target = logs[schema.target]
    users = codes[schema.target]
    order = np.lexsort((target.time, users))  # stable: ties keep their order in the log
    ordered = users[order]
    # How many events of the same user come after this one, and how many he has.
    after = np.searchsorted(ordered, ordered, side="right") - 1 - np.arange(len(ordered))
    counts = np.searchsorted(ordered, ordered, side="right") - np.searchsorted(ordered, ordered, side="left")
    held = (counts >= 3) & (ordered >= 0)
    parts = np.zeros(len(users), np.int8)
    parts[order[held & (after == 0)]] = 2
    parts[order[held & (after == 1)]] = 1
    first_held = np.full(int(max((c.max(initial=-1) for c in codes.values()), default=-1)) + 1, np.inf)
    first_held[users[parts == 1]] = target.time[parts == 1]
    found = {schema.target: parts}
    for domain in schema.sources:
        log, users = logs[domain.name], codes[domain.name]
        cut = np.where(users >= 0, first_held[np.maximum(users, 0)], np.inf)
        found[domain.name] = np.where(log.time < cut, 0, UNUSED).astype(np.int8)
    return {name: found[name] for name in logs}


def _by_users(
    schema: Schema, logs: Mapping[str, Log], fractions: Sequence[float], seed: int
) -> dict[str, np.ndarray]:
    codes = user_codes(logs)
    target = logs[schema.target]
    shared = np.isin(codes[schema.target], np.concatenate([[-2], *(codes[d.name] for d in schema.sources)]))
    shared &= codes[schema.target] >= 0
    if not shared.any():
        raise DataError(f"No user of {schema.target!r} stands in a source, so none can be a cold-start user.")
    keys = drawn([target.user], seed)
    distinct = np.unique(keys[shared])
    places = [round(fractions[0] * len(distinct)), round((fractions[0] + fractions[1]) * len(distinct))]
    rank = np.searchsorted(distinct, keys)
    parts = np.where(shared, (rank >= places[0]).astype(np.int8) + (rank >= places[1]), 0).astype(np.int8)
    return {n: parts if n == schema.target else np.zeros(len(log), np.int8) for n, log in logs.items()}


def _at_random(
    schema: Schema, logs: Mapping[str, Log], fractions: Sequence[float], seed: int
) -> dict[str, np.ndarray]:
    keys = drawn(logs[schema.target].key_columns(), seed)
    rank = np.empty(len(keys), np.int64)
    rank[np.argsort(keys, kind="stable")] = np.arange(len(keys))
    places = [round(fractions[0] * len(keys)), round((fractions[0] + fractions[1]) * len(keys))]
    parts = (rank >= places[0]).astype(np.int8) + (rank >= places[1])
    return {n: parts if n == schema.target else np.zeros(len(log), np.int8) for n, log in logs.items()}


def _resampled(
    schema: Schema,
    logs: Mapping[str, Log],
    seed: int,
    train: float = 0.8,
    overlap: float = 0.1,
    users: float = 1.0,
    day: float = 86400,
    literal: bool = False,
) -> dict[str, np.ndarray]:
    for name, log in logs.items():
        _needs_time(name, log, "resampling")
    codes = user_codes(logs)
    target, own = logs[schema.target], codes[schema.target]
    size = int(max((c.max(initial=-1) for c in codes.values()), default=-1)) + 1
    last = np.full(size, -np.inf)
    np.maximum.at(last, own[own >= 0], target.time[own >= 0] // day)
    # The target's users in an order by hash: those who overlap, the rest of training, those held out, the others.
    keys = np.zeros(size, np.uint64)
    keys[own[own >= 0]] = drawn([target.user], seed)[own >= 0]
    taking = np.flatnonzero(np.isfinite(last))
    place = np.full(size, np.iinfo(np.int64).max)
    place[taking[np.argsort(keys[taking], kind="stable")]] = np.arange(len(taking))
    ends = [round(len(taking) * share) for share in (users * train * overlap, users * train, users)]
    both, training, out = place < ends[0], place < ends[1], (place >= ends[1]) & (place < ends[2])
    held = both | out
    found = {}
    for name, log in logs.items():
        at = np.maximum(codes[name], 0)
        known = codes[name] >= 0
        before = log.time // day < last[at]
        if name == schema.target:
            parts = np.where(training[at] & (before | ~both[at]), 0, UNUSED)
            parts = np.where(held[at] & ~before, 1 + place[at] % 2, parts)
        else:
            parts = np.where((training[at] | (out[at] & (not literal))) & (before | ~held[at]), 0, UNUSED)
        found[name] = np.where(known, parts, UNUSED).astype(np.int8)
    return found


def _given(schema: Schema, logs: Mapping[str, Log], column: str = "split") -> dict[str, np.ndarray]:
    codes = {}
    for name, log in logs.items():
        if log.part is None:
            if name == schema.target:
                raise DataError(f"{log.where} lacks the column {column!r} that the split is given by.")
            codes[name] = np.zeros(len(log), np.int8)
            continue
        codes[name] = _parts(log.part, column, log.where)
    return codes


def _parts(given: np.ndarray, column: str, where: str) -> np.ndarray:
    found = np.select([given == part for part in PARTS], [0, 1, 2], UNUSED).astype(np.int8)
    if (found == UNUSED).any():
        at = int(np.argmax(found == UNUSED))
        raise DataError(
            f"{where}, column {column!r}, row {at + 1}: one of {', '.join(PARTS)} wanted. Received: {shown(given[at])}."
        )
    return found


def check(schema: Schema, sources: Mapping[str, Any], how: Any, folder: str | pathlib.Path = ".") -> None:
    """Raises a `DataError` if the rows cannot be found or split: for what is said of them, or a given split's values.

    Of the rows the column of a given split is read, and nothing else.
    """
    by, arguments = settle(how)
    column = arguments.get("column", "split")
    for domain in schema.domains:
        source = Source.of(domain.name, sources[domain.name], folder)
        if by != "given":
            continue
        rows = source.path if source.data is None else source.data
        if column in readers.column_names(rows):
            read = readers.read(rows, {column: Wanted(column, "string")}, place(domain, source))
            _parts(np.asarray(read[column]), column, place(domain, source))
