"""Raw columns of any reader to the types that were wanted. Wherever a value comes from, it is judged here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.data.ragged import Ragged
from cdrzoo.data.raw import factorize
from cdrzoo.data.readers.columns import Values, Wanted, wrong
from cdrzoo.data.readers.text import TEXT, is_date, lost, numbers_of_text
from cdrzoo.data.readers.values import EXACT, inferred, plain
from cdrzoo.errors import DataError, shown
from cdrzoo.schema.reading import numbers_in
from cdrzoo.schema.transforms import LARGEST

RowOf = Callable[[int], int]
"""The row of the file that the value at a place stands in."""

_TEXT_BYTES = 2**31 - 1
"""What one array with offsets of 32 bits can hold."""


def convert(array: Any, want: Wanted, where: str, row: int) -> Any:
    """A raw column in the wanted type; `row` rows of the file came before it."""
    if isinstance(array, pa.ChunkedArray) and array.num_chunks > 1 and array.nbytes > _TEXT_BYTES:
        rows = np.cumsum([row] + [len(chunk) for chunk in array.chunks])
        pieces = zip(array.chunks, rows.tolist(), strict=False)
        found = [convert(chunk, want, where, before) for chunk, before in pieces]
        return concatenate(found, f"{where}, column {want.column!r}")
    if want.size is not None:
        return vectors(array, want, where, row)
    if isinstance(array, Values) and not want.many:
        return _scalars(
            inferred(array.values, want, where, lambda at: row + at), want, where, lambda at: row + at
        )
    array = _cells(array.values, want, where, row) if isinstance(array, Values) else _usual(array)
    if str(array.type).startswith(("list_view", "large_list_view")):
        array = _cells(array.to_pylist(), want, where, row)
    if not want.many:
        return _scalars(array, want, where, lambda at: row + at)
    if not _is_list(array.type):
        if _is_bytes(array.type):
            array = _text_of_bytes(array, want, where, lambda at: row + at)
        if not (_is_text(array.type) or pa.types.is_integer(array.type)):
            raise wrong(want, where, row, str(array.type), "lists of ids, or text joined by a separator")
        text = array if _is_text(array.type) else array.cast(pa.string())
        array = pc.split_pattern(pc.if_else(pc.equal(text, ""), None, text), want.reading.separator)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64)
    stops = np.cumsum(lengths)
    values, starts = _usual(pc.list_flatten(array)), stops - lengths

    def row_of(at: int) -> int:
        return row + int(np.searchsorted(stops, at, "right"))

    if want.dtype == "string" and len(values) and not pa.types.is_decimal(values.type):
        return Ragged.of_codes(*_coded(values, want, where, row_of), starts, stops)
    return Ragged(_scalars(values, want, where, row_of), starts, stops)


def vectors(array: Any, want: Wanted, where: str, row: int) -> np.ndarray:
    """float32 [n, size]: lists of numbers, or text that is split or stands in brackets; zeros for what is missing."""
    if not isinstance(array, Values):
        array = _usual(array)
    if isinstance(array, Values) or _is_text(array.type) or _is_bytes(array.type):
        values = array.values if isinstance(array, Values) else array.to_pylist()
        separator = want.reading.separator
        cells = [numbers_in(plain(value), separator) for value in values]
        array = _cells(cells, dataclasses.replace(want, size=None), where, row)
    found = convert(array, dataclasses.replace(want, size=None, is_id=False), where, row)
    lengths = found.lengths()
    out = np.zeros((len(found), want.size), np.float32)
    present = lengths == want.size
    if not (present | (lengths == 0)).all():
        at = int(np.argmin(present | (lengths == 0)))
        fix = "Give all, or nothing where it is missing."
        raise wrong(want, where, row + at, f"{lengths[at]} numbers", f"a vector of {want.size} numbers", fix)
    out[present] = found.values.reshape(-1, want.size)
    if not (inside := np.abs(out) <= LARGEST).all():  # NaN is not
        at, column = np.argwhere(~inside)[0]
        received, wanted = f"{out[at, column]:g}", f"numbers within -{LARGEST:,.0f} and {LARGEST:,.0f}"
        fix = "Divide each vector by its length."
        if np.isnan(out[at, column]):
            received, wanted, fix = "NaN", "finite numbers", "Leave the whole vector out where it is missing."
        raise wrong(want, where, row + at, received, f"a vector of {wanted}", fix)
    return out


def concatenate(parts: list[Any], where: str = "A column") -> Any:
    """Converted pieces of a column, one behind the other; `where` is what they are called in messages."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Ragged):
        offsets = np.cumsum([0] + [len(part.values) for part in parts[:-1]])
        starts = np.concatenate([part.starts + offset for part, offset in zip(parts, offsets, strict=True)])
        stops = np.concatenate([part.stops + offset for part, offset in zip(parts, offsets, strict=True)])
        if any(part.coded is None for part in parts):
            return Ragged(np.concatenate([part.values for part in parts]), starts, stops)
        numbers, distinct = factorize(np.concatenate([part.coded[1] for part in parts]))
        ends = np.cumsum([len(part.coded[1]) for part in parts])[:-1]
        pieces = zip(np.split(numbers.astype(np.int32), ends), parts, strict=True)
        return Ragged.of_codes(
            np.concatenate([own[part.coded[0]] for own, part in pieces]), distinct, starts, stops
        )
    if len({part.dtype for part in parts}) > 1:  # of times alone
        check_times([time_kind(part) for part in parts], where)
    return np.concatenate(parts)


def time_kind(values: np.ndarray) -> str:
    """Of a piece of a column of times: `whole` numbers, some of which are `large`, or `fractions`."""
    if values.dtype != np.int64:
        return "fractions"
    return "large" if len(values) and max(values.max(), -values.min()) >= EXACT else "whole"


def check_times(kinds: Collection[str], where: str) -> None:
    """Raises where pieces of one column are of kinds that float64 does not hold together."""
    if {"large", "fractions"} <= set(kinds):
        raise DataError(
            f"{where}: some times are whole numbers of 2**53 and more, and, in another file or further down, some have "
            "fractions: together they would lose digits. Write all as whole numbers, or in a larger unit."
        )


def dated(array: Any, missing: Collection[str] = ()) -> bool:
    """Whether a raw column is dates in text, by its first value that is not `missing`."""
    cells = array.values if isinstance(array, Values) else (cell.as_py() for cell in array)
    value = next((v for v in map(plain, cells) if v is not None and v not in missing), None)
    return isinstance(value, str) and is_date(value)


def lists(values: pa.Array, lengths: np.ndarray) -> pa.Array:
    """Lists of these lengths from values that lie one behind the other."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)


def _usual(array: Any) -> pa.Array:
    """One array of a usual type: whole, without dictionary, view, runs or extension."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
        if isinstance(array, pa.ChunkedArray):  # PyArrow 10 keeps the type of an empty one
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if isinstance(array, pa.ExtensionArray) and "pandas" not in str(array.type):  # periods are no numbers
        array = array.storage
    if str(array.type).startswith("run_end_encoded"):
        array = pc.run_end_decode(array)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if str(array.type) in ("string_view", "binary_view"):
        array = array.cast(pa.large_string() if str(array.type) == "string_view" else pa.large_binary())
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _cells(values: list[Any], want: Wanted, where: str, row: int) -> pa.Array:
    """Sequences as Python has them: lists, or text that is split."""
    cells = []
    for at, value in enumerate(values):
        value = plain(value)
        if isinstance(value, str):
            value = value.split(want.reading.separator) if value else []
        elif isinstance(value, int) and not isinstance(value, bool):
            value = [value]  # a sequence of one, as the text 7 is
        elif value is None:
            value = []
        if not isinstance(value, (list, tuple, np.ndarray)) or (
            isinstance(value, np.ndarray) and value.ndim != 1
        ):
            raise wrong(want, where, row + at, shown(value), "a list of ids")
        cells.append(value)
    lengths = np.fromiter(map(len, cells), np.int64, len(cells))
    rows = np.repeat(np.arange(len(cells)), lengths)
    flat = inferred([v for cell in cells for v in cell], want, where, lambda at: row + int(rows[at]))
    return lists(flat, lengths)


def _scalars(array: pa.Array, want: Wanted, where: str, row_of: RowOf) -> np.ndarray:
    if pa.types.is_decimal(array.type):
        array = inferred(array.to_pylist(), want, where, row_of)
    if want.dtype == "text" and not (_is_bytes(array.type) or _is_text(array.type)):
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
                raise wrong(want, where, row_of(at), str(numbers[at]), "a time of at least 0 and below 2**63")
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
    if want.dtype == "time" and (out := (numbers < 0) | (numbers >= 2.0**63)).any():
        at = int(np.argmax(out))
        raise wrong(want, where, row_of(at), str(numbers[at]), "a time of at least 0 and below 2**63")
    return numbers


def _strings(array: pa.Array, want: Wanted, where: str, row_of: RowOf) -> np.ndarray:
    codes, distinct = _coded(array, want, where, row_of)
    # Every distinct text becomes one Python string that its rows share: several times faster, and far less memory.
    return distinct[codes] if len(array) else np.array([], object)


def _coded(array: pa.Array, want: Wanted, where: str, row_of: RowOf) -> tuple[np.ndarray, np.ndarray]:
    """Texts as numbers, int32 [n], and the distinct ones."""
    kind = array.type
    if _is_bytes(kind):
        array = _text_of_bytes(array, want, where, row_of)
    elif pa.types.is_integer(kind):
        array = array.cast(pa.string())
    elif not _is_text(kind):
        fix = (
            "Set `dtype: int64`, or store the ids as text or whole numbers."
            if pa.types.is_floating(kind)
            else ""
        )
        first = array.drop_null()[:1].to_pylist() if len(array) else []
        received = f"{kind} (such as {shown(first[0])})" if first else str(kind)
        raise wrong(want, where, None, received, "text ids", fix)
    encoded = array.fill_null("").dictionary_encode()
    return encoded.indices.to_numpy(), np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), object)


def _text_of_bytes(array: pa.Array, want: Wanted, where: str, row_of: RowOf) -> pa.Array:
    try:
        return array.cast(pa.large_string() if pa.types.is_large_binary(array.type) else pa.string())
    except pa.ArrowInvalid:
        return inferred(array.to_pylist(), want, where, row_of)  # says in which row it is no UTF-8


def _numbers(array: pa.Array, want: Wanted, where: str, row_of: RowOf) -> np.ndarray:
    """int64 (missing: -1) when int64 is wanted or a time is whole, else float64 (missing: NaN)."""
    kind, whole = array.type, want.dtype == "int64"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        if want.dtype != "time":
            raise wrong(want, where, None, str(kind), "numbers")
        return _unix_seconds(array)
    if _is_bytes(kind):
        array = _text_of_bytes(array, want, where, row_of)
    if _is_text(array.type):
        array = _parsed(array, want, where, row_of)
    elif pa.types.is_boolean(kind):
        array = array.cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise wrong(want, where, None, str(kind), "numbers")
    if not whole:
        if want.dtype == "time" and pa.types.is_integer(array.type) and not array.null_count:
            return _int64(array, want, where, row_of).to_numpy(zero_copy_only=False)
        numbers = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if pa.types.is_integer(array.type) and want.dtype != "float":
            for at in np.flatnonzero(np.abs(numbers) >= EXACT).tolist():
                if int(numbers[at]) != array[at].as_py():
                    raise wrong(want, where, row_of(at), str(array[at]), "a number below 2**53")
        return np.asarray(numbers, np.float64)
    if not pa.types.is_integer(array.type):
        values = np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        # From 2**53 on a float stands for several whole numbers.
        bad = ~np.isnan(values) & ((values != np.floor(values)) | (np.abs(values) >= EXACT))
        if bad.any():
            at = int(np.argmax(bad))
            fix = (
                "A float holds whole numbers exactly below 2**53 alone: store them as whole numbers or text."
                if abs(values[at]) >= EXACT
                else ""
            )
            raise wrong(want, where, row_of(at), str(values[at]), "a whole number", fix)
        missing = np.isnan(values)
        array = pa.array(np.where(missing, 0, values).astype(np.int64), mask=missing)
    array = _int64(array, want, where, row_of)
    found = np.array(array.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    if want.is_id is False and (found == -1).sum() > array.null_count:
        present = np.asarray(pc.is_valid(array)) & (found == -1)
        fix = (
            "Of a number of dtype int64, -1 stands for a missing one. Set `dtype: float32`; where it does mean "
            "missing, leave the value out."
        )
        raise wrong(want, where, row_of(int(np.argmax(present))), "-1", "any other whole number", fix)
    return found


def _series(array: pa.Array) -> pd.Series:
    return pd.Series(array.to_numpy(zero_copy_only=False), dtype=object)


def _int64(array: pa.Array, want: Wanted, where: str, row_of: RowOf) -> pa.Array:
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid:
        large = array.fill_null(0).to_numpy(zero_copy_only=False) >= 2**63
        at = int(np.argmax(large))
        fix = "Set `dtype: string`." if want.dtype == "int64" else ""
        raise wrong(want, where, row_of(at), str(array[at]), "a whole number below 2**63", fix) from None


def _unix_seconds(array: pa.Array) -> np.ndarray:
    """float64, NaN where missing, of timestamps and dates of any unit."""
    unit = "us" if pa.types.is_date(array.type) else array.type.unit
    stamps = array.cast(pa.timestamp("us")) if pa.types.is_date(array.type) else array
    numbers = stamps.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, np.float64) / {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]


def _parsed(array: pa.Array, want: Wanted, where: str, row_of: RowOf) -> pa.Array:
    """Text to numbers: int64 or float64, null where missing."""
    array = pc.utf8_trim_whitespace(array)
    words = pa.array(want.reading.missing, array.type)
    array = pc.if_else(pc.is_in(array, value_set=words), None, array)
    exact = want.dtype in ("int64", "time")
    dates = want.dtype == "time" and (dated(array.drop_null()) if want.dated is None else want.dated)
    try:
        if dates:
            raise pa.ArrowInvalid
        found, bad = array.cast(pa.int64() if exact else pa.float64()), None
    except pa.ArrowInvalid:
        found, bad = numbers_of_text(_series(array), want.dtype, dates)
    if bad is None and want.dtype in ("finite", "time") and pa.types.is_floating(found.type):
        numbers = found.to_numpy(zero_copy_only=False)
        if (np.abs(numbers) >= EXACT).any() and (at := lost(_series(array), numbers)) is not None:
            raise wrong(want, where, row_of(at), shown(array[at].as_py()), "a number below 2**53")
    if bad is not None:
        text = _series(array)
        _, wanted, fix = TEXT[want.dtype]
        if want.dtype == "int64" and text[bad].lstrip("+-").isdigit():
            wanted, fix = "a whole number below 2**63", "Set `dtype: string`."
        raise wrong(want, where, row_of(bad), shown(text[bad]), wanted, fix)
    return found
