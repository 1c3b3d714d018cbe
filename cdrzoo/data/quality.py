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
from cdrzoo.schema import Domain, Feature, Schema


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
    logs = None if sources is None else read_logs(schema, sources, folder)
    if logs is not None and all(log.time is not None for log in logs.values()):
        add_histories(schema, logs, {})
    names = [domain.name for domain in schema.domains]
    rows = [["", *(name + (" (target)" if name == schema.target else "") for name in names)]]
    rows.append(["task", *(_task(domain) for domain in schema.domains)])
    if logs is not None:
        rows += _facts(logs)
    shared = set(schema.shared_features())
    by_name: dict[str, dict[str, Feature]] = {}
    for domain in schema.domains:
        for feature in domain.features:
            by_name.setdefault(feature.name, {})[domain.name] = feature
    # What all domains list first, then what some list, then what one lists alone.
    order = sorted(by_name, key=lambda name: (name not in shared, -len(by_name[name])))
    blocks = [_table(rows)]
    for title, chosen in (
        ("shared features", [name for name in order if name in shared and len(names) > 1]),
        ("features of some domains", [n for n in order if n not in shared and len(by_name[n]) > 1]),
        ("specific features", [n for n in order if len(by_name[n]) == 1]),
    ):
        if chosen:
            cells = [
                [name, *(_feature(by_name[name].get(d), None if logs is None else logs[d]) for d in names)]
                for name in chosen
            ]
            blocks.append(title + (" (share of rows without a value)" if logs else "") + "\n" + _table(cells))
    cells = [["table", "width", "used by", *(["ids", "ids in several domains"] if logs else [])]]
    for table in schema.tables:
        users = [d.name for d in schema.domains if any(f.table == table.name for f in d.features)]
        line = [table.name, str(table.width), ", ".join(users)]
        if logs is not None:
            line += _overlap(schema, table.name, logs)
        cells.append(line)
    blocks.append("tables\n" + _table(cells))
    if logs is not None:
        blocks += _apart(schema, logs)
    return "\n\n".join(blocks)


def _task(domain: Domain) -> str:
    if domain.task == "rating":
        return f"rating {domain.label}"
    return f"click {domain.label}" + ("" if domain.threshold is None else f" >= {domain.threshold:g}")


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


def _feature(feature: Feature | None, log: Log | None) -> str:
    if feature is None:
        return "-"
    kind = feature.kind + (f"[{feature.length}]" if feature.length else "")
    text = f"{feature.role} {kind} {feature.dtype}"
    if log is None or feature.column not in log.columns:
        return text
    values = log.columns[feature.column]
    if isinstance(values, Ragged):
        missing = (values.compress(values.values != MISSING[feature.dtype]).lengths() == 0).mean()
    elif feature.kind == "number" and feature.dtype == "float32":
        missing = np.isnan(values).mean()
    else:
        missing = (values == MISSING[feature.dtype]).mean()
    return f"{text} {missing:.1%}"


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


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    return "\n".join("  " + line for line in lines)
