"""Douban books and music: ratings without times.

Files: `douban_book/ratings.dat` and `douban_music/ratings.dat` (user, item and rating from 1 to 5, separated by tabs),
or `interactions_book.csv.gz` and `interactions_music.csv.gz` with user_id, item_id, rating. Item ids are separate: book
5 is not music 5.

Reference: Zhu et al., A Graphical and Attentional Framework for Dual-Target Cross-Domain Recommendation (IJCAI 2020).
"""

from __future__ import annotations

import pathlib
from typing import Any

import pyarrow as pa

from cdrzoo.data.datasets import _pairs
from cdrzoo.data.datasets._published import Published, line_pieces, write

HOME = "https://github.com/fengzhu1/GA-DTCDR (Data)"
SIZES = {"book": "96,041 rows", "music": "69,709 rows"}
TYPES = {"user_id": pa.int64(), "item_id": pa.int64(), "rating": pa.float32()}


def pair(
    folder: str | pathlib.Path,
    source: str = "book",
    target: str = "music",
    *,
    task: str = "rating",
    out: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """Books and music, either way.

    Args:
        folder: where the files are.
        source: `book` or `music`; `movie` where its file is there, too.
        target: the other.
        task: `rating`, or `click` (a rating of at least 4).
        out: where the converted files go; default `rows` in the folder.

    Returns:
        Arguments of `prepare`: schema, sources, split (10 and 20 % of the shared users have all their target rows in
        valid and test) and histories of all other training events, for want of times.
    """
    folder = pathlib.Path(folder)
    paths = {name: folder / f"interactions_{name}.csv.gz" for name in (source, target)}
    if not all(path.exists() for path in paths.values()):
        out = pathlib.Path(out) if out else folder / "rows"
        paths = {name: out / f"douban_{name}.parquet" for name in (source, target)}
        for name, path in paths.items():
            row = "user, item and rating, separated by tabs"
            published = Published(f"douban_{name}/ratings.dat", SIZES.get(name, "a row a rating"), HOME, row)
            pieces = line_pieces(published, folder, _parse, TYPES)
            write({name: path}, ((name, piece) for piece in pieces), [published.within(folder)])
    threshold = 4 if task == "click" else None
    return {
        "schema": _pairs.pair(source, target, label="rating", task=task, threshold=threshold),
        "sources": {name: {"path": str(path)} for name, path in paths.items()},
        "split": {"by": "users", "fractions": [0.7, 0.1, 0.2]},
        "history": "others",
    }


def _parse(line: str) -> tuple[Any, ...]:
    user, item, rating, *_ = line.split("\t")
    return int(user), int(item), float(rating)
