"""Ciao: ratings of a review site with times; a category of products is a domain.

Files: `interactions_catNN.csv.gz` with user_id, item_id, rating (1 to 5), timestamp (Unix seconds, whole days).
The column `helpfulness` is how others later rated the review: it is not known when the rating is predicted.

Reference: Tang et al., mTrust (WSDM 2012) and eTrust (KDD 2012).
"""

from __future__ import annotations

import pathlib
from typing import Any

from cdrzoo.data.datasets import _pairs


def pair(folder: str | pathlib.Path, source: str, target: str, *, task: str = "click") -> dict[str, Any]:
    """Two categories.

    Args:
        folder: where the files are.
        source: the source's number, such as `"01"`.
        target: the target's number, such as `"02"`.
        task: `click` (a rating of at least 4) or `rating`.

    Returns:
        Arguments of `prepare`: schema, sources, split (by time: 70 % of the target rows train, 10 % valid, 20 % test).
    """
    threshold = 4 if task == "click" else None
    names = f"cat{source}", f"cat{target}"
    return {
        "schema": _pairs.pair(*names, label="rating", task=task, threshold=threshold, time="timestamp"),
        "sources": {
            name: {"path": str(pathlib.Path(folder) / f"interactions_{name}.csv.gz")} for name in names
        },
        "split": dict(_pairs.TIME_SPLIT),
    }
