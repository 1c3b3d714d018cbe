"""Vocabularies that grow from day to day: known ids keep their rows, new ones get rows, ids that are gone lose theirs.

A day is one warm start: the rows that came since the run before. What an encoder has to remember for it is a `Ledger` a
table: when each known id was last seen, and how often those were seen that have no row yet.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from cdrzoo.data.encoder import Encoder
from cdrzoo.data.ledger import Ledger, Waiting
from cdrzoo.data.statistics import Counts, Statistics
from cdrzoo.schema import FIRST_KNOWN


def grown(encoder: Encoder, rows: Mapping[str, Any], forget_after: int | None = None) -> Encoder:
    """The encoder of the next day. `encoder` stays as it is.

    A known id keeps its row. A new one gets a row once its occurrences, over all days, reach the table's `min_count`;
    the most frequent comes first. It takes the row of an id that is gone, if there is one, else a row behind the last.
    Gone is an id that no training row of the last `forget_after` days has shown, the longest gone first; until another
    id takes its row it stays known. An id that waits is forgotten after as many days. Tables with `hash_buckets`, means
    and deviations of numbers and mean labels stay what they were: they are a part of what yesterday's model computes.

    Args:
        encoder: that of the run before.
        rows: by domain the new training rows: a DataFrame, or a mapping from column to values.
        forget_after: days after which an id is gone. Default: never.

    Returns:
        The new encoder; `growth` says what became of each table.
    """
    statistics = {d.name: encoder.statistics(d.name, rows[d.name]) for d in encoder.schema.domains}
    return grown_by(encoder, statistics, forget_after)


def grown_by(
    encoder: Encoder, statistics: Mapping[str, Statistics], forget_after: int | None = None
) -> Encoder:
    """`grown`, given what the new training rows of every domain add up to (`Encoder.statistics`)."""
    found = copy.copy(encoder)
    found.day, found.ledgers, found.growth = encoder.day + 1, {}, {}
    vocabularies = {}
    for table, counts in encoder.table_counts(statistics).items():
        vocabularies[table], found.ledgers[table], found.growth[table] = _grow(
            encoder, table, counts, found.day, forget_after
        )
    before = encoder.schema
    found.set_vocabularies(vocabularies)
    found.schema = found.schema.with_first_rows(before)
    return found


def _grow(
    encoder: Encoder, table: str, counts: Counts, day: int, forget_after: int | None
) -> tuple[np.ndarray, Ledger, dict[str, int]]:
    known = encoder.lookups[table].array()
    ledger = encoder.ledgers.get(table) or Ledger.new(len(known), (known[:0], np.zeros(0, np.int64)))
    ids, times = counts.merged()
    ids = encoder.typed(table, ids)
    rows = encoder.places(table, ids)
    seen = ledger.seen.copy()
    seen[rows[rows >= 0]] = day
    waiting = ledger.waiting.and_those(Waiting.of(ids[rows < 0], times[rows < 0], day))
    admitted = waiting.counts >= encoder.schema.table(table).min_count
    new, waiting = waiting.take(admitted), waiting.take(~admitted)
    gone = np.zeros(0, np.int64)
    if forget_after is not None:
        waiting = waiting.take(day - waiting.days <= forget_after)
        gone = np.flatnonzero(day - seen > forget_after)
        gone = gone[np.argsort(seen[gone], kind="stable")]
    taken = gone[: len(new)]
    vocabulary = np.concatenate([known, new.ids[len(taken) :].astype(known.dtype)])
    vocabulary[taken], seen[taken] = new.ids[: len(taken)], day
    seen = np.concatenate([seen, np.full(len(new) - len(taken), day, np.int32)])
    said = {
        "known": len(known),
        "seen": int((rows >= 0).sum()),
        "admitted": len(new),
        "taken": len(taken),
        "gone": len(gone) - len(taken),
        "waiting": len(waiting),
    }
    return vocabulary, Ledger(seen, waiting), said


def fresh_rows(before: Encoder, after: Encoder) -> dict[str, np.ndarray]:
    """The rows of each table, int64, that stand for another id than before, or stood for none."""
    found, former = {}, before.vocabularies
    for table, ids in after.vocabularies.items():
        known = former[table]
        changed = np.flatnonzero(ids[: len(known)] != known)
        found[table] = FIRST_KNOWN + np.concatenate([changed, np.arange(len(known), len(ids))])
    return found


def describe(growth: Mapping[str, Mapping[str, Any]]) -> str:
    """What became of each table, a line each."""
    lines = []
    for table, said in growth.items():
        line = (
            f"  {table}: {said['known']:,} ids known, {said['seen']:,} of them seen; {said['admitted']:,} new"
        )
        line += f", {said['taken']:,} of them in rows of ids that are gone" if said["taken"] else ""
        line += (
            f"; {said['gone']:,} are gone and keep their rows until they are wanted" if said["gone"] else ""
        )
        line += f"; {said['waiting']:,} wait" if said["waiting"] else ""
        lines.append(line)
    return "\n".join(["vocabularies:", *lines])
