"""Epinions: ratings of a review site with times; a category of products is a domain.

File: `rating_with_timestamp.mat` with user, product, category, rating (1 to 5), helpfulness and time. The time is
no Unix time but a period, 1 to 11: many rows share one, and a split by time puts all rows of a period on one side of a
cut, so that its parts are not the shares that were asked for. See `ciao`, whose file has the same form.

Reference: Tang et al., mTrust (WSDM 2012) and eTrust (KDD 2012).
"""

from __future__ import annotations

import pathlib
from typing import Any

from cdrzoo.data.datasets import ciao


def pair(
    folder: str | pathlib.Path,
    source: str,
    target: str,
    *,
    task: str = "click",
    out: str | pathlib.Path | None = None,
    ratings: bool = True,
) -> dict[str, Any]:
    """Two categories; the arguments are those of `ciao.pair`."""
    return ciao.pair(folder, source, target, task=task, out=out, site="epinions", ratings=ratings)
