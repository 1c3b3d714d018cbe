"""Cells of a log as they stand in its files: an export is proven by the text itself, not by what was read of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cdrzoo.data import readers
from cdrzoo.data.preparation.logs import Log
from cdrzoo.schema import Feature


def cells(log: Log, features: Sequence[Feature], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The text of columns that features read, as it stands in the log's own CSV files.

    Args:
        log: the rows.
        features: of its domain. What is made of events stands in no file.
        rows: places in the log.

    Returns:
        `{column: object [n]}`, `None` for a row that is in no file (a drawn negative). Columns of joined files, and
        rows that are no text, are left out.
    """
    made = log.source.kind == "interactions"
    columns = [f.column for f in features if not (made and f.built)]
    standing = log.row[rows] < log.size
    if log.source.path is None or not standing.any():
        return {}
    found = readers.cells(log.source.path, columns, log.row[rows][standing], log.source.delimiter)
    text = {column: np.full(len(rows), None, object) for column in found}
    for column, values in found.items():
        text[column][standing] = values
    return text
