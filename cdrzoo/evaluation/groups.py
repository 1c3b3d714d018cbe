"""Groups of test rows: what the target and the sources know of user and item, and the values of a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo import traffic
from cdrzoo.training.groups import by_rows, by_values

VALUES = 6
"""Groups that a column makes at most: every further one makes it harder to show a difference in one."""


def rows_of(prepared: Any, by: Sequence[str] = ()) -> pd.DataFrame:
    """The target's test rows: user, label, weight, and what they are grouped by, as `measure` takes them."""
    part = prepared.parts[prepared.schema.target]["test"]
    rows = prepared.groups("test") if part.user is not None else pd.DataFrame(index=range(len(part.y)))
    rows["label"] = part.y[:, 0].astype(np.float64)
    kept = prepared.schema.target_domain.negatives_kept
    weight = np.ones(len(rows)) if part.weight is None else part.weight
    rows["weight"] = traffic.row_weights(rows["label"].to_numpy(), weight, kept)
    for column in by:
        rows[column] = prepared.values(column, "test")
    return rows


def groups_of(rows: pd.DataFrame, by: Sequence[str] = ()) -> dict[str, dict[str, np.ndarray]]:
    """`{what groups are by: {group: [n] booleans}}`; a group of all rows, or of none, is left out.

    Args:
        rows: a test row a line: `target_rows`, `source_rows` (training rows of the user there) and `item_rows` (of the
            item in the target), as far as they are known, and the columns of `by`.
        by: further columns to group by, as `cdrzoo.training.groups.by_values` does.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for column, title in (
        ("target_rows", "user's rows in the target"),
        ("item_rows", "item's rows in the target"),
    ):
        if column in rows:
            found[title] = by_rows(rows[column].to_numpy())
    if "source_rows" in rows:
        known = rows["source_rows"].to_numpy() > 0
        found["user in a source"] = {"shared": known, "new to it": ~known}
    for column in by:
        values = rows[column].to_numpy()
        found[column] = by_values(values, values, VALUES)
    kept = {
        title: {name: mask for name, mask in masks.items() if mask.any() and not mask.all()}
        for title, masks in found.items()
    }
    return {title: masks for title, masks in kept.items() if masks}
