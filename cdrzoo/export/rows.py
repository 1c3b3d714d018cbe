"""Raw rows as a server takes them: named tensors, serialized examples, and what stands for a missing value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from cdrzoo.errors import DataError
from cdrzoo.schema import Feature

if TYPE_CHECKING:
    import pandas as pd

MISSING: dict[str, Any] = {"string": "", "int64": -1, "float32": math.nan}
"""The raw value of each dtype that stands for a missing one."""


def signature(features: Iterable[Feature]) -> dict[str, tf.TensorSpec]:
    """The raw tensors of `serving_default`, by feature."""
    return {
        f.name: tf.TensorSpec([None, None] if f.kind == "ids" else [None], tf.as_dtype(f.dtype), name=f.name)
        for f in features
    }


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


def item_key(features: Iterable[Feature]) -> Feature | None:
    """The first id of role item: what `rank` calls a candidate by."""
    return next((f for f in features if f.role == "item" and f.kind == "id"), None)


def parse_examples(examples: tf.Tensor, features: Iterable[Feature]) -> dict[str, tf.Tensor]:
    """Serialized `tf.train.Example`s, `[batch]`, to the raw tensors; a feature that is absent or empty is missing."""
    features = tuple(features)
    rows = tf.io.parse_example(
        examples,
        {
            f.name: tf.io.FixedLenSequenceFeature([], f.dtype, True, default_value=MISSING[f.dtype])
            for f in features
        },
    )
    for f in features:
        if f.kind != "ids":  # one value a row; a column of missing ones is there in case no example has any
            rows[f.name] = tf.pad(rows[f.name], [[0, 0], [0, 1]], constant_values=MISSING[f.dtype])[:, 0]
    return rows


def raw_rows(frame: pd.DataFrame, features: Iterable[Feature]) -> dict[str, np.ndarray]:
    """Rows of a DataFrame as the tensors of `serving_default`.

    Args:
        frame: a column for each feature, under `feature.column`; None and NaN are missing; sequences are lists.
        features: the features that are wanted.

    Returns:
        `id`: object or int64 `[n]`; `ids`: object or int64 `[n, longest]`, padded; `number`: float32 or int64 `[n]`.

    Raises:
        DataError: a column is missing, or holds what its feature does not take.
    """
    rows = {}
    for feature in features:
        if feature.column not in frame:
            raise DataError(
                f"The examples lack column {feature.column!r}, which feature {feature.name!r} reads. They have: "
                f"{', '.join(map(str, frame))}."
            )
        try:
            rows[feature.name] = _column(list(frame[feature.column]), feature)
        except (TypeError, ValueError, OverflowError) as error:
            wanted = f"lists of {feature.dtype}" if feature.kind == "ids" else feature.dtype
            raise DataError(
                f"Feature {feature.name!r} takes {wanted}, one a row. Column {feature.column!r} holds something else: "
                f"{error}."
            ) from None
    return rows


def missing_rows(features: Iterable[Feature], rows: int = 1) -> dict[str, np.ndarray]:
    """Rows in which every feature is missing."""
    return {
        f.name: _typed([None] * rows, f.dtype).reshape((-1, 1) if f.kind == "ids" else -1) for f in features
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


def _column(values: Sequence[Any], feature: Feature) -> np.ndarray:
    if feature.kind != "ids":
        return _typed(values, feature.dtype)
    values = [_steps(value) for value in values]
    longest = max([1, *map(len, values)])
    flat = [step for value in values for step in [*value, *[None] * (longest - len(value))]]
    return _typed(flat, feature.dtype).reshape(-1, longest)


def _steps(value: Any) -> list[Any]:
    if isinstance(value, str):
        return value.split("|") if value else []
    return [] if not hasattr(value, "__len__") and is_missing(value, "float32") else list(value)


_IDS = (str, bytes, int, np.integer)


def _typed(values: Sequence[Any], dtype: str) -> np.ndarray:
    absent = [is_missing(value, dtype) for value in values]
    values = [MISSING[dtype] if missing else value for value, missing in zip(values, absent, strict=True)]
    for value in values:  # what NumPy and `str` would take without a word
        if dtype == "string" and (isinstance(value, bool) or not isinstance(value, _IDS)):
            raise ValueError(
                f"{value!r}, neither text nor a whole number (pandas makes floats of whole numbers with a gap; give "
                "them as its Int64, or as text)"
            )
        if isinstance(value, (list, tuple, dict)) or (
            dtype == "int64" and isinstance(value, float) and value % 1
        ):
            raise ValueError(f"{value!r}")
    if dtype == "string":
        typed = np.empty(len(values), object)
        typed[:] = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
        for value in typed:
            value.encode()  # half a character, as a log that was cut off has it, is no text: no server takes it
        return typed
    return np.array(values, dtype)


def is_missing(value: Any, dtype: str) -> bool:
    if value is None or type(value).__name__ == "NAType" or value != value:
        return True
    return dtype != "float32" and isinstance(value, _IDS) and value == MISSING[dtype]
