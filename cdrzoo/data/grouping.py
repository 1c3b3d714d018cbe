"""Batches that are alike inside and differ among themselves."""

from __future__ import annotations

import numpy as np

from cdrzoo.data.raw import factorize


def grouped(random: np.random.Generator, keys: np.ndarray, size: int) -> np.ndarray:
    """An order of rows, `[whole batches * size]`, in which those of a batch have the same keys, or ones close by.

    Rows are sorted by their keys and cut into batches, which come in random order. Floats, a time among them, are
    sorted by size; of other keys each order draws its own. Rows of one key are in random order, and the few that fill
    no batch are others each time.

    Args:
        random: what draws.
        keys: `[n]`; floats, or whole numbers and text, whose order means nothing.
        size: rows of a batch; with fewer rows all come in random order.
    """
    rows, whole = len(keys), len(keys) // size * size
    if not whole:
        return random.permutation(rows)
    if keys.dtype.kind != "f":
        codes, distinct = factorize(keys)
        keys = random.permutation(len(distinct))[codes]
    order = np.lexsort((random.random(rows), keys))
    first = int(random.integers(rows - whole + 1))
    return random.permutation(order[first : first + whole].reshape(-1, size)).reshape(-1)
