"""Run configurations: every key with values of every type, and the arguments of every model."""

from __future__ import annotations

import copy
import inspect
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo.documents import dump_yaml
from cdrzoo.errors import InputError
from cdrzoo.models import cards
from cdrzoo.training.config import RunConfig
from tests.attack.judge import NO_VALUE, Case
from tests.attack.schemas import (
    HISTORY,
    SCHEMA,
    VALUES,
    Fits,
    changed,
    never,
    number,
    or_none,
    text,
    truth,
    whole,
)

RUN: dict[str, Any] = {
    "schema": SCHEMA,
    "data": {
        "books": "books.csv",
        "films": {"path": "films.csv", "join": [{"path": "items.csv", "on": "item"}]},
    },
    "split": {"by": "time", "fractions": [0.6, 0.2, 0.2]},
    "model": "dnn",
    "arguments": {},
    "training": {"epochs": 1, "batch_size": 16},
}
"""A run of small logs."""


def above(least: float, most: float = math.inf) -> Fits:
    return lambda v: number(v) and least < v <= most


def names(v: Any) -> bool:
    return isinstance(v, list) and all(
        one in ("user", "item", "genres", "minutes", "click", "time") for one in v
    )


FILMS, TRAINING = ("data", "films"), ("training",)
KEYS: dict[tuple[Any, ...], Fits] = {
    ("schema",): never,
    ("data",): never,
    ("data", "books"): never,
    ("data", "comics"): never,
    (*FILMS, "path"): never,
    (*FILMS, "kind"): or_none(never),
    (*FILMS, "join"): never,
    (*FILMS, "join", 0): never,
    (*FILMS, "join", 0, "path"): never,
    (*FILMS, "join", 0, "on"): lambda v: v == "user" and False,
    (*FILMS, "negatives"): or_none(never),
    (*FILMS, "separator"): or_none(text),
    (*FILMS, "delimiter"): or_none(never),
    (*FILMS, "weight"): or_none(never),
    (*FILMS, "history_min_label"): or_none(number),
    (*FILMS, "color"): or_none(never),
    ("split",): or_none(never),
    ("split", "by"): never,
    ("split", "fractions"): or_none(never),
    ("split", "cuts"): or_none(never),
    ("split", "color"): or_none(never),
    ("model",): or_none(never),
    ("arguments",): or_none(lambda v: v == {}),
    ("domains",): or_none(never),
    ("preparation",): or_none(lambda v: v == {}),
    ("preparation", "include_ties"): truth,
    ("preparation", "history"): never,
    ("preparation", "seed"): whole(0, 10**30),
    ("slices",): or_none(names),
    ("width",): or_none(whole(1, 65536)),
    ("first",): or_none(lambda v: v == {}),
    ("finetune",): or_none(never),
    ("seed",): or_none(whole(0, 2**32 - 1)),
    ("color",): never,
    ("training",): or_none(lambda v: v == {}),
    (*TRAINING, "optimizer"): or_none(never),
    (*TRAINING, "learning_rate"): or_none(above(0)),
    (*TRAINING, "weight_decay"): or_none(lambda v: number(v) and v >= 0),
    (*TRAINING, "batch_size"): or_none(whole(1)),
    (*TRAINING, "source_ratio"): or_none(above(0, 1e6)),
    (*TRAINING, "epochs"): or_none(whole(1)),
    (*TRAINING, "patience"): or_none(whole(1)),
    (*TRAINING, "monitor"): or_none(never),
    (*TRAINING, "epoch"): or_none(whole(1)),
    (*TRAINING, "mixed_precision"): or_none(truth),
    (*TRAINING, "xla"): or_none(truth),
    (*TRAINING, "steps_per_execution"): or_none(whole(1)),
    (*TRAINING, "loss_weights"): or_none(lambda v: v == {}),
    (*TRAINING, "callbacks"): or_none(lambda v: v == []),
    (*TRAINING, "color"): never,
}
"""Every key, and which values are right."""
UNNAMED = {
    *(("schema",), ("data",), ("data", "books"), ("arguments",), (*TRAINING, "loss_weights")),
    *((*FILMS, "path"), (*FILMS, "delimiter"), (*FILMS, "weight"), (*FILMS, "join"), (*FILMS, "join", 0)),
    *((*FILMS, "join", 0, "path"), (*FILMS, "join", 0, "on")),
}
"""Keys of which a wrong value may be said to be no file, no column, no domain, ... that there is."""
SPLITS: list[tuple[Any, tuple[str, ...]]] = [
    ("x", ("split",)), ("given", ("split",)), ({"by": "given", "column": "zip"}, ("zip",)),
    ({"by": "given", "column": 5}, ("column",)), ({"by": "given", "column": "click"}, ("click", "train", "row 1")),
    ({"by": "time", "cuts": [5]}, ("cuts",)), ({"by": "time", "cuts": [9, 5]}, ("cuts",)),
    ({"by": "time", "cuts": "5,9"}, ("cuts",)), ({"by": "time", "cuts": [10**12, 10**13]}, ("split", "test")),
    ({"by": "time", "cuts": [0, 0]}, ("split", "train")), ({"by": "random", "seed": -1}, ("seed",)),
    ({"by": "random", "seed": "x"}, ("seed",)), ({"by": "random", "cuts": [1, 2]}, ("cuts",)),
    ({"by": "random", "fractions": [0.5, 0.5]}, ("fractions",)), ({"by": "random", "fractions": [1, 0, 0]}, ("test",)),
    ({"by": "random", "fractions": [0, 0.5, 0.5]}, ("train",)), ({"by": "random", "fractions": [2, -1, 0]}, ("fractions",)),
    ({"by": "random", "fractions": [math.nan, 0.5, 0.5]}, ("fractions",)), ({"by": "random", "fractions": "half"}, ("fractions",)),
    ({"by": "random", "fractions": {"train": 1}}, ("fractions",)), ({"by": "random", "fractions": [0.7, 0.2, 0.2]}, ("fractions",)),
    ({"by": "resample", "train": 2}, ("train",)), ({"by": "resample", "overlap": 0}, ("overlap",)),
    ({"by": "resample", "day": -1}, ("day",)), ({"by": "resample", "literal": "yes"}, ("literal",)),
    ({"fractions": [0.6, 0.2, 0.2]}, ("split",)), ({"by": None}, ("split",)), ({"By": "time"}, ("split",)),
    ({"by": ["time"]}, ("split",)), ({}, ("split",)), ([], ("split",)), (["time"], ("split",)),
]  # fmt: skip
NEGATIVES: list[tuple[Any, tuple[str, ...]]] = [
    *((value, ("negatives",)) for value in VALUES if value not in (None, {})),
    *(({"per_positive": value}, ("per_positive",)) for value in (0, -1, 1.5, True, "x", [], math.nan)),
    *(({"how": value}, ("how",)) for value in ("x", 5, True, [], {})),
    ({"per_positive": 2, "color": 1}, ("color",)),
    ({"per_positive": 1}, ("positives", "row")),
]
JOINS: list[tuple[Any, tuple[str, ...]]] = [
    ({"path": "nowhere.csv", "on": "item"}, ("nowhere.csv",)),
    ({"path": "items.csv", "on": "itm"}, ("itm",)),
    ({"path": "items.csv"}, ("on",)),
    ({"on": "item"}, ("path",)),
    ({"path": "items.csv", "on": "minutes"}, ("minutes",)),
    ({"path": "items.csv", "at": "item"}, ("at",)),
    ({"path": "items.csv", True: "item"}, ("True",)),
    ({"path": "twice.csv", "on": "item"}, ("twice.csv", "item")),
    ({"path": "items.csv", "on": "item", "delimiter": ";"}, ("item",)),
    ("items.csv", ("join",)),
    ({"path": "items.csv", "on": None}, ("on",)),
]


def write(seed: int) -> None:
    """The rows."""
    drawn = np.random.default_rng(seed)

    def log(rows: int) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "user": [f"u{n}" for n in drawn.integers(0, 15, rows)],
                "item": [f"i{n}" for n in drawn.integers(0, 12, rows)],
                "genres": [("g1", "g1|g2", "g2|g3")[n] for n in drawn.integers(0, 3, rows)],
                "time": drawn.permutation(rows) + 1_700_000_000,
                "click": drawn.integers(0, 2, rows),
            }
        )

    log(150).to_csv("books.csv", index=False)
    log(100).to_csv("films.csv", index=False)
    items = pd.DataFrame({"item": [f"i{n}" for n in range(12)], "minutes": drawn.integers(80, 180, 12)})
    items.to_csv("items.csv", index=False)
    pd.concat([items, items]).to_csv("twice.csv", index=False)
    with open("run.yaml", "w", encoding="utf-8") as file:
        file.write(dump_yaml(RUN))
    with open("schema.yaml", "w", encoding="utf-8") as file:
        file.write(dump_yaml(SCHEMA))


def prepared(given: Any) -> RunConfig:
    """All that is looked at before a training: the configuration, its rows and its model's arguments."""
    config = RunConfig.from_dict(given)
    config.model_arguments()
    config.prepare()
    return config


def held(config: RunConfig, path: tuple[Any, ...]) -> Any:
    inner: Any = config.to_dict()
    for key in path:
        inner = inner[key] if isinstance(key, int) or key in inner else None
    return inner


def of_keys() -> Iterator[Case]:
    """Every key with every value, and the entries that have several forms."""
    anything = lambda _: True  # noqa: E731
    for path, fits in KEYS.items():
        base = RUN if path[0] != "preparation" or len(path) == 1 else {**RUN, "preparation": {}}
        named = next(str(key) for key in reversed(path) if isinstance(key, str)).rstrip("s")
        for value in VALUES:
            right = value if fits(value) else NO_VALUE
            if value in (None, {}, []):
                right = anything if right is not NO_VALUE else right

            def run(path: Any = path, value: Any = value, base: Any = base) -> Any:
                return held(prepared(changed(path, value, base)), path)

            words = (
                None
                if right is not NO_VALUE and value not in (None, [], {})
                else ()
                if path in UNNAMED
                else (named,)
            )
            yield Case(f"{'.'.join(map(str, path))}: {value!r:.30}", run, right, words)
    for name, path, cases in (
        ("split", ("split",), SPLITS),
        ("negatives", (*FILMS, "negatives"), NEGATIVES),
        ("join", (*FILMS, "join", 0), JOINS),
    ):
        for value, words in cases:
            yield Case(
                f"{name}: {value!r:.60}",
                lambda path=path, value=value: prepared(changed(path, value, RUN)) and value,
                NO_VALUE,
                words,
            )
    for key in ("schema", "data"):
        yield Case(f"without {key}", lambda key=key: prepared(changed((key,), ..., RUN)), NO_VALUE, (key,))
    for key, section in (
        ("epochs", "training"),
        ("learning_rate", "training"),
        ("units", "arguments"),
        ("seed", None),
    ):
        for place in ((key,), ("training", key), ("arguments", key), ("split", key), ("data", key)):
            if place[0] != section and not (section is None and len(place) == 1):
                yield Case(
                    f"{'.'.join(place)}, where it is not known",
                    lambda place=place: prepared(changed(place, 5, RUN)),
                    NO_VALUE,
                    (key,),
                )


def surely_wrong(usual: Any, value: Any) -> bool:
    """Whether a value is none of the type of an argument whose default this is."""
    if isinstance(usual, bool):
        return not isinstance(value, bool)
    if isinstance(usual, int):
        return not isinstance(value, int) or isinstance(value, bool) or value >= 10**30
    if isinstance(usual, float):
        return not number(value)
    if isinstance(usual, str):
        return True
    if isinstance(usual, tuple):
        return value not in ([1, 2, 3], [])
    return False


RICH = copy.deepcopy(SCHEMA)
"""With what every model needs: two histories in each domain, and what only one lists."""
for _domain in RICH["domains"].values():
    _domain["features"].append({**HISTORY, "name": "seen", "of": "films", "table": "film"})


def of_arguments(seed: int) -> Iterator[Case]:
    """Arguments of every model, drawn among the values; what is surely wrong names the argument."""
    from cdrzoo.training import fitting

    drawn, config = random.Random(seed), RunConfig.from_dict({**RUN, "width": 4, "schema": RICH})
    for card in cards.CARDS:
        try:
            run = config.with_changes({"model": card.name})
            parameters = inspect.signature(run.constructor()).parameters.values()
        except (InputError, ImportError):
            continue
        for one in parameters:
            if one.name in ("schema", "pretrained", "trained", "kwargs", "finetune"):
                continue
            for value in drawn.sample(VALUES, 7):
                wrong = value is not None and surely_wrong(one.default, value)

                def make(name: str = card.name, argument: str = one.name, value: Any = value) -> Any:
                    changes = {"model": name, argument: copy.deepcopy(value)}
                    fitting.check_model(config.with_changes(changes))
                    return True

                yield Case(
                    f"{card.name}: {one.name}={value!r:.40} for {one.default!r}",
                    make,
                    NO_VALUE if wrong else True,
                    ((one.name, one.name.rpartition("_")[2]),) if wrong else (),
                )


def of_runs(seed: int) -> Iterator[tuple[str, Case]]:
    """All of them."""
    write(seed)
    for kind, cases in (("runs, every key", of_keys()), ("models' arguments", of_arguments(seed))):
        for one in cases:
            yield kind, one
