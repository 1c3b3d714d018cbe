"""Amazon food and kitchen: what users bought, without ratings; every user is in both domains.

Files: `interactions_food.csv.gz` and `interactions_kitchen.csv.gz` with user_id, item_id (ASIN), timestamp (Unix
seconds, whole days). Negatives are drawn once, among the items of the domain that the user never touched.

Reference: McAuley et al., Image-based recommendations on styles and substitutes (SIGIR 2015).
"""

from __future__ import annotations

import pathlib
from typing import Any

from cdrzoo.data.datasets import _pairs

MIN_COUNT = 2
"""An id that training rows hold less often is unknown. Negatives are drawn evenly, so an item that few bought is most
often one of them: that it is rare says much, and ids from five rows on would hide it from a model."""


def pair(
    folder: str | pathlib.Path,
    source: str = "food",
    target: str = "kitchen",
    *,
    how: str = "uniform",
    per_positive: int = 4,
) -> dict[str, Any]:
    """Food and kitchen, either way.

    Args:
        folder: where the files are.
        source: `food` or `kitchen`.
        target: the other.
        how: negatives drawn `uniform` or by `popularity`.
        per_positive: negatives for each event.

    Returns:
        Arguments of `prepare`: schema, sources, split (test: each user's last target event; valid: the one before).
    """
    schema = _pairs.pair(source, target, ratings=False, keys="string", min_count=MIN_COUNT, time="timestamp")
    sources = {
        name: {
            "path": str(pathlib.Path(folder) / f"interactions_{name}.csv.gz"),
            "negatives": {"per_positive": per_positive, "how": how},
        }
        for name in (source, target)
    }
    return {"schema": schema, "sources": sources, "split": "last"}
