"""Columns of Python values, as JSON, object columns of pandas and decimals give them, to Arrow arrays."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cdrzoo.data.readers.columns import Wanted, wrong
from cdrzoo.errors import shown

EXACT = 2**53
"""From here on a float64 stands for several whole numbers."""
_INT64 = range(-(2**63), 2**63)


def inferred(values: list[Any], want: Wanted, where: str, row_of: Callable[[int], int]) -> pa.Array:
    """Text, int64 or float64, as the values and what is wanted make it; null where missing."""
    values = [plain(value) for value in values]
    if want.dtype == "text":
        values = [value if value is None or type(value) in (str, int) else str(value) for value in values]
    if want.dtype in ("string", "text"):
        return _text(values, want, where, row_of)
    kinds: tuple[type, ...] = (int, float, str)
    if want.dtype == "time":
        kinds = (*kinds, datetime.date)
    for at, value in enumerate(values):
        truth = isinstance(value, bool)
        if value is not None and (
            not isinstance(value, kinds) or (truth and want.is_id and not _truths(want))
        ):
            wanted = (
                "a time"
                if want.dtype == "time"
                else "a whole number"
                if want.dtype == "int64"
                else "a number"
            )
            raise wrong(want, where, row_of(at), shown(value), wanted)
    if any(isinstance(value, (str, datetime.date)) for value in values):
        return _text([_written(value) for value in values], want, where, row_of)
    if want.dtype == "int64" or (want.dtype == "time" and not any(isinstance(v, float) for v in values)):
        return pa.array([_whole(v, want, where, row_of, at) for at, v in enumerate(values)], pa.int64())
    return pa.array([_float(v, want, where, row_of, at) for at, v in enumerate(values)], pa.float64())


def _truths(want: Wanted) -> bool:
    """Whether true and false are 1 and 0: of labels and numbers, not of ids and times."""
    return want.dtype in ("float", "finite")


def plain(value: Any) -> Any:
    """As JSON has it: NumPy's and pandas' scalars become Python's, decimals numbers, bytes text; missing is None."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
        return None if value is pd.NaT else value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal):
        if value.is_nan():
            return None
        whole = value.is_finite() and value.adjusted() < 40 and value == value.to_integral_value()
        return int(value) if whole else float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return None if isinstance(value, float) and value != value else value


def _written(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(values: list[Any], want: Wanted, where: str, row_of: Callable[[int], int]) -> pa.Array:
    texts: list[str | None] = []
    for at, value in enumerate(values):
        if not (value is None or isinstance(value, (str, int))) or isinstance(value, bool):
            wanted = "UTF-8 text" if isinstance(value, bytes) else "text or whole numbers"
            raise wrong(want, where, row_of(at), shown(value), wanted)
        if isinstance(value, int) and abs(value) >= 10**4000:  # which Python does not write
            raise wrong(
                want, where, row_of(at), shown(value), "text or whole numbers of less than 4,000 digits"
            )
        texts.append(None if value is None else str(value))
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        at = next(at for at, text in enumerate(texts) if text is not None and _cut(text))
        fix = "It holds half a character (an emoji that was cut, say): write the whole one, or U+FFFD."
        raise wrong(
            want, where, row_of(at), ascii(texts[at])[:200], "text that UTF-8 can hold", fix
        ) from None


def _cut(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _whole(value: Any, want: Wanted, where: str, row_of: Callable[[int], int], at: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and not (value.is_integer() and abs(value) < EXACT):
        fix = "A float holds whole numbers exactly below 2**53 alone." if abs(value) >= EXACT else ""
        raise wrong(want, where, row_of(at), shown(value), "a whole number", fix)
    if int(value) not in _INT64:
        fix = "Set `dtype: string`." if want.dtype == "int64" else ""
        raise wrong(want, where, row_of(at), shown(value), "a whole number below 2**63", fix)
    return int(value)


def _float(value: Any, want: Wanted, where: str, row_of: Callable[[int], int], at: int) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except OverflowError:
        raise wrong(want, where, row_of(at), shown(value), "a finite number") from None
    if want.dtype != "float" and isinstance(value, int) and int(number) != value:
        raise wrong(want, where, row_of(at), shown(value), "a number below 2**53")
    return number
