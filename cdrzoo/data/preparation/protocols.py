"""What the papers do to their data besides splitting it: domains made of categories."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cdrzoo.errors import DataError, shown


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
        raise DataError(f"The share is one of rows or of categories. Received: {shown(of)}.")
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
