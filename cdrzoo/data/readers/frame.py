"""DataFrames."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cdrzoo.data.raw import MISSING
from cdrzoo.data.readers.columns import Columns, Values, Wanted, require
from cdrzoo.data.readers.conversion import convert
from cdrzoo.errors import DataError
from cdrzoo.schema import Feature, Reading


def columns_of(frame: Any, features: Iterable[Feature], where: str) -> Columns:
    """The raw columns of features.

    Args:
        frame: a DataFrame (its columns are converted and checked), or a mapping of columns that were converted before.
        features: the features whose columns are wanted.
        where: what the frame is, for messages.
    """
    features = tuple(features)
    wanted = {f.column: Wanted.of(f) for f in features}
    # Here rows stand as a server takes them: of an int64 number, too, -1 is a missing one.
    wanted = {c: w if w.is_id else dataclasses.replace(w, is_id=None) for c, w in wanted.items()}
    require(wanted, list(frame), where)
    if not isinstance(frame, pd.DataFrame):
        return {key: frame[key] for key in wanted}
    columns = {key: from_pandas(frame[want.column], want, where) for key, want in wanted.items()}
    check_weights(columns, features, where)
    return columns


def check_weights(columns: Columns, features: Iterable[Feature], where: str, before: int = 0) -> None:
    """Raises unless each row has as many weights as ids, and each id a weight of at least 0.

    Args:
        columns: the raw columns.
        features: those of ids say which columns their weights are.
        where: what the rows were read from.
        before: rows that stand before them there.
    """
    for f in (f for f in features if f.weights is not None):
        ids, weights = columns[f.column], columns[f.weights]
        here, longest = ids.lengths(), int(ids.lengths().max(initial=0))
        wrong = np.flatnonzero(here != weights.lengths())
        if len(wrong):
            raise _no_weights(
                f, where, before + wrong[0], f"{weights.lengths()[wrong[0]]} for {here[wrong[0]]} ids"
            )
        tokens, numbers = ids.flat(longest)[0], weights.flat(longest)[0]
        wrong = np.flatnonzero((tokens != MISSING[f.dtype]) & ~(numbers >= 0))
        if len(wrong):
            row = int(np.searchsorted(np.cumsum(here), wrong[0], "right"))
            raise _no_weights(f, where, before + row, f"{numbers[wrong[0]]:g}")


def _no_weights(feature: Feature, where: str, row: int, received: str) -> DataError:
    return DataError(
        f"{where}, row {row + 1}: {feature.weights!r} must hold a weight of at least 0 for each id of "
        f"{feature.column!r}. Received: {received}. Of an id that is not to count, leave out both."
    )


def from_pandas(series: pd.Series, want: Wanted, where: str) -> Any:
    """A column of a DataFrame in the wanted type."""
    if isinstance(series, pd.DataFrame):
        raise DataError(f"{where} has two columns {want.column!r}. Names must differ: rename one.")
    try:
        array = Values(list(series)) if _mixed(series) else pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        array = Values(list(series))
    return convert(array, want, where, 0)


_PLAIN = {str, int, bool, list, tuple, np.ndarray}


def _mixed(series: pd.Series) -> bool:
    """Whether an object column holds what Arrow would make one type of: 5 beside True, a date beside 2.5, sets."""
    if series.dtype != object:
        return False
    found = set(map(type, series)) - {type(None), type(pd.NA)}
    kinds = found - {float}  # NaN is a missing value of any of them
    return len(kinds) > 1 or bool(kinds & {set, frozenset}) or (kinds != found and not kinds <= _PLAIN)


def joined(frame: pd.DataFrame, separator: str = Reading.separator) -> pd.DataFrame:
    """The frame with its sequences as the text that a cell of a CSV file holds."""

    def cell(value: Any) -> Any:
        return separator.join(map(str, value)) if isinstance(value, (list, tuple, np.ndarray)) else value

    cells = {name: [cell(v) for v in column] for name, column in frame.items() if column.dtype == object}
    return frame.assign(**{name: pd.Series(v, frame.index, dtype=object) for name, v in cells.items()})
