"""Numbers as models read them: steps, buckets and columns, in NumPy and in a TensorFlow graph by the same lines.

Sums, quotients and comparisons give the same bits in both. Of log1p, sine and cosine the last bit of float64 may
differ, which is far below what float32 keeps.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from cdrzoo.errors import DataError
from cdrzoo.schema import Feature
from cdrzoo.schema.transforms import LARGEST


def stepped(values: Any, feature: Feature, ops: Any = np) -> Any:
    """Numbers after the steps of their `transform`, `cyclic` excepted.

    Args:
        values: float64 [n]; NaN stays NaN. What log1p does not take is read as 0.
        feature: the number.
        ops: where `maximum`, `minimum` and `log1p` are: NumPy, or `tf.math`.
    """
    for name, argument in feature.transform or ():
        if name == "clip":
            low, high = argument
            values = values if low is None else ops.maximum(values, float(low))
            values = values if high is None else ops.minimum(values, float(high))
        elif name == "log1p":
            values = ops.log1p(ops.maximum(values, 0.0))
    return values


def columns(values: Any, feature: Feature, moments: Any, ops: Any = np) -> list[Any]:
    """The columns of an encoded number, float64 [n] each, but its `flag`.

    Args:
        values: float64 [n], after `stepped`; NaN stays NaN.
        feature: the number.
        moments: mean and deviation of the training values, a pair or a tensor.
        ops: where `sin` and `cos` are.
    """
    if feature.period:
        angle = values * (2 * math.pi / feature.period)
        return [ops.sin(angle), ops.cos(angle)]
    return [(values - moments[0]) / moments[1]]


def beyond(values: Any, feature: Feature, moments: Any, ops: Any = np) -> Any:
    """Where numbers lie more than `LARGEST` deviations from the mean, which makes them missing; arguments as above."""
    return ops.abs(values - moments[0]) > (math.inf if feature.period else LARGEST * moments[1])


def check(values: np.ndarray, feature: Feature, where: str) -> None:
    """Raises a `DataError` where log1p is given less than 0; `values`: as of `stepped`, of training rows."""
    for at, (name, _) in enumerate(feature.transform or ()):
        if name == "log1p":
            given = stepped(values, dataclasses.replace(feature, transform=feature.transform[:at] or None))
            if (given < 0).any():
                raise DataError(
                    f"{where}: the number {feature.name!r} goes through log1p, which takes values of at least 0. "
                    f"Received: {np.nanmin(given):g}. Clip it before: transform: [{{clip: [0, null]}}, log1p]."
                )
