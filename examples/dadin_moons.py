"""DADIN's alignment on inter-twinning moons whose target is rotated by 35 degrees: Figures 4 to 6 of the paper.

    python examples/dadin_moons.py --out moons.png --seeds 20      (needs matplotlib: pip install "cdrzoo[report]")

300 points of the source and 150 of the target train; the other 150 of the target are looked at afterwards. The network
has no schema, only points; its domain agnostic layer, predictor and alignment are the layers of the model itself. The
plain network is the same without the domain losses. Target points train without their labels unless `--labels` says how
many have one: with all 150 labels the plain network is right nearly everywhere, and nothing is left to show. A seed is
of the points and the weights; one says little, so the numbers are means over all. The picture is the first one's.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.stats import ttest_rel
from sklearn.datasets import make_moons
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from cdrzoo.layers import MLP, DomainAlignment


def moons(n: int, degrees: float, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`n` points of two moons, rotated about their centre, and their labels `[n, 1]`."""
    x, y = make_moons(n, noise=noise, random_state=seed)
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return ((x - [0.5, 0.25]) @ rotation).astype("float32"), y.astype("float32")[:, None]


class Moons(keras.Model):
    """Three dense layers, then DADIN's domain agnostic layer, predictor and, if wanted, alignment."""

    def __init__(self, adversarial: bool, width: int = 16, warmup: int = 0):
        super().__init__()
        self.deep = MLP((32, 32, width))
        self.agnostic = keras.layers.Dense(width, activation="relu")
        self.predictor = MLP((100,), activation="linear", dropout=0.2)
        self.head = keras.layers.Dense(1)
        self.alignment = DomainAlignment(warmup=warmup) if adversarial else None

    def build(self, input_shape):
        width = self.deep.units[-1]
        self.deep.build(input_shape)
        self.agnostic.build((None, width))
        self.predictor.build((None, width))
        self.head.build((None, self.predictor.units[-1]))
        if self.alignment:
            self.alignment.build((None, width))

    def call(self, x, training=False):
        """`(logit, h_spec, h_da)` of points."""
        h_spec = self.deep(x)
        h_da = self.agnostic(h_spec)
        return self.head(self.predictor(h_da + h_spec, training=training)), h_spec, h_da

    def states(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(part) for part in self(tf.constant(x)))


def train(model: Moons, x, y, target, labelled, steps: int, rate: float = 0.005) -> None:
    """Full-batch training: L_y of the labelled points and the three domain losses of all (eq. 22)."""
    model.build((None, 2))
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(model.trainable_variables)

    def step():
        with tf.GradientTape() as tape:
            logit, _, h_da = model(x, training=True)
            error = tf.nn.sigmoid_cross_entropy_with_logits(y, logit)
            loss = tf.reduce_sum(labelled * error) / tf.reduce_sum(labelled)
            if model.alignment:
                terms = model.alignment(h_da, tf.sigmoid(logit), target, training=True)
                loss += terms["domain_loss"] + 0.5 * (terms["class0_loss"] + terms["class1_loss"])
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        )

    @tf.function
    def all_steps():
        for _ in tf.range(steps):  # one call for all of them
            step()

    all_steps()


def run(seed: int = 0, labels: int = 0, noise: float = 0.1, steps: int = 500) -> dict[str, Any]:
    """Trains the plain and the adversarial network on the same points; everything the figures show, in numbers too."""
    source, source_y = moons(300, 0, noise, seed)
    target, target_y = moons(300, 35, noise, seed + 1000)
    x, y = np.concatenate([source, target[:150]]), np.concatenate([source_y, target_y[:150]])
    is_target = np.repeat([0.0, 1.0], [300, 150]).astype("float32")[:, None]
    labelled = np.repeat([1.0, 0.0], [300 + labels, 150 - labels]).astype("float32")[:, None]
    found: dict[str, Any] = {
        "source": (source, source_y),
        "target": (target, target_y),
        "accuracy": {},
        "domain": {},
    }
    for name, adversarial in (("plain", False), ("DADIN", True)):
        keras.utils.set_random_seed(seed)
        model = found[name] = Moons(adversarial)
        train(model, x, y, is_target, labelled, steps)
        found["accuracy"][name] = float(np.mean((model.states(target)[0] > 0) == (target_y > 0.5)))
        for part, what in ((1, "h_spec"), (2, "h_da")):
            h = np.concatenate([model.states(source)[part], model.states(target)[part]])
            domain = np.repeat([0, 1], 300)
            probe = LogisticRegression(max_iter=300).fit(h, domain)  # trained afterwards: harder to fool
            found["domain"][f"{name} {what}, new classifier"] = float(probe.score(h, domain))
        if model.alignment:
            one, other = (
                np.asarray(model.alignment.domain_logit(model.states(p)[2])) for p in (target, source)
            )
            found["domain"]["DADIN h_da, its own classifier"] = float(
                (np.mean(one > 0) + np.mean(other <= 0)) / 2
            )
    keras.utils.set_random_seed(seed)
    teller = found["DNN"] = Moons(adversarial=False)  # asked for the domain in place of the label
    train(teller, x, is_target, is_target, np.ones_like(labelled), steps)
    one, other = (teller.states(points)[0] for points in (target, source))
    found["domain"]["DNN for the domains"] = float((np.mean(one > 0) + np.mean(other <= 0)) / 2)
    return found


def draw(found: Mapping[str, Any], path: str | pathlib.Path) -> None:
    """Figure 4 (label boundaries), 5 (domain boundaries) and 6 (h_spec and h_DA in two dimensions) in one picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    (source, source_y), (target, target_y) = found["source"], found["target"]
    figure, axes = plt.subplots(2, 2, figsize=(11, 9), constrained_layout=True)
    side = np.linspace(-2.2, 2.2, 120, dtype="float32")
    plane = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    grid = (side, side)

    def points(axis):
        axis.scatter(*source[source_y[:, 0] > 0].T, marker="+", c="tab:red", label="source 1")
        axis.scatter(*source[source_y[:, 0] == 0].T, marker="_", c="tab:cyan", label="source 0")
        axis.scatter(*target.T, s=9, c="gold", edgecolors="gray", linewidths=0.3, label="target")

    dadin = found["DADIN"]
    logit, _, h_da = dadin.states(plane)
    axes[0, 0].contourf(
        *grid, logit.reshape(120, 120) > 0, levels=[-0.5, 0.5, 1.5], colors=["#dbe7f6", "#f8dcd9"]
    )
    axes[0, 0].contour(*grid, logit.reshape(120, 120), levels=[0], colors="black")
    axes[0, 0].contour(*grid, found["plain"].states(plane)[0].reshape(120, 120), levels=[0], colors="green")
    points(axes[0, 0])
    right = {name: f"{value:.3f}" for name, value in found["accuracy"].items()}
    axes[0, 0].set_title(f"target right: DADIN (black) {right['DADIN']}, plain (green) {right['plain']}")
    domain = 1 / (1 + np.exp(-np.asarray(dadin.alignment.domain_logit(h_da))))
    shown = axes[0, 1].contourf(
        *grid, domain.reshape(120, 120), levels=np.linspace(0, 1, 21), cmap="coolwarm"
    )
    figure.colorbar(shown, ax=axes[0, 1], label="probability of the target")
    axes[0, 1].contour(*grid, found["DNN"].states(plane)[0].reshape(120, 120), levels=[0], colors="green")
    points(axes[0, 1])
    own, dnn = (found["domain"][key] for key in ("DADIN h_da, its own classifier", "DNN for the domains"))
    axes[0, 1].set_title(f"domains told apart: on h_DA {own:.3f}, by a DNN for them (green) {dnn:.3f}")
    for axis, part, name in ((axes[1, 0], 1, "h_spec"), (axes[1, 1], 2, "h_da")):
        both = np.concatenate([dadin.states(source)[part], dadin.states(target)[part]])
        flat = PCA(2).fit_transform(both)
        for begin, labels, colour, whose in (
            (0, source_y, "tab:red", "source"),
            (300, target_y, "tab:blue", "target"),
        ):
            for label, marker in ((1, "+"), (0, "_")):
                chosen = flat[begin : begin + 300][labels[:, 0] == label]
                axis.scatter(*chosen.T, marker=marker, c=colour, label=f"{whose} {label}")
        axis.set_title(
            f"{name}: a new classifier tells {found['domain'][f'DADIN {name}, new classifier']:.3f}"
        )
    for axis in axes.flat:
        axis.legend(loc="upper right", fontsize=7)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="moons.png")
    parser.add_argument("--labels", type=int, default=0, help="labelled points of the target, 0 to 150")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    results = [run(seed, given.labels) for seed in range(given.seeds)]
    for what in ("accuracy", "domain"):
        for key in results[0][what]:
            values = [result[what][key] for result in results]
            print(f"{what}, {key}: {np.mean(values):.3f} ± {np.std(values):.3f}")
    for what, key in (("accuracy", "{}"), ("domain", "{} h_da, new classifier")):
        plain, dadin = (np.array([r[what][key.format(name)] for r in results]) for name in ("plain", "DADIN"))
        better = int(np.sum(dadin > plain if what == "accuracy" else dadin < plain))
        print(
            f"{what}: DADIN is better in {better} of {len(results)}, p = {ttest_rel(plain, dadin).pvalue:.4f}"
        )
    draw(results[0], given.out)
