"""Two logs of clicks, one with a second label (a purchase), a position, and columns for slices."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cdrzoo.schema import Schema

LABELS = {"click": "clicked", "conversion": {"column": "spent", "threshold": 10, "given": "click"}}


def log(rows: int, seed: int) -> pd.DataFrame:
    """Clicks are by taste and position, purchases by taste; of every sixth row the purchase is not known yet."""
    draw = np.random.default_rng(seed)
    user, item, position = (draw.integers(low, high, rows) for low, high in ((0, 40), (0, 25), (1, 5)))
    taste = np.sin(user * 1.7 + (item % 5) * 2.1)
    clicked = draw.random(rows) < 1 / (1 + np.exp(-2 * taste + 0.5 * position - 0.5))
    bought = clicked & (draw.random(rows) < 0.35 + 0.3 * taste)
    spent = np.where(bought, draw.integers(10, 90, rows), draw.integers(0, 10, rows) * clicked).astype(float)
    spent[draw.random(rows) < 1 / 6] = np.nan
    return pd.DataFrame(
        {
            "user": [f"u{n}" for n in user],
            "item": item,
            "device": draw.choice(["phone", "tablet"], rows),
            "position": position,
            "hour": draw.integers(0, 4, rows),
            "time": 1_700_000_000 + np.sort(draw.integers(0, 12 * 86_400, rows)),
            "clicked": clicked.astype(int),
            "spent": spent,
        }
    )


def schema(**target: Any) -> Schema:
    """Books with one label, films with two."""

    def features(items: str) -> list[dict[str, Any]]:
        return [
            {"name": "user", "kind": "id", "role": "user", "table": "user"},
            {"name": "item", "kind": "id", "role": "item", "dtype": "int64", "table": items},
            {"name": "device", "kind": "id", "role": "context", "table": "device"},
            {
                "name": "position",
                "kind": "id",
                "role": "context",
                "dtype": "int64",
                "table": "position",
                "serving_value": 1,
            },
            {
                "name": "films_seen",
                "kind": "ids",
                "role": "history",
                "dtype": "int64",
                "of": "films",
                "table": "film",
                "length": 4,
                "where": {"clicked": 1},
            },
        ]

    domains = {
        "books": {"label": "clicked", "time": "time", "features": features("book")},
        "films": {"labels": LABELS, "time": "time", "features": features("film"), **target},
    }
    tables = {name: {"width": 4} for name in ("user", "book", "film", "device", "position")}
    return Schema.from_dict({"target": "films", "tables": tables, "domains": domains})


def write(folder: pathlib.Path, rows: int = 900, **run: Any) -> dict[str, Any]:
    """`books.csv`, `films.csv` and `run.yaml`, which is given back."""
    for seed, name in enumerate(("books", "films")):
        log(rows, seed).to_csv(folder / f"{name}.csv", index=False)
    made = {
        "schema": schema().to_dict(),
        "data": {"books": "books.csv", "films": "films.csv"},
        "split": {"by": "days", "valid": 2, "test": 3},
        "slices": ["device", "hour"],
        "model": "mmoe",
        "arguments": {"expert_units": [16], "experts": 2, "tower_units": [8]},
        "training": {
            "epochs": 2,
            "batch_size": 64,
            "learning_rate": 0.01,
            "loss_weights": {"films.conversion": 0.5},
        },
        **run,
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
    return made
