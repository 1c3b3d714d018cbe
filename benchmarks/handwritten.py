"""An export beside a TensorFlow graph written by hand: the same weights, lookups and mathematics, saved alike.

    python -m benchmarks.handwritten                 # DNN and DIN, some minutes
    python -m benchmarks.handwritten dnn --windows 5

A row has a user, an item, its category and two histories of up to 50; users and items are text, categories numbers.
The graph by hand knows these features and no others. It puts no history in order, and takes one that is longer whole.
Both are loaded in one process and take turns, window by window. A figure is the median in ms, in brackets the fastest
and the slowest. *Times* is the export's over that of the graph by hand: the median of windows that are next to each
other. Scores are equal to 1e-6, or this fails.

Then 1,000 requests of one row are put together as TensorFlow Serving does it: the inputs are joined, scored in one
call, and the scores split. The tables go to `docs/results/measured`, for `python -m docs.render`.
"""

from __future__ import annotations

import argparse
import functools
import operator
import pathlib
import statistics
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import workload
from benchmarks.measured import FOLDER, write
from benchmarks.ranking import IDS, untrained
from benchmarks.speed import machine
from cdrzoo.export import save
from cdrzoo.schema import Feature

LENGTH = workload.LENGTH
FEATURES = (
    Feature("user", "id", "user", "string", "user"),
    Feature("item", "id", "item", "string", "item"),
    Feature("cat", "id", "item", "int64", "cat"),
    Feature("items", "ids", "history", "string", "item", length=LENGTH, of="shop"),
    Feature("cats", "ids", "history", "int64", "cat", length=LENGTH, of="shop"),
)
ROWS = (1, 100, 1_000)
REQUESTS = 1_000
MERGED = (1, 8, 64, 256)
SCORED = 4_000
"""Rows that a window scores, in at most 100 calls."""
Rows = dict[str, tf.Tensor]


class ByHand(tf.Module):
    """DNN, or DIN, of `FEATURES`; the weights are those of a model, the vocabularies the files of its export."""

    def __init__(self, model: Any, export: pathlib.Path):
        super().__init__()
        whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        self.ids, self.vectors = {}, {}
        for name, key in (("user", tf.string), ("item", tf.string), ("cat", tf.int64)):
            lines = str(export / "assets" / f"{name}.txt")
            lookup = tf.lookup.TextFileInitializer(lines, key, whole, tf.int64, number)
            self.ids[name] = tf.lookup.StaticHashTable(lookup, -1)
            self.vectors[name] = tf.Variable(model.rows.embedding.table(name))
        self.tower = [Layer(*each) for each in zip(model.mlp.dense, model.mlp.activations)]
        self.tower.append(Layer(model.head))
        self.attention = []
        for each in model.rows.fields["shop"].attentions.values():
            dense = [each, *each.hidden, each.score]
            self.attention = [Layer(*pair) for pair in zip(dense, [*each.activations, None])]

    def __call__(self, user, item, cat, items, cats):
        candidate = tf.concat([self.vector("item", item), self.vector("cat", cat)], 1)
        rows = {"item": self.rows("item", items), "cat": self.rows("cat", cats)}
        mask = tf.cast((rows["item"] != 0) | (rows["cat"] != 0), tf.float32)
        steps = [tf.gather(self.vectors[name], each) for name, each in rows.items()]
        if self.attention:
            keys = tf.concat(steps, 2)
            query = tf.broadcast_to(candidate[:, None], tf.shape(keys))
            scores = through(self.attention, tf.concat([query, keys, query - keys, query * keys], 2))
            pooled = tf.matmul((scores[:, :, 0] * mask)[:, None], keys)[:, 0]
        else:
            share = mask / tf.maximum(tf.reduce_sum(mask, 1, keepdims=True), 1)
            pooled = tf.concat([tf.matmul(share[:, None], each)[:, 0] for each in steps], 1)
        row = tf.concat([self.vector("user", user), candidate, pooled], 1)
        return {"click": tf.sigmoid(through(self.tower, row))[:, 0]}

    def rows(self, table: str, ids: tf.Tensor) -> tf.Tensor:
        missing = ids == ("" if ids.dtype == tf.string else -1)
        return tf.where(missing, 0, tf.cast(self.ids[table].lookup(ids), tf.int32) + 2)

    def vector(self, table: str, ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.vectors[table], self.rows(table, ids))


class Layer(tf.Module):
    """A dense layer with the weights of another, and ReLU, Dice or nothing after it."""

    def __init__(self, dense: Any, activation: Any = None):
        super().__init__()
        self.kernel, self.bias = tf.Variable(dense.kernel), tf.Variable(dense.bias)
        self.linear = activation is None
        self.dice = hasattr(activation, "alpha")
        if self.dice:
            self.alpha, self.mean = tf.Variable(activation.alpha), tf.Variable(activation.moving_mean)
            self.variance = tf.Variable(activation.moving_variance)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.tensordot(x, self.kernel, 1) + self.bias
        if self.dice:
            p = tf.sigmoid((x - self.mean) * tf.math.rsqrt(self.variance + 1e-8))
            return x * (self.alpha + (1 - self.alpha) * p)
        return x if self.linear else tf.nn.relu(x)


def through(layers: Sequence[Layer], x: tf.Tensor) -> tf.Tensor:
    for layer in layers:
        x = layer(x)
    return x


def loaded(name: str) -> list[Callable]:
    """The signatures of the export and of the graph by hand, each as it is loaded."""
    model, encoder = untrained(name, FEATURES)
    rng = np.random.default_rng(1)
    for variable in model.variables:  # as if it were trained: first biases and moving averages are plain
        if len(variable.shape) == 1:
            variable.assign(rng.uniform(0.1, 1, variable.shape))
    with tempfile.TemporaryDirectory() as folder:
        export = save(model, encoder, folder)
        module = ByHand(model, export)
        specs = {f.name: tf.TensorSpec(f.raw_shape, f.dtype, f.name) for f in FEATURES}
        graph = tf.function(module.__call__).get_concrete_function(**specs)
        tf.saved_model.save(module, f"{folder}/by_hand", signatures={"serving_default": graph})
        both = [tf.saved_model.load(path) for path in (str(export), f"{folder}/by_hand")]
    return [each.signatures["serving_default"] for each in both]


def request(rows: int, gaps: float) -> Rows:
    """Rows with histories of 1 to 50 events, padded behind; of the events a share is missing, wherever it stands."""
    rng = np.random.default_rng(0)
    events = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, (rows, 1))
    events &= rng.random(events.shape) >= gaps
    given = {}
    for f in FEATURES:
        ids = rng.integers(0, IDS, events.shape if f.kind == "ids" else rows)
        ids = ids if f.kind == "id" else np.where(events, ids, -1)
        given[f.name] = tf.constant(ids)
        if f.dtype == "string":
            given[f.name] = tf.where(given[f.name] < 0, "", tf.strings.as_string(given[f.name]))
    return given


def turns(calls: Sequence[Callable[[], Any]], windows: int, repeats: int) -> list[workload.Clock]:
    """The windows of calls that take turns, so many repeats each; a clock for each call."""
    clocks = [workload.Clock() for _ in calls]
    for window in range(windows):
        for call, clock in list(zip(calls, clocks))[:: 1 if window % 2 else -1]:
            clock.start()
            for _ in range(repeats + 1):
                call()
                clock.step_ended()
            clock.stop()
    return clocks


def cells(clocks: Sequence[workload.Clock]) -> list[str]:
    """Processor time of the export and of the graph by hand, and how often one is the other; then the clock."""
    found = []
    for export, by_hand in ([getattr(clock, what) for clock in clocks] for what in ("cpu", "windows")):
        found += [f"{statistics.median(t):.2f} [{min(t):.2f} to {max(t):.2f}]" for t in (export, by_hand)]
        found.append(f"{statistics.median(map(operator.truediv, export, by_hand)):.2f}")
    return found


def answered(name: str, both: Sequence[Callable], windows: int) -> list[list[str]]:
    """A request of some rows, whose histories are packed or have gaps."""
    table = []
    for histories, gaps in (("packed", 0.0), ("with gaps", 0.2)):
        for rows in ROWS:
            given = request(rows, gaps)
            one, other = (call(**given)["click"].numpy() for call in both)
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
            assert len({*one}) > rows / 2  # scores that are all alike would show nothing
            calls = [lambda call=call, given=given: call(**given)["click"].numpy() for call in both]
            clocks = turns(calls, windows, min(100, SCORED // rows))
            table.append([name, histories, f"{rows:,}", *cells(clocks)])
            print(*table[-1], sep=" | ", flush=True)
    return table


def merged(call: Callable, requests: Sequence[Rows], size: int) -> list[tf.Tensor]:
    """The score of each request; so many are put together."""
    scores = []
    for start in range(0, len(requests), size):
        some = requests[start : start + size]
        together = {name: tf.concat([each[name] for each in some], 0) for name in some[0]}
        scores += tf.split(call(**together)["click"], len(some))
    return scores


def throughput(name: str, both: Sequence[Callable], windows: int) -> list[list[str]]:
    """Rows a second of requests of one row, by how many are put together: of processor time, then on the clock."""
    whole = request(REQUESTS, 0.0)
    requests = [{name: each[i : i + 1] for name, each in whole.items()} for i in range(REQUESTS)]
    alone = both[0](**whole)["click"].numpy()
    table = []
    for size in MERGED:
        calls = [functools.partial(merged, call, requests, size) for call in both]
        np.testing.assert_allclose(np.concatenate(calls[0]()), alone, rtol=0, atol=1e-6)
        clocks = turns(calls, windows, 1)
        times = [getattr(clock, what) for what in ("cpu", "windows") for clock in clocks]
        table.append(
            [name, str(size), *(f"{1e3 * REQUESTS / statistics.median(each):,.0f}" for each in times)]
        )
        print(*table[-1], sep=" | ", flush=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["dnn", "din"], metavar="MODEL", help="dnn, din")
    parser.add_argument("--windows", type=int, default=9)
    args = parser.parse_args()
    note = f"Made by `python -m benchmarks.handwritten`.\n{machine()}."
    print(note, flush=True)
    times, rates = [], []
    for name in args.names:
        both = loaded(name)
        times += answered(name.upper(), both, args.windows)
        rates += throughput(name.upper(), both, args.windows)
    times_of, rates_of = (
        [f"{what}, {unit}" for unit in ("processor", "clock") for what in each]
        for each in (("export", "by hand", "times"), ("export", "by hand"))
    )
    write(FOLDER / "handwritten.csv", ["model", "histories", "rows", *times_of], times, note)
    write(FOLDER / "batching.csv", ["model", "requests in a call", *rates_of], rates, note)


if __name__ == "__main__":
    main()
