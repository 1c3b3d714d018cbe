"""Groups of test rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cdrzoo.evaluation.groups import groups_of


def test_groups_by_hand():
    rows = pd.DataFrame(
        {
            "target_rows": [0, 1, 10, 11, 30, 31, 5],
            "source_rows": [3, 0, 0, 1, 1, 1, 1],
            "item_rows": [40] * 7,  # one group: it divides nothing
            "device": list("aabbbcd"),
            "price": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
        }
    )
    found = groups_of(rows, ["device", "price"])
    at = {
        by: {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}
        for by, masks in found.items()
    }
    assert at["user's rows in the target"] == {
        "cold": [0],
        "warm": [1, 2, 3, 4, 5, 6],
        "0-9": [0, 1, 6],
        "10-29": [2, 3],
        "30+": [4, 5],
    }
    assert at["user in a source"] == {"shared": [0, 3, 4, 5, 6], "new to it": [1, 2]}
    assert at["device"] == {"b": [2, 3, 4], "a": [0, 1], "c": [5], "d": [6]}
    assert list(at["price"].values()) == [[0, 1], [2, 3], [4], [5, 6]]  # quarters
    assert set(at) == {"user's rows in the target", "user in a source", "device", "price"}
