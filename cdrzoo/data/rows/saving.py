"""Rows that are in memory, to a folder of prepared rows."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cdrzoo.data.preparation.keys import drawn
from cdrzoo.data.preparation.logs import Log
from cdrzoo.data.preparation.prepared import Prepared
from cdrzoo.data.quality import warnings_of
from cdrzoo.data.raw import MISSING, factorize
from cdrzoo.data.rows.format import (
    EXAMPLES,
    GROUP_ROWS,
    PARTS,
    SHARD_ROWS,
    SLICE,
    DomainRows,
    PartRows,
    Rows,
    fixed,
    layout,
)
from cdrzoo.errors import DataError


def write_rows(
    prepared: Prepared,
    folder: str | pathlib.Path,
    key: str = "",
    made_of: Mapping[str, Any] | None = None,
    shard_rows: int = SHARD_ROWS,
) -> None:
    """Writes encoded rows to a folder, from which `load_rows` reads them; see `format`.

    Args:
        prepared: the rows.
        folder: new or empty.
        key, made_of: as of `Rows`.
        shard_rows: rows of a file.
    """
    folder, schema = pathlib.Path(folder), prepared.schema
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty. Choose a new folder; nothing is overwritten.")
    domains = {}
    for domain in schema.domains:
        ids, numbers = layout(domain)
        parts = {part: _write_part(prepared, domain.name, part, folder, shard_rows) for part in PARTS}
        weighted = prepared.logs[domain.name].weight is not None
        domains[domain.name] = DomainRows(ids, numbers, weighted, parts)
        examples = folder / "examples" / domain.name
        examples.mkdir(parents=True)
        for part in PARTS:
            prepared.frame(domain.name, part, EXAMPLES).to_parquet(examples / f"{part}.parquet")
    schema.save(folder / "schema.yaml")
    split = prepared.split.to_dict()
    (folder / "split.json").write_text(json.dumps(split, indent=2) + "\n", encoding="utf-8")
    prepared.encoder.save(folder / "encoder")
    prepared.only(schema.target).encoder.save(folder / "encoder_target")
    doubts = tuple(warnings_of(schema, prepared.logs, prepared.split))
    Rows(key, made_of or {}, split, prepared.slices, domains, doubts).save(folder)


def _write_part(
    prepared: Prepared, domain: str, part: str, folder: pathlib.Path, shard_rows: int
) -> PartRows:
    from pyarrow import parquet

    held, log, at = prepared.parts[domain][part], prepared.logs[domain], prepared.split.parts[domain][part]
    number = numbers_of(log)[at]
    columns = {
        name: values[at] for name, values in (("user", log.user), ("item", log.item)) if values is not None
    }
    if domain == prepared.schema.target:
        if log.user is not None:
            counts = prepared.groups(part).drop(columns="user")
            columns |= {name: counts[name].to_numpy(np.int32) for name in counts}
        columns |= {SLICE + column: prepared.values(column, part) for column in prepared.slices}
    order = np.argsort(drawn([number], 0) if part == "train" else number, kind="stable")
    (ids, numbers), shards = held.packed, list[tuple[str, int]]()
    (folder / "parts" / domain / part).mkdir(parents=True)
    for low in range(0, len(order), shard_rows):
        rows = order[low : low + shard_rows]
        table = {"ids": fixed(ids[rows])} if ids.shape[1] else {}
        table |= {"numbers": fixed(numbers[rows])} if numbers.shape[1] else {}
        table |= {"label": held.y[rows, 0], "row": number[rows]}
        table |= {} if held.weight is None else {"weight": held.weight[rows]}
        table |= {name: _texts(values[rows]) for name, values in columns.items()}
        name = f"parts/{domain}/{part}/{len(shards):05d}.parquet"
        plain = ["label", *columns]  # a dictionary of ids costs time and saves nothing
        parquet.write_table(
            pa.table(table),
            str(folder / name),
            row_group_size=GROUP_ROWS,
            compression="zstd",
            use_dictionary=plain,
        )
        shards.append((name, len(rows)))
    return PartRows(len(order), tuple(shards), float(held.y.sum(dtype=np.float64)), *_distinct(log, at))


def numbers_of(log: Log) -> np.ndarray:
    """int64 [n]: the number of each row, as `format` says."""
    rows = np.arange(len(log))
    events = int((log.event == rows).sum())
    if events == len(log):
        return rows
    of = log.event[events:]
    begins = np.flatnonzero(np.diff(of, prepend=-1))  # the negatives of an event lie together
    which = np.arange(len(of)) - np.repeat(begins, np.diff(begins, append=len(of)))
    per_positive = (log.source.negatives or {}).get("per_positive", 1)
    return np.concatenate([rows[:events], events + of * per_positive + which])


def _distinct(log: Log, at: np.ndarray) -> Sequence[int | None]:
    keys = [None if found is None else factorize(found[at])[1] for found in (log.user, log.item)]
    return [None if k is None else len(set(k.tolist()) - set(MISSING.values())) for k in keys]


def _texts(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.string()) if values.dtype == object else pa.array(values)
