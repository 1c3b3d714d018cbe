"""CTNet from day to day, on built-in logs: a finished run, then each day a newer tower of the source and new rows.

    python examples/ctnet_daily.py [--out runs/ctnet_daily] [--days 4]

The run, that of `cdrzoo train --model ctnet` on the past, leaves `first/model.keras` (the source's tower),
`model.keras` (CTNet) and `encoder/`. Each day the two models are loaded as they were stored,

    source.fit(the day's rows of books)       trains the source's tower on
    model.refresh(source)                     hands it over; nothing that the target has learnt moves
    model.fit(the day's rows of films)        the increment

and stored anew. Printed is the AUC of the next day's films, which nothing was trained on: by the model as it was
stored, after the refresh, and after the increment; and beside them by the run's model, left alone. In the end the model
is exported. A day here is ten days of the logs, so that it has some hundred rows.

The encoder stays that of the run: a user or an item that comes later is unknown to it (row 1). Where new ids come every
day, give their tables `hash_buckets`, or start anew from time to time.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import keras
import numpy as np

from cdrzoo import data, metrics
from cdrzoo.data import synthetic
from cdrzoo.export import save
from cdrzoo.training import run
from cdrzoo.training.config import RunConfig, Training

SIZES = {"users": 600, "source_rows": 40_000, "target_rows": 16_000, "source_items": 200, "target_items": 100}
DAY = 10 * 86_400
PAST = 10
"""Days that the run trains on."""


def cut(made: synthetic.Synthetic, day: int) -> tuple[synthetic.Synthetic, dict]:
    """What is known when a day and the next are over, and the split: the past, the day, and the next as the test."""
    begin = min(int(log["time"].min()) for log in made.frames.values()) + (PAST + day) * DAY
    known = {name: log[log["time"] < begin + 2 * DAY] for name, log in made.frames.items()}
    return dataclasses.replace(made, frames=known), {"by": "time", "cuts": [begin, begin + DAY]}


def train(made: synthetic.Synthetic, folder: pathlib.Path) -> None:
    """The run on the past. It is validated on the first day, which is then the first increment."""
    known, split = cut(made, 0)
    files = known.write(folder / "logs")
    sources = {name: str(files / f"{name}.csv") for name in known.frames}
    training = Training(batch_size=128, epochs=6, patience=2)
    run.train(RunConfig(made.schema, sources, "ctnet", split=split, training=training), folder / "run")


def increment(model: keras.Model, prepared: data.Prepared, seed: int) -> None:
    """One pass over the day's rows of the domains that a model trains on."""
    rows = {name: prepared.parts[name]["valid"] for name in model.training_domains}
    model.fit(data.training_batches(rows, list(rows)[0], 64, seed=seed), verbose=0, shuffle=False)


def scores(model: keras.Model, prepared: data.Prepared) -> np.ndarray:
    """Probabilities of the next day's films."""
    return model.predict(prepared.test(), verbose=0)["films"][:, 0]


def go_on(
    source: keras.Model, model: keras.Model, prepared: data.Prepared, day: int
) -> dict[str, np.ndarray]:
    """What is done every day; returns the scores of the next day at each step."""
    found = {"stored": scores(model, prepared)}
    increment(source, prepared, day)
    model.refresh(source)
    found["refreshed"] = scores(model, prepared)
    increment(model, prepared, day)
    return {**found, "trained": scores(model, prepared)}


def measure(found: dict[str, np.ndarray], prepared: data.Prepared) -> dict[str, float]:
    """The AUC of scores of the next day, and how far the refresh moved a score."""
    clicks = prepared.parts["films"]["test"].y
    aucs = {name: metrics.evaluate(clicks, each, "click")["auc"] for name, each in found.items()}
    return {**aucs, "moved": float(np.abs(found["refreshed"] - found["stored"]).mean())}


def main(folder: pathlib.Path, days: int, sizes: dict[str, int] = SIZES) -> list[dict[str, float]]:
    """Runs it all in a new folder; returns what each day gave."""
    made = synthetic.synthesize(**sizes)
    train(made, folder)
    encoder = data.Encoder.load(folder / "run/encoder")
    files = folder / "run/first/model.keras", folder / "run/model.keras"
    alone, found = keras.models.load_model(files[1]), []
    for day in range(days):
        source, model = map(keras.models.load_model, files)
        known, split = cut(made, day)
        prepared = data.prepare(made.schema, known.sources, split=split, encoder=encoder)
        scored = {**go_on(source, model, prepared, day), "run": scores(alone, prepared)}
        found.append(measure(scored, prepared))
        files = folder / f"day_{day}/source.keras", folder / f"day_{day}/ctnet.keras"
        files[0].parent.mkdir()
        source.save(files[0])
        model.save(files[1])
        line = ", ".join(f"{name} {value:.4f}" for name, value in found[-1].items())
        print(f"day {day}, {len(prepared.parts['films']['test'])} rows of the next: {line}", flush=True)
    print(save(model, encoder, folder / "films", examples=prepared.frame("films", "test", 64)))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default="runs/ctnet_daily", help="a new folder")
    parser.add_argument("--days", type=int, default=4, help="at most 8")
    given = parser.parse_args()
    main(given.out, given.days)
