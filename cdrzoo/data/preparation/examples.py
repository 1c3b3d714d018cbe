"""Raw rows as a file of examples holds them: every feature by its column, then label, time and keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cdrzoo.data.preparation.logs import Log
from cdrzoo.data.ragged import Ragged
from cdrzoo.data.raw import MISSING, factorize
from cdrzoo.schema import Domain, Feature
from cdrzoo.schema.features import together, with_weights

Raw = Mapping[str, tuple[Any, "int | None"]]
"""Column to its values, and of a sequence the length it is cut to."""


def raw_columns(domain: Domain, log: Log, at: np.ndarray) -> dict[str, tuple[Any, int | None]]:
    """The columns of a log at these rows.

    Args:
        domain: its features are wanted.
        log: rows of the domain, which may have more columns.
        at: int64 [n].
    """
    columns: dict[str, tuple[Any, int | None]] = {}
    taken = {c: values.take(at) for c, values in log.columns.items() if isinstance(values, Ragged)}
    listed = sequences(domain.inputs(), taken)
    for feature in domain.inputs():
        values = log.columns[feature.column]
        if feature.column in listed:
            columns[feature.column] = listed[feature.column]
        elif feature.kind == "number" and feature.dtype == "int64" and (values[at] == -1).any():
            # No -1, which read again would be refused: nothing stands where nothing stood.
            columns[feature.column] = pd.arrays.IntegerArray(values[at], values[at] == -1), None
        else:
            columns[feature.column] = values[at], None
    keys = [(log.domain.label, log.raw)]
    keys += [(one.column, log.further[one.name]) for one in log.domain.labels[1:]]
    keys += [(log.domain.time, log.time), (log.domain.user, log.user)]
    for column, values in [*keys, (log.domain.item, log.item), (log.source.weight, log.weight)]:
        if column is not None and values is not None:
            columns.setdefault(column, (values[at], None))
    return columns


def sequences(
    features: Iterable[Feature], columns: Mapping[str, Ragged]
) -> dict[str, tuple[Ragged, int | None]]:
    """Sequences without the steps that hold no id, as an encoder leaves them out before it cuts; and their lengths.

    Args:
        features: others than sequences are passed over. Histories of the same events, and weights and their ids, run in
            step: a step is there if it has one of the ids.
        columns: the values of all steps.
    """
    found: dict[str, tuple[Ragged, int | None]] = {}
    for group in map(with_weights, together(features)):
        every = [columns[f.column] for f in group]
        first = every[0]
        if all(len(one.values) == len(first.values) and (one.starts == first.starts).all() for one in every):
            ids = [one.values != MISSING[f.dtype] for f, one in zip(group, every, strict=True) if f.is_id]
            present = np.logical_or.reduce(ids)
            every = every if present.all() else [one.compress(present) for one in every]
        found |= {f.column: (one, f.length) for f, one in zip(group, every, strict=True)}
    return found


def as_frame(columns: Raw) -> pd.DataFrame:
    """The columns as a DataFrame, sequences as lists."""
    return pd.DataFrame(
        {
            column: _plain(values) if length is None else values.to_lists(length)
            for column, (values, length) in columns.items()
        }
    )


def _plain(values: Any) -> Any:
    return list(values) if getattr(values, "ndim", 1) == 2 else values


def arrow(columns: Raw) -> pa.Table:
    """The columns as an Arrow table."""
    arrays = {}
    for column, (values, length) in columns.items():
        if length is None:
            arrays[column] = array(values)
        else:
            flat, lengths = values.flat(length)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            arrays[column] = pa.ListArray.from_arrays(pa.array(offsets), array(flat))
    return pa.table(arrays)


def array(values: np.ndarray) -> pa.Array:
    """Values of one column, text, numbers or vectors, as an Arrow array."""
    if values.ndim == 2:
        return fixed(values)
    if values.dtype != object:
        return pa.array(values)
    codes, distinct = factorize(values)
    return pa.array(distinct, pa.string()).take(pa.array(codes))


def fixed(values: np.ndarray) -> pa.Array:
    """`[n, width]` as a column of lists of one size."""
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def texts(column: pa.ChunkedArray) -> np.ndarray:
    """A column of text, object [n]; equal texts share one object."""
    codes, distinct = coded_texts(column)
    return distinct[codes]


def coded_texts(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A column of text as numbers, int32 [n], and the distinct texts."""
    if not len(column):
        return np.zeros(0, np.int32), np.zeros(0, object)
    coded = column.dictionary_encode()  # of text: all chunks share one dictionary
    distinct = np.asarray(coded.chunk(0).dictionary.to_numpy(zero_copy_only=False), object)
    return np.concatenate([chunk.indices.to_numpy() for chunk in coded.chunks]), distinct
