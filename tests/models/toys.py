"""A small schema of two different domains, and batches drawn from it."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from cdrzoo.schema import Domain, Feature, Schema, Table

ROWS = {"user": 30, "book": 40, "film": 20, "genre": 9, "stars": 8, "device": 6, "word": 25}


def toy_schema(task: str = "click") -> Schema:
    """Books (source) and films (target): shared users and genres, items and features of their own, all histories."""

    def histories(of, table):
        return (
            Feature(
                f"{of}_seen", "ids", "history", dtype="int64", table=table, length=5, of=of, field="item"
            ),
            Feature(
                f"{of}_genres", "ids", "history", dtype="int64", table="genre", length=5, of=of, field="genre"
            ),
            Feature(
                f"{of}_stars", "ids", "history", dtype="int64", table="stars", length=5, of=of, field="rating"
            ),
        )

    user = Feature("user", "id", "user", dtype="int64", table="user")
    genre = Feature("genre", "id", "item", dtype="int64", table="genre")
    return Schema(
        target="films",
        tables=tuple(Table(name, width=4, rows=rows) for name, rows in ROWS.items()),
        domains=(
            Domain(
                "books",
                (
                    user,
                    Feature("item", "id", "item", dtype="int64", table="book"),
                    genre,
                    Feature("words", "ids", "item", dtype="int64", table="word", length=3),
                    Feature("price", "number", "item"),
                    *histories("books", "book"),
                    *histories("films", "film"),
                ),
                task=task,
            ),
            Domain(
                "films",
                (
                    user,
                    Feature("age", "number", "user"),
                    Feature("item", "id", "item", dtype="int64", table="film"),
                    genre,
                    Feature("device", "id", "context", dtype="int64", table="device"),
                    *histories("films", "film"),
                    *histories("books", "book"),
                ),
                task=task,
            ),
        ),
    )


def twin_schema() -> Schema:
    """Books and films with features of the same names and widths, in another order; each has its items' table."""
    schema = toy_schema()
    names = ("user", "item", "genre", *(f.name for f in schema.target_domain.with_role("history")))
    domains = tuple(
        dataclasses.replace(d, features=tuple(f for f in d.features if f.name in names))
        for d in schema.domains
    )
    used = {f.table for d in domains for f in d.features}
    return Schema(domains, schema.target, tuple(t for t in schema.tables if t.name in used))


def three_schema() -> Schema:
    """Books, music (two sources), films; music lists less of a film's history than the others, they none of music's."""
    schema = toy_schema()
    books, films = schema.domains
    music = Domain(
        "music",
        (
            films.feature("user"),
            Feature("item", "id", "item", dtype="int64", table="song"),
            films.feature("genre"),
            Feature(
                "music_seen",
                "ids",
                "history",
                dtype="int64",
                table="song",
                length=5,
                of="music",
                field="item",
            ),
            films.feature("films_seen"),
        ),
        task=films.task,
    )
    return Schema((books, music, films), "films", (*schema.tables, Table("song", width=4, rows=15)))


def alike_schema() -> Schema:
    """The three domains; the rows of all list the same histories."""
    schema = three_schema()
    music, films = schema.domain("music"), schema.target_domain
    histories = (*films.with_role("history"), music.feature("music_seen"))
    domains = (
        dataclasses.replace(d, features=(*(f for f in d.features if f.role != "history"), *histories))
        for d in schema.domains
    )
    return Schema(tuple(domains), schema.target, schema.tables)


def toy_rows(
    schema: Schema, rows: dict[str, int], seed: int = 0, missing: bool = True, paired: bool = False
) -> tuple[dict, dict]:
    """`(x, y)` of random rows; histories have every length from none to all; ids are known, unknown or `missing`.

    `paired`: the i-th rows of all domains, as many in each, are one user's.
    """
    rng = np.random.default_rng(seed)
    x: dict = {}
    y: dict = {}
    for domain in schema.domains:
        n = rows.get(domain.name)
        if n is None:
            continue
        lengths = {d.name: rng.integers(0, 6, n) for d in schema.domains}
        x[domain.name] = {}
        for f in domain.tensors:
            if f.kind == "weights":
                value = rng.random((n, f.length)).astype("float32")
            elif not f.is_id:
                value = rng.normal(size=(n, f.values) if f.values else n).astype("float32")
            elif f.kind != "ids":
                value = rng.integers(0 if missing else 1, schema.table(f.table).rows, n).astype("int32")
            else:
                value = rng.integers(1, schema.table(f.table).rows, (n, f.length)).astype("int32")
                kept = lengths[f.of] if f.role == "history" else rng.integers(0, f.length + 1, n)
                value[np.arange(f.length)[None] >= kept[:, None]] = 0
            x[domain.name][f.name] = value
        if paired:
            x[domain.name]["user"] = next(iter(x.values()))["user"]
        labels = rng.integers(0, 2, (n, 1)) if domain.task == "click" else rng.integers(1, 6, (n, 1))
        y[domain.name] = labels.astype("float32")
    return keras.tree.map_structure(tf.constant, x), keras.tree.map_structure(tf.constant, y)


def toy_dataset(
    schema: Schema,
    rows: dict[str, int],
    batches: int,
    seed: int = 0,
    learns: str = "genre",
    paired: bool = False,
) -> tf.data.Dataset:
    """Batches of a learnable task: the label follows the parity of a feature."""
    parts = []
    for i in range(batches):
        x, y = toy_rows(schema, rows, seed * 1000 + i, paired=paired)
        y = {name: tf.cast(x[name][learns][:, None] % 2, "float32") for name in y}
        parts.append((x, y))
    stacked = keras.tree.map_structure(lambda *p: tf.stack(p), *parts)
    return tf.data.Dataset.from_tensor_slices(stacked)


def kinds_schema(schema: Schema) -> Schema:
    """The schema with a feature of every further kind in all domains."""
    more = (
        Feature("size", "number", "item", transform="log1p", flag=True),
        Feature("rank", "number", "item", table="rank"),
        Feature("hour", "number", "user", transform={"cyclic": 24}),
        Feature("text", "vector", "item", table="text", size=6),
        Feature("pair", "id", "item", table="pair", cross=["user", "genre"]),
        Feature("tags", "ids", "item", dtype="int64", table="genre", length=3, weights="shares"),
    )
    domains = tuple(dataclasses.replace(d, features=(*d.features, *more)) for d in schema.domains)
    tables = (
        Table("rank", 4, rows=7, buckets=5),
        Table("text", 4, rows=6),
        Table("pair", 4, rows=9, hash_buckets=7),
    )
    return Schema(domains, schema.target, (*schema.tables, *tables))
