"""Douban books and music: ratings without times.

Files: `interactions_book.csv.gz` and `interactions_music.csv.gz` with user_id, item_id, rating (1 to 5). Item ids are
separate: book 5 is not music 5.

Reference: Zhu et al., A Graphical and Attentional Framework for Dual-Target Cross-Domain Recommendation (IJCAI 2020).
"""

from __future__ import annotations

import pathlib
from typing import Any

from cdrzoo.data.datasets import _pairs


def pair(
    folder: str | pathlib.Path, source: str = "book", target: str = "music", *, task: str = "rating"
) -> dict[str, Any]:
    """Books and music, either way.

    Args:
        folder: where the files are.
        source: `book` or `music`.
        target: the other.
        task: `rating`, or `click` (a rating of at least 4).

    Returns:
        Arguments of `prepare`: schema, sources, split (10 and 20 % of the shared users have all their target rows in
        valid and test) and histories of all other training events, for want of times.
    """
    threshold = 4 if task == "click" else None
    sources = {
        name: {"path": str(pathlib.Path(folder) / f"interactions_{name}.csv.gz")} for name in (source, target)
    }
    return {
        "schema": _pairs.pair(source, target, label="rating", task=task, threshold=threshold),
        "sources": sources,
        "split": {"by": "users", "fractions": [0.7, 0.1, 0.2]},
        "history": "others",
    }
