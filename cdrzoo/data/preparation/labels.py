"""Labels: raw numbers to clicks or ratings."""

from __future__ import annotations

import numpy as np

from cdrzoo.errors import DataError
from cdrzoo.schema import Domain


def labels(domain: Domain, raw: np.ndarray, where: str, before: int = 0) -> np.ndarray:
    """What the model is trained on.

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
    if domain.task == "rating":
        return raw.astype(np.float32)
    if domain.threshold is not None:
        return (raw >= domain.threshold).astype(np.float32)
    bad = (raw != 0) & (raw != 1)
    if bad.any():
        at = int(np.argmax(bad))
        row = before + at + 1
        raise DataError(
            f"{where}, column {domain.label!r}, row {row}: a click is labelled 0 or 1. Received: {raw[at]:g}. "
            f"For ratings set `threshold` in domain {domain.name!r} (such as threshold: 4), or `task: rating`."
        )
    return raw.astype(np.float32)
