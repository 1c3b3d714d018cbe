"""A domain's rows between the reader and the encoder: columns, labels, keys, and histories."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from cdrzoo.data.preparation.derived import mean, recency
from cdrzoo.data.preparation.histories import windows
from cdrzoo.data.preparation.joins import Joined
from cdrzoo.data.preparation.labels import further_labels
from cdrzoo.data.preparation.sources import Source, place
from cdrzoo.data.ragged import Ragged, taken
from cdrzoo.data.raw import MISSING, factorize, missing
from cdrzoo.data.readers import Columns
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema


@dataclasses.dataclass
class Log:
    """The rows of a domain. Rows below `events` stand in the log; the rest are negatives drawn for them.

    Args:
        domain: their domain.
        source: what they were read from.
        columns: raw columns in the schema's types.
        raw: float64 [n], raw labels.
        y: float32 [n], labels.
        further: of several labels those behind the first, raw, by name: float32 [n], NaN where missing.
        time: int64 or float64 [n], or `None`.
        user, item: raw keys [n], or `None`.
        weight: float64 [n], or `None`.
        part: the column of a given split [n], or `None`.
        event: int64 [n], the row itself, for a negative the event it was drawn for.
        row: int64 [n], numbers of the rows: their places in the log, of which this may be a part. A negative's is
            `size + number of its event * per_positive + which it is`.
        size: rows of the whole log.
        joins: what each join found for the rows in the file.
        extra: further columns that rows are grouped by, as text [n].
    """

    domain: Domain
    source: Source
    columns: Columns
    raw: np.ndarray
    y: np.ndarray
    time: np.ndarray | None
    user: np.ndarray | None
    item: np.ndarray | None
    weight: np.ndarray | None
    part: np.ndarray | None
    event: np.ndarray
    row: np.ndarray
    size: int
    joins: tuple[Joined, ...] = ()
    extra: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    further: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def where(self) -> str:
        """What the rows were read from, for messages."""
        return place(self.domain, self.source)

    def times(self) -> str:
        """The first and the last time, for messages; only of rows with times."""
        return f"{self.time.min():.10g} to {self.time.max():.10g}"

    def key_columns(self) -> list[np.ndarray]:
        """What tells rows apart: user, item, time and label; without keys every column that is no sequence."""
        keys = [k for k in (self.user, self.item, self.time) if k is not None]
        if self.user is None or self.item is None:
            keys += [v for _, v in sorted(self.columns.items()) if isinstance(v, np.ndarray) and v.ndim == 1]
        return [*keys, self.raw]

    def happened(self, rows: np.ndarray) -> np.ndarray:
        """Those of these rows that are events; the others are drawn negatives."""
        return rows[self.event[rows] == rows]

    @functools.cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """The labels behind the first, by name: float32 [n], NaN where missing."""
        if not self.further:
            return {}
        return further_labels(self.domain, self.y, self.further, self.where)

    def values(self, column: str) -> np.ndarray:
        """The values of a column of `extra`, or of a feature of one value; ids are text."""
        found = self.extra[column] if column in self.extra else self.columns[column]
        ids = any(f.column == column and f.kind == "id" for f in self.domain.features)
        if not ids or found.dtype == object:
            return found
        return np.where(found == MISSING["int64"], "", found.astype(str)).astype(object)

    def take(self, rows: np.ndarray) -> Columns:
        """The columns at these rows."""
        return {name: taken(values, rows) for name, values in self.columns.items()}


def add_histories(
    schema: Schema,
    logs: Mapping[str, Log],
    codes: Mapping[str, np.ndarray],
    include_ties: bool = False,
    history: str = "before",
    only_training: bool = False,
) -> None:
    """Adds to every log of interactions the columns of its histories, as windows over the listed domain's events.

    Args:
        schema: says which histories there are.
        logs: the rows; changed in place.
        codes: the part of each row; read when only training events are listed.
        include_ties: list events at the row's own time too, the row itself excepted.
        history: `before` or `others`, see `prepare`.
        only_training: list no held-out event (`others` never does).
    """
    users = user_codes(logs)
    for domain in schema.domains:
        log = logs[domain.name]
        if log.source.kind == "examples":
            continue
        made: dict[object, tuple[np.ndarray, ...]] = {}
        for feature in domain.histories():
            of = logs[feature.of]
            if feature.events not in made:
                made[feature.events] = windows_of(
                    feature, log, of, users, codes, include_ties, history, only_training
                )
            order, starts, stops, skip = made[feature.events]
            log.columns[feature.column] = Ragged(of.columns[feature.field][order], starts, stops, skip)
        for feature in (f for f in domain.features if f.of_events):
            of = logs[feature.of]
            log.columns[feature.column] = made_of_events(feature, log, of, users, codes, only_training)


def made_of_events(
    feature: Feature,
    log: Log,
    of: Log,
    users: Mapping[str, np.ndarray],
    codes: Mapping[str, np.ndarray],
    only_training: bool = False,
) -> np.ndarray:
    """The column of a recency or a mean, of the events strictly before each row; arguments as of `windows_of`."""
    window = windows_of(feature, log, of, users, codes, False, "before", only_training)[:3]
    if feature.derive == "recency":
        return recency((log.time, of.time), *window)
    return mean(of.columns[feature.field], feature.length, *window)


def windows_of(
    feature: Feature,
    log: Log,
    of: Log,
    users: Mapping[str, np.ndarray],
    codes: Mapping[str, np.ndarray],
    include_ties: bool,
    history: str,
    only_training: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """What a history lists: events in order, the window of each row of `log`, and a place that it passes by."""
    name = str(feature.of)
    for one in (log, of):
        if one.user is None:
            raise DataError(
                f"Histories of {name!r} need the user of domain {one.domain.name!r}. Set `user: COLUMN` in the schema."
            )
        if history == "before" and one.time is None:
            raise DataError(
                f"The history of {name!r} in domain {log.domain.name!r} needs times, but {one.domain.name!r} has none. "
                "Set `time: COLUMN` in the schema, or ask for history: others (all other training events of the user)."
            )
    listed = of.event == np.arange(len(of))  # negatives did not happen
    if of.source.history_min_label is not None:
        listed &= of.raw >= of.source.history_min_label
    for column, value in feature.where or ():
        listed &= of.columns[column] == value
    if only_training or history == "others":
        listed &= codes[name] == 0
    event_users = np.where(listed, users[name], -1)
    timed = history == "before"
    order, starts, stops = windows(
        event_users,
        of.time if timed else None,
        users[log.domain.name],
        log.time if timed else None,
        include_ties,
    )
    if log is not of or not (include_ties or history == "others"):
        return order, starts, stops, None
    place = np.full(len(of), -1, np.int64)
    place[order] = np.arange(len(order))
    return order, starts, stops, place[log.event]


def user_codes(logs: Mapping[str, Log]) -> dict[str, np.ndarray]:
    """Users as numbers from 0 that agree between domains; a missing user is -1."""
    keyed = {name: log.user for name, log in logs.items() if log.user is not None}
    kinds = {name: "int64" if user.dtype == np.int64 else "string" for name, user in keyed.items()}
    if len(set(kinds.values())) > 1:
        received = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        raise DataError(
            f"The user's key must have one dtype in all domains. Received: {received}. Make them alike."
        )
    values = np.concatenate(list(keyed.values())) if keyed else np.array([], object)
    codes = factorize(values)[0]
    codes[missing(values)] = -1
    ends = np.cumsum([len(user) for user in keyed.values()])
    found = dict(zip(keyed, np.split(codes, ends[:-1]) if keyed else [], strict=True))
    return {name: found.get(name, np.full(len(log), -1)) for name, log in logs.items()}
