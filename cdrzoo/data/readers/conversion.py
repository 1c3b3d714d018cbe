"""Raw columns of any reader to the types that were wanted. Wherever a value comes from, it is judged here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.data.ragged import Ragged
from cdrzoo.data.readers.columns import Values, Wanted, wrong
from cdrzoo.data.readers.text import TEXT

_NO_NUMBER = pa.array(["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"])


def convert(array: Any, want: Wanted, where: str, row: int) -> Any:
    """A raw column in the wanted type; `row` rows of the file came before it."""
    if isinstance(array, Values):
        array = _infer(array.values, want, where, row)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
        if isinstance(array, pa.ChunkedArray):  # PyArrow 10 keeps the type of an empty one
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    if not want.many:
        return _scalars(array, want, where, lambda at: row + at)
    if not _is_list(array.type):
        if not (_is_text(array.type) or pa.types.is_integer(array.type)):
            raise wrong(want, where, row, str(array.type), "lists of ids, or text joined by a separator")
        text = array.cast(pa.string())
        array = pc.split_pattern(pc.if_else(pc.equal(text, ""), None, text), want.separator)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64)
    stops = np.cumsum(lengths)
    values = pc.list_flatten(array)
    if pa.types.is_null(values.type):
        values = values.cast(pa.string())
    values = _scalars(values, want, where, lambda at: row + int(np.searchsorted(stops, at, "right")))
    return Ragged(values, stops - lengths, stops)


def concatenate(parts: list[Any]) -> Any:
    """Converted pieces of a column, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Ragged):
        offsets = np.cumsum([0] + [len(part.values) for part in parts[:-1]])
        return Ragged(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.starts + offset for part, offset in zip(parts, offsets, strict=True)]),
            np.concatenate([part.stops + offset for part, offset in zip(parts, offsets, strict=True)]),
        )
    return np.concatenate(parts)


def lists(values: pa.Array, lengths: np.ndarray) -> pa.Array:
    """Lists of these lengths from values that lie one behind the other."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _infer(values: list[Any], want: Wanted, where: str, row: int) -> pa.Array:
    if want.many:
        cells = [v.split(want.separator) if isinstance(v, str) and v else v or [] for v in values]
        for at, cell in enumerate(cells):
            if not isinstance(cell, (list, tuple, np.ndarray)):
                raise wrong(want, where, row + at, repr(cell), "a list of ids")
        rows = [at for at, cell in enumerate(cells) for _ in cell]
        flat = _infer_flat([v for cell in cells for v in cell], want, where, lambda at: row + rows[at])
        return lists(flat, np.array([len(cell) for cell in cells], np.int64))
    return _infer_flat(values, want, where, lambda at: row + at)


def _infer_flat(values: list[Any], want: Wanted, where: str, row_of: Any) -> pa.Array:
    if want.dtype == "text":
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    if want.dtype == "string":
        for at, value in enumerate(values):
            if not (value is None or isinstance(value, (str, int, np.integer))) or isinstance(value, bool):
                raise wrong(want, where, row_of(at), repr(value), "text or whole numbers")
        values = [None if v is None else str(v) for v in values]
        return pa.array(values, pa.string())
    for at, value in enumerate(values):
        if not (value is None or isinstance(value, (int, float, str, bool, np.number))):
            raise wrong(want, where, row_of(at), repr(value), "a number")
    if any(isinstance(v, str) for v in values):
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    return pa.array(values, pa.float64() if any(isinstance(v, float) for v in values) else pa.int64())


def _scalars(array: pa.Array, want: Wanted, where: str, row_of: Any) -> np.ndarray:
    if want.dtype == "text" and not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        array = array.cast(pa.string())
    if want.dtype in ("string", "text"):
        return _strings(array, want, where, row_of)
    numbers = _numbers(array, want, where, row_of)
    if want.dtype == "float":
        with np.errstate(over="ignore"):
            numbers = numbers.astype(np.float32)  # what a client sends: training must see no finer value
    if want.dtype == "int64" or (want.dtype == "time" and numbers.dtype == np.int64):
        negative = numbers < (-1 if want.dtype == "int64" else 0)
        if want.is_id and negative.any():
            at = int(np.argmax(negative))
            if want.dtype == "time":
                raise wrong(want, where, row_of(at), str(numbers[at]), "a time of at least 0")
            fix = "An id is not negative; -1 alone stands for a missing one."
            raise wrong(want, where, row_of(at), str(numbers[at]), "an id", fix)
        return numbers
    finite = np.isfinite(numbers) if want.dtype in ("finite", "time") else ~np.isinf(numbers)
    if not finite.all():
        at = int(np.argmin(finite))
        received = "nothing (missing)" if np.isnan(numbers[at]) else str(numbers[at])
        raise wrong(
            want, where, row_of(at), received, "a finite number", "Correct the value or drop the row."
        )
    if want.dtype == "time" and (numbers < 0).any():
        at = int(np.argmax(numbers < 0))
        raise wrong(want, where, row_of(at), str(numbers[at]), "a time of at least 0")
    return numbers


def _strings(array: pa.Array, want: Wanted, where: str, row_of: Any) -> np.ndarray:
    kind = array.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            array = array.cast(pa.string())
        except pa.ArrowInvalid:
            raise wrong(want, where, None, "bytes that are not UTF-8", "UTF-8 text") from None
    elif pa.types.is_integer(kind):
        array = array.cast(pa.string())
    elif not _is_text(kind):
        fix = (
            "Set `dtype: int64`, or store the ids as text or whole numbers."
            if pa.types.is_floating(kind)
            else ""
        )
        first = array.drop_null()[:1].to_pylist() if len(array) else []
        raise wrong(
            want, where, None, f"{kind} (such as {first[0]!r})" if first else str(kind), "text ids", fix
        )
    # Every distinct text becomes one Python string that its rows share: several times faster, and far less memory.
    encoded = array.fill_null("").dictionary_encode()
    distinct = np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), object)
    return distinct[encoded.indices.to_numpy()] if len(array) else np.array([], object)


def _numbers(array: pa.Array, want: Wanted, where: str, row_of: Any) -> np.ndarray:
    """int64 (missing: -1) when int64 is wanted or a time is whole, else float64 (missing: NaN)."""
    kind, whole = array.type, want.dtype == "int64"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        if want.dtype != "time":
            raise wrong(want, where, None, str(kind), "numbers")
        stamps = array.cast(pa.timestamp("us")).cast(pa.int64())  # Unix seconds
        return stamps.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) / 1e6
    if _is_text(kind) or pa.types.is_binary(kind):
        array = array.cast(pa.string())
        array = pc.if_else(pc.is_in(array, value_set=_NO_NUMBER.cast(array.type)), None, array)
        array = pc.utf8_trim_whitespace(array)
        try:
            array = array.cast(pa.int64() if whole or want.dtype == "time" else pa.float64())
        except pa.ArrowInvalid:
            text = pd.Series(array.to_numpy(zero_copy_only=False), dtype=object)
            parse, wanted, fix = TEXT[want.dtype]
            parsed = parse(text)
            bad = parsed.isna() & text.notna()
            if bad.any():
                at = int(np.argmax(bad))
                raise wrong(want, where, row_of(at), repr(text[at]), wanted, fix) from None
            array = pa.array(parsed.to_numpy(np.float64), from_pandas=True)
    elif pa.types.is_boolean(kind):
        array = array.cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise wrong(want, where, None, str(kind), "numbers")
    if not whole:
        if want.dtype == "time" and pa.types.is_integer(array.type) and not array.null_count:
            return array.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    if not pa.types.is_integer(array.type):
        values = np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        bad = ~np.isnan(values) & ((values != np.floor(values)) | (np.abs(values) > 2**53))
        if bad.any():
            at = int(np.argmax(bad))
            raise wrong(want, where, row_of(at), str(values[at]), "a whole number")
        array = pa.array(np.where(np.isnan(values), -1, values).astype(np.int64))
    try:
        array = array.cast(pa.int64())
    except pa.ArrowInvalid:
        raise wrong(want, where, None, "a number above 2**63", "int64", "Set `dtype: string`.") from None
    return np.array(array.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
