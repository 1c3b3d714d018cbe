"""What `cdrzoo schema check` prints: both domains side by side, as the schema has them and as the data has them."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo.data.preparation.logs import Log, add_histories, read_logs
from cdrzoo.data.ragged import Ragged
from cdrzoo.data.raw import MISSING
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.schema.overview import as_text


def check(schema: Schema, sources: Mapping[str, Any] | None = None, folder: str | pathlib.Path = ".") -> str:
    """The domains side by side: shared and specific features, tables, and, with data, rows, overlap and missing values.

    Sources whose times do not overlap with the target's get a warning.

    Args:
        schema: the schema.
        sources: where the rows are, as in `prepare`; `None`: the schema alone.
        folder: what relative paths are relative to.

    Returns:
        Plain text.

    Raises:
        DataError: on whatever is wrong with the data.
    """
    if sources is None:
        return as_text(schema.overview())
    logs = read_logs(schema, sources, folder)
    if all(log.time is not None for log in logs.values()):
        add_histories(schema, logs, {})

    def missing(domain: Domain, feature: Feature) -> str:
        return _missing(logs[domain.name], feature)

    def ids(table: Table) -> list[str]:
        return _overlap(schema, table.name, logs)

    blocks = schema.overview(facts=_facts(logs), missing=missing, ids=ids)
    return "\n\n".join([as_text(blocks), *_apart(schema, logs)])


def _facts(logs: Mapping[str, Log]) -> list[list[str]]:
    facts: dict[str, list[str]] = {
        name: [] for name in ("rows", "users", "items", "mean label", "time from", "time to")
    }
    users = {}
    for name, log in logs.items():
        facts["rows"].append(f"{len(log):,}")
        facts["users"].append("-" if log.user is None else f"{len(pd.unique(log.user)):,}")
        facts["items"].append("-" if log.item is None else f"{len(pd.unique(log.item)):,}")
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
    return rows


def _apart(schema: Schema, logs: Mapping[str, Log]) -> list[str]:
    """A warning for each source whose times and the target's do not overlap."""
    target, found = logs[schema.target], []
    for name in (source.name for source in schema.sources):
        log = logs[name]
        if log.time is None or target.time is None:
            continue
        after = log.time.min() > target.time.max()
        if after or log.time.max() < target.time.min():
            found.append(
                f"warning: all events of {name} ({log.times()}) lie {'after' if after else 'before'} those of "
                f"{schema.target} ({target.times()})"
                + (": none is in a history there." if after else ".")
                + " Check that both count in one unit from one zero."
            )
    return found


def _missing(log: Log, feature: Feature) -> str:
    """The share of rows without a value; nothing for a history that is not built."""
    if feature.column not in log.columns:
        return ""
    values = log.columns[feature.column]
    if isinstance(values, Ragged):
        missing = (values.compress(values.values != MISSING[feature.dtype]).lengths() == 0).mean()
    elif feature.kind == "number" and feature.dtype == "float32":
        missing = np.isnan(values).mean()
    else:
        missing = (values == MISSING[feature.dtype]).mean()
    return f"{missing:.1%}"


def _overlap(schema: Schema, table: str, logs: Mapping[str, Log]) -> list[str]:
    found = {}
    for domain in schema.domains:
        ids: set[str] = set()
        for feature in domain.features:
            # A history lists ids of the domain it is of; they are counted there.
            if (
                feature.table == table
                and feature.column in logs[domain.name].columns
                and feature.role != "history"
            ):
                values = logs[domain.name].columns[feature.column]
                values = values.values if isinstance(values, Ragged) else values
                ids |= {str(value) for value in pd.unique(values) if value != MISSING[feature.dtype]}
        if ids:
            found[domain.name] = ids
    every = set().union(*found.values())
    several = (
        sum(1 for one in every if sum(one in ids for ids in found.values()) > 1) if len(found) > 1 else 0
    )
    return [
        f"{len(every):,}",
        f"{several:,}" + (f" ({several / max(len(every), 1):.0%})" if len(found) > 1 else ""),
    ]
