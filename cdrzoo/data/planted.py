"""Logs in which one mechanism of one paper has something to do, and everything else is the same for all models.

A source `books` and a target `films`. Of each plant there is an *oracle*: the same target, and a source that is already
as the mechanism should make it, so that what a model without the mechanism reaches there is an upper bound.

    poison    numbers x0 .. x5; books with x5 < 0 have their labels turned. CCTL's selector should leave them out.
    pool      both domains list the same items, and taste is one; what a user of films likes stands in the books that
              they liked. DACDR's attention compares the candidate with them. Oracle: the true logit is a feature.
    types     events of books have a type and a genre, and the history says both: what is bought follows taste, what is
              viewed does not. DACDR should attend to what was bought of the candidate's genre. Oracle: the history
              lists what was bought alone (`where`).
    specific  films have numbers of their own, of which a field of the row says which one counts. MKT's HFA should weigh
              them. Oracle: the number that counts is a feature.
    meaning   both domains list the same items, and an item is another thing in each. CCTL's REN should hold its two
              embeddings apart, and bring together what a user liked in both. Oracle: the true logit is a feature.
    shift     both domains follow one law of hidden numbers, which books show turned. DADIN's alignment should undo it.
              Oracle: both show them alike.
    common    a part of the law is that of both domains, the rest is another one in each. MKT's polarised distribution
              loss should tell them apart. Oracle: books follow the common part alone.
    gates     the law is turned around for half the rows of books, and a number tells which. MKT's gates should let pass
              what the first stage knows of the others. Oracle: it is turned around for none.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo.errors import check_choice
from cdrzoo.metrics import auc
from cdrzoo.schema import Domain, Feature, Schema, Table

NUMBERS = 6
"""Features of a row of `poison`, `shift` and `gates`; `common` has two more."""
USERS, ITEMS, TASTES, GENRES = 300, 60, 4, 6
SPECIFIC = 8
"""Numbers that only films have."""
LENGTH = 20
"""Events a history keeps."""
ROWS = {
    "pool": (8_000, 9_000),
    "types": (8_000, 9_000),
    "specific": (8_000, 12_000),
    "meaning": (8_000, 12_000),
}
"""Rows of books and of films of a plant, where 8,000 and 3,000 teach its mechanism too little."""
TURN = math.radians(35)
"""By how much `shift` turns two pairs of numbers of books. (Their means and deviations are undone by the encoder.)"""

SPLIT: dict[str, Any] = {"by": "time", "fractions": [0.34, 0.16, 0.5]}
"""Most rows are for the test: what is measured is a mechanism, not the size of a log."""
SPLITS = dict.fromkeys(("shift", "common", "gates"), {"by": "time", "fractions": [0.04, 0.16, 0.8]})
"""Of plants whose target would learn its law from 1,000 rows, and not need the source."""


@dataclasses.dataclass(frozen=True)
class Planted:
    """Logs with a plant.

    Args:
        schema: of the two domains; the target is `films`.
        frames: the logs by domain.
        probabilities: the true click probabilities by domain.
        useful: of each row of books whether it follows the law of the films.
    """

    schema: Schema
    frames: dict[str, pd.DataFrame]
    probabilities: dict[str, np.ndarray]
    useful: np.ndarray


def make(name: str, *, seed: int = 0, oracle: bool = False, rows: tuple[int, int] | None = None) -> Planted:
    """Logs with one plant.

    Args:
        name: one of `PLANTS`.
        seed: the same seed and sizes give the same rows.
        oracle: whether the logs are as the mechanism should make them; the target's labels are the same.
        rows: of books and of films; default: 8,000 and 3,000, or `ROWS`.
    """
    check_choice("`plant`", name, tuple(PLANTS))
    random = np.random.Generator(np.random.PCG64([seed, *name.encode()]))
    return PLANTS[name](random, oracle, *(rows or ROWS.get(name, (8_000, 3_000))))


def pair(folder: str | pathlib.Path, plant: str, oracle: bool = False) -> dict[str, Any]:
    """Two logs with a plant as files in a folder of `folder`.

    Args:
        folder: where their folder is made.
        plant: its name, see `make`.
        oracle: as of `make`.

    Returns:
        Arguments of `prepare`: schema, sources, split (by time).
    """
    made = make(plant, oracle=oracle)
    home = pathlib.Path(folder, f"planted_{plant}{'_oracle' * oracle}")
    home.mkdir(parents=True, exist_ok=True)
    for domain, frame in made.frames.items():
        frame.to_csv(home / f"{domain}.csv", index=False)
    sources = {domain: {"path": str(home / f"{domain}.csv")} for domain in made.frames}
    return {"schema": made.schema, "sources": sources, "split": SPLITS.get(plant, SPLIT)}


def bayes(plant: str) -> float:
    """The AUC of the true click probabilities on the test rows of `pair(..., plant)`: no model is surely above it."""
    made = make(plant)
    films = made.frames["films"]
    first = len(films) - round(
        SPLITS.get(plant, SPLIT)["fractions"][-1] * len(films)
    )  # rows are in order of time
    clicks = films["click"].to_numpy("float64")[first:]
    return auc(clicks, made.probabilities["films"][first:])


def _frame(
    random: np.random.Generator, logit: np.ndarray, start: float, columns: dict[str, Any]
) -> tuple[Any, Any]:
    """A log whose events lie between `start` and `start + 1`, in order of time, and its true probabilities."""
    probability, time = 1 / (1 + np.exp(-logit)), np.sort(start + random.random(len(logit)))
    click = (random.random(len(logit)) < probability).astype(np.int64)
    return pd.DataFrame({**columns, "time": time, "click": click}), probability


def _poison(random: np.random.Generator, oracle: bool, *rows: int) -> Planted:
    frames, truth, useful = {}, {}, np.ones(rows[0], bool)
    for name, count in zip(("books", "films"), rows):
        x = random.normal(size=(count, NUMBERS))
        logit = 1.5 * (1.5 * x[:, 0] + 1.5 * x[:, 1] * x[:, 2] + np.sin(2 * x[:, 3]))
        if name == "books":
            useful = x[:, 5] > 0
            logit = np.where(useful, logit, -logit)
        columns = {f"x{k}": x[:, k] for k in range(NUMBERS)}
        frames[name], truth[name] = _frame(random, logit, 0.0, columns)
    if oracle:
        frames["books"], truth["books"] = frames["books"][useful], truth["books"][useful]
        useful = useful[useful]
    features = tuple(Feature(f"x{k}", "number", "item") for k in range(NUMBERS))
    domains = tuple(Domain(name, features, label="click", time="time") for name in frames)
    return Planted(Schema(domains, "films"), frames, truth, useful)


def _taste(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return random.normal(size=(USERS, TASTES)), random.normal(size=(ITEMS, TASTES)) / 2


def _shown(
    random: np.random.Generator, rows: int, users: int = USERS, items: int = ITEMS
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    user, item = random.integers(users, size=rows), random.integers(items, size=rows)
    return (
        user,
        item,
        {"user": np.char.add("u", user.astype(str)), "item": np.char.add("i", item.astype(str))},
    )


def _pool(random: np.random.Generator, oracle: bool, *rows: int) -> Planted:
    users, items = _taste(random)
    law = 2 * users @ items.T
    schema = _schema(_listed("books_liked", where=LIKED), own=HINT if oracle else ())
    return _laws(random, schema, rows, law, law)


def _laws(random: np.random.Generator, schema: Schema, rows: tuple[int, ...], *laws: np.ndarray) -> Planted:
    """Logs that follow laws `[USERS, ITEMS]`, one of books and one of films; all books come before all films."""
    frames, truth = {}, {}
    for name, law, count, start in zip(("books", "films"), laws, rows, (0.0, 1.0)):
        user, item, columns = _shown(random, count)
        logit = law[user, item]
        columns["hint"] = logit.round(6)  # the files are the same on every machine
        frames[name], truth[name] = _frame(random, logit, start, columns)
    return Planted(schema, frames, truth, np.ones(rows[0], bool))


def _meaning(random: np.random.Generator, oracle: bool, *rows: int) -> Planted:
    users, items = _taste(random)
    other = random.permutation(ITEMS)
    law = 2 * users @ items.T
    both = (_listed("books_liked", where=LIKED), _listed("films_liked", of="films", where=LIKED))
    return _laws(random, _schema(*both, own=HINT if oracle else ()), rows, law[:, other], law)


def _numbers(
    random: np.random.Generator,
    rows: tuple[int, ...],
    *laws: Callable[..., Any],
    shown: Any = None,
    numbers: int = NUMBERS,
) -> Planted:
    """Logs of which the laws are of numbers. The few users and items say nothing, and all books come before all films.

    Args:
        rows: of books and of films.
        laws: theirs, from numbers `[rows, numbers]` to logits.
        shown: what books show of their numbers; default: all as they are.
        numbers: how many.
    """
    frames, truth = {}, {}
    for name, law, count, start in zip(("books", "films"), laws, rows, (0.0, 1.0)):
        _, _, columns = _shown(random, count, 3, 3)
        z = random.uniform(-1, 1, size=(count, numbers))
        x = shown(z) if shown and name == "books" else z
        columns |= {f"x{k}": x[:, k] for k in range(numbers)}
        frames[name], truth[name] = _frame(random, law(z), start, columns)
    features = tuple(Feature(f"x{k}", "number", "item") for k in range(numbers))
    return Planted(_schema(*READ, *features), frames, truth, np.ones(rows[0], bool))


def _law(z: np.ndarray) -> np.ndarray:
    return 9 * (z[:, 0] * z[:, 1] + z[:, 2] * z[:, 3]) + 3 * np.sin(4 * z[:, 4])


def _turned(z: np.ndarray) -> np.ndarray:
    """Two pairs of numbers, turned by `TURN`."""
    x = z.copy()
    for one, other in ((0, 1), (2, 3)):
        x[:, one] = math.cos(TURN) * z[:, one] - math.sin(TURN) * z[:, other]
        x[:, other] = math.sin(TURN) * z[:, one] + math.cos(TURN) * z[:, other]
    return x


def _shift(random: np.random.Generator, oracle: bool, *rows: int) -> Planted:
    return _numbers(random, rows, _law, _law, shown=None if oracle else _turned)


def _gates(random: np.random.Generator, oracle: bool, *rows: int) -> Planted:
    def of_books(z: np.ndarray) -> np.ndarray:
        return _law(z) if oracle else np.where(z[:, 5] > 0, _law(z), -_law(z))

    return _numbers(random, rows, of_books, _law)


def _common(random: np.random.Generator, oracle: bool, *rows: int) -> Planted:
    def of_books(z: np.ndarray) -> np.ndarray:
        return _law(z) if oracle else _law(z) + 9 * z[:, 5] * z[:, 6]

    return _numbers(random, rows, of_books, lambda z: _law(z) + 9 * z[:, 6] * z[:, 7], numbers=NUMBERS + 2)


def _types(random: np.random.Generator, oracle: bool, *rows: int) -> Planted:
    likes = random.normal(size=(USERS, GENRES))
    frames, truth = {}, {}
    for name, count, start in zip(("books", "films"), rows, (0.0, 1.0)):
        user, item, columns = _shown(random, count)
        bought = random.random(count) < 0.3
        if name == "books":  # what a user buys is of the genres that they like
            liked = (2 * likes[user] + random.gumbel(size=(count, GENRES))).argmax(axis=1)
            item = np.where(bought, item - item % GENRES + liked, item)
            useful = bought
        genre = np.char.add("g", (item % GENRES).astype(str))
        kind = np.where(bought, "buy", "view")
        columns |= {"item": np.char.add("i", item.astype(str)), "genre": genre, "type": kind}
        columns["event"] = np.char.add(np.char.add(kind, " "), genre)
        logit = 2 * likes[user, item % GENRES] * (name == "films")
        frames[name], truth[name] = _frame(random, logit, start, columns)
    listed = _listed("books_event", "event", where={"type": "buy"} if oracle else None)
    schema = _schema(Feature("genre", "id", "item", table="genre"), listed)
    return Planted(schema, frames, truth, useful)


def _specific(random: np.random.Generator, oracle: bool, *rows: int) -> Planted:
    users, items = _taste(random)
    frames, truth = {}, {}
    for name, count in zip(("books", "films"), rows):
        user, item, columns = _shown(random, count)
        logit = (users[user] * items[item]).sum(1)
        if name == "films":
            x, counts = random.normal(size=(count, SPECIFIC)), random.integers(SPECIFIC, size=count)
            chosen = x[np.arange(count), counts]
            logit = logit + 2 * chosen
            columns |= {f"x{k}": x[:, k] for k in range(SPECIFIC)}
            columns |= {"counts": np.char.add("x", counts.astype(str)), "hint": chosen}
        frames[name], truth[name] = _frame(random, logit, 0.0, columns)
    own = tuple(Feature(f"x{k}", "number", "item") for k in range(SPECIFIC))
    own += (Feature("counts", "id", "item", table="counts"),)
    schema = _schema(*READ, own=(*own, *(HINT if oracle else ())))
    return Planted(schema, frames, truth, np.ones(rows[0], bool))


def _listed(name: str, column: str = "item", of: str = "books", where: Any = None) -> Feature:
    """A history of what a user did in a domain, as rows of both domains list it."""
    dtype = "int64" if column == "click" else "string"
    return Feature(
        name, "ids", "history", dtype, table=column, length=LENGTH, of=of, field=column, where=where
    )


LIKED = {"click": 1}
READ = (_listed("books_item"), _listed("books_click", "click"))
HINT = (Feature("hint", "number", "item"),)


def _schema(*shared: Feature, own: tuple[Feature, ...] = ()) -> Schema:
    """Users and items of both domains, further features of both, and the films' own."""
    keys = tuple(Feature(name, "id", name, table=name) for name in ("user", "item"))
    domains = (
        Domain("books", (*keys, *shared), label="click", time="time"),
        Domain("films", (*keys, *shared, *own), label="click", time="time"),
    )
    used = {f.table for d in domains for f in d.features if f.table}
    return Schema(
        domains,
        "films",
        tuple(Table(name) for name in ("user", "item", "genre", "event", "click", "counts") if name in used),
    )


PLANTS: dict[str, Callable[..., Planted]] = {
    "poison": _poison,
    "pool": _pool,
    "types": _types,
    "specific": _specific,
    "meaning": _meaning,
    "shift": _shift,
    "common": _common,
    "gates": _gates,
}
