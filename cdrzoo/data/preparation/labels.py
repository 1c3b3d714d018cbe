"""Labels: raw numbers to clicks or ratings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Label


def further_labels(
    domain: Domain, y: np.ndarray, raw: Mapping[str, np.ndarray], where: str, before: int = 0
) -> dict[str, np.ndarray]:
    """The labels of a domain behind the first.

    Args:
        domain: names them.
        y: float32 [n], the first label.
        raw: by name the raw label, float [n], NaN where it is missing.
        where: what the rows came from, for messages.
        before: rows that stand before these there.

    Returns:
        By name float32 [n], NaN where it is missing. What cannot be, since what it is given is not there, is 0.

    Raises:
        DataError: what cannot be is there.
    """
    found: dict[str, np.ndarray] = {}
    for label in domain.labels[1:]:
        values = raw[label.name]
        known = np.flatnonzero(~np.isnan(values))
        made = np.full(len(values), np.nan, np.float32)
        made[known] = _labels(label, domain.name, values[known], where, before, known)
        if label.given is not None:
            given = y if label.given == domain.labels[0].name else found[label.given]
            if (wrong := (given == 0) & (made == 1)).any():
                raise DataError(
                    f"{where}, column {label.column!r}, row {before + int(np.argmax(wrong)) + 1}: {label.name!r} is 1 "
                    f"where {label.given!r}, which it is given, is 0. Correct the log, or leave `given` out."
                )
            made[given == 0] = 0
        found[label.name] = made
    return found


def labels(domain: Domain, raw: np.ndarray, where: str, before: int = 0) -> np.ndarray:
    """What the model is trained on: the first label of several.

    Args:
        domain: its task and threshold decide.
        raw: [n], finite raw labels.
        where: what the rows came from, for messages.
        before: rows that stand before these there.

    Returns:
        float32 [n]: for ratings the raw label; for clicks 1 where it is at least the threshold, else 0.

    Raises:
        DataError: when clicks have no threshold and a label is neither 0 nor 1.
    """
    return _labels(domain.outputs[domain.name], domain.name, raw, where, before)


def _labels(
    label: Label, domain: str, raw: np.ndarray, where: str, before: int, rows: np.ndarray | None = None
) -> np.ndarray:
    if label.task == "rating":
        return raw.astype(np.float32)
    if label.threshold is not None:
        return (raw >= label.threshold).astype(np.float32)
    bad = (raw != 0) & (raw != 1)
    if bad.any():
        at = int(np.argmax(bad))
        row = before + (at if rows is None else int(rows[at])) + 1
        raise DataError(
            f"{where}, column {label.column!r}, row {row}: a click is labelled 0 or 1. Received: {raw[at]:g}. "
            f"For ratings set `threshold` in domain {domain!r} (such as threshold: 4), or `task: rating`."
        )
    return raw.astype(np.float32)
