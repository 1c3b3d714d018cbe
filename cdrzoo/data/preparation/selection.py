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
        before: what is to be added to `rows`.
    """

    values: np.ndarray
    rows: np.ndarray
    before: int = 0

    @classmethod
    def of(cls, values: np.ndarray, rows: np.ndarray) -> Ordered:
        """Of values of rows whose numbers ascend."""
        order = np.argsort(values, kind="stable")
        return cls(values[order], rows[order])


def nth(arrays: Sequence[np.ndarray], places: Sequence[int]) -> np.ndarray:
    """The values that stand at these places, from 0 and within, in all arrays together.

    Args:
        arrays: of one dtype, int64, uint64 or float64 of at least 0, each sorted.
        places: [p].
    """
    kind, wanted = arrays[0].dtype, np.asarray(places, np.int64)
    low = np.zeros(len(wanted), np.uint64)
    high = np.full(len(wanted), 2**64 - 1 if kind == np.uint64 else 2**63 - 1, np.uint64)
    while (
        low < high
    ).any():  # halves the numbers that the bits may stand for: those of floats ascend as the floats do
        middle = low + ((high - low) >> np.uint64(1))
        values = middle.view(kind)
        upto = sum(np.searchsorted(each, values, side="right") for each in arrays)
        low, high = np.where(upto > wanted, low, middle + np.uint64(1)), np.where(upto > wanted, middle, high)
    return low.view(kind)


def _all(orders: Sequence[Ordered]) -> int:
    return sum(len(each.values) for each in orders)


def value_of(orders: Sequence[Ordered], place: int) -> Any:
    """The value that stands at `place`; infinity beyond the end."""
    return np.inf if place >= _all(orders) else nth([each.values for each in orders], [place])[0]


def row_of(orders: Sequence[Ordered], place: int) -> tuple[Any, int] | None:
    """The value and the number of the row at `place`, where equal values stand in the order of the rows."""
    if place >= _all(orders):
        return None
    value = nth([each.values for each in orders], [place])[0]
    equal: list[np.ndarray] = []
    for each in orders:
        low, high = (int(np.searchsorted(each.values, value, side=side)) for side in ("left", "right"))
        place -= low
        equal.append(np.asarray(each.rows[low:high]) + each.before)
    return value, int(np.sort(np.concatenate(equal))[place])
