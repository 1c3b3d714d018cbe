"""Ciao: ratings of a review site with times; a category of products is a domain.

File: `rating_with_timestamp.mat` (MATLAB 5) with user, product, category, rating (1 to 5), helpfulness and Unix time of
whole days; rows without a rating are left out, and of several ratings of a product by one user the last row is kept.
Where `interactions_catNN.csv.gz` with user_id, item_id, rating, timestamp are there, one for each category, these are
taken. `helpfulness` is how others later rated the review: it is not known when the rating is predicted.

Reference: Tang et al., mTrust (WSDM 2012) and eTrust (KDD 2012).
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from cdrzoo.data.datasets import _pairs
from cdrzoo.data.datasets._published import Published, number, write
from cdrzoo.errors import DataError

HOME = "https://www.cse.msu.edu/~tangjili/datasetcode/truststudy.htm"
ROW = "a matrix of six columns: user, product, category, rating, helpfulness, time"
FILES = {
    "ciao": Published("rating_with_timestamp.mat", "284,086 rows", HOME, ROW),
    "epinions": Published("rating_with_timestamp.mat", "922,267 rows", HOME, ROW),
}
MATRICES = ("rating_with_timestamp", "rating")
"""What the matrix is called in the one file and in the other."""


def pair(
    folder: str | pathlib.Path,
    source: str,
    target: str,
    *,
    task: str = "click",
    out: str | pathlib.Path | None = None,
    site: str = "ciao",
    ratings: bool = True,
) -> dict[str, Any]:
    """Two categories.

    Args:
        folder: where the files are.
        source: the source's number, such as `"01"`.
        target: the target's number, such as `"02"`.
        task: `click` (a rating of at least 4) or `rating`.
        out: where the converted files go; default `rows` in the folder.
        site: `ciao` or `epinions`.
        ratings: whether histories list what the items were rated, too. They tell generous users from strict ones, and
            mislead in the order of one user's items (docs/results/clicks.md, GAUC).

    Returns:
        Arguments of `prepare`: schema, sources, split (by time: 70 % of the target rows train, 10 % valid, 20 % test).
    """
    folder = pathlib.Path(folder)
    names = f"cat{source}", f"cat{target}"
    paths = {name: folder / f"interactions_{name}.csv.gz" for name in names}
    if not all(path.exists() for path in paths.values()):
        out = pathlib.Path(out) if out else folder / "rows"
        file = FILES[site].within(folder)
        paths = {name: out / f"{site}_{name}.parquet" for name in names}
        for name, category in zip(names, (source, target), strict=True):
            write(
                {name: paths[name]},
                ((name, rows) for rows in _rows(FILES[site], file, number("A category", category))),
                [file],
            )
    threshold = 4 if task == "click" else None
    return {
        "schema": _pairs.pair(
            *names, label="rating", task=task, threshold=threshold, time="timestamp", ratings=ratings
        ),
        "sources": {name: {"path": str(path)} for name, path in paths.items()},
        "split": dict(_pairs.TIME_SPLIT),
    }


def _rows(published: Published, file: pathlib.Path, category: int) -> Iterator[pa.Table]:
    """The rows of a category. A matrix of MATLAB is read whole: the larger one takes 44 MB."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        held = loadmat(str(file), variable_names=MATRICES)
    except (MatReadError, ValueError, TypeError, NotImplementedError) as error:
        raise DataError(f"{file} is not as published: {error}. Wanted: {published.row}.") from None
    matrix = next((held[name] for name in MATRICES if name in held), None)
    if matrix is None or matrix.ndim != 2 or matrix.shape[1] != 6:
        received = "no such matrix" if matrix is None else f"one of shape {matrix.shape}"
        raise DataError(f"{file} is not as published. Wanted: {published.row}. Received: {received}.")
    rows = np.asarray(matrix[(matrix[:, 2] == category) & (matrix[:, 3] > 0)], np.int64)
    _, last = np.unique(rows[::-1, :2], axis=0, return_index=True)
    rows = rows[np.sort(len(rows) - 1 - last)]
    yield pa.table(
        {
            "user_id": rows[:, 0],
            "item_id": rows[:, 1],
            "rating": rows[:, 3].astype(np.float32),
            "timestamp": rows[:, 5],
        }
    )
