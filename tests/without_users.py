"""A log without users, and with many columns of categories, for the tests of what is done with it."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd
import yaml

FEATURES = [
    {"name": "site_category", "kind": "id", "role": "context", "table": "site_category"},
    {"name": "age", "kind": "id", "role": "user", "table": "age"},
    {"name": "ad", "kind": "id", "role": "item", "table": "ad"},
    {"name": "price", "kind": "number", "role": "item"},
]


def log(rows: int, seed: int) -> pd.DataFrame:
    """Clicks that depend on the category, and an `hour` that is no feature."""
    draw = np.random.default_rng(seed)
    made = pd.DataFrame(
        {
            "hour": draw.choice(np.arange(12), rows, p=[0.05] * 7 + [0.25] + [0.1] * 4),
            "site_category": draw.choice(["news", "shop"], rows),
            "age": draw.choice(["young", "old", "none of your business"], rows),
            "ad": [f"a{n}" for n in draw.integers(0, 30, rows)],
            "price": draw.random(rows).round(3),
        }
    )
    chance = 0.2 + 0.5 * (made["site_category"] == "news")
    return made.assign(click=(draw.random(rows) < chance).astype(int))


def write(folder: pathlib.Path, rows: int = 3000) -> dict[str, Any]:
    """Two logs, `web.csv` and `app.csv`, and `run.yaml`, which is given back."""
    for seed, name in enumerate(("web", "app")):
        log(rows, seed).to_csv(folder / f"{name}.csv", index=False)
    schema = {
        "target": "app",
        "tables": {name: {} for name in ("site_category", "age", "ad")},
        "domains": {name: {"label": "click", "item": "ad", "features": FEATURES} for name in ("web", "app")},
    }
    run = {
        "schema": schema,
        "data": {"web": "web.csv", "app": "app.csv"},
        "split": {"by": "random", "fractions": [0.6, 0.2, 0.2]},
        "slices": ["site_category"],
        "model": "shared_bottom",
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    return run
