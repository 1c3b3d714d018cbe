"""Two logs with a known amount of signal that one domain holds about the other: built-in data, and an oracle for tests.

Users have an eagerness and a taste for each genre, of their own in books and in films:

    film taste = transfer * book taste + sqrt(1 - transfer**2) * own taste      (each standard normal; eagerness alike)
    logit      = bias + eagerness + taste[genre] + 0.5 * quality[item] + price + age + (films only) device
    click      ~ Bernoulli(sigmoid(logit))

A user is shown genres he likes more often (probability proportional to exp(0.5 * taste)), so what he read tells his
taste without his labels. With `transfer = 1` books say all about films, with 0 nothing; with -1 a user dislikes in
films what he likes in books, and a model that simply adds the book rows to the film rows is misled. Some users are
new to films: they have few, and none before the last fifth of the time, so only books can tell their taste. Items
differ between the domains, genres are the same six.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cdrzoo.errors import InputError
from cdrzoo.schema import Domain, Feature, Schema, Table

if TYPE_CHECKING:
    from cdrzoo.data.preparation.prepared import Prepared

GENRES = ("comedy", "crime", "drama", "fantasy", "history", "romance")
AGES = ("to 20", "to 30", "to 45", "to 60", "over 60")
DEVICES = ("phone", "tablet", "computer", "television")
LENGTH = 30
"""Events a history keeps."""
EAGERNESS = 1.0
"""Deviation of the eagerness between users."""
LATE = 0.8
"""Share of the time before which cold-start users have no film."""

NEW = 0.3
"""How active cold-start users are in films, compared with others."""

_DAY = 86_400
_START, _DAYS = 1_600_000_000, 200


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """What `synthesize` gives.

    Args:
        schema: the schema of the two domains; the target is `films`.
        frames: the logs by domain, in order of time.
        probabilities: the true click probability of each row: no model can rank better.
        transfer: the planted correlation of tastes.
        cold_users: keys of the users without a film in the first `LATE` of the time.
    """

    schema: Schema
    frames: dict[str, pd.DataFrame]
    probabilities: dict[str, np.ndarray]
    transfer: float
    cold_users: tuple[str, ...]

    @property
    def sources(self) -> dict[str, dict[str, Any]]:
        """What `prepare` takes."""
        return {domain: {"data": frame} for domain, frame in self.frames.items()}

    def best_probability(self, domain: str, frame: pd.DataFrame) -> np.ndarray:
        """The true click probability of rows of a domain, found by their `event`, for rows in any order."""
        at = pd.Index(self.frames[domain]["event"]).get_indexer(frame["event"])
        if (at < 0).any():
            raise InputError(f"Some rows are not events of {domain!r} in this synthetic log.")
        return self.probabilities[domain][at]

    def write(self, folder: str | pathlib.Path) -> pathlib.Path:
        """Writes `books.csv`, `films.csv` and `schema.yaml`."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.schema.save(folder / "schema.yaml")
        for domain, frame in self.frames.items():
            frame.to_csv(folder / f"{domain}.csv", index=False)
        return folder


def synthesize(
    transfer: float = 0.9,
    *,
    users: int = 1000,
    source_rows: int = 60_000,
    target_rows: int = 8_000,
    source_items: int = 300,
    target_items: int = 150,
    cold: float = 0.3,
    drift: float = 0.0,
    seed: int = 0,
) -> Synthetic:
    """Makes two logs, `books` (the source) and `films` (the target).

    Args:
        transfer: in [-1, 1], the correlation of a user's tastes in the two domains.
        users: users, a tenth of them in books alone and a tenth in films alone.
        source_rows: rows of books.
        target_rows: rows of films.
        source_items: books.
        target_items: films.
        cold: share of the users of both domains who have no film in the first `LATE` of the time.
        drift: how far tastes move from the first to the last row: 1, to others that have nothing to do with them;
            `transfer` holds at every time. Default 0.
        seed: the same seed and sizes give the same rows; `transfer` changes tastes and what follows from them only.

    Returns:
        Logs, schema and true probabilities.
    """
    if not -1 <= transfer <= 1:
        raise InputError(f"`transfer` is a correlation between -1 and 1. Received: {transfer}.")
    random = np.random.Generator(np.random.PCG64(seed))
    shape = (users, 1 + len(GENRES))
    book_taste, own = random.normal(size=shape), random.normal(size=shape)
    book_taste[:, 0] *= EAGERNESS
    own[:, 0] *= EAGERNESS
    film_taste = transfer * book_taste + np.sqrt(1 - transfer**2) * own  # column 0 is the eagerness
    ages = random.integers(0, len(AGES), users)
    kind = random.random(users)
    in_books, in_films = kind >= 0.1, (kind < 0.1) | (kind >= 0.2)
    turn = np.random.Generator(np.random.PCG64([seed, 1])).normal(size=(2, *shape))
    turn[:, :, 0] *= EAGERNESS
    later = {"books": turn[0], "films": transfer * turn[0] + np.sqrt(1 - transfer**2) * turn[1]}
    is_cold = in_books & in_films & (random.random(users) < cold)
    keys = np.array([f"u{number:05d}" for number in range(users)], object)
    frames, probabilities = {}, {}
    for name, taste, members, rows, items, start in (
        ("books", book_taste, in_books, source_rows, source_items, np.zeros(users)),
        ("films", film_taste, in_films, target_rows, target_items, np.where(is_cold, LATE, 0.0)),
    ):
        frames[name], probabilities[name] = _log(
            random, name, (taste, later[name], drift), members, rows, items, start, ages, keys
        )
    return Synthetic(schema(), frames, probabilities, float(transfer), tuple(keys[is_cold]))


def prepare(**options: Any) -> Prepared:
    """Small logs of books and films, ready to be trained on: what examples start from.

    Args:
        **options: those of `synthesize`; by default there are 3,000 rows of books and 1,000 of films.

    Example:
        >>> from cdrzoo.data import synthetic
        >>> x, y = next(iter(synthetic.prepare().train(64)))
        >>> x["films"]["item"].shape, y["films"].shape
        (TensorShape([64]), TensorShape([64, 1]))
    """
    from cdrzoo.data.preparation.prepared import prepare

    made = synthesize(**{"source_rows": 3_000, "target_rows": 1_000, **options})
    return prepare(made.schema, made.sources)


def pair(folder: str | pathlib.Path, transfer: float, seed: int = 0) -> dict[str, Any]:
    """Two logs as files in a folder of `folder`.

    Args:
        folder: where their folder is made.
        transfer: of `synthesize`.
        seed: of `synthesize`; default 0.

    Returns:
        Arguments of `prepare`: schema, sources, split (by time).
    """
    made = synthesize(transfer, seed=seed)
    files = made.write(pathlib.Path(folder, f"synthetic_{transfer:g}" + f"_{seed}" * (seed > 0)))
    sources = {name: {"path": str(files / f"{name}.csv")} for name in made.frames}
    return {"schema": made.schema, "sources": sources, "split": "time"}


def _log(
    random: np.random.Generator,
    name: str,
    tastes: tuple[np.ndarray, np.ndarray, float],
    members: np.ndarray,
    rows: int,
    items: int,
    start: np.ndarray,
    ages: np.ndarray,
    keys: np.ndarray,
) -> tuple[pd.DataFrame, np.ndarray]:
    genre_of = np.arange(items) % len(GENRES)
    quality, price = random.normal(size=items), np.round(np.exp(random.normal(2.5, 0.5, items)), 2)
    length = random.integers(70, 190, items)
    activity = np.where(members, random.gamma(2.0, 1.0, len(members)), 0.0) * np.where(start > 0, NEW, 1.0)
    user = np.sort(random.choice(len(members), rows, p=activity / activity.sum()))
    taste, later, drift = tastes
    shown = np.exp(0.5 * taste[:, 1:])
    shown = np.cumsum(shown / shown.sum(1, keepdims=True), 1)
    genre = np.minimum((random.random(rows)[:, None] > shown[user]).sum(1), len(GENRES) - 1)
    item = np.minimum(random.integers(0, -(-items // len(GENRES)), rows) * len(GENRES) + genre, items - 1)
    genre = genre_of[item]
    when = start[user] + random.random(rows) * (1 - start[user])
    time = (_START + when * _DAYS * _DAY).astype(np.int64)
    device = random.integers(0, len(DEVICES), rows)
    cost = (np.log(price) - 2.5) / 0.5
    wants = taste[user]
    if drift:
        turned = (drift * np.pi / 2 * when)[:, None]
        wants = np.cos(turned) * wants + np.sin(turned) * later[user]
    logit = -0.7 + wants[:, 0] + wants[np.arange(rows), 1 + genre] + 0.5 * quality[item] - 0.3 * cost[item]
    logit = logit + np.linspace(-0.4, 0.4, len(AGES))[ages[user]]
    if name == "films":
        logit = logit + np.array([-0.4, 0.0, 0.1, 0.4])[device]
    probability = 1 / (1 + np.exp(-logit))
    click = (random.random(rows) < probability).astype(np.int64)
    columns: dict[str, Any] = {
        "event": np.arange(rows),
        "user": keys[user],
        "age": np.array(AGES, object)[ages[user]],
        "item": np.array([f"{name[0]}{number:04d}" for number in range(items)], object)[item],
        "genre": np.array(GENRES, object)[genre],
        "price": price[item],
        "time": time,
        "click": click,
    }
    if name == "films":
        columns["minutes"] = length[item]
        columns["device"] = np.array(DEVICES, object)[device]
    order = np.argsort(time, kind="stable")
    frame = pd.DataFrame({column: values[order] for column, values in columns.items()})
    frame["event"] = np.arange(rows)
    return frame, probability[order]


def schema(width: int = 8) -> Schema:
    """The schema of the two logs: user, age, genre and price are shared; `minutes` and `device` are the films' own.

    Histories list what a user was shown, its genres, and whether he clicked, step by step.
    """

    def features(item_table: str) -> tuple[Feature, ...]:
        return (
            Feature("user", "id", "user", table="user"),
            Feature("age", "id", "user", table="age"),
            Feature("item", "id", "item", table=item_table),
            Feature("genre", "id", "item", table="genre"),
            Feature("price", "number", "item"),
            *(
                Feature(
                    f"{name}_{suffix}",
                    "ids",
                    "history",
                    dtype,
                    table or name[:-1],
                    LENGTH,
                    of=name,
                    field=field,
                )
                for name in ("books", "films")
                for suffix, dtype, table, field in (
                    ("shown", "string", None, "item"),
                    ("genres", "string", "genre", "genre"),
                    ("clicks", "int64", "click", "click"),
                )
            ),
        )

    films_alone = (
        Feature("minutes", "number", "item"),
        Feature("device", "id", "context", table="device"),
    )
    return Schema(
        domains=(
            Domain("books", features("book"), label="click", time="time"),
            Domain("films", features("film") + films_alone, label="click", time="time"),
        ),
        target="films",
        tables=tuple(
            Table(name, width=width) for name in ("user", "age", "book", "film", "genre", "click", "device")
        ),
    )
