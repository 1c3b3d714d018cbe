"""A domain's rows between the reader and the encoder: columns, labels, keys, and what a spec may say about them."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo.data import readers
from cdrzoo.data.preparation.histories import windows
from cdrzoo.data.preparation.labels import labels
from cdrzoo.data.preparation.sources import Source, place, wanted
from cdrzoo.data.ragged import Ragged
from cdrzoo.data.raw import MISSING, factorize
from cdrzoo.data.readers import Columns, Wanted
from cdrzoo.data.readers.paths import format_of
from cdrzoo.errors import DataError, shown
from cdrzoo.schema import Domain, Schema


@dataclasses.dataclass(frozen=True)
class Joined:
    """What a join found for the rows of a log.

    Args:
        name: of the file that was joined.
        on: the key's column.
        rows: of the log.
        blank: how many of them have no key; these find nothing.
        found: how many found their key there.
        lost: a key of the log that does not stand there, or `None`.
        known: a key that does, or `None`.
    """

    name: str
    on: str
    rows: int
    blank: int
    found: int
    lost: Any
    known: Any


@dataclasses.dataclass
class Log:
    """The rows of a domain. Rows below `events` stand in the log; the rest are negatives drawn for them.

    Args:
        domain: their domain.
        source: what they were read from.
        columns: raw columns in the schema's types.
        raw: float64 [n], raw labels.
        y: float32 [n], labels.
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

    def __len__(self) -> int:
        return len(self.y)

    @property
    def where(self) -> str:
        """What the rows were read from, for messages."""
        return place(self.domain, self.source)

    @property
    def text(self) -> bool:
        """Whether sequences are text in the rows' file: ids joined by a separator."""
        return self.source.data is None and format_of(readers.files(self.source.path)[0]) == "csv"

    def times(self) -> str:
        """The first and the last time, for messages; only of rows with times."""
        return f"{self.time.min():.10g} to {self.time.max():.10g}"

    def key_columns(self) -> list[np.ndarray]:
        """What tells rows apart: user, item, time and label; without keys every column that is no sequence."""
        keys = [k for k in (self.user, self.item, self.time) if k is not None]
        if self.user is None or self.item is None:
            keys += [v for _, v in sorted(self.columns.items()) if isinstance(v, np.ndarray)]
        return [*keys, self.raw]

    def take(self, rows: np.ndarray) -> Columns:
        """The columns at these rows."""
        return {n: v.take(rows) if isinstance(v, Ragged) else v[rows] for n, v in self.columns.items()}


def read_logs(
    schema: Schema,
    sources: Mapping[str, Any],
    folder: str | pathlib.Path = ".",
    part_column: str | None = None,
    slices: Sequence[str] = (),
) -> dict[str, Log]:
    """Reads every domain's rows; every file's columns are looked at before the first is read whole.

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
    for domain in schema.domains:
        for feature in domain.histories() if parsed[domain.name].kind == "interactions" else ():
            if parsed[feature.of].kind == "examples":
                raise DataError(
                    f"History {feature.name!r} of {domain.name!r} is to be built from the events of {feature.of!r}, "
                    "whose rows are examples. Give both domains as interactions, or both as examples."
                )
    plans = {
        domain.name: _plan(
            schema, domain, parsed[domain.name], part_column, slices if domain.name == schema.target else ()
        )
        for domain in schema.domains
    }
    logs = {domain.name: _read(domain, parsed[domain.name], *plans[domain.name]) for domain in schema.domains}
    _check_units(logs)
    return logs


def _check_units(logs: Mapping[str, Log]) -> None:
    """Raises where one domain's times look like seconds and another's like milliseconds, or days, or ....

    Only times that lie far from 0, as those of a calendar do, say anything of their unit: a count from 0 may be long in
    one domain and short in another.
    """
    found = {}
    for name, log in logs.items():
        if log.time is not None:
            low, middle, high = np.quantile(log.time, [0.05, 0.5, 0.95])  # a stray time changes nothing
            if low < high < 10 * low:
                found[name] = middle
    if not found:
        return
    early, late = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    if found[late] >= 300 * found[early]:
        raise DataError(
            f"The times of {early!r} and of {late!r} look like different units: those of {early!r} go from "
            f"{logs[early].times()}, those of {late!r} from {logs[late].times()}. Histories and splits compare them. "
            f"Give both in one unit; the factor is about {found[late] / found[early]:,.0f}."
        )


def _plan(
    schema: Schema, domain: Domain, source: Source, part_column: str | None, slices: Sequence[str]
) -> tuple[Any, ...]:
    """What to read from the rows' own file and what from each joined file; raises when a column is nowhere."""
    main = source.data if source.data is not None else source.path
    where = place(domain, source)
    columns = wanted(schema, domain, source)
    extra = {f"@slice {name}": Wanted(name, "text") for name in slices if name not in columns}
    others = {domain.label, domain.time, source.weight, part_column, *(side["on"] for side in source.join)}
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
        sides.append((other, key, taken, side.get("delimiter")))
    joined = {column for _, _, taken, _ in sides for column in taken}
    own = {column: want for column, want in columns.items() if column not in joined}
    own.update({f"@on {key.column}": key for _, key, *_ in sides})
    for column, want in extra.items():
        if column not in joined:
            try:
                readers.require({column: want}, names, where)
            except DataError as error:
                raise DataError(f"There is no column {want.column!r} to group by: {error}") from None
            own[column] = want
    if source.negatives is None or domain.label in names:
        own["@label"] = Wanted(domain.label, "finite")
    if domain.time is not None:
        own["@time"] = Wanted(domain.time, "time")
    if source.weight is not None:
        own["@weight"] = Wanted(source.weight, "finite")
    if part_column is not None and part_column in names:
        own["@part"] = Wanted(part_column, "string")
    readers.require(own, names, where)
    return own, sides


def _read(domain: Domain, source: Source, own: dict[str, Wanted], sides: list[Any]) -> Log:
    where = place(domain, source)
    columns = readers.read(
        source.data if source.data is not None else source.path, own, where, source.delimiter
    )
    size = len(next(iter(columns.values())))
    joins = []
    for other, key, taken, delimiter in sides:
        keys = columns[f"@on {key.column}"]
        found, joined = _join(other, key, taken, keys, delimiter)
        columns.update(found)
        joins.append(joined)
    for _, key, *_ in sides:
        columns.pop(f"@on {key.column}", None)
    raw = columns.pop("@label", None)
    if raw is None:  # a log of positives
        raw = np.ones(size)
    y = labels(domain, raw, where)
    weight = columns.pop("@weight", None)
    if weight is not None and (weight < 0).any():
        raise DataError(
            f"{where}, column {source.weight!r}, row {int(np.argmax(weight < 0)) + 1}: a weight is negative."
        )
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
        row=np.arange(size),
        size=size,
        joins=tuple(joins),
        extra={name: columns.pop(f"@slice {name}") for name in _slices(columns)},
    )


def _slices(columns: Columns) -> list[str]:
    return [name.removeprefix("@slice ") for name in columns if name.startswith("@slice ")]


def _join(
    other: Any, key: Wanted, taken: dict[str, Wanted], keys: np.ndarray, delimiter: str | None
) -> tuple[Columns, Joined]:
    """Columns of another file at these keys, and what was found of them; a missing key finds nothing."""
    name = "The joined DataFrame" if isinstance(other, pd.DataFrame) else str(other)
    found = readers.read(other, {**taken, "@on": key}, "The joined DataFrame", delimiter)
    index = pd.Index(found.pop("@on"), dtype="int64" if key.dtype == "int64" else object)
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise DataError(
            f"{name} has several rows with {key.column} {twice!r}. One a key is wanted: keep one."
        )
    at = index.get_indexer(keys)
    blank = _is_missing(keys)
    at[blank] = -1
    columns = {column: _take_or_missing(found[column], at, want) for column, want in taken.items()}
    lost = keys[(at < 0) & ~blank][:1].tolist() or [None]
    known = index[~_is_missing(index.to_numpy())][:1].tolist() or [None]
    return columns, Joined(
        name, key.column, len(keys), int(blank.sum()), int((at >= 0).sum()), lost[0], known[0]
    )


def _is_missing(keys: np.ndarray) -> np.ndarray:
    if keys.dtype.kind == "f":
        return np.isnan(keys)
    return np.asarray(keys == MISSING["string" if keys.dtype == object else "int64"], bool)


def _take_or_missing(values: Any, at: np.ndarray, want: Wanted) -> Any:
    if isinstance(values, Ragged):
        return values.take(at)
    taken = values[at]
    taken[at < 0] = {"string": "", "text": "", "int64": -1}.get(want.dtype, np.nan)
    return taken


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
        made: dict[str, tuple[np.ndarray, ...]] = {}
        for feature in domain.histories():
            of = logs[feature.of]
            if feature.of not in made:
                made[feature.of] = _windows(
                    feature.of, log, of, users, codes, include_ties, history, only_training
                )
            order, starts, stops, skip = made[feature.of]
            log.columns[feature.column] = Ragged(of.columns[feature.field][order], starts, stops, skip)


def _windows(
    name: str,
    log: Log,
    of: Log,
    users: Mapping[str, np.ndarray],
    codes: Mapping[str, np.ndarray],
    include_ties: bool,
    history: str,
    only_training: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
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
    codes[values == (-1 if values.dtype == np.int64 else "")] = -1
    ends = np.cumsum([len(user) for user in keyed.values()])
    found = dict(zip(keyed, np.split(codes, ends[:-1]) if keyed else [], strict=True))
    return {name: found.get(name, np.full(len(log), -1)) for name, log in logs.items()}
