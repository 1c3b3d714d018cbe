"""What the papers do to their data besides splitting it: domains made of categories, groups of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cdrzoo.errors import DataError


def source_categories(counts: Mapping[int, int], share: float = 0.7, of: str = "rows") -> set[int]:
    """CCTL's domains of one log: the largest categories are the source, the others the target.

    The text says that the top 70 % of the *categories* are the source. The counts in its Table 1, 70.0 and 30.2 of
    100.2 million rows, say that it is the largest categories with 70 % of the *rows*; this is the default.

    Args:
        counts: rows of each category.
        share: of the rows, or of the categories, that the source has.
        of: `rows` or `categories`.

    Returns:
        The categories of the source; ties are broken by the category's number.

    Raises:
        DataError: when one of the two domains would have no category.

    Reference: Zhang et al., A Collaborative Transfer Learning Framework for Cross-domain Recommendation (KDD 2023),
    section 3.1.1.
    """
    if of not in ("rows", "categories"):
        raise DataError(f"The share is one of rows or of categories. Received: {of!r}.")
    ordered = sorted(counts, key=lambda category: (-counts[category], category))
    if of == "categories":
        number = round(share * len(ordered))
    else:
        sums = np.cumsum([counts[category] for category in ordered])
        number = int(np.searchsorted(sums, share * sums[-1])) + 1 if len(sums) else 0
    if not 0 < number < len(ordered):
        raise DataError(
            f"{share:g} of the {of} leave one domain without a category: there are {len(ordered)}, the source would "
            f"have {number}. Choose another share, or more data."
        )
    return set(ordered[:number])


def user_groups(rows: np.ndarray, bounds: Sequence[int] = (10, 30)) -> dict[str, np.ndarray]:
    """Groups of users by how much of them the target knows, as in MKT's Table 3.

    Args:
        rows: [n], training rows of the target that the user of each row has (`Prepared.groups`).
        bounds: where the groups end. The default makes 0 to 9, 10 to 29, and 30 or more ("0-10", "10-30" and ">30" in
            the table; the text says which way the bounds belong).

    Returns:
        Booleans [n] by the group's name, such as `0-9`, `10-29` and `30+`.

    Reference: Guan et al., Effective Two-Stage Knowledge Transfer for Multi-Entity Cross-Domain Recommendation (2024),
    Table 3.
    """
    edges = [0, *bounds, np.inf]
    names = [f"{low}-{high - 1}" for low, high in zip(edges[:-2], edges[1:-1], strict=True)] + [
        f"{edges[-2]}+"
    ]
    return {
        name: (rows >= low) & (rows < high)
        for name, low, high in zip(names, edges[:-1], edges[1:], strict=True)
    }
