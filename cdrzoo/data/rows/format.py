"""The folder of prepared rows: what lies where, and what its columns hold.

    prepared.json                      what this file reads and writes (`Rows`); it is there once all the rest is
    schema.yaml                        the schema with the rows of its tables and the mean labels filled in
    split.json                         the split's record, as a run keeps it
    encoder/                           `Encoder.save`: vocabularies, means and deviations of all domains
    encoder_target/                    the same of the target's training rows alone, as `Prepared.only(target)` has it
    parts/DOMAIN/PART/00000.parquet    rows, `SHARD_ROWS` a file, in row groups of `GROUP_ROWS`
    examples/DOMAIN/PART.parquet       its first `EXAMPLES` rows in the log's order, raw, as `Prepared.frame` gives them

Training rows lie in an order that a hash of the row's number gives, one for all shards: file 00000 has the smallest
hashes. Rows of valid and test lie in the order of their numbers. Neither depends on how many partitions made them.

Columns of a shard, `n` rows:

    ids        FixedSizeList<int32>[W]     all ids of a row side by side, in the order of `DomainRows.ids`; 0 is padding
    numbers    FixedSizeList<float32>[M]   all numbers, in the order of `DomainRows.numbers`; where a domain has some
    label      float32                     what is trained on (0 or 1 for clicks)
    label.NAME float32                     of several labels each behind the first, NaN where it is missing
    weight     float32                     where the domain's rows are weighted
    user, item string or int64             raw keys, "" or -1 where missing; where the domain has them
    time       int64 or float64            where the domain has times
    row        int64                       the row's number: its place in the log; of a drawn negative a number beyond
                                           the log's rows: rows + place of its event * per_positive + which it is

and in the target's:

    target_rows, source_rows int32         training events of the row's user in the target, and in all sources
    item_rows  int32                       training events of the row's item in the target
    slice.COLUMN                           raw values of a column of `slices`, as `Prepared.values` gives them

The target alone knows other ids: `encoder_target` has the vocabularies of `schema.only(target)`. A row of one table is
a row of the other by a map over the vocabulary: 0 to 0, 1 to 1, an id to its row there or to 1. `ids_of_target` makes
these maps; numbers are the same in both.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cdrzoo.data.encoder import Encoder
from cdrzoo.data.raw import as_numbers
from cdrzoo.errors import DataError
from cdrzoo.files import home, read_json, reading, write
from cdrzoo.schema import FIRST_KNOWN, PADDING, Domain, Schema

FORMAT = 1
FILE = "prepared.json"
SHARD_ROWS = 262_144
"""Rows of a shard; the last of a part has fewer."""
GROUP_ROWS = 8_192
"""Rows of a row group: what is read at once."""
EXAMPLES = 1_024
"""Raw rows that are kept of each part."""
SLICE, LABEL = "slice.", "label."
MEND = "Prepare the rows again (cdrzoo prepare)."


@dataclasses.dataclass(frozen=True)
class PartRows:
    """One part of one domain.

    Args:
        rows: how many.
        shards: files with how many rows each, `[("parts/films/train/00000.parquet", 262144), ...]`.
        labels: sum of the labels.
        users, items: distinct ones, without the missing; `None` where the domain has no such key.
    """

    rows: int
    shards: tuple[tuple[str, int], ...]
    labels: float
    users: int | None = None
    items: int | None = None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> PartRows:
        """As JSON has it."""
        return cls(**{**found, "shards": tuple(map(tuple, found["shards"]))})


@dataclasses.dataclass(frozen=True)
class DomainRows:
    """One domain.

    Args:
        ids: features of ids with their width (1 for a single id), as they lie side by side in the column `ids`.
        numbers: features of numbers, likewise; of a number of one column its name alone stands in the file.
        weighted: whether there is a column `weight`.
        parts: by name: train, valid, test.
    """

    ids: tuple[tuple[str, int], ...]
    numbers: tuple[tuple[str, int], ...]
    weighted: bool
    parts: Mapping[str, PartRows]

    @property
    def width(self) -> int:
        """Ids and numbers of a row."""
        return sum(width for _, width in (*self.ids, *self.numbers))


@dataclasses.dataclass(frozen=True)
class Rows:
    """What `prepared.json` says.

    Args:
        key: hash of the schema, the data's files and the settings that the rows were made of.
        made_of: these themselves, to be compared with what is asked for.
        split: as `Split.to_dict`.
        slices: columns of the target by whose values metrics are given, too.
        domains: by name.
        warnings: what is doubtful about the data.
        logs: where they lay, as `prepare` takes it. Older versions did not keep it.
    """

    key: str
    made_of: Mapping[str, Any]
    split: Mapping[str, Any]
    slices: tuple[str, ...]
    domains: Mapping[str, DomainRows]
    warnings: tuple[str, ...] = ()
    logs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes `prepared.json`, whole or not at all."""
        told = dataclasses.asdict(self)
        for domain in told["domains"].values():
            domain["numbers"] = [name if width == 1 else [name, width] for name, width in domain["numbers"]]
        text = json.dumps({"format": FORMAT, **told}, indent=2)
        write(pathlib.Path(folder) / FILE, text + "\n")

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> Rows:
        """Reads it.

        Raises:
            InputError: it is missing or damaged.
            DataError: it has another format.
        """
        found = read_json(home(folder) / FILE, MEND, ("format", "key", "domains"))
        if found.pop("format") != FORMAT:
            raise DataError(f"{folder} has another format than {FORMAT}, which this version reads. {MEND}")
        with reading(home(folder) / FILE, MEND):
            domains = {
                name: DomainRows(
                    tuple((feature, width) for feature, width in domain["ids"]),
                    tuple(
                        (one, 1) if isinstance(one, str) else (one[0], one[1]) for one in domain["numbers"]
                    ),
                    domain["weighted"],
                    {part: PartRows.of(rows) for part, rows in domain["parts"].items()},
                )
                for name, domain in found.pop("domains").items()
            }
            found |= {"slices": tuple(found["slices"]), "warnings": tuple(found["warnings"])}
            return cls(domains=domains, **found)


def layout(domain: Domain) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    """`DomainRows.ids` and `.numbers` of a domain."""
    ids, numbers = (
        tuple((f.name, f.values or 1) for f in domain.tensors if f.is_id == of) for of in (True, False)
    )
    return ids, numbers


def ids_of_target(encoder: Encoder, target: Encoder, schema: Schema) -> dict[str, np.ndarray | None]:
    """By table of the target, int32 [rows]: row in `encoder_target` of each row in `encoder`; `None`: the same.

    Args:
        encoder, target: read from `encoder` and `encoder_target`.
        schema: that of `encoder`.
    """
    maps: dict[str, np.ndarray | None] = {}
    for table in target.schema.tables:
        if not target.schema.has_vocabulary(table.name):
            maps[table.name] = None
            continue
        own, every = target.lookups[table.name], encoder.lookups[table.name]
        text = as_numbers(target.schema, table.name) and not as_numbers(schema, table.name)
        known = np.full(len(every), -1, np.int32)
        # Fewer of the target's ids are looked up than the other way round.
        start = 0
        for ids in own.chunks():
            at = every.find(ids.astype(str).astype(object) if text else ids)
            there = at >= 0  # a table that was extended keeps the ids that it had, and lacks new ones
            known[at[there]] = np.arange(start, start + len(ids))[there]
            start += len(ids)
        maps[table.name] = np.concatenate([[PADDING, 1], known + FIRST_KNOWN]).astype(np.int32)
    return maps
