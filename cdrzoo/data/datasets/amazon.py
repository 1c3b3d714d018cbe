"""Amazon reviews of 2014 and 2018 as published: a category of products is a domain.

Files of a category, such as Books, Movies_and_TV, CDs_and_Vinyl, Digital_Music:

| edition | 5-core reviews (JSON lines) | ratings only (CSV without header) | metadata |
| --- | --- | --- | --- |
| 2014 | reviews_Books_5.json.gz | ratings_Books.csv: user, item, rating, time | meta_Books.json.gz (Python literals) |
| 2018 | Books_5.json.gz | Books.csv: item, user, rating, time | meta_Books.json.gz (JSON) |

Times are Unix seconds of whole days.

Reference: McAuley et al., Image-based recommendations on styles and substitutes (SIGIR 2015); Ni et al., Justifying
recommendations using distantly-labeled reviews and fine-grained aspects (EMNLP 2019).
"""

from __future__ import annotations

import ast
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from cdrzoo.data.datasets import _pairs
from cdrzoo.data.datasets._published import (
    Published,
    csv_pieces,
    keys,
    line_pieces,
    shared_users,
    some_users,
    write,
)
from cdrzoo.errors import DataError, shown
from cdrzoo.schema import Feature

HOMES = {
    2014: "https://jmcauley.ucsd.edu/data/amazon/index_2014.html",
    2018: "https://nijianmo.github.io/amazon/index.html",
}
SIZES = {
    (2014, True): {
        "Books": "8,898,041 reviews, 3.0 GB",
        "Movies_and_TV": "1,697,533 reviews",
        "CDs_and_Vinyl": "1,097,592 reviews",
        "Digital_Music": "64,706 reviews",
    },
    (2018, True): {"Books": "27,164,983 reviews"},
    (2014, False): {"Books": "22,507,155 ratings"},
    (2018, False): {"Books": "51,311,621 ratings"},
}
"""What the home pages say of the categories that the papers use."""

ROWS = {"user_id": pa.string(), "item_id": pa.string(), "rating": pa.float32(), "timestamp": pa.int64()}
ITEMS = {"item_id": pa.string(), "brand": pa.string(), "category": pa.string()}


def pair(
    folder: str | pathlib.Path,
    source: str = "Books",
    target: str = "Movies_and_TV",
    *,
    task: str = "click",
    edition: int = 2014,
    core: bool = True,
    metadata: bool = False,
    shared: bool = False,
    users: float = 1.0,
    out: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """Two categories.

    Args:
        folder: where the files are.
        source: the source's category, as its files are named.
        target: the target's.
        task: `click` (a rating of at least 4) or `rating`.
        edition: 2014 or 2018.
        core: the 5-core reviews; `False`: the file of ratings only.
        metadata: read brand and category of the items from the metadata.
        shared: keep the users alone who are in both categories.
        users: share of the users that is kept.
        out: where the converted files go; default `rows` in the folder.

    Returns:
        Arguments of `prepare`: schema, sources, split (by time: 70 % of the target rows train, 10 % valid, 20 % test).
    """
    if edition not in HOMES:
        raise DataError(f"`edition` must be 2014 or 2018. Received: {shown(edition)}.")
    out = pathlib.Path(out) if out else pathlib.Path(folder) / "rows"
    kind = f"{edition}_{'5core' if core else 'ratings'}{f'_{users:g}' if users < 1 else ''}"
    paths = {name: out / f"amazon_{name}_{kind}.parquet" for name in (source, target)}
    for name, path in paths.items():
        published = _ratings(name, edition, core)
        rows = _reviews(published, folder) if core else _columns(published, folder, edition)
        write({name: path}, ((name, some_users(piece, users)) for piece in rows), [published.within(folder)])
    if shared:
        other = {source: target, target: source}
        kept = {name: out / f"amazon_{name}_{kind}_with_{other[name]}.parquet" for name in paths}
        shared_users(paths, kept)
        paths = kept
    sources: dict[str, Any] = {name: {"path": str(path)} for name, path in paths.items()}
    if metadata:
        for name in paths:
            sources[name]["join"] = [_items(folder, out, name, edition)]
    schema = _pairs.pair(
        source,
        target,
        [Feature(name, "id", "item", "string", name) for name in ("brand", "category") if metadata],
        keys="string",
        label="rating",
        task=task,
        threshold=4 if task == "click" else None,
        time="timestamp",
    )
    return {"schema": schema, "sources": sources, "split": dict(_pairs.TIME_SPLIT)}


def _ratings(category: str, edition: int, core: bool) -> Published:
    if core:
        name = f"{'reviews_' if edition == 2014 else ''}{category}_5.json.gz"
        row = "a JSON object a line with reviewerID, asin, overall and unixReviewTime"
    else:
        name = f"{'ratings_' if edition == 2014 else ''}{category}.csv"
        row = f"no header; {'user, item' if edition == 2014 else 'item, user'}, rating, Unix time"
    size = SIZES[edition, core].get(category, "a row a rating")
    return Published(name, size, HOMES[edition], row)


def _items(folder: str | pathlib.Path, out: pathlib.Path, category: str, edition: int) -> dict[str, str]:
    """Brand and category of the items of a category, written as a file that is joined."""
    published, path = _metadata(category, edition), out / f"amazon_{category}_{edition}_items.parquet"
    pieces = _once(line_pieces(published, folder, _item(edition), ITEMS))
    write({category: path}, ((category, piece) for piece in pieces), [published.within(folder)])
    return {"path": str(path), "on": "item_id"}


def _metadata(category: str, edition: int) -> Published:
    row = f"{'a Python dictionary' if edition == 2014 else 'a JSON object'} a line with asin, brand and categories"
    return Published(f"meta_{category}.json.gz", "an item a line", HOMES[edition], row)


def _reviews(published: Published, folder: str | pathlib.Path) -> Iterator[pa.Table]:
    def parse(line: str) -> tuple[Any, ...]:
        review = json.loads(line)
        return review["reviewerID"], review["asin"], float(review["overall"]), int(review["unixReviewTime"])

    return line_pieces(published, folder, parse, ROWS)


def _columns(published: Published, folder: str | pathlib.Path, edition: int) -> Iterator[pa.Table]:
    order = list(ROWS) if edition == 2014 else ["item_id", "user_id", "rating", "timestamp"]
    types = {name: ROWS[name] for name in order}
    for piece in csv_pieces(published, folder, types, header=False):
        yield piece.select(list(ROWS))


def _item(edition: int) -> Callable[[str], tuple[Any, ...]]:
    read: Callable[[str], Any] = ast.literal_eval if edition == 2014 else json.loads

    def parse(line: str) -> tuple[Any, ...]:
        item = read(line)
        path = (item.get("categories") or [[]])[0] if edition == 2014 else item.get("category") or []
        return item["asin"], item.get("brand") or "", path[-1] if path else ""

    return parse


def _once(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The first row of each item; the metadata of 2018 lists some twice."""
    seen: set[int] = set()
    for piece in pieces:
        fresh = np.zeros(len(piece), bool)
        for row, key in enumerate(keys(piece.column("item_id")).tolist()):
            fresh[row] = key not in seen
            seen.add(key)
        yield piece.filter(pa.array(fresh))
