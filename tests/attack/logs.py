"""Whole logs: joins, keys, ids, times, labels, weights and splits that are read and hardly meant, or are refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo.data import prepare, quality
from cdrzoo.schema import Schema
from tests.attack.judge import NO_VALUE, Case
from tests.attack.schemas import domain

SEEN = {"name": "seen", "kind": "ids", "role": "history", "of": "books", "table": "book", "length": 5}
SCHEMA: dict[str, Any] = {
    "target": "films",
    "tables": {"user": {}, "book": {}, "film": {}, "tag": {}},
    "domains": {
        "books": domain("book", SEEN),
        "films": domain(
            "film",
            {"name": "tags", "kind": "ids", "role": "item", "table": "tag", "length": 4},
            {"name": "price", "kind": "number", "role": "item"},
            SEEN,
        ),
    },
}
ITEMS = 50

Change = Callable[[pd.DataFrame, random.Random], Any]


def log(seed: int, rows: int = 1500, start: int = 1_700_000_000) -> pd.DataFrame:
    """Clean rows; no two of one time."""
    drawn = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "user": [f"u{n}" for n in drawn.integers(0, 300, rows)],
            "item": [f"i{n}" for n in drawn.integers(0, ITEMS, rows)],
            "tags": [("war|zen", "zen", "war|pop|zen", "")[n] for n in drawn.integers(0, 4, rows)],
            "click": drawn.integers(0, 2, rows),
            "time": drawn.permutation(rows) + start,
            "price": drawn.random(rows).round(3),
        }
    )


def some(column: str, change: Callable[[Any], Any], share: float = 0.1) -> Change:
    """Some of a column's values, at places that are drawn, are others."""

    def run(rows: pd.DataFrame, drawn: random.Random) -> pd.DataFrame:
        at = set(drawn.sample(range(len(rows)), max(1, round(share * len(rows)))))
        return rows.assign(**{column: [change(v) if i in at else v for i, v in enumerate(rows[column])]})

    return run


def every(**columns: Callable[[pd.DataFrame], Any]) -> Change:
    """Whole columns are others."""
    return lambda rows, drawn: rows.assign(**{name: make(rows) for name, make in columns.items()})


WORDS = [
    "NULL",
    "null",
    "nan",
    "NaN",
    "None",
    "none",
    "NA",
    "N/A",
    "#N/A",
    "<NA>",
    "\\N",
    "NaT",
    "nil",
    "undefined",
    "(null)",
]
DOUBTFUL: dict[str, tuple[Change, tuple[str, ...]]] = {
    **{f"ids {word}": (some("item", lambda v, word=word: word), ("'item'", repr(word))) for word in WORDS},
    **{
        f"users {word}": (some("user", lambda v, word=word: word), ("'user'", repr(word)))
        for word in WORDS[::3]
    },
    "a blank before ids": (some("item", lambda v: f" {v}"), ("'item'", "blank")),
    "a blank behind users": (some("user", lambda v: f"{v} ", 0.01), ("'user'", "blank")),
    "a hard blank": (some("item", lambda v: f"{v}\u00a0"), ("'item'", "blank")),
    "a tab": (some("item", lambda v: f"{v}\t"), ("'item'", "blank")),
    "ids in quotes": (some("item", lambda v: f"'{v}'"), ("'item'", "quotes")),
    "ids in brackets": (some("item", lambda v: f"[{v}]"), ("'item'", "brackets")),
    "bytes of Python": (some("item", lambda v: f"b'{v}'"), ("'item'", "quotes")),
    "ids of JSON": (some("item", lambda v: '{"id": "' + v + '"}'), ("'item'", "brackets")),
    "lists of Python": (
        every(tags=lambda r: [str(v.split("|")) for v in r["tags"]]),
        ("'tags'", "separator"),
    ),
    "tags by commas": (every(tags=lambda r: r["tags"].str.replace("|", ",")), ("'tags'", "separator")),
    "tags by semicolons": (every(tags=lambda r: r["tags"].str.replace("|", ";")), ("'tags'", "separator")),
    "tags by blanks": (every(tags=lambda r: r["tags"].str.replace("|", " ")), ("'tags'", "separator")),
    "tags by bars and blanks": (every(tags=lambda r: r["tags"].str.replace("|", " | ")), ("'tags'", "blank")),
    "users as floats": (every(user=lambda r: r["user"].str[1:] + ".0"), ("user", "no id")),
    "users in capitals": (every(user=lambda r: r["user"].str.upper()), ("user", "no id")),
    "users with zeros": (every(user=lambda r: "0" + r["user"]), ("user", "no id")),
    "few users": (every(user=lambda r: r.index % 3), ("user", "values")),
    "a log of later": (every(time=lambda r: r["time"] + 10**6), ("books", "before")),
    "a log of earlier": (every(time=lambda r: r["time"] - 10**6), ("books", "after")),
    "one time for all": (
        every(time=lambda r: r["time"] // 800 * 800),
        ("films", ("that of a cut", "validation rows")),
    ),
    "few clicks": (every(click=lambda r: (r.index % 60 == 0) * 1), ("films", "too few")),
    "few rows": (lambda rows, drawn: rows.sample(60, random_state=0), ("films", "too few")),
}
REFUSED: dict[str, tuple[Change, tuple[str, ...]]] = {
    "labels from 1 to 5": (every(click=lambda r: r.index % 5 + 1), ("click", "threshold")),
    "labels -1 and 1": (every(click=lambda r: r["click"] * 2 - 1), ("click", ("threshold", "0 or 1"))),
    "labels yes and no": (every(click=lambda r: r["click"].map({0: "no", 1: "yes"})), ("click", "row 1")),
    "a label missing": (some("click", lambda v: None, 0.001), ("click", "row", "missing")),
    "a label that is a word": (some("click", lambda v: "x", 0.001), ("click", "row", "'x'")),
    "one label for all": (every(click=lambda r: 1), ("films", "clicks and others")),
    "a time missing": (some("time", lambda v: None, 0.001), ("time", "row")),
    "a time before 0": (some("time", lambda v: -5, 0.001), ("time", "row")),
    "times of another unit": (every(time=lambda r: r["time"] * 1000), ("books", "films", "unit")),
    "times in days": (every(time=lambda r: r["time"] / 86400), ("books", "films", "unit")),
    "dates and numbers": (some("time", lambda v: "2023-11-15", 0.5), ("time", "row")),
    "dates of a country": (every(time=lambda r: "15/11/2023"), ("time", "row 1", "ISO")),
    "a price with a comma": (some("price", lambda v: "1,5", 0.001), ("price", "row", "'1,5'")),
    "an endless price": (some("price", lambda v: "inf", 0.001), ("price", "row")),
    "ids with line breaks": (some("item", lambda v: f"{v}\nx", 0.01), ("film", "line break")),
    "a column misspelt": (
        lambda rows, drawn: rows.rename(columns={"item": "itme"}),
        ("item", "Did you mean 'itme'"),
    ),
    "no rows": (lambda rows, drawn: rows[:0], ("films.csv", "no rows")),
    "one row": (lambda rows, drawn: rows[:1], ("films",)),
    "two rows": (lambda rows, drawn: rows[:2], ("films",)),
}
JOINED: dict[str, tuple[Change, tuple[str, ...] | None, tuple[str, ...]]] = {
    "all items": (every(item=lambda r: r["item"]), None, ()),
    "items as floats": (every(item=lambda r: r["item"].str[1:] + ".0"), None, ("item", "find no row")),
    "items in capitals": (every(item=lambda r: r["item"].str.upper()), None, ("item", "find no row")),
    "half of the items": (lambda rows, drawn: rows[: len(rows) // 2], None, ("item", "find no row")),
    "items twice": (lambda rows, drawn: pd.concat([rows, rows]), ("items.csv", "several rows"), ()),
    "a key missing twice": (lambda rows, drawn: rows.assign(item=None), ("items.csv",), ("find no row",)),
    "no price": (lambda rows, drawn: rows.drop(columns="price"), ("price",), ()),
    "no key": (lambda rows, drawn: rows.rename(columns={"item": "id"}), ("item", "items.csv"), ()),
    "no items": (lambda rows, drawn: rows[:0], ("items.csv", "no rows"), ()),
}


def looked_at(films: pd.DataFrame, **more: Any) -> bool:
    """Rows as they come before a training: read, split, encoded, and their warnings given."""
    log(0).to_csv("log-books.csv", index=False)
    films.to_csv("log-films.csv", index=False)
    sources = {"books": "log-books.csv", "films": {"path": "log-films.csv", **more}}
    from cdrzoo.training import fitting
    from cdrzoo.training.config import RunConfig

    config = RunConfig.from_dict({"schema": SCHEMA, "data": sources, "model": "dnn"})
    rows = config.prepare()
    quality.heed(rows)
    fitting.check_rows(config, rows)
    return True


def of_logs(seed: int) -> Iterator[tuple[str, Case]]:
    """All of them."""
    drawn = random.Random(seed)
    kind = "logs, their sense"
    yield kind, Case("clean rows", lambda: looked_at(log(1)), True, None)
    for name, (change, words) in DOUBTFUL.items():
        made = change(log(1), drawn)
        yield kind, Case(name, lambda made=made: looked_at(made), True, words, words)
    for name, (change, words) in REFUSED.items():
        made = change(log(1), drawn)
        yield kind, Case(name, lambda made=made: looked_at(made), NO_VALUE, words)
    for name, (change, words, warned) in JOINED.items():
        made = log(1).drop(columns="price")
        items = change(pd.DataFrame({"item": [f"i{n}" for n in range(ITEMS)], "price": 1.5}), drawn)

        def run(made: pd.DataFrame = made, items: pd.DataFrame = items) -> bool:
            items.to_csv("log-items.csv", index=False)
            return looked_at(made, join=[{"path": "log-items.csv", "on": "item"}])

        yield kind, Case(f"joined: {name}", run, True if warned or words is None else NO_VALUE, words, warned)
    for column in ("w", "weight"):
        for name, weights, right, words in (
            ("weights", 1.5, True, None),
            ("weights of 0", 0, NO_VALUE, (column, "weigh 0")),
            ("a negative weight", -1, NO_VALUE, (column, "row 1")),
            ("a weight that is a word", "x", NO_VALUE, (column, "row 1")),
            ("a weight that is missing", None, NO_VALUE, (column, "row 1")),
        ):
            made = log(1).assign(**{column: weights})
            yield (
                kind,
                Case(name, lambda made=made, column=column: looked_at(made, weight=column), right, words),
            )
    for user in ("nobody", "price", "tags", 5, True, [], ""):
        changed = {
            **SCHEMA,
            "domains": {**SCHEMA["domains"], "films": {**SCHEMA["domains"]["films"], "user": user}},
        }
        yield (
            kind,
            Case(
                f"user: {user!r}",
                lambda changed=changed: prepare(
                    Schema.from_dict(changed), {"books": log(0), "films": log(1)}
                ),
                NO_VALUE,
                (("user", str(user)),),
            ),
        )
