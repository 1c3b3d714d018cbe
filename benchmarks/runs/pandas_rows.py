"""A log of text ids as the users of deepctr and torch-rechub prepare it: pandas, LabelEncoder and padded sequences.

Both document `LabelEncoder` for a column and zeros behind a sequence; deepctr's example of a text of several values has
the dictionary. None has sequences of text whose table a column shares: the dictionary goes on from the column's ids.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import LabelEncoder

from benchmarks.runs.stages import LENGTH, PARTS


def encoded(
    log: str, pad_sequences: Callable
) -> tuple[dict[str, int], dict[str, tuple[dict[str, np.ndarray], np.ndarray]]]:
    """The rows of each table, and by part the features and the labels."""
    data = pd.read_parquet(log)
    tables, x = {}, {}
    for name in ("user", "item", "cat"):
        encoder = LabelEncoder()
        x[name] = encoder.fit_transform(data[name]) + 1  # 0 is padding
        key2index = {key: at for at, key in enumerate(encoder.classes_, 1)}
        if name != "user":
            lists = [split(keys, key2index) for keys in data[f"hist_{name}"]]
            x[f"hist_{name}"] = pad_sequences(lists, maxlen=LENGTH, padding="post")
        tables[name] = len(key2index) + 1
    of = {part: (data["split"] == part).to_numpy() for part in PARTS}
    y = data["click"].to_numpy()
    return tables, {part: ({name: v[rows] for name, v in x.items()}, y[rows]) for part, rows in of.items()}


def split(keys: Any, key2index: dict[str, int]) -> list[int]:
    for key in keys:
        if key not in key2index:
            key2index[key] = len(key2index) + 1
    return [key2index[key] for key in keys]
