"""Do vectors of items carry over between domains that have no item in common? On planted logs, over seeds.

    python examples/vectors.py --out vectors.svg      (needs matplotlib: pip install "cdrzoo[report]")

Every item has four hidden properties, and every segment of users likes them in its own way, the same in both domains.
Books and films have no item in common. A vector of 16 numbers tells the properties of an item, mixed, so that no number
of it is a property. Four factorization machines are compared: with and without vectors, on the rows of the target
(films) alone and on those of both domains.
"""

from __future__ import annotations

import argparse

import keras
import numpy as np
import pandas as pd

from cdrzoo.data import prepare
from cdrzoo.metrics import auc
from cdrzoo.models import FM
from cdrzoo.schema import Domain, Feature, Schema, Table

SEGMENTS, ITEMS, PROPERTIES, SIZE = 20, 1000, 4, 16
ROWS = {"books": 8_000, "films": 1_500}
BATCH = {"books": 512, "films": 64}
SPLIT = {"by": "random", "fractions": [0.34, 0.16, 0.5]}
WAYS = {
    "target alone, ids": (False, False),
    "both domains, ids": (False, True),
    "target alone, vectors": (True, False),
    "both domains, vectors": (True, True),
}
"""By name whether the rows have vectors, and whether the source is read."""


def logs(seed: int) -> dict[str, pd.DataFrame]:
    """The rows of both domains."""
    random = np.random.default_rng(seed)
    likes = 2 * random.normal(size=(SEGMENTS, PROPERTIES))
    mixed = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0][:PROPERTIES]
    frames = {}
    for name, rows in ROWS.items():
        properties = random.normal(size=(ITEMS, PROPERTIES))
        vectors = properties @ mixed + random.normal(size=(ITEMS, SIZE)) / 20
        item, segment = random.integers(ITEMS, size=rows), random.integers(SEGMENTS, size=rows)
        logit = (likes[segment] * properties[item]).sum(axis=1)
        frames[name] = pd.DataFrame(
            {
                "segment": [f"s{n}" for n in segment],
                "item": [f"{name} {n}" for n in item],
                "text": list(vectors[item]),
                "click": (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(int),
            }
        )
    return frames


def schema(vectors: bool, source: bool) -> Schema:
    """Segments are shared, items are not; vectors go through one projection in both domains."""
    text = (Feature("text", "vector", "item", table="text", size=SIZE),) if vectors else ()
    domains = [
        Domain(
            name,
            (
                Feature("segment", "id", "user", table="segment"),
                Feature("item", "id", "item", table=name),
                *text,
            ),
            label="click",
        )
        for name in (("books", "films") if source else ("films",))
    ]
    names = ["segment", *(domain.name for domain in domains), *(feature.table for feature in text)]
    return Schema(tuple(domains), "films", tuple(map(Table, names)))


def auc_of(seed: int, vectors: bool, source: bool, epochs: int = 15) -> float:
    """The AUC on test rows, of the epoch that is best on validation rows."""
    keras.utils.set_random_seed(seed)
    made, frames = schema(vectors, source), logs(seed)
    names = [domain.name for domain in made.domains]
    prepared = prepare(made, {name: frames[name] for name in names}, split=SPLIT, seed=seed)
    model = FM(prepared.schema)
    model.compile(keras.optimizers.Adam(0.01))
    found: list[list[float]] = []

    def measure(*_) -> None:
        found.append([_auc(model, prepared.parts["films"][part]) for part in ("valid", "test")])

    rows = prepared.train({name: BATCH[name] for name in names}, seed=seed)
    watch = keras.callbacks.LambdaCallback(on_epoch_end=measure)
    model.fit(rows, epochs=epochs, verbose=0, callbacks=[watch])
    return max(found)[1]


def _auc(model, rows) -> float:
    scores = np.asarray(model({"films": rows.x}, training=False)["films"])[:, 0]
    return auc(rows.y[:, 0].astype(np.float64), scores.astype(np.float64))


def draw(found: dict[str, np.ndarray], path: str) -> None:
    """A row a way, a dot a seed, a line at their mean."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "vectors"
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 2.2), layout="constrained")
    for place, values in enumerate(found.values()):
        axis.plot(values, np.full(len(values), -place), "o", color="tab:blue", alpha=0.6)
        axis.plot([values.mean()] * 2, [-place - 0.3, -place + 0.3], color="tab:orange", linewidth=2)
        axis.annotate(f"{values.mean():.3f}", (values.mean(), -place + 0.32), ha="center", fontsize=8)
    axis.set_yticks([-place for place in range(len(found))], list(found))
    axis.set_ylim(-len(found) + 0.5, 0.8)
    axis.set_xlabel("AUC of test rows")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="vectors.svg", help="where the figure is written")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    arguments = parser.parse_args()
    found = {
        name: np.array([auc_of(seed, *how) for seed in range(arguments.seeds)]) for name, how in WAYS.items()
    }
    for name, values in found.items():
        print(f"{name:24}{values.mean():.3f} ± {values.std(ddof=1):.3f}   {np.round(values, 3).tolist()}")
    draw(found, arguments.out)


if __name__ == "__main__":
    main()
