"""Batches that are alike inside and differ among themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from cdrzoo.data.raw import factorize
from cdrzoo.errors import check_choice
from cdrzoo.schema import Domain


def grouping_columns(domain: Domain, slices: Iterable[str] = (), stored: bool = False) -> list[str]:
    """What rows of a domain can come together by: columns of its keys, and those that features read as one value.

    Args:
        domain: the domain.
        slices: its further columns.
        stored: whether its rows are prepared ones in a folder, which keep no numbers as they were.
    """
    kinds = ("id",) if stored else ("id", "number")
    found = [f.column for f in domain.inputs() if f.kind in kinds]
    keys = [column for column in (domain.user, domain.item, domain.time) if column is not None]
    return list(dict.fromkeys([*found, *slices, *keys]))


def grouping_column(domain: Domain, name: str, known: Collection[str]) -> str:
    """The column that rows of a domain come together by: one of the `known`, or that of a feature called so.

    Raises:
        InputError: there is no such column.
    """
    if name not in known:
        name = next((f.column for f in domain.features if f.name == name and f.column in known), name)
    check_choice(f"A column that rows of {domain.name!r} are grouped by", name, tuple(known))
    return name


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
