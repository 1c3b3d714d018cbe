"""Taobao's UserBehavior: what users clicked, put into the cart, liked and bought in nine days of 2017.

File: `UserBehavior.csv` without a header: user, item, category, behaviour (pv, cart, fav, buy), Unix time. Categories
make the two domains (`cdrzoo.data.preparation.protocols.source_categories`). There are no impressions: negatives are
drawn.

Reference: Zhu et al., Learning Tree-based Deep Model for Recommender Systems (KDD 2018).
"""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.data.datasets import _pairs
from cdrzoo.data.datasets._published import Published, csv_pieces, some_users, write
from cdrzoo.data.preparation.protocols import source_categories
from cdrzoo.schema import Feature

FILE = Published(
    "UserBehavior.csv",
    "100,150,807 rows, 3.5 GB",
    "https://tianchi.aliyun.com/dataset/649",
    "no header; user, item, category, behaviour (pv, cart, fav or buy), Unix time",
)
TYPES = {
    "user_id": pa.int64(),
    "item_id": pa.int64(),
    "category": pa.int64(),
    "behaviour": pa.string(),
    "timestamp": pa.int64(),
}
FIRST, VALID, TEST, END = 1511539200, 1512144000, 1512230400, 1512316800
"""25 November, 2, 3 and 4 December 2017, 0:00 in China. The file holds some rows with other times; they are errors."""


def pair(
    folder: str | pathlib.Path,
    source: str = "large",
    target: str = "small",
    *,
    share: float = 0.7,
    of: str = "rows",
    behaviours: tuple[str, ...] = ("pv",),
    how: str = "uniform",
    per_positive: int = 1,
    users: float = 1.0,
    out: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """The large categories and the small ones.

    Args:
        folder: where the file is.
        source: what the domain of the large categories is called.
        target: what that of the small ones is called.
        share: of the rows or categories that the source has.
        of: `rows` or `categories`, see `source_categories`.
        behaviours: which ones are events; `pv` is a click.
        how: negatives drawn `uniform` or by `popularity`.
        per_positive: negatives for each event.
        users: share of the users that is kept; all of them need more memory than most machines have.
        out: where the converted files go; default `rows` in the folder.

    Returns:
        Arguments of `prepare`: schema, sources, split (the last day is the test, the one before it valid).
    """
    out = pathlib.Path(out) if out else pathlib.Path(folder) / "rows"
    kind = f"{share:g}_{of}_{'-'.join(behaviours)}{f'_{users:g}' if users < 1 else ''}"
    paths = {name: out / f"taobao_{name}_{kind}.parquet" for name in (source, target)}

    def rows() -> Iterator[pa.Table]:
        for piece in csv_pieces(FILE, folder, TYPES, header=False):
            times = piece.column("timestamp")
            right = pc.and_(pc.greater_equal(times, FIRST), pc.less(times, END))
            wanted = pc.is_in(piece.column("behaviour"), value_set=pa.array(behaviours))
            yield some_users(piece.filter(pc.and_(right, wanted)).drop(["behaviour"]), users)

    def pieces() -> Iterator[tuple[str, pa.Table]]:
        counts: collections.Counter[int] = collections.Counter()
        for piece in rows():
            found, numbers = np.unique(piece.column("category").to_numpy(), return_counts=True)
            counts.update(dict(zip(found.tolist(), numbers.tolist(), strict=True)))
        large = pa.array(sorted(source_categories(counts, share, of)))
        for piece in rows():
            in_source = pc.is_in(piece.column("category"), value_set=large)
            yield source, piece.filter(in_source)
            yield target, piece.filter(pc.invert(in_source))

    write(paths, pieces(), [FILE.within(folder)])
    category = Feature("category", "id", "item", "int64", "category")
    negatives = {"per_positive": per_positive, "how": how}
    return {
        "schema": _pairs.pair(source, target, (category,), ratings=False, time="timestamp"),
        "sources": {name: {"path": str(path), "negatives": negatives} for name, path in paths.items()},
        "split": {"by": "time", "cuts": [VALID, TEST]},
    }
