"""Groups of users, by hand."""

from __future__ import annotations

import numpy as np

from cdrzoo import metrics
from cdrzoo.training.groups import user_groups


def test_groups_of_users_are_those_of_mkt():
    rows = np.array([0, 9, 10, 29, 30, 500])
    groups = user_groups(rows)
    assert {name: rows[mask].tolist() for name, mask in groups.items()} == {
        "0-9": [0, 9],
        "10-29": [10, 29],
        "30+": [30, 500],
    }
    found = metrics.evaluate(np.ones(3), np.zeros(3), "rating", groups=user_groups(np.array([1, 12, 12])))
    assert found["mae@0-9"] == 1.0 and np.isnan(found["mae@30+"])
