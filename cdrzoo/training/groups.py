"""Groups of rows that every run reports: of users cold and warm, and those of MKT; and by the values of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo import data
from cdrzoo.data.rows.reading import StoredPart

VALUES = 24
"""Groups that a column makes at most in what a run reports: an hour each, say."""


def of_rows(prepared: data.Prepared, part: str = "test") -> dict[str, np.ndarray]:
    """Which of the target's rows of a part are of which group: booleans [n] by name, `of_users` and `of_slices`."""
    return {**of_users(prepared, part), **of_slices(prepared, part)}


def of_slices(prepared: data.Prepared, part: str = "test") -> dict[str, np.ndarray]:
    """Groups such as `hour=7` by the columns of `Prepared.slices`; numbers are cut at quartiles of training rows."""
    found = {}
    for column in prepared.slices:
        masks = by_values(prepared.values(column, part), prepared.values(column, "train"))
        found.update({f"{column}={value}": mask for value, mask in masks.items()})
    return found


def by_values(values: np.ndarray, reference: np.ndarray, most: int = VALUES) -> dict[str, np.ndarray]:
    """Groups of equal values: booleans [n] by value.

    Args:
        values: [n]. The `most` common ones have a group each, `others` are the rest. A missing one is in `missing`.
        reference: more numbers than that are cut at its quartiles.
        most: groups that values have at most, without `others` and `missing`.
    """
    rows, known = (_numbers_or_text(each) for each in (values, reference))
    absent = rows.isna().to_numpy()
    if rows.dtype == known.dtype == np.float64 and known.nunique() > most:
        edges = np.unique(known.quantile([0.25, 0.5, 0.75]))
        which = np.searchsorted(edges, rows)  # an edge belongs to the group below it
        digits = next(n for n in range(6, 18) if len({f"{edge:.{n}g}" for edge in edges}) == len(edges))
        texts = [f"{edge:.{digits}g}" for edge in edges]
        names = [f"up to {texts[0]}", *map(" to ".join, zip(texts[:-1], texts[1:])), f"above {texts[-1]}"]
        found = {name: (which == at) & ~absent for at, name in enumerate(names)}
    else:
        rows = rows.map(_shown, na_action="ignore")
        common = list(rows.value_counts().index[:most])
        found = {value: (rows == value).to_numpy() for value in common}
        found["others"] = found.get("others", False) | (~absent & ~rows.isin(common).to_numpy())
    found["missing"] = found.get("missing", False) | absent
    return {name: mask for name, mask in found.items() if mask.any()}


def _shown(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _numbers_or_text(values: np.ndarray) -> pd.Series:
    """float64 or text; NaN where a value is missing. Text of fractions, such as `2.5`, is numbers, of ids it is not."""
    found = pd.Series(values)
    if pd.api.types.is_float_dtype(found):
        return found.astype(np.float64)
    if pd.api.types.is_integer_dtype(found):
        return found.astype(np.float64).where(found != -1)
    text = found.astype(object).where(found != "")
    if text.astype(str).str.contains(".", regex=False).any():
        numbers = pd.to_numeric(text, errors="coerce")
        return numbers.astype(np.float64) if (numbers.notna() == text.notna()).all() else text
    return text


def users(prepared: data.Prepared, part: str = "test") -> np.ndarray | None:
    """The user of each of the target's rows of a part, as metrics by user take them; none without users.

    Of rows that are not held in memory they are whole numbers, -1 where missing: a text a row would be large.
    """
    rows = prepared.parts[prepared.schema.target][part]
    return rows.coded("user").numbers() if isinstance(rows, StoredPart) and rows.keyed else rows.user


def of_users(prepared: data.Prepared, part: str = "test") -> dict[str, np.ndarray]:
    """Which of the target's rows of a part are of which group of users: booleans [n] by name; none without users."""
    if prepared.schema.target_domain.user is None:
        return {}
    return by_rows(prepared.groups(part)["target_rows"].to_numpy())


def by_rows(rows: np.ndarray) -> dict[str, np.ndarray]:
    """The one scheme of groups of users (and of items): by how much of them the target knows.

    Args:
        rows: [n], training rows of the target that the user of each row has (`Prepared.groups`).

    Returns:
        Booleans [n] by name: `cold` and `warm`, without and with such rows, and those of MKT (`user_groups`).
    """
    return {"cold": rows == 0, "warm": rows > 0, **user_groups(rows)}


def sizes(
    prepared: data.Prepared, part: str = "test", masks: Mapping[str, np.ndarray] | None = None
) -> dict[str, dict[str, int]]:
    """`{group: {"rows": ...}}` of a part, for clicks with `"clicks"`; `all` first, then `of_rows` (or `masks`).

    Of several labels also how many rows of each are 1, by its name.
    """
    target, rows = prepared.schema.target_domain, prepared.parts[prepared.schema.target][part]
    labels = {"clicks": rows.y[:, 0]} if target.task == "click" else {}
    labels |= {
        one.name: np.nan_to_num(rows.labels[one.name]) for one in target.labels[1:] if one.task == "click"
    }
    masks = of_rows(prepared, part) if masks is None else masks
    found = {"all": np.ones(len(rows), bool), **masks}
    return {
        name: {"rows": int(mask.sum()), **{what: int(values[mask].sum()) for what, values in labels.items()}}
        for name, mask in found.items()
    }


def user_groups(rows: np.ndarray, bounds: Sequence[int] = (10, 30)) -> dict[str, np.ndarray]:
    """Groups of users by how much of them the target knows, as in MKT's Table 3.

    Args:
        rows: [n], training rows of the target that the user of each row has (`Prepared.groups`).
        bounds: where the groups end. The default makes 0 to 9, 10 to 29, and 30 or more ("0-10", "10-30" and ">30" in
            the table; the text says which way the bounds belong).

    Returns:
        Booleans [n] by the group's name, such as `0-9`, `10-29` and `30+`.

    Reference: Guan et al., Effective Two-Stage Knowledge Transfer for Multi-Entity Cross-Domain Recommendation (2024),
    Table 3.
    """
    edges = [0, *bounds, np.inf]
    names = [f"{low}-{high - 1}" for low, high in zip(edges[:-2], edges[1:-1], strict=True)] + [
        f"{edges[-2]}+"
    ]
    return {
        name: (rows >= low) & (rows < high)
        for name, low, high in zip(names, edges[:-1], edges[1:], strict=True)
    }
