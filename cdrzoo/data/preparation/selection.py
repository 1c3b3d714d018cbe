"""The n-th of values that lie sorted in several arrays, none of which need be in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass
class Ordered:
    """Some rows in the order of a value of theirs.

    Args:
        values: int64, uint64 or float64 of at least 0, [n], sorted.
        rows: int64 [n], the numbers of the rows; those of equal values in their order.
    """

    values: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, rows: np.ndarray) -> Ordered:
        """Of values of rows whose numbers ascend."""
        order = np.argsort(values, kind="stable")
        return cls(values[order], rows[order])


def nth(arrays: Sequence[np.ndarray], place: int) -> Any:
    """The value that stands at `place`, from 0, in all arrays together; `None` beyond their end.

    Args:
        arrays: of one dtype, int64, uint64 or float64 of at least 0, each sorted.
    """
    if place >= sum(map(len, arrays)):
        return None
    kind = arrays[0].dtype
    low, high = 0, 2**64 - 1 if kind == np.uint64 else 2**63 - 1
    while (
        low < high
    ):  # halves the numbers that the bits may stand for: those of floats ascend as the floats do
        middle = (low + high) // 2
        value = np.array([middle], np.uint64).view(kind)[0]
        if sum(int(np.searchsorted(each, value, side="right")) for each in arrays) > place:
            high = middle
        else:
            low = middle + 1
    return np.array([low], np.uint64).view(kind)[0]


def value_of(orders: Sequence[Ordered], place: int) -> Any:
    """The value that stands at `place`; infinity beyond the end."""
    found = nth([each.values for each in orders], place)
    return np.inf if found is None else found


def row_of(orders: Sequence[Ordered], place: int) -> tuple[Any, int] | None:
    """The value and the number of the row at `place`, where equal values stand in the order of the rows."""
    value = nth([each.values for each in orders], place)
    if value is None:
        return None
    equal: list[np.ndarray] = []
    for each in orders:
        low, high = (int(np.searchsorted(each.values, value, side=side)) for side in ("left", "right"))
        place -= low
        equal.append(np.asarray(each.rows[low:high]))
    return value, int(np.sort(np.concatenate(equal))[place])
