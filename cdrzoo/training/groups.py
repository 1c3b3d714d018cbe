"""Groups of users that every run reports: cold and warm, and those of MKT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cdrzoo import data


def of_users(prepared: data.Prepared, part: str = "test") -> dict[str, np.ndarray]:
    """Which of the target's rows of a part are of which group of users: booleans [n] by name; none without users.

    `cold` and `warm` are users without and with training rows in the target; the others are MKT's (`user_groups`).
    """
    if prepared.parts[prepared.schema.target][part].user is None:
        return {}
    seen = prepared.groups(part)["target_rows"].to_numpy()
    return {"cold": seen == 0, "warm": seen > 0, **user_groups(seen)}


def sizes(prepared: data.Prepared) -> dict[str, int]:
    """Test rows of each of the groups `of_users`."""
    return {name: int(np.sum(mask)) for name, mask in of_users(prepared).items()}


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
