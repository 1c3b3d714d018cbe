"""What `cdrzoo schema check` prints, both domains side by side, and the warnings that come before a training."""

from __future__ import annotations

import pathlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cdrzoo import metrics
from cdrzoo.data.looked import Column, Looked
from cdrzoo.data.preparation.assignment import Facts
from cdrzoo.data.preparation.logs import Log, add_histories
from cdrzoo.data.preparation.reading import read_logs
from cdrzoo.data.preparation.selection import Ordered
from cdrzoo.data.preparation.splits import PARTS, Split
from cdrzoo.data.ragged import Ragged
from cdrzoo.data.raw import MISSING, factorize
from cdrzoo.data.sharing import distinct_ids, in_vain
from cdrzoo.errors import DataError, DataWarning, shown
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.schema.overview import Block, as_text

if TYPE_CHECKING:
    from cdrzoo.data.preparation.prepared import Prepared

FREQUENT = 0.01
"""Share of a column's cells from which on a value is frequent."""
MISSED = 0.02
"""By how much of the rows a split may differ from its fractions."""
AUC_ERROR = 0.05
"""Standard error above which an AUC means little: its interval is wider than from .6 to .8."""
FEW_ROWS, MANY_ROWS = 30, 20
"""Rows below which an error of ratings means little; of each value of a key of which there are few."""
SEQUENCES = 5
"""Rows of a text column of sequences from which on one separator at least is expected."""

_NAMED = re.compile(
    r"\A(user|member|customer|client|visitor|account)s?_?(id|key|no|nr|hash|uuid)?\Z|\Au(ser)?id\Z"
)


def check(schema: Schema, sources: Mapping[str, Any] | None = None, folder: str | pathlib.Path = ".") -> str:
    """The domains side by side: shared and specific features, tables, and, with data, rows, overlap and missing values.

    Below stand the warnings of `warnings_of`.

    Args:
        schema: the schema.
        sources: where the rows are, as in `prepare`; `None`: the schema alone.
        folder: what relative paths are relative to.

    Returns:
        Plain text.

    Raises:
        DataError: on whatever is wrong with the data.
    """
    blocks, found = examine(schema, sources, folder)
    return "\n\n".join([as_text(blocks), *(f"warning: {each}" for each in found)])


def examine(
    schema: Schema, sources: Mapping[str, Any] | None = None, folder: str | pathlib.Path = "."
) -> tuple[list[Block], list[str]]:
    """The tables that `check` prints, the warnings apart."""
    if sources is None:
        return schema.overview(), []
    logs = read_logs(schema, sources, folder)
    if all(log.time is not None for log in logs.values()):
        add_histories(schema, logs, {})
    return _side_by_side(schema, logs), warnings_of(schema, logs)


def examine_prepared(prepared: Prepared) -> tuple[list[Block], list[str]]:
    """The same of rows that were split, and the parts of the split."""
    if (kept := getattr(prepared, "warnings", None)) is not None:  # rows in a folder
        return [*prepared.schema.overview(), *prepared.overview()[:1]], list(kept)
    schema, logs = prepared.schema, prepared.logs
    found = warnings_of(schema, logs, prepared.split)
    return [*_side_by_side(schema, logs), *prepared.overview()[:1]], found


def parts(prepared: Prepared) -> str:
    """Rows, labels and ids of every part, and how exactly an AUC can be measured there, as a table of text."""
    return as_text(prepared.overview()[:1])


def heed(found: Prepared | Sequence[str], strict: bool = False) -> None:
    """Gives the warnings of rows that are about to be trained on, as Python's `warnings` of class `DataWarning`.

    Args:
        found: the rows, or their warnings.
        strict: whether a warning is an error.

    Raises:
        DataError: there are warnings, and `strict` is set.
    """
    if not isinstance(found, Sequence):
        kept = getattr(found, "warnings", None)  # of rows in a folder: what was found when they were prepared
        found = warnings_of(found.schema, found.logs, found.split) if kept is None else list(kept)
    if strict:
        refuse(found)
    for text in found:
        warnings.warn(text, DataWarning, stacklevel=1)


def refuse(found: Sequence[str]) -> None:
    """Raises a `DataError` that lists the warnings, if there are any."""
    if found:
        raise DataError(
            "\n  ".join(["The data is doubtful, and `strict` takes no warnings:", *found])
            + "\nMend the data or the configuration, or leave `strict` out."
        )


def _side_by_side(schema: Schema, logs: Mapping[str, Log]) -> list[Block]:
    def missing(domain: Domain, feature: Feature) -> str:
        return _missing(logs[domain.name], feature)

    def ids(table: Table) -> list[str]:
        return _overlap(schema, table.name, logs)

    return schema.overview(facts=_facts(logs), missing=missing, ids=ids)


def _facts(logs: Mapping[str, Log]) -> list[list[str]]:
    facts: dict[str, list[str]] = {
        name: [] for name in ("rows", "users", "items", "mean label", "time from", "time to")
    }
    users = {}
    for name, log in logs.items():
        facts["rows"].append(f"{len(log):,}")
        facts["users"].append("-" if log.user is None else f"{len(factorize(log.user)[1]):,}")
        facts["items"].append("-" if log.item is None else f"{len(factorize(log.item)[1]):,}")
        facts["mean label"].append(f"{log.y.mean(dtype=np.float64):.4f}")
        facts["time from"].append("-" if log.time is None else f"{log.time.min():.10g}")
        facts["time to"].append("-" if log.time is None else f"{log.time.max():.10g}")
        users[name] = set() if log.user is None else set(log.user.tolist()) - {"", -1}
    rows = [[name, *cells] for name, cells in facts.items()]
    if len(logs) > 1:
        shared = []
        for name, own in users.items():
            others = set().union(*(found for other, found in users.items() if other != name))
            both = len(own & others)
            shared.append(f"{both:,} ({both / max(len(own), 1):.0%})")
        rows.insert(3, ["users also in another domain", *shared])
    for name, log in logs.items():
        for join in log.joins:
            cells = [f"{join.found / join.rows:.1%}" if other == name else "-" for other in logs]
            rows.append([f"found in {pathlib.PurePath(join.name).name} by {join.on}", *cells])
    return rows


def _missing(log: Log, feature: Feature) -> str:
    """The share of rows without a value; nothing for a history that is not built."""
    if feature.column not in log.columns or feature.cross:
        return ""
    values = log.columns[feature.column]
    if isinstance(values, Ragged):
        share = (values.compress(values.values != MISSING[feature.dtype]).lengths() == 0).mean()
    elif feature.kind == "vector":
        share = (values == 0).all(axis=1).mean()
    elif feature.kind == "number" and feature.dtype == "float32":
        share = np.isnan(values).mean()
    else:
        share = (values == MISSING[feature.dtype]).mean()
    return f"{share:.1%}"


def _overlap(schema: Schema, table: str, logs: Mapping[str, Log]) -> list[str]:
    found = {name: set(map(str, ids.tolist())) for name, ids in distinct_ids(schema, table, logs).items()}
    if not found:  # of numbers, vectors or crosses
        return ["-", "-"]
    every = set().union(*found.values())
    several = (
        sum(1 for one in every if sum(one in ids for ids in found.values()) > 1) if len(found) > 1 else 0
    )
    return [
        f"{len(every):,}",
        f"{several:,}" + (f" ({several / max(len(every), 1):.0%})" if len(found) > 1 else ""),
    ]


# Warnings ---------------------------------------------------------------------------------------------------------


def warnings_of(schema: Schema, logs: Mapping[str, Log], split: Split | None = None) -> list[str]:
    """What the rows hold that is read without an error, and is hardly what was meant; empty for clean rows.

    Joins that lose rows; ids that are words for a missing value, or stand in blanks, quotes, brackets or line breaks;
    sequences without a separator; keys of users that are none; tables and users that domains share in vain; times that
    do not meet; and of a split fractions that it missed, and parts that are too small to measure on.

    Args:
        schema: the schema.
        logs: the rows of every domain, as they were read or prepared: no file is read again.
        split: how they were split; `None`: not yet.
    """
    seen = {name: Looked.of(schema, log) for name, log in logs.items()}
    found = [*values_of(seen), *in_vain(schema, [logs]), *apart(schema, seen)]
    if split is None:
        return found
    log = logs[schema.target]
    times = [] if log.time is None else [np.sort(log.time[log.happened(np.arange(len(log)))])]
    return [*found, *missed(schema, split, times), *small(schema, split)]


def values_of(seen: Mapping[str, Looked]) -> list[str]:
    """Those of `warnings_of` that joins, single values and keys give cause for."""
    found: list[str] = []
    for each in seen.values():
        found += _joins(each)
        for name, column in each.columns.items():
            where = f"{each.domain.name}, column {name!r}"
            found += [*_separators(each, where, column), *_texts(where, column)]
    for each in seen.values():
        found += _keys(each)
    return found


def _joins(log: Looked) -> Iterator[str]:
    for join in log.joins:
        where = f"{log.domain.name}: of {join.rows:,} rows"
        if join.blank:
            yield f"{where} {_share(join.blank, join.rows)} have no key {join.on!r} to join {join.name} by."
        lost = join.rows - join.blank - join.found
        if lost:
            yield (
                f"{where} {_share(lost, join.rows)} find no row in {join.name} by {join.on!r}, and miss its columns. "
                f"{log.domain.name} has {join.lost!r}, the file {join.known!r}: check that both are written alike."
            )


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({part / max(whole, 1):.1%})"


def _texts(where: str, column: Column) -> Iterator[str]:
    """Of a column of text ids."""
    for word, seen in sorted(column.words.items(), key=lambda item: item[1].first):
        if seen.count >= max(1, FREQUENT * column.cells):
            yield (
                f"{where}: {word!r} stands in {_share(seen.count, column.cells)} of the cells and is an id like any "
                "other. If it says that a value is missing, leave the cell empty."
            )
    for name, least, what, fix in (
        (
            "blank",
            0.0,
            "begin or end with a blank",
            "Strip them; a sequence wants its `separator` without blanks.",
        ),
        ("break", 0.0, "hold a line break", "Mend the file; a quote that is not closed swallows rows."),
        (
            "quoted",
            FREQUENT,
            "stand in quotes or brackets",
            "Write plain ids, a sequence joined by its `separator`.",
        ),
    ):
        odd = column.odd.get(name)
        if odd is not None and odd.count >= least * column.cells:
            yield f"{where}: {_share(odd.count, column.cells)} of the ids {what}, such as {shown(odd.value)}. {fix}"


def _separators(log: Looked, where: str, column: Column) -> Iterator[str]:
    """Of a column of sequences that hold one id each."""
    if column.longest != 1:
        return
    other = column.other.get("other")
    if other is not None or (log.source.is_text() and column.single >= SEQUENCES):
        such = "" if other is None else f", and ids such as {shown(other.value)}"
        yield (
            f"{where}: no row has more than one id{such}: the separator {log.source.separator!r} never stands there. "
            "Set `separator` in the data of the domain to what joins the ids."
        )


def _keys(log: Looked) -> Iterator[str]:
    """Keys that nobody has named, and one of users that is none."""
    domain, name, rows = log.domain, log.domain.name, log.rows
    if domain.item is None:
        ids = [f.column for f in domain.with_role("item") if f.kind == "id" and not f.cross]
        for column in [each for each in ids if not _few(log, each)][:1]:
            yield (
                f"{name} has no key of items, so what rests on items (floors, rows of an item) is left out. If "
                f"{column!r} is the key, set `item: {column}` in the domain."
            )
    if domain.user is None:
        for feature in domain.with_role("user"):
            named = any(_NAMED.search(each.lower()) for each in (feature.name, str(feature.column)))
            if feature.kind == "id" and not feature.cross and named and not _few(log, feature.column):
                yield (
                    f"{name} has no key of users, so neither GAUC nor groups of users are measured. If "
                    f"{feature.column!r} is the key, set `user: {feature.column}` in the domain."
                )
    elif few := _few(log, domain.user):
        yield (
            f"{name}: the key of users, {domain.user!r}, has {few} values in "
            f"{rows:,} rows. GAUC, groups and intervals take each for a user: if it is an attribute, set `user` to the "
            "key, or to null."
        )


def _few(log: Looked, column: str) -> int:
    """How many distinct values a key has, if these are few for so many rows; else 0."""
    distinct = log.keys[column]
    return len(distinct) if distinct is not None and log.rows >= MANY_ROWS * len(distinct) else 0


def apart(schema: Schema, seen: Mapping[str, Looked]) -> Iterator[str]:
    """Sources whose times and the target's do not overlap."""
    target = seen[schema.target].times
    for name in (source.name for source in schema.sources):
        times = seen[name].times
        if times is None or target is None:
            continue
        after = times[0] > target[1]
        if after or times[1] < target[0]:
            of = {name: f"{one:.10g} to {last:.10g}" for name, (one, last) in ((name, times), ("", target))}
            yield (
                f"all events of {name} ({of[name]}) lie {'after' if after else 'before'} those of "
                f"{schema.target} ({of['']})"
                + (": none is in a history there." if after else ".")
                + " Check that both count in one unit from one zero."
            )


def missed(schema: Schema, split: Split, times: Sequence[np.ndarray]) -> Iterator[str]:
    """Fractions of a split by time that ties kept it from; `times` are those of the target's events, sorted."""
    if split.arguments["by"] != "time" or "fractions" not in split.arguments:
        return
    orders, size = [Ordered(each, each) for each in times], sum(map(len, times))
    cuts = Facts.of("time", split.arguments, orders).bounds
    before, upto = (
        [sum(int(np.searchsorted(each, cut, side)) for each in times) for cut in cuts]
        for side in ("left", "right")
    )
    events = np.diff([0, *before, size]).tolist()
    together = max(after - start for start, after in zip(before, upto))
    for part, number, asked in zip(PARTS, events, split.arguments["fractions"]):
        if abs(number - asked * size) > max(1, MISSED * size):
            yield (
                f"{schema.target}: {part} was to have {asked:.0%} of the rows and has {number / size:.1%}. Rows of one "
                f"time stay together, and up to {together:,} have that of a cut: give finer times, or `cuts`."
            )


def small(schema: Schema, split: Split) -> Iterator[str]:
    """Parts of the target on which a metric says next to nothing, and sources with labels of one kind."""
    for source in schema.sources:
        trained = split.tallies[source.name]["train"]
        labels = float(trained.labels)
        if source.task == "click" and trained.rows and labels in (0, trained.rows):
            yield (
                f"{source.name}, train: all {trained.rows:,} rows have the label {labels > 0:d}: nothing can be learnt "
                "of them."
            )
    target = schema.target_domain
    for part in ("valid", "test"):
        tally = split.tallies[target.name][part]
        rows, where = tally.rows, f"{target.name}, {part}"
        if target.task == "rating":
            if 0 < rows < FEW_ROWS:
                yield f"{where}: {rows} rows are too few for its metrics to mean anything."
            continue
        clicks = round(float(tally.labels))
        error = metrics.auc_error(clicks, rows - clicks)
        if rows and not error <= AUC_ERROR:
            yield (
                f"{where}: {clicks:,} clicks in {rows:,} rows are too few for its metrics to mean anything: the "
                f"standard error of an AUC is {error:.2f}."
            )
