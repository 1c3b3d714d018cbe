"""Two domains with every kind of raw feature, and models of them, for the tests of what is exported."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd

from cdrzoo.data.encoder import Encoder
from cdrzoo.models import CCTL, DNN
from cdrzoo.schema import Domain, Feature, Schema, Table


def make_schema(task: str = "click") -> Schema:
    user = Feature("user", "id", "user", table="user")
    seen = Feature("seen", "ids", "history", table="film", length=4, of="films")
    book = Feature("book", "id", "item", dtype="int64", table="book")
    read = Feature("read", "ids", "history", dtype="int64", table="book", length=3, of="books")
    return Schema(
        target="films",
        tables=(
            Table("user"),
            Table("film"),
            Table("book"),
            Table("day", width=4),
            Table("device", hash_buckets=5),
        ),
        domains=(
            Domain(
                "books",
                (user, book, seen, read),
                item="book",
            ),
            Domain(
                "films",
                (
                    user,
                    Feature("film", "id", "item", table="film", column="film id"),
                    Feature("age", "number", "user"),
                    Feature("visits", "number", "user", dtype="int64"),
                    Feature("day", "id", "context", dtype="int64", table="day"),
                    Feature("device", "id", "context", table="device"),
                    seen,
                    read,
                ),
                task=task,
                item="film id",
            ),
        ),
    )


def make_frame(domain: str, rows: int, seed: int = 0) -> pd.DataFrame:
    """Raw rows; some values are missing, some ids are in no training row of other seeds."""
    rng = np.random.default_rng(seed)
    frame = {
        "user": [f"u{i}" if i else None for i in rng.integers(0, 20, rows)],
        "seen": [[f"f{i}" for i in rng.integers(0, 15, n)] for n in rng.integers(0, 7, rows)],
        "read": [rng.integers(0, 15, n).tolist() for n in rng.integers(0, 7, rows)],
    }
    if domain == "books":
        return pd.DataFrame({**frame, "book": rng.integers(0, 15, rows)})
    return pd.DataFrame(
        {
            **frame,
            "film id": [f"f{i}" for i in rng.integers(0, 15 + seed, rows)],
            "age": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(30, 5, rows)).astype("float32"),
            "visits": rng.integers(-1, 50, rows),
            "day": rng.integers(-1, 7, rows),
            "device": [f"d{i}" if i else "" for i in rng.integers(0, 9, rows)],
        }
    )


def make_encoder(task: str = "click") -> Encoder:
    return Encoder(make_schema(task)).adapt({name: make_frame(name, 150) for name in ("books", "films")})


def make_model(encoder: Encoder, cls: type = DNN, **arguments):
    """A model whose weights are far enough from zero for scores to differ."""
    schema = encoder.schema if cls is CCTL else encoder.schema.only("films")
    model = cls(schema, units=(8, 4), **arguments)
    model.compile(keras.optimizers.Adam(0.01))
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return model
