"""Figure 7 of DADIN: the mean weights of a user's interests, for rows with and without a click.

    python examples/dadin_weights.py --out weights.png      (needs matplotlib: pip install "cdrzoo[report]")
    python examples/dadin_weights.py --pair ctr_amazon_1_2 --data DATA

Trains DADIN for a few epochs on built-in logs, or as a named experiment does, with several seeds. `mean_weights` and
`draw` take any trained DADIN and any rows.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
from typing import Any

import numpy as np

from cdrzoo.data import prepare, synthetic
from cdrzoo.experiments import catalogue, reproduce
from cdrzoo.models import DADIN
from cdrzoo.optimizers import Adam
from cdrzoo.training import fitting


def mean_weights(model: DADIN, x: dict[str, Any], y: np.ndarray) -> dict[str, dict[str, float]]:
    """`{"clicked" | "not clicked" | "mean of both": {interest: mean weight}}` of rows of the target."""
    weights = {
        name: np.asarray(v)
        for name, v in model.interest_weights({model.schema.target: x})[model.schema.target].items()
    }
    clicked = np.asarray(y).reshape(-1) > 0.5
    means = {
        what: {name: float(v[chosen].mean()) for name, v in weights.items()}
        for what, chosen in (("clicked", clicked), ("not clicked", ~clicked))
    }
    means["mean of both"] = {
        name: (means["clicked"][name] + means["not clicked"][name]) / 2 for name in weights
    }
    return means


def draw(means: dict[str, dict[str, float]], path: str | pathlib.Path) -> None:
    """A heat map; the darker, the larger."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows, columns = list(means), list(next(iter(means.values())))
    values = np.array([[means[row][column] for column in columns] for row in rows])
    figure, axis = plt.subplots(figsize=(1.9 * len(columns) + 1.5, 3.2), constrained_layout=True)
    axis.imshow(values, cmap="Blues")
    axis.set_xticks(range(len(columns)), [column.replace("_", "\n") for column in columns])
    axis.set_yticks(range(len(rows)), rows)
    for (i, j), value in np.ndenumerate(values):
        dark = value > (values.min() + values.max()) / 2
        axis.text(j, i, f"{value:.3f}", ha="center", va="center", color="white" if dark else "black")
    axis.set_title("interest weights of the target's test rows")
    figure.savefig(path, dpi=110)


def of_pair(name: str, folder: str, seeds: int) -> list[dict[str, dict[str, float]]]:
    """The mean weights on the test rows of a named experiment of clicks: a DADIN a seed, nothing searched.

    Args:
        name: of the experiment, such as `ctr_amazon_1_2`.
        folder: where the published files are.
    """
    (part,) = catalogue.find(name, None).parts.values()
    entry = next(entry for entry in part.entries if entry.label == "DADIN")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        config = reproduce.configuration(part, folder, pathlib.Path(scratch) / "rows", {})
        rows = fitting.prepare(config)
        for seed in range(seeds):
            one = config.with_changes({**entry.changes, "seed": seed})
            fitted = fitting.fit(one, rows, pathlib.Path(scratch) / str(seed), histograms=False)
            test = rows.parts[rows.schema.target]["test"]
            found.append(mean_weights(fitted.model, test.x, test.y))
            print(f"seed {seed}:", found[-1], flush=True)
    return found


def built_in(epochs: int) -> dict[str, dict[str, float]]:
    """The mean weights on the test rows of built-in logs."""
    logs = synthetic.synthesize(0.9)
    sources = {name: {"data": frame, "history_min_label": 1} for name, frame in logs.frames.items()}
    prepared = prepare(logs.schema, sources)
    trained = DADIN(prepared.schema.with_width(16))
    trained.compile(Adam(0.003))
    trained.fit(prepared.train({"books": 1024, "films": 256}), epochs=epochs, verbose=2)
    test = prepared.parts["films"]["test"]
    return mean_weights(trained, test.x, test.y)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="weights.png")
    parser.add_argument("--epochs", type=int, default=3, help="on built-in logs")
    parser.add_argument("--pair", help="a named experiment of clicks in place of built-in logs")
    parser.add_argument("--data", help="where its published files are")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    if given.pair:
        every = of_pair(given.pair, given.data, given.seeds)
        result = {}
        for what, names in every[0].items():
            values = {name: [means[what][name] for means in every] for name in names}
            result[what] = {name: float(np.mean(each)) for name, each in values.items()}
            print(what, {name: f"{np.mean(each):.3f} ± {np.std(each):.3f}" for name, each in values.items()})
    else:
        result = built_in(given.epochs)
        for what, weights in result.items():
            print(what, {name: round(value, 3) for name, value in weights.items()})
    draw(result, given.out)
