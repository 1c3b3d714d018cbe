"""A domain that did not exist yet, on a trained DACDR: Ciao's category 01 is the source, 02 the target, then comes 03.

    python examples/new_domain.py [--data FOLDER] [--seeds 1] [--epochs 20]

For each seed: a DACDR is trained for 02; it is fine-tuned to 03 (`DACDR.for_new_domain`) and, for comparison, a new one
is trained for 03 from scratch, with the same split, batches and stopping rule. Prints seconds, trained parameters and
the AUC on 03's test rows, and checks that the scores of 02 have not moved by a bit.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import time

import keras
import numpy as np

from cdrzoo import data, metrics, optimizers
from cdrzoo.data.preparation.extension import extend
from cdrzoo.models.dacdr import DACDR
from cdrzoo.schema import Domain, Feature, Schema, Table

SOURCE, OLD, NEW = "cat01", "cat02", "cat03"


def domain(name: str) -> Domain:
    """A category: who rated what when; targets list the ratings of the source before the row."""
    listed = (
        Feature("seen", "ids", "history", dtype="int64", table=SOURCE, of=SOURCE, field="item_id", length=30),
        Feature(
            "stars", "ids", "history", dtype="int64", table="stars", of=SOURCE, field="rating", length=30
        ),
    )
    return Domain(
        name,
        (
            Feature("user", "id", "user", dtype="int64", table="user", column="user_id"),
            Feature("item", "id", "item", dtype="int64", table=name, column="item_id"),
            *(() if name == SOURCE else listed),
        ),
        label="rating",
        threshold=4,
        time="timestamp",
    )


def schema(target: str, *domains: str) -> Schema:
    """The schema of these categories."""
    tables = tuple(Table(name) for name in ("user", "stars", *domains))
    return Schema(tuple(domain(name) for name in domains), target, tables)


def fit(model: DACDR, prepared: data.Prepared, epochs: int, seed: int) -> tuple[float, int]:
    """Trains until the target's validation AUC stops rising; keeps the best epoch. Returns seconds and epochs."""
    target = prepared.schema.target
    model.compile(optimizers.Adam(1e-3))
    rows, valid = prepared.train(256, seed=seed, domains=(target,)), prepared.parts[target]["valid"]
    best, weights, kept, begin = -np.inf, model.get_weights(), 0, time.perf_counter()
    for epoch in range(epochs):
        model.fit(rows, epochs=1, verbose=0)
        reached = metrics.evaluate(valid.y, scores(model, prepared, "valid"), "click")["auc"]
        if reached > best:
            best, weights, kept = reached, model.get_weights(), epoch
        elif epoch - kept >= 3:
            break
    seconds = time.perf_counter() - begin
    model.set_weights(weights)
    return seconds, epoch + 1


def scores(model: DACDR, prepared: data.Prepared, part: str = "test") -> np.ndarray:
    """Probabilities of the target's rows of a part."""
    rows = prepared.valid() if part == "valid" else prepared.test()
    return model.predict(rows, verbose=0)[prepared.schema.target][:, 0]


def auc(model: DACDR, prepared: data.Prepared) -> float:
    """AUC on the target's test rows."""
    return metrics.evaluate(
        prepared.parts[prepared.schema.target]["test"].y, scores(model, prepared), "click"
    )["auc"]


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", default=os.environ.get("CDRZOO_DATA", "../shared/data"), help="holds the folder ciao"
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    files = {n: pathlib.Path(given.data) / "ciao" / f"interactions_{n}.csv.gz" for n in (SOURCE, OLD, NEW)}
    before = {name: files[name] for name in (SOURCE, OLD)}
    old = data.prepare(schema(OLD, SOURCE, OLD), before)
    # 03 is split by its own times; what the trained encoder knows keeps its rows.
    extended = schema(NEW, SOURCE, OLD, NEW)
    new = data.prepare(extended, files, encoder=extend(old.encoder, data.prepare(extended, files).encoder))
    for seed in range(given.seeds):
        keras.utils.set_random_seed(seed)
        trained = DACDR(old.schema)
        seconds, epochs = fit(trained, old, given.epochs, seed)
        unmoved = scores(trained, old)
        print(
            f"seed {seed}  {OLD}: AUC {auc(trained, old):.4f}, {trained.trained_parameters:,} parameters, "
            f"{epochs} epochs, {seconds:.0f} s"
        )
        for name in ("fine-tuned", "from scratch"):
            keras.utils.set_random_seed(seed)
            model = DACDR.for_new_domain(trained, new.schema) if name == "fine-tuned" else DACDR(new.schema)
            start = auc(model, new)
            seconds, epochs = fit(model, new, given.epochs, seed)
            print(
                f"seed {seed}  {NEW} {name}: AUC {auc(model, new):.4f} (before training {start:.4f}), "
                f"{model.trained_parameters:,} parameters trained, {epochs} epochs, {seconds:.0f} s"
            )
            if name == "fine-tuned":
                again = model.predict(old.test(), verbose=0)[OLD][:, 0]
                print(
                    f"seed {seed}  {OLD}'s scores are the same to the bit: {np.array_equal(again, unmoved)}"
                )


if __name__ == "__main__":
    main()
