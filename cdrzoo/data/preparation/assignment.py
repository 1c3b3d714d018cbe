"""Which row is in which part: the assignment of rows, whole logs or a part of them, to the parts of a split."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo.data.preparation.keys import drawn
from cdrzoo.data.preparation.logs import Log, user_codes
from cdrzoo.data.preparation.selection import Ordered, row_of, value_of
from cdrzoo.data.preparation.splits import UNUSED, codes_of, part_column, settle
from cdrzoo.errors import DataError
from cdrzoo.schema import Schema


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
              part. With `cuts: [a, b, c]` rows of `c` and later are in no part. The sources are cut at the same times,
              so validation and test come after everything trained on.
            - `days` with `valid` (1), `test` (1) and `day` (86400), the length of a day in the unit of the times: test
              are the target's last days, from the start of a day, valid those before them. It is `time` with these two
              cuts. A day begins where `time // day` changes, of Unix seconds at midnight UTC.
            - `last`: each user's last event in the target is the test, the one before it valid; users with fewer than
              three stay in train. Of a source, a user's rows before their first held-out event are trained on (and all
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
              Other words of the column are named by part: `{by: given, train: [a, b], valid: dev, test: holdout}`.

        seed: of `random`, `users` and `resample`.

    Returns:
        The split's name, its arguments and, by domain, int8 codes [n].
    """
    by, arguments = settle(how, seed)
    need_times({name: log.time is not None for name, log in logs.items()}, by)
    facts = Facts.of(
        by, arguments, [ordered(schema, logs, by, arguments)], len(ranked(schema, logs, by, arguments))
    )
    codes = parts_of(schema, logs, by, arguments, facts)
    check_parts(schema, by, [int((codes[schema.target] == code).sum()) for code in range(3)])
    return name_of(by, arguments), {"by": by, **arguments}, codes


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the assignment of some rows must know of all rows.

    Args:
        bounds: where valid and test begin: by time two times, at random the hash and the number of two rows.
        before: users whose hash is smaller than that of any user here.
        users: all users that are ranked by their hash.
    """

    bounds: tuple[Any, ...] = ()
    before: int = 0
    users: int = 0

    @classmethod
    def of(
        cls,
        by: str,
        arguments: Mapping[str, Any],
        orders: Iterable[Ordered | None],
        users: int = 0,
    ) -> Facts:
        """From what `ordered` says of each piece, and how many users `ranked` gives."""
        bounds = tuple(arguments.get("cuts", ()))
        found = [each for each in orders if each is not None]
        if found and by == "days":
            bounds = _last_days(max(each.values[-1] for each in found), **arguments)
        elif found:
            rows = sum(len(each.values) for each in found)
            train, valid, _ = arguments["fractions"]
            places = [round(train * rows), round((train + valid) * rows)]
            bounds = tuple((value_of if by == "time" else row_of)(found, place) for place in places)
        return cls(bounds, users=users)


def need_times(timed: Mapping[str, bool], by: str) -> None:
    """Raises where a split needs times and a domain has none."""
    for name, has in timed.items():
        if by in _TIMED and not has:
            raise DataError(
                f"A split by {_TIMED[by]} needs times, but domain {name!r} has none. Set `time: COLUMN` in the "
                "schema, or split at random, by users, or by a given column."
            )


UNLISTED = ("users", "random", "resample")
"""Splits of which no history lists a held-out event."""

_TIMED = {"time": "time", "days": "days", "last": "last event", "resample": "resampling"}
_MILLISECONDS = 1e11
"""No time in seconds is so late."""


def ordered(schema: Schema, logs: Mapping[str, Log], by: str, arguments: Mapping[str, Any]) -> Ordered | None:
    """The target's rows in the order that a split by fractions cuts, by `time` or at `random`; else `None`.

    By days the last row alone.
    """
    target = logs[schema.target]
    if by == "days":
        last = np.array([np.argmax(target.time)])
        return Ordered(target.time[last], target.row[last])
    if by == "time" and "cuts" not in arguments:
        return Ordered.of(target.time, target.row)
    return Ordered.of(drawn(target.key_columns(), arguments["seed"]), target.row) if by == "random" else None


def ranked(schema: Schema, logs: Mapping[str, Log], by: str, arguments: Mapping[str, Any]) -> np.ndarray:
    """The hashes, uint64, sorted, of the users that a split by `users` or `resample` takes by their rank."""
    if by not in ("users", "resample"):
        return np.zeros(0, np.uint64)
    codes = user_codes(logs)
    own = codes[schema.target]
    taking = _shared(schema, codes) if by == "users" else own >= 0
    return (
        np.unique(drawn([logs[schema.target].user[taking]], arguments["seed"]))
        if taking.any()
        else np.zeros(0, np.uint64)
    )


def _shared(schema: Schema, codes: Mapping[str, np.ndarray]) -> np.ndarray:
    """bool [n]: target rows whose user a source has, too."""
    own = codes[schema.target]
    return np.isin(own, np.concatenate([[-2], *(codes[d.name] for d in schema.sources)])) & (own >= 0)


def parts_of(
    schema: Schema, logs: Mapping[str, Log], by: str, arguments: Mapping[str, Any], facts: Facts
) -> dict[str, np.ndarray]:
    """int8 codes [n] of the rows of every domain: all rows, or all of some users."""
    arguments = {name: value for name, value in arguments.items() if name not in ("cuts", "by")}
    return _FUNCTIONS[by](schema, logs, facts=facts, **arguments)


def check_parts(schema: Schema, by: str, rows: Sequence[int]) -> None:
    """Raises where train or test of the target has no rows; `rows` of train, valid and test."""
    for part, count in (("train", rows[0]), ("test", rows[2])):
        if not count:
            raise DataError(
                f"The split by {by} leaves no {part} rows in {schema.target!r}. Change its fractions, cuts or days."
            )


def name_of(by: str, arguments: Mapping[str, Any]) -> str:
    """What a split is called, such as `time-0.7-0.1-0.2`."""
    numbers = arguments.get("cuts") or arguments.get("fractions") or []
    numbers = [arguments["valid"], arguments["test"]] if by == "days" else numbers
    name = "-".join([by, *(f"{number:g}" for number in numbers)])
    return name + (f"-seed{arguments['seed']}" if "seed" in arguments else "")


def _by_time(
    schema: Schema, logs: Mapping[str, Log], facts: Facts, **how: Any
) -> dict[str, np.ndarray]:  # `facts` say where the parts begin
    valid, test, *end = facts.bounds
    codes = {name: ((log.time >= valid).astype(np.int8) + (log.time >= test)) for name, log in logs.items()}
    for time in end:
        codes = {name: np.where(logs[name].time < time, found, UNUSED) for name, found in codes.items()}
    return {name: found.astype(np.int8) for name, found in codes.items()}


def _last_days(last: float, valid: int, test: int, day: float | None = None) -> tuple[float, float]:
    """Where valid and test begin, given the last time of the target."""
    if day is None and last > _MILLISECONDS:
        raise DataError(
            f"A split by days takes times for Unix seconds, of which a day has 86400. Received: {last:.10g}, which is "
            "too late for that. Say how long a day is in the unit of the times, of milliseconds day: 86400000."
        )
    day = day or 86400
    end = last // day + 1
    return (end - test - valid) * day, (end - test) * day


def _by_last(schema: Schema, logs: Mapping[str, Log], facts: Facts) -> dict[str, np.ndarray]:
    codes = user_codes(logs)
    target = logs[schema.target]
    users = codes[schema.target]
    order = np.lexsort((target.time, users))  # stable: ties keep their order in the log
    ordered = users[order]
    # How many events of the same user come after this one, and how many they have.
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
    schema: Schema, logs: Mapping[str, Log], facts: Facts, fractions: Sequence[float], seed: int
) -> dict[str, np.ndarray]:
    if not facts.users:
        raise DataError(f"No user of {schema.target!r} stands in a source, so none can be a cold-start user.")
    places = [round(fractions[0] * facts.users), round((fractions[0] + fractions[1]) * facts.users)]
    rank = _ranks(schema, logs, "users", facts, seed)
    shared = _shared(schema, user_codes(logs))
    parts = np.where(shared, (rank >= places[0]).astype(np.int8) + (rank >= places[1]), 0).astype(np.int8)
    return {n: parts if n == schema.target else np.zeros(len(log), np.int8) for n, log in logs.items()}


def _ranks(schema: Schema, logs: Mapping[str, Log], by: str, facts: Facts, seed: int) -> np.ndarray:
    """int64 [n]: the rank of the user of each target row; of one that is not ranked some number."""
    distinct = ranked(schema, logs, by, {"seed": seed})
    user = logs[schema.target].user
    keys = np.zeros(len(logs[schema.target]), np.uint64) if user is None else drawn([user], seed)
    return facts.before + np.searchsorted(distinct, keys)


def _at_random(
    schema: Schema, logs: Mapping[str, Log], facts: Facts, fractions: Sequence[float], seed: int
) -> dict[str, np.ndarray]:
    target = logs[schema.target]
    keys = drawn(target.key_columns(), seed)
    parts = np.zeros(len(keys), np.int8)
    for bound in facts.bounds:
        if bound is not None:  # rows that are equal are told apart by their numbers
            parts += (keys > bound[0]) | ((keys == bound[0]) & (target.row >= bound[1]))
    return {n: parts if n == schema.target else np.zeros(len(log), np.int8) for n, log in logs.items()}


def _resampled(
    schema: Schema,
    logs: Mapping[str, Log],
    facts: Facts,
    seed: int,
    train: float = 0.8,
    overlap: float = 0.1,
    users: float = 1.0,
    day: float = 86400,
    literal: bool = False,
) -> dict[str, np.ndarray]:
    codes = user_codes(logs)
    target, own = logs[schema.target], codes[schema.target]
    size = int(max((c.max(initial=-1) for c in codes.values()), default=-1)) + 1
    last = np.full(size, -np.inf)
    np.maximum.at(last, own[own >= 0], target.time[own >= 0] // day)
    # The target's users in an order by hash: those who overlap, the rest of training, those held out, the others.
    place = np.full(size, np.iinfo(np.int64).max)
    place[own[own >= 0]] = _ranks(schema, logs, "resample", facts, seed)[own >= 0]
    ends = [round(facts.users * share) for share in (users * train * overlap, users * train, users)]
    both, training, out = place < ends[0], place < ends[1], (place >= ends[1]) & (place < ends[2])
    held = both | out
    found = {}
    for name, log in logs.items():
        known = codes[name] >= 0
        if not size:  # nobody has rows here
            found[name] = np.full(len(log), UNUSED, np.int8)
            continue
        at = np.maximum(codes[name], 0)
        before = log.time // day < last[at]
        if name == schema.target:
            parts = np.where(training[at] & (before | ~both[at]), 0, UNUSED)
            parts = np.where(held[at] & ~before, 1 + place[at] % 2, parts)
        else:
            parts = np.where((training[at] | (out[at] & (not literal))) & (before | ~held[at]), 0, UNUSED)
        found[name] = np.where(known, parts, UNUSED).astype(np.int8)
    return found


def _given(schema: Schema, logs: Mapping[str, Log], facts: Facts, **arguments: Any) -> dict[str, np.ndarray]:
    codes = {}
    for name, log in logs.items():
        if log.part is None:
            if name == schema.target:
                column = part_column("given", arguments)
                raise DataError(f"{log.where} lacks the column {column!r} that the split is given by.")
            codes[name] = np.zeros(len(log), np.int8)
            continue
        codes[name] = codes_of(log.part, arguments, log.where)
    return codes


_FUNCTIONS: dict[str, Any] = {
    "time": _by_time,
    "days": _by_time,
    "last": _by_last,
    "users": _by_users,
    "random": _at_random,
    "resample": _resampled,
    "given": _given,
}


def trained_since(
    logs: Mapping[str, Log], codes: Mapping[str, np.ndarray], since: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """The codes without the training rows up to the times in `since`, by domain; a log without times keeps all."""
    found = dict(codes)
    for domain, time in since.items():
        times = logs[domain].time
        if times is not None:
            found[domain] = np.where((codes[domain] == 0) & (times <= time), UNUSED, codes[domain]).astype(
                np.int8
            )
    return found


def check_since_rows(schema: Schema, since: Mapping[str, float], rows: int, times: str) -> None:
    """Raises where no training row of the target is left after `since`; `times` are those of its rows."""
    if not rows and schema.target in since:
        raise DataError(
            f"No training row of {schema.target!r} comes after {since[schema.target]:.10g}, up to where the model has "
            f"been trained: the times are {times}. Give newer rows, or a split whose training rows reach further."
        )


def only_training(
    by: str, logs: Mapping[str, Log], codes: Mapping[str, np.ndarray], include_ties: bool
) -> bool:
    """Whether histories list training events alone, lest a training row is shown a held-out one."""
    return by in UNLISTED or (by in ("last", "given") and _shown(logs, codes, include_ties))


def _shown(logs: Mapping[str, Log], codes: Mapping[str, np.ndarray], include_ties: bool) -> bool:
    """Whether the history of some training row would list a held-out event of its user."""
    users = user_codes(logs)
    times: dict[bool, list[pd.Series]] = {True: [], False: []}
    for domain, log in logs.items():
        if log.time is None:
            continue
        for held_out in times:
            rows = (users[domain] >= 0) & ((codes[domain] > 0) if held_out else (codes[domain] == 0))
            times[held_out].append(pd.Series(log.time[rows], users[domain][rows]))
    if not times[True]:
        return False
    earliest = pd.concat(times[True]).groupby(level=0).min()
    latest = pd.concat(times[False]).groupby(level=0).max().reindex(earliest.index)
    return bool(((earliest <= latest) if include_ties else (earliest < latest)).any())
