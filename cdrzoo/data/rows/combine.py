"""Between two stages: what the tasks of one found, put together for the next."""

from __future__ import annotations

import functools
import itertools
import operator
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cdrzoo.data import quality, sharing
from cdrzoo.data.encoder import Encoder
from cdrzoo.data.preparation.assignment import UNLISTED, Facts, check_parts, check_since_rows, name_of
from cdrzoo.data.preparation.extension import extend
from cdrzoo.data.preparation.negatives import Catalogue, of_one_value, record
from cdrzoo.data.preparation.reading import Times, check_units
from cdrzoo.data.preparation.selection import Ordered, nth
from cdrzoo.data.preparation.sources import place
from cdrzoo.data.preparation.splits import PARTS, Split
from cdrzoo.data.preparation.tallies import Tally
from cdrzoo.data.raw import missing
from cdrzoo.data.readers.conversion import check_times
from cdrzoo.data.rows.format import EXAMPLES, SHARD_ROWS
from cdrzoo.data.rows.state import Chunk, State
from cdrzoo.data.rows.tasks import Items, Learnt, Read, Users
from cdrzoo.data.statistics import Counts, Statistics


def after_read(state: State) -> None:
    """Places of files in the log, cuts, partitions."""
    known, pieces = state.known, state.work.pieces
    found: list[Read] = [state.result("read", number) for number in range(len(pieces))]
    orders: list[Ordered] = []
    for name in state.work.plans:
        own = [number for number, piece in enumerate(pieces) if piece.domain == name]
        of_files = np.zeros(1 + max(pieces[number].file for number in own), np.int64)
        for number in own:
            of_files[pieces[number].file] += found[number].rows
        before = np.cumsum(of_files) - of_files
        known.sizes[name] = int(of_files.sum())
        known.joins[name] = functools.reduce(
            lambda one, other: tuple(map(operator.add, one, other)), (found[number].joins for number in own)
        )
        known.chunks[name] = [
            Chunk(f"read/{number:05d}/{at:05d}.arrow", rows, int(before[pieces[number].file]))
            for number in own
            for at, rows in enumerate(found[number].slots)
        ]
        for number in own:
            folder, first = state.place("read", number), int(before[pieces[number].file])
            for run in range(found[number].runs):
                if (folder / f"values-{run}.npy").exists():
                    names = (f"values-{run}.npy", f"rows-{run}.npy")
                    values, rows = (np.load(folder / name, mmap_mode="r") for name in names)
                    orders.append(Ordered(values, rows, first))
        kinds = set().union(*(found[number].times for number in own))
        plan = state.work.plans[name]
        check_times(kinds, f"{place(plan.domain, plan.source)}, column {plan.domain.time!r}")
        known.fractions[name] = "fractions" in kinds
    times = {name: _runs(state, name, "times") for name in state.work.plans}
    check_units({name: _times(_alike(arrays)) for name, arrays in times.items() if arrays})
    for order, values in zip(orders, _alike([order.values for order in orders])):
        order.values = values
    known.partitions = _partitions(state, np.sum([rows for read in found for rows in read.slots], axis=0))
    bounds = Facts.of(state.by, state.arguments, orders).bounds
    known.facts = [Facts(bounds)] * len(known.partitions)
    known.only_training = state.by in UNLISTED


def _runs(state: State, domain: str, what: str) -> list[np.ndarray]:
    """Sorted `times` of a domain's rows, or the `values` by which a split orders them, not in memory."""
    own = [number for number, piece in enumerate(state.work.pieces) if piece.domain == domain]
    files = [path for number in own for path in state.place("read", number).glob(f"{what}-*.npy")]
    return [np.load(path, mmap_mode="r") for path in files]


def _alike(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Of one dtype: whole numbers beside fractions become such."""
    mixed = len({each.dtype for each in arrays}) > 1
    return [each.astype(np.float64) for each in arrays] if mixed else arrays


def _times(arrays: Sequence[np.ndarray]) -> Times:
    last = sum(map(len, arrays)) - 1
    places = [round(share * last) for share in (0.05, 0.5, 0.95, 0, 1)]
    return Times.of(nth(arrays, places))


def _partitions(state: State, rows: np.ndarray) -> list[range]:
    """Slots that lie together: as many rows as a partition may have, or a number of partitions."""
    work = state.work
    upto = np.cumsum(rows)
    wanted = work.partitions or max(1, -(-int(upto[-1]) // work.partition_rows))
    ends = np.searchsorted(upto, np.arange(1, wanted) * (upto[-1] / wanted), side="left") + 1
    ends = [0, *np.minimum(ends, work.slots).tolist(), work.slots]
    return [range(low, high) for low, high in zip(ends[:-1], ends[1:]) if low < high]


def after_users(state: State) -> None:
    """Ranks of users, and what histories may list."""
    known = state.known
    found: list[Users] = [state.result("users", number) for number in range(len(known.partitions))]
    before, total = 0, sum(each.ranked for each in found)
    for at, each in enumerate(found):
        known.facts[at] = Facts((), before, total)
        before += each.ranked
    known.only_training = any(each.only_training for each in found)


def after_items(state: State) -> None:
    """What negatives are drawn from."""
    known = state.known
    found: list[Items] = [state.result("items", number) for number in range(len(known.partitions))]
    for name in found[0].catalogues:
        of_parts = zip(*(each.catalogues[name] for each in found))
        known.catalogues[name] = [Catalogue.merged(pieces) for pieces in of_parts]
        known.of_item[name] = [
            column
            for column in found[0].values[name]
            if of_one_value([each.values[name][column] for each in found]) is not None
        ]


def after_count(
    state: State, out: pathlib.Path, extends: Encoder | None
) -> tuple[Split, Encoder, dict[tuple[str, str], int]]:
    """Split, encoder and shards; gives the former two, and distinct items by domain and part.

    Args:
        state: of the work.
        out: where the encoders are written.
        extends: an encoder that the new one extends.
    """
    known = state.known
    statistics = {name: Statistics() for name in state.work.plans}
    items: dict[tuple[str, str], Counts] = {}
    first: dict[tuple[str, str], np.ndarray] = {}
    events = Counts()
    for number in range(len(known.partitions)):
        found: Learnt = state.result("count", number)
        for name, learnt in found.statistics.items():
            statistics[name].merge(learnt)
        for key, rows in found.first.items():
            first[key] = np.sort(np.concatenate([first.get(key, rows[:0]), rows]))[:EXAMPLES]
        for key, distinct in found.items.items():
            items.setdefault(key, Counts()).add(distinct)
        events.merge(found.events)
    split = split_of(state, "count")
    encoder = _encoders(state, split, statistics, out, extends)
    known.events = _series(events)
    for at, name in enumerate(state.work.plans):
        for part in PARTS:
            arrays = [
                np.load(state.place("count", number) / f"{at}-{part}.npy", mmap_mode="r")
                for number in range(len(known.partitions))
            ]
            places = np.arange(SHARD_ROWS, sum(map(len, arrays)), SHARD_ROWS).tolist()
            known.bounds[name, part] = nth(arrays, places)
            known.examples[name, part] = int(first[name, part].max(initial=-1))
    known.encoder = str(out / "encoder")
    return split, encoder, {key: len(_series(counts)) for key, counts in items.items()}


def split_of(state: State, stage: str) -> Split:
    """The split, of what the tasks of a stage have tallied."""
    tallied: dict[str, list[Tally]] = {}
    for number in range(len(state.known.partitions)):
        for name, of_parts in state.result(stage, number).tallies.items():
            tallied[name] = [a + b for a, b in zip(tallied[name], of_parts)] if name in tallied else of_parts
    target, since = tallied[state.schema.target], state.work.settings.since
    latest = max(tally.last or 0 for tally in target)
    check_since_rows(state.schema, since, target[0].rows, f"up to {latest:.10g}")
    check_parts(state.schema, state.by, [tally.rows for tally in target])
    drawn = record({name: plan.source for name, plan in state.work.plans.items()}, state.work.settings.seed)
    arguments = {"by": state.by, **state.arguments, **drawn, **({"since": dict(since)} if since else {})}
    split = Split.named(name_of(state.by, state.arguments), arguments, {}, tallied)
    for name, plan in state.work.plans.items():
        split.check_weights(name, state.schema.target, plan.source, place(plan.domain, plan.source))
    return split


def warnings_of(state: State, split: Split, stage: str) -> list[str]:
    """What is doubtful about the rows, as `quality.warnings_of` says it of all of them."""
    partitions = range(len(state.known.partitions))
    looked = (state.result(stage, number).looked for number in partitions)  # one in memory at a time
    seen = functools.reduce(lambda one, two: {name: one[name] + two[name] for name in one}, looked)
    whole = (state.logs(number) for number in partitions)
    few = [state.slots(range(1))]  # of users: what is shared mostly meets there already
    vain = sharing.in_vain(state.schema, itertools.chain(few, whole))
    times = _alike(_runs(state, state.schema.target, "values")) if state.by == "time" else []
    return [
        *quality.values_of(seen),
        *vain,
        *quality.apart(state.schema, seen),
        *quality.missed(state.schema, split, times),
        *quality.small(state.schema, split),
    ]


def _encoders(
    state: State, split: Split, statistics: dict[str, Statistics], out: pathlib.Path, extends: Encoder | None
) -> Encoder:
    """Writes the encoder of all domains, and that of the target alone."""
    encoder = Encoder(state.schema).learn(statistics)
    encoder = encoder if extends is None else extend(extends, encoder)
    encoder.schema = split.with_means(encoder.schema)
    encoder.save(out / "encoder")
    target = state.schema.target
    alone = Encoder(encoder.schema.only(target)).learn({target: statistics[target]})
    alone.save(out / "encoder_target")
    return encoder


def _series(counts: Counts) -> pd.Series:
    """By id how often it was seen; the missing one left out."""
    ids, seen = counts.merged()
    known = ~missing(ids)
    return pd.Series(seen[known], pd.Index(ids[known], dtype=ids.dtype))
