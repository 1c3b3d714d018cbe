"""Rows to score from logs: histories as training built them, by the same code."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo.data import readers
from cdrzoo.data.preparation.derived import calendar
from cdrzoo.data.preparation.examples import as_frame, sequences
from cdrzoo.data.preparation.joins import Side
from cdrzoo.data.preparation.logs import Log, made_of_events, user_codes, windows_of
from cdrzoo.data.preparation.reading import plans, read_logs
from cdrzoo.data.ragged import Ragged
from cdrzoo.data.readers import Wanted
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema


def request_rows(
    schema: Schema,
    sources: Mapping[str, Any],
    requests: pd.DataFrame | str | pathlib.Path,
    *,
    time: float | str | None = None,
    include_ties: bool = False,
    history: str = "before",
    folder: str | pathlib.Path = ".",
) -> pd.DataFrame:
    """Rows of the target as an export takes them, with the histories that their users have at that time, and what else
    is made of times and events (`derive`).

    A history lists, of the events of its domain that its `where` takes, those of the row's user strictly before the
    row's time, the last `length` of them, oldest first. That is what `prepare` gives its rows; both call one function.

    Args:
        schema: of the model.
        sources: the logs, by domain, as of `prepare`; those of the target and of the domains whose events it lists.
        requests: a row for each that is to be scored, with the user's key and the columns of all features that are no
            histories. What the target's logs join by a key may be left out. Columns beyond that stay.
        time: of all rows; default: the column of the target's time, and where that is missing the end of the logs.
        include_ties, history, folder: as of `prepare`.

    Returns:
        `requests`, and behind them what was joined and a column of lists for each history.

    Raises:
        DataError: a column is missing, or something is wrong with the logs.
    """
    target = schema.target_domain
    made_of = [f for f in target.features if f.built]
    needed = dict.fromkeys([target.name, *(str(f.of) for f in made_of if f.of is not None)])
    small = schema.only(*needed)
    given = {name: sources[name] for name in needed if name in sources}
    rows = requests if isinstance(requests, pd.DataFrame) else readers.as_written(requests)
    rows = _joined(small, given, rows.reset_index(drop=True), folder)
    if not made_of:
        return rows
    logs = read_logs(small, given, folder)
    asked = _asked(logs[target.name], rows, time)
    every = {**logs, asked.domain.name: asked}
    users, codes = user_codes(every), {name: np.zeros(len(log), np.int8) for name, log in logs.items()}
    events: dict[str, Ragged] = {}
    made: dict[object, Any] = {}
    for feature in target.histories():
        of = logs[str(feature.of)]
        if feature.events not in made:
            made[feature.events] = windows_of(feature, asked, of, users, codes, include_ties, history, False)
        order, starts, stops, _ = made[feature.events]
        events[feature.column] = Ragged(of.columns[feature.field][order], starts, stops)
    columns: dict[str, tuple[Any, int | None]] = dict(sequences(target.histories(), events))
    for feature in (f for f in made_of if f.derive):
        _check_time(feature, asked)
        if feature.of_events:
            of = logs[str(feature.of)]
            columns[feature.column] = made_of_events(feature, asked, of, users, codes), None
    columns |= {name: (values, None) for name, values in calendar(target, asked.time, "The requests").items()}
    return rows.assign(**as_frame(columns))


def _check_time(feature: Feature, asked: Log) -> None:
    """Raises where what is made of times has none."""
    if feature.derive != "mean" and (asked.time is None or np.isinf(asked.time).any()):
        raise DataError(
            f"{feature.derive} of {feature.name!r} is of the time of a request. Give `time`, or a column "
            f"{asked.domain.time!r} without a gap."
        )


def crossed(users: Any, candidates: pd.DataFrame | str | pathlib.Path, domain: Domain) -> pd.DataFrame:
    """Every candidate for every user, the users in their order.

    Args:
        users: a DataFrame or a file with the columns of users and context; or users' keys, if these are all.
        candidates: a DataFrame or a file with the columns of items.
        domain: names the column of the users' keys.
    """
    if isinstance(users, (str, pathlib.Path)):
        users = readers.as_written(users)
    elif not isinstance(users, pd.DataFrame):
        users = pd.DataFrame({str(domain.user): list(users)})
    items = candidates if isinstance(candidates, pd.DataFrame) else readers.as_written(candidates)
    if twice := sorted(set(users) & set(items)):
        raise DataError(
            f"Users and candidates both have the column {twice[0]!r}. Leave it out of one of them."
        )
    return users.merge(items, how="cross")


def _joined(
    schema: Schema, sources: Mapping[str, Any], rows: pd.DataFrame, folder: str | pathlib.Path
) -> pd.DataFrame:
    """The rows with what the target's logs join to theirs, where they have the key and lack the column."""
    target = schema.target_domain
    plain = [f for f in target.inputs() if not f.built and f.serving_value is None]
    for join in plans(schema, sources, folder)[target.name].joins:
        lacking = [column for column in join.taken if column not in rows]
        if lacking and join.key.column in rows:
            keys = readers.read(rows, {"key": join.key}, "The requests")["key"]
            found, _ = Side.read(dataclasses.replace(join, taken={c: join.taken[c] for c in lacking})).at(
                keys
            )
            widths = {
                c: (v, int(v.lengths().max(initial=0)) if isinstance(v, Ragged) else None)
                for c, v in found.items()
            }
            rows = rows.assign(**as_frame(widths))
    _require(rows, plain, target)
    return rows


def _require(rows: pd.DataFrame, features: Sequence[Feature], target: Domain) -> None:
    wanted = {f.column: f"feature {f.name!r} reads it" for f in features}
    if any(f.of is not None for f in target.features):
        wanted.setdefault(str(target.user), "histories are those of a user")
    for column, why in wanted.items():
        if column not in rows:
            raise DataError(
                f"The requests lack the column {column!r}: {why}. They have: {', '.join(map(str, rows))}. Add it, to "
                "the users or to the candidates."
            )


def _asked(log: Log, rows: pd.DataFrame, time: float | str | None) -> Log:
    """The requests as rows of a domain of their own, so that none is an event."""
    target, count = log.domain, len(rows)
    kind = "int64" if log.user is not None and log.user.dtype == np.int64 else "string"
    user = readers.read(rows, {"user": Wanted(str(target.user), kind)}, "The requests")["user"]
    when: np.ndarray | None = None
    if target.time is not None:
        when = np.full(count, np.inf)
        told = rows[target.time] if time is None and target.time in rows else time
        if told is not None:
            frame = pd.DataFrame({"time": told}, index=rows.index)
            known = frame["time"].notna().to_numpy()
            if known.any():
                want = {"time": Wanted("time", "time")}
                read = readers.read(frame[known].reset_index(drop=True), want, "The requests")["time"]
                if known.all():  # whole numbers stay whole
                    when = read
                else:
                    when[known] = read
    domain = dataclasses.replace(target, name=f"{target.name}_asked")
    nothing = np.zeros(count)
    return Log(
        domain=domain,
        source=log.source,
        columns={},
        raw=nothing,
        y=nothing.astype(np.float32),
        time=when,
        user=user,
        item=None,
        weight=None,
        part=None,
        event=np.full(count, -1),
        row=np.arange(count),
        size=count,
    )
