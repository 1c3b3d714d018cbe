"""Raw ids: what stands for a missing one, which tables read ids as numbers, and ids as numbers from 0."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cdrzoo.schema import Schema

MISSING = {"string": "", "int64": -1}
"""The raw id that stands for a missing one."""
CROSS = "\x1f"
"""What stands between ids that are hashed together."""
_EXACT = int(pd.__version__.partition(".")[0]) >= 3


def missing(keys: np.ndarray) -> np.ndarray:
    """bool [n]: which raw keys, text or int64, stand for a missing one."""
    return np.asarray(keys == MISSING["int64" if keys.dtype.kind == "i" else "string"], bool)


def as_numbers(schema: Schema, table: str) -> bool:
    """Whether the vocabulary of the table is int64: every feature that looks it up is."""
    features = [f for domain in schema.domains for f in domain.features if f.table == table]
    return all(f.dtype == "int64" for f in features) and schema.table(table).hash_buckets is None


def factorize(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values, `[n]`, as numbers from 0 in the order in which they first stand there, and the distinct values.

    This is `pandas.factorize`, but exact: before pandas 3, of text it saw no more than what stands before a NUL.
    """
    codes, distinct = pd.factorize(values)
    if values.dtype != object or _EXACT or np.array_equal(distinct[codes], values):
        return codes.astype(np.int64), distinct
    seen: dict[str, int] = {}
    codes = np.fromiter((seen.setdefault(value, len(seen)) for value in values), np.int64, len(values))
    distinct = np.empty(len(seen), object)
    distinct[:] = list(seen)
    return codes, distinct


def occurrences(keys: np.ndarray, of: np.ndarray) -> np.ndarray:
    """int64 [n]: how often each value of `of` stands among `keys`; a missing one never does."""
    seen = pd.Series(keys).value_counts().drop(list(MISSING.values()), errors="ignore")
    return seen.reindex(of, fill_value=0).to_numpy(np.int64)
