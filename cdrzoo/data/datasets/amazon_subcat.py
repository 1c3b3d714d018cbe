"""Amazon ratings with times; two sub-categories of one category are the domains.

Files: `interactions_subcatN.csv.gz` with user_id, item_id, rating (1 to 5), timestamp (Unix seconds, whole days), and
`items_subcatN.csv.gz` with item_id, category_ids, brand_id and also_viewed (ids joined by `|`). Each sub-category is
one set of categories, so `category_ids` is the same in all rows of a domain and is left out.

Reference: McAuley et al., Image-based recommendations on styles and substitutes (SIGIR 2015).
"""

from __future__ import annotations

import pathlib
from typing import Any

from cdrzoo.data.datasets import _pairs
from cdrzoo.errors import check_choice
from cdrzoo.schema import Feature


def pair(
    folder: str | pathlib.Path,
    source: str = "subcat1",
    target: str = "subcat2",
    *,
    task: str = "click",
    ratings: bool = True,
    item_features: str = "both",
) -> dict[str, Any]:
    """The two sub-categories, either way.

    Args:
        folder: where the files are.
        source: `subcat1` or `subcat2`.
        target: the other.
        task: `click` (a rating of at least 4) or `rating`.
        ratings: whether histories list what the items were rated, too, see `ciao.pair`.
        item_features: which domains list brand and also-viewed, `both` or `target`: then the schemas differ.

    Returns:
        Arguments of `prepare`: schema, sources, split (by time: 70 % of the target rows train, 10 % valid, 20 % test).
    """
    folder = pathlib.Path(folder)
    features = (
        Feature("brand", "id", "item", "int64", "brand", column="brand_id"),
        Feature("also_viewed", "ids", "item", "int64", "viewed", 10),
    )
    check_choice("`item_features`", item_features, ("both", "target"))
    threshold = 4 if task == "click" else None
    schema = _pairs.pair(
        source,
        target,
        features if item_features == "both" else (),
        own={target: features} if item_features == "target" else None,
        label="rating",
        task=task,
        threshold=threshold,
        time="timestamp",
        ratings=ratings,
    )
    sources = {
        name: {
            "path": str(folder / f"interactions_{name}.csv.gz"),
            "join": [{"path": str(folder / f"items_{name}.csv.gz"), "on": "item_id"}],
        }
        for name in (source, target)
    }
    return {"schema": schema, "sources": sources, "split": dict(_pairs.TIME_SPLIT)}
