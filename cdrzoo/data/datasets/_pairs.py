"""What the rating datasets share: the features of a pair of domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cdrzoo.schema import Domain, Feature, Schema, Table

LENGTH = 30
"""Events a history keeps."""
MIN_COUNT = 5
"""An id that training rows hold less often is unknown. Most test users and many items are new: what stands for them
must be trained, and it is trained by the rare ones. Not so for ratings: what there is to learn of an item is its mean,
and the few ratings of a rare one say more than nothing (of the test rows of a small target two thirds would be of
unknown items)."""
TIME_SPLIT = {"by": "time", "fractions": [0.7, 0.1, 0.2]}


def pair(
    source: str,
    target: str,
    item_features: Sequence[Feature] = (),
    *,
    ratings: bool = True,
    keys: str = "int64",
    own: Mapping[str, Sequence[Feature]] | None = None,
    min_count: int | None = None,
    **domain: Any,
) -> Schema:
    """Two domains with a user, an item, item features, and both domains' histories of items and of their ratings.

    Ratings given before the row are known at the row's time, so they may be read; the row's own rating never is.

    Args:
        source: name of the source.
        target: name of the target.
        item_features: features of role item that both domains have; their tables are shared.
        ratings: whether histories list the ratings of the rows, too.
        keys: dtype of users and items.
        own: by domain, features that it lists besides; what both list by one name is shared.
        min_count: training rows from which on an id is known; `None`: `MIN_COUNT` for clicks, 1 for ratings.
        **domain: further arguments of both domains.
    """
    histories = [each for name in (source, target) for each in _histories(name, keys, ratings)]
    domains = tuple(
        Domain(
            name,
            (
                Feature("user", "id", "user", keys, "user", column="user_id"),
                Feature("item", "id", "item", keys, f"{name}_item", column="item_id"),
                *item_features,
                *(own or {}).get(name, ()),
                *histories,
            ),
            **domain,
        )
        for name in (source, target)
    )
    names = [
        "user",
        f"{source}_item",
        f"{target}_item",
        *(f.table for f in item_features if f.table is not None),
        *(f.table for features in (own or {}).values() for f in features if f.table is not None),
    ]
    names += ["rating"] if ratings else []
    if min_count is None:
        min_count = 1 if domain.get("task") == "rating" else MIN_COUNT
    return Schema(domains, target, tuple(Table(name, min_count=min_count) for name in dict.fromkeys(names)))


def _histories(of: str, keys: str, ratings: bool) -> Iterator[Feature]:
    """The items of a domain, and what they were rated."""
    yield Feature(f"{of}_items", "ids", "history", keys, f"{of}_item", LENGTH, of=of, field="item_id")
    if ratings:
        yield Feature(f"{of}_ratings", "ids", "history", "int64", "rating", LENGTH, of=of, field="rating")
