"""Raw rows as a server takes them: named tensors, serialized examples, and what stands for a missing value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from cdrzoo.errors import DataError, shown
from cdrzoo.schema import Domain, Feature, Reading
from cdrzoo.schema.features import WEIGHTS
from cdrzoo.schema.reading import numbers_in
from cdrzoo.schema.transforms import LARGEST

if TYPE_CHECKING:
    import pandas as pd

MISSING: dict[str, Any] = {"string": "", "int64": -1, "float32": math.nan}
"""The raw value of each dtype that stands for a missing one."""


def signature(features: Iterable[Feature]) -> dict[str, tf.TensorSpec]:
    """The raw tensors of `serving_default`, by feature."""
    return {f.name: tf.TensorSpec(f.raw_shape, tf.as_dtype(f.dtype), name=f.name) for f in features}


def rank_signature(features: Iterable[Feature]) -> dict[str, tf.TensorSpec]:
    """The raw tensors of `rank`: those of `serving_default`, one row of all that is not the candidates', and `k`."""
    features = tuple(features)
    specs = signature(features)
    for f in features:
        if f.role != "item":
            specs[f.name] = tf.TensorSpec([1, *specs[f.name].shape[1:]], specs[f.name].dtype, name=f.name)
    return {**specs, "k": tf.TensorSpec([], tf.int32, name="k")}


def rank_inputs(
    rows: Mapping[str, np.ndarray], features: Iterable[Feature], k: int, user: int = 0
) -> dict[str, np.ndarray]:
    """A request of `rank`: the items of all rows for the user and the context of one of them."""
    chosen = {f.name: rows[f.name] if f.role == "item" else rows[f.name][user : user + 1] for f in features}
    return {**chosen, "k": np.array(k, np.int32)}


def item_key(features: Iterable[Feature], domain: Domain) -> Feature | None:
    """The feature that is the key of the domain's items: what `rank` calls a candidate by."""
    return next(
        (f for f in features if f.role == "item" and f.kind == "id" and f.column == domain.item), None
    )


def parse_examples(examples: tf.Tensor, features: Iterable[Feature]) -> dict[str, tf.Tensor]:
    """Serialized `tf.train.Example`s, `[batch]`, to the raw tensors; a feature that is absent or empty is missing."""
    features = tuple(features)
    rows = tf.io.parse_example(
        examples,
        {
            f.name: tf.io.FixedLenFeature([f.size], f.dtype, [0.0] * f.size)
            if f.kind == "vector"
            else tf.io.FixedLenSequenceFeature([], f.dtype, True, default_value=MISSING[f.dtype])
            for f in features
        },
    )
    for f in features:
        if f.kind in ("id", "number"):  # a column of missing ones is there in case no example has any
            rows[f.name] = tf.pad(rows[f.name], [[0, 0], [0, 1]], constant_values=MISSING[f.dtype])[:, 0]
    return rows


USUAL = Reading()


def raw_rows(
    frame: pd.DataFrame, features: Iterable[Feature], reading: Reading = USUAL
) -> dict[str, np.ndarray]:
    """Rows of a DataFrame as the tensors of `serving_default`.

    Args:
        frame: a column for each feature, under `feature.column`; None and NaN are missing; sequences are lists, or
            text that is split.
        features: the features that are wanted.
        reading: how text becomes values: that of the export.

    Returns:
        `id`: object or int64 `[n]`; `ids`: object or int64 `[n, longest]`, padded; `number`: float32 or int64 `[n]`;
        `vector`: float32 `[n, size]`, zeros where it is missing.

    Raises:
        DataError: a column is missing, or holds what its feature does not take.
    """
    rows = {}
    for feature in features:
        if feature.column not in frame:
            raise DataError(
                f"The examples lack column {feature.column!r}, which feature {feature.name!r} reads. Add it. They "
                f"have: {', '.join(map(str, frame))}."
            )
        try:
            rows[feature.name] = _column(list(frame[feature.column]), feature, reading)
        except (TypeError, ValueError, OverflowError) as error:
            wanted = f"lists of {feature.dtype}" if feature.kind in ("ids", "vector") else feature.dtype
            raise DataError(
                f"Feature {feature.name!r} takes {wanted}, one a row. Column {feature.column!r} holds something else: "
                f"{error}."
            ) from None
    by_name = {f.name: f for f in features}
    for f in by_name.values():
        if f.kind == WEIGHTS:
            _check_weights(frame, rows, by_name[f.name.removesuffix("_weights")], f, reading)
    return rows


def _check_weights(
    frame: pd.DataFrame, rows: dict[str, np.ndarray], ids: Feature, weights: Feature, reading: Reading
) -> None:
    """Raises unless each id has a weight of at least 0; takes away those of missing ids."""
    counts = [[len(_steps(value, reading)) for value in frame[f.column]] for f in (ids, weights)]
    wrong = [at for at, (one, other) in enumerate(zip(*counts)) if one != other]
    received = wrong and f"{counts[1][wrong[0]]} for {counts[0][wrong[0]]} ids"
    if not wrong:
        there, found = rows[ids.name] != MISSING[ids.dtype], rows[weights.name]
        wrong = np.flatnonzero((there & ~(found >= 0)).any(axis=1)).tolist()
        received = wrong and f"{found[wrong[0]][there[wrong[0]]].tolist()}"
        rows[weights.name] = np.where(there, found, np.float32(math.nan))
    if wrong:
        raise DataError(
            f"In row {wrong[0] + 1} {weights.column!r} must hold a weight of at least 0 for each id of {ids.column!r}. "
            f"Received: {received}."
        )


def stacked(scores: Iterable[np.ndarray]) -> np.ndarray:
    """The scores of several outputs, [n] each, side by side, [n, outputs]; of one output as they are."""
    found = list(scores)
    return found[0] if len(found) == 1 else np.stack(found, axis=1)


def missing_rows(features: Iterable[Feature], rows: int = 1) -> dict[str, np.ndarray]:
    """Rows in which every feature is missing."""
    return {
        f.name: np.zeros((rows, f.size), np.float32)
        if f.kind == "vector"
        else _typed([None] * rows, f.dtype).reshape((-1, 1) if f.ragged else -1)
        for f in features
    }


def serialize_rows(rows: Mapping[str, np.ndarray], features: Iterable[Feature]) -> np.ndarray:
    """The rows as serialized `tf.train.Example`s, object `[n]`; what is missing is left out.

    Of a sequence all steps are sent or none, with what stands for missing between: histories run in step.
    """
    features = list(features)
    serialized = []
    for i in range(len(next(iter(rows.values())))):
        example = tf.train.Example()
        for feature in features:
            values = np.atleast_1d(rows[feature.name][i])
            if all(is_missing(value, feature.dtype) for value in values):
                continue
            field = example.features.feature[feature.name]
            if feature.dtype == "string":
                field.bytes_list.value.extend(value.encode() for value in values)
            elif feature.dtype == "int64":
                field.int64_list.value.extend(values.tolist())
            else:
                field.float_list.value.extend(values.tolist())
        serialized.append(example.SerializeToString())
    return np.array(serialized, object)


def holds_text(frame: pd.DataFrame, features: Iterable[Feature]) -> bool:
    """Whether text stands where lists or numbers are meant, so that how it is read matters."""
    columns = [
        f.column
        for f in features
        if (f.kind in ("ids", "vector") or f.dtype != "string") and f.column in frame
    ]
    return any(isinstance(value, str) for column in columns for value in frame[column])


def text_row(row: Mapping[str, Any], features: Iterable[Feature], reading: Reading) -> dict[str, str] | None:
    """A row, `[steps]` or a scalar a feature, as text in cells; `None` where an id holds what separates ids."""
    cells = {}
    for f in features:
        steps = [str(value) for value in np.atleast_1d(row[f.name]) if not is_missing(value, f.dtype)]
        if f.kind == "ids" and any(reading.separator in step for step in steps):
            return None
        cells[f.name] = reading.separator.join(steps)
    return cells


def _column(values: Sequence[Any], feature: Feature, reading: Reading) -> np.ndarray:
    if feature.kind == "vector":
        return _vectors(values, feature, reading)
    if not feature.ragged:
        return _typed(values, feature.dtype, reading)
    values = [_steps(value, reading) for value in values]
    longest = max([1, *map(len, values)])
    flat = [step for value in values for step in [*value, *[None] * (longest - len(value))]]
    return _typed(flat, feature.dtype, reading, longest).reshape(-1, longest)


def _vectors(values: Sequence[Any], feature: Feature, reading: Reading) -> np.ndarray:
    """float32 `[n, size]`; zeros where there is none."""
    rows = [_steps(numbers_in(value, reading.separator), reading) for value in values]
    for at, row in enumerate(rows):
        if len(row) not in (0, feature.size):
            raise ValueError(f"in row {at + 1} {len(row)} numbers, not {feature.size}")
    found = np.zeros((len(rows), feature.size), np.float32)
    there = [at for at, row in enumerate(rows) if row]
    flat = [number for at in there for number in rows[at]]
    found[there] = _typed(flat, feature.dtype, reading, feature.size).reshape(-1, feature.size)
    if (wrong := np.argwhere(~(np.abs(found) <= LARGEST))).size:  # NaN is none of these
        at, number = wrong[0, 0], found[tuple(wrong[0])]
        fix = (
            "leave the whole vector out where it is missing"
            if np.isnan(number)
            else "divide each by its length"
        )
        raise ValueError(f"in row {at + 1} {'NaN' if np.isnan(number) else f'{number:g}'}; {fix}")
    return found


def _steps(value: Any, reading: Reading) -> list[Any]:
    if isinstance(value, str):
        return value.split(reading.separator) if value else []
    if isinstance(value, (Mapping, set, frozenset)):
        raise ValueError(f"{shown(value)}, no list")
    return [] if not hasattr(value, "__len__") and is_missing(value, "float32") else list(value)


_IDS = (str, bytes, int, np.integer)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,15}")
_TOO_LARGE = 2.0**128 - 2.0**103  # rounds to infinity
_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?")


def _typed(values: Sequence[Any], dtype: str, reading: Reading = USUAL, width: int = 1) -> np.ndarray:
    """The values, `width` a row, in the type that is sent; raises a ValueError that names the row."""
    typed = np.empty(len(values), object if dtype == "string" else dtype)
    for at, value in enumerate(values):
        try:
            if isinstance(value, (str, bytes)) and dtype != "string":
                value = _number(value if isinstance(value, str) else value.decode(), dtype, reading)
            typed[at] = MISSING[dtype] if is_missing(value, dtype) else _checked(value, dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"in row {at // width + 1} {error}") from None
    return typed


def _checked(value: Any, dtype: str) -> Any:
    """What NumPy and `str` would take without a word is an error."""
    if dtype == "string":
        if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, _IDS):
            raise ValueError(
                f"{shown(value)}, neither text nor a whole number (pandas makes floats of whole numbers with a gap; "
                "give them as its Int64, or as text)"
            )
        text = value.decode() if isinstance(value, bytes) else str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{ascii(text)[:200]}, which holds half a character") from None
        return text
    if isinstance(value, (Sized, np.timedelta64, np.datetime64)):
        raise ValueError(shown(value))
    if dtype == "int64":
        if isinstance(value, (float, np.floating)) and (value % 1 or abs(float(value)) >= 2**53):
            raise ValueError(f"{shown(value)}, no whole number that a float holds exactly")
        if int(value) not in range(-(2**63), 2**63):
            raise ValueError(f"{shown(value)}, which int64 does not hold")
        return int(value)
    if abs(value.item() if isinstance(value, np.generic) else value) >= _TOO_LARGE:  # in 64 bits
        raise ValueError(f"{shown(value)}, no finite number of float32")
    return value


def _number(text: str, dtype: str, reading: Reading) -> Any:
    """The number that text stands for, as it is read from files."""
    text = text.strip()
    if text in reading.missing:
        return None
    if dtype == "float32" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if dtype == "int64" and _WHOLE.fullmatch(text) and len(text) < 1000:
        return int(text.partition(".")[0])
    if dtype == "int64" and _HEX.fullmatch(text):
        return int(text, 16)
    if not _NUMBER.fullmatch(text):
        raise ValueError(shown(text))
    return float(text)


def is_missing(value: Any, dtype: str) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    if isinstance(value, Decimal):
        return value.is_nan()
    return dtype != "float32" and isinstance(value, _IDS) and value == MISSING[dtype]
