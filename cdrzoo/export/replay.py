"""Rows replayed through a SavedModel in every form in which they may come."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from cdrzoo.export.graph import graph_session
from cdrzoo.export.report import Check, Report
from cdrzoo.export.rows import MISSING, item_key, missing_rows, rank_inputs, raw_rows, serialize_rows, stacked
from cdrzoo.schema import Feature, Reading, Schema
from cdrzoo.schema.features import with_weights

_UNSEEN: dict[str, Any] = {"string": "an id that no log holds", "int64": 2**62 + 12345, "float32": 1.0}
_SINGLE_ROWS = 8
_RANKED_USERS = 4


class Served:
    """A version, loaded in this process and in a graph session; one call a signature and a way.

    Args:
        path: the version.
        names: its outputs. A call gives float32 [rows], of several outputs [rows, outputs].
    """

    def __init__(self, path: pathlib.Path, names: Sequence[str]):
        self.names = names
        self.eager = tf.saved_model.load(str(path)).signatures
        self.session, self.signatures = graph_session(path)

    def __call__(
        self, inputs: Mapping[str, np.ndarray], signature: str = "serving_default", session: bool = False
    ) -> np.ndarray:
        found = self.outputs(inputs, signature, session)
        return stacked(found[name] for name in self.names)

    def outputs(
        self, inputs: Mapping[str, np.ndarray], signature: str, session: bool = False
    ) -> dict[str, np.ndarray]:
        """Every output of a signature, by name."""
        if session:
            definition = self.signatures[signature]
            feed = {definition.inputs[name].name: value for name, value in inputs.items()}
            return self.session.run({name: info.name for name, info in definition.outputs.items()}, feed)
        tensors = {
            name: tf.constant(value, tf.string if value.dtype == object else value.dtype)
            for name, value in inputs.items()
        }
        return {name: output.numpy() for name, output in self.eager[signature](**tensors).items()}


@dataclass
class Replay:
    """Rows sent through a version; what is compared goes into the report.

    Args:
        report: what was found so far.
        served: the version.
        raw: the rows, by feature.
        reference: the scores of the Keras model for raw rows; `None`: there is no model, what it would say is unknown.
        features: the features that are served.
        schema: the schema.
        tolerance: see `verify`.
    """

    report: Report
    served: Served
    raw: dict[str, np.ndarray]
    reference: Callable[[dict[str, np.ndarray]], np.ndarray] | None
    features: Sequence[Feature]
    schema: Schema
    tolerance: float

    def check(self, expected: np.ndarray) -> None:
        """Makes every check. `expected`: float32 [rows], the scores that the rows should get."""
        self._recorded(expected)
        scores = self.served(self.raw)
        self._rows(scores)
        self._sequences(scores)
        self._unknown_and_missing(len(scores))
        self._numbers()
        if any(feature.role == "item" for feature in self.features):
            self._ranks()

    def check_text(
        self, text: Sequence[Mapping[str, str] | None], reading: Reading, expected: np.ndarray
    ) -> None:
        """Rows as text, as they stand in a file, get the scores of their values; a server tells how they are read."""
        told = self.served.outputs({"examples": np.array([""], object)}, "reading")["reading"][0]
        same = Reading.from_dict(json.loads(told)) == reading
        self.report.checks.append(
            Check("reading, as the model card has it", same, told.decode() if not same else "the same")
        )
        rows = [row for row, one in enumerate(text) if one is not None]
        if rows:
            frame = pd.DataFrame(
                {f.column: [text[row][f.name] for row in rows] for f in self.features}, dtype=object
            )
            self._compare(
                "rows as text", self.served(raw_rows(frame, self.features, reading)), expected[rows]
            )

    def check_rebuilt(self, rows: pd.DataFrame, rebuilt: pd.DataFrame, reading: Reading) -> None:
        """Rows that were built from the logs get the scores of the rows that they are."""
        wanted, got = (self.served(raw_rows(each, self.features, reading)) for each in (rows, rebuilt))
        self._compare(f"{len(rows)} rows built from the logs", got, wanted)

    def _compare(self, name: str, got: np.ndarray, wanted: np.ndarray) -> None:
        same_form = got.dtype == np.float32 and got.shape == wanted.shape
        gap = np.abs(got - wanted) / np.maximum(1, np.abs(wanted)) if same_form else np.array([math.nan])
        largest = float(gap.max()) if gap.size else 0.0
        self.report.largest = max(self.report.largest, largest)
        found = f"largest difference {largest:.1e}"
        if not same_form:
            found = f"{got.dtype} {got.shape} instead of float32 {wanted.shape}"
        self.report.checks.append(Check(name, largest <= self.tolerance, found))

    def _agree(
        self, name: str, inputs: dict[str, np.ndarray], wanted: np.ndarray | None = None
    ) -> np.ndarray:
        """The scores of `inputs`, compared with `wanted`; where there is none with the Keras model, if it is there."""
        got = self.served(inputs)
        if wanted is not None:
            self._compare(name, got, wanted)
        elif self.reference is not None:
            self._compare(name, got, self.reference(inputs))
        else:
            self.report.checks.append(Check(name, bool(np.isfinite(got).all()), "finite scores"))
        return got

    def _recorded(self, expected: np.ndarray) -> None:
        """The scores that the rows should get, through both signatures, here and in a graph session."""
        serialized = {"examples": serialize_rows(self.raw, self.features)}
        of = "the Keras model" if self.reference is not None else "the recorded scores"
        for session in (False, True):
            where = "graph session" if session else of
            self._compare(f"serving_default, {where}", self.served(self.raw, session=session), expected)
            got = self.served(serialized, "serve_examples", session=session)
            self._compare(f"serve_examples, {where}", got, expected)
        labels = self.schema.target_domain.outputs.values()
        if clicks := [at for at, label in enumerate(labels) if label.task == "click"]:
            scores = self.served(self.raw).reshape(len(expected), -1)[:, clicks]
            inside = bool(np.all((scores >= 0) & (scores <= 1)))
            found = f"from {scores.min():.4f} to {scores.max():.4f}"
            self.report.checks.append(Check("scores are probabilities", inside, found))

    def _rows(self, scores: np.ndarray) -> None:
        """Rows do not influence each other."""
        order = np.random.default_rng(0).permutation(len(scores))
        self._agree("rows in another order", {n: v[order] for n, v in self.raw.items()}, scores[order])
        singles = range(min(_SINGLE_ROWS, len(scores)))
        alone = [self.served({n: v[i : i + 1] for n, v in self.raw.items()}) for i in singles]
        self._compare("rows alone", np.concatenate(alone), scores[: len(alone)])
        self._agree("no rows", {n: v[:0] for n, v in self.raw.items()}, scores[:0])

    def _sequences(self, scores: np.ndarray) -> None:
        """Padding says nothing, wherever it stands; of a sequence that is too long the newest ids count."""
        sequences = [feature for feature in self.features if feature.ragged]
        if not sequences:
            return

        def changed(change: Callable) -> dict[str, np.ndarray]:
            return self.raw | _changed(self.raw, sequences, change)

        agree = self._agree
        agree("sequences padded behind", changed(lambda v, gap, f: np.hstack([v, gap, gap])), scores)
        agree("sequences padded before", changed(lambda v, gap, f: np.hstack([gap, gap, v])), scores)
        agree("sequences with gaps", changed(lambda v, gap, f: np.hstack([v[:, :1], gap, v[:, 1:]])), scores)
        empty = agree("sequences of padding", changed(lambda v, gap, f: np.hstack([gap, gap])))
        agree("sequences without a step", changed(lambda v, gap, f: v[:, :0]), empty)
        full = agree("sequences of full length", changed(lambda v, gap, f: _full(v, f)))
        longer = changed(lambda v, gap, f: np.hstack([_unseen(gap, f, 1), _full(v, f)]))
        agree("sequences longer than the model reads", longer, full)

    def _unknown_and_missing(self, rows: int) -> None:
        """All unknown ids are one to the model, and what an example lacks is missing."""
        ids = [feature for feature in self.features if feature.kind in ("id", "ids")]
        # Of two unknown ids the crosses are two.
        crossed = {name for f in self.schema.target_domain.features for name in f.cross or ()}
        ids = [feature for feature in ids if feature.name not in crossed]
        known = [feature for feature in ids if self.schema.has_vocabulary(str(feature.table))]
        unseen = [
            self.raw | {f.name: _unseen(self.raw[f.name], f, number) for f in with_weights(known)}
            for number in (1, 2)
        ]
        self._agree("unknown ids are alike", unseen[1], self._agree("unknown ids", unseen[0]))
        absent = self._agree("every feature missing", missing_rows(self.features, rows))
        examples = np.array([tf.train.Example().SerializeToString()] * rows, object)
        got = self.served({"examples": examples}, "serve_examples")
        self._compare("examples without features", got, absent)

    def _numbers(self) -> None:
        """An infinite number is a missing one, and no finite one is too large."""
        numbers = [f for f in self.features if f.kind in ("number", "vector") and f.dtype == "float32"]
        if not numbers:
            return

        def filled(value: Any) -> dict[str, np.ndarray]:
            """A value for all rows, or one for each."""
            return self.raw | {f.name: np.full_like(self.raw[f.name].T, value).T for f in numbers}

        rows = len(self.raw[numbers[0].name])
        missing = self.raw | missing_rows(numbers, rows)
        self._agree("infinite numbers", filled(math.inf), self._agree("numbers missing", missing))
        # Of every size, for beyond one that the encoder knows they are missing.
        sizes = np.geomspace(np.finfo(np.float32).max, 1, rows).astype(np.float32)
        finite = bool(np.isfinite([self.served(filled(sign * sizes)) for sign in (1, -1)]).all())
        self.report.checks.append(
            Check("the largest numbers", finite, f"{'' if finite else 'no '}finite scores")
        )

    def _ranks(self) -> None:
        """Ranks all rows' items for the users of some rows; every item twice, so that scores tie."""
        target = self.schema.target_domain
        names, key = self.served.names, item_key(self.features, target)
        items = {name: np.concatenate([value, value]) for name, value in self.raw.items()}
        count = len(items[self.features[0].name])
        users = range(min(_RANKED_USERS, count // 2))
        got, in_session, wanted, wrong = [], [], [], set()
        for user in users:
            inputs = {k: rank_inputs(items, self.features, k, user) for k in (count, count + 1, 3, 0)}
            ranked = {k: self.served.outputs(chosen, "rank") for k, chosen in inputs.items()}
            index, scores = ranked[count]["index"], stacked(ranked[count][name] for name in names)
            others = {
                f.name: np.repeat(self.raw[f.name][[user]], count, 0)
                for f in self.features
                if f.role != "item"
            }
            got.append(scores)
            of_session = self.served.outputs(inputs[count], "rank", session=True)
            in_session.append(stacked(of_session[name] for name in names))
            wanted.append(self.served(items | others)[index])
            by_place = np.zeros(count, np.float32)
            by_place[index] = ranked[count][names[0]]
            if not np.array_equal(index, np.argsort(-by_place, kind="stable")):
                wrong.add("not in order")
            if key and not np.array_equal(ranked[count]["item"], _as_served(items[key.name])[index]):
                wrong.add("the items are not those of the index")
            if any(not np.array_equal(ranked[k]["index"], index[:k]) for k in inputs):
                wrong.add("not as many as asked")
        self._compare("rank, the scores of serving_default", np.concatenate(got), np.concatenate(wanted))
        self._compare("rank, graph session", np.concatenate(in_session), np.concatenate(got))
        found = (
            ", ".join(sorted(wrong)) or f"{len(users)} users, {count} candidates, equal scores by their place"
        )
        self.report.checks.append(Check("rank, best first", not wrong, found))


def _as_served(values: np.ndarray) -> np.ndarray:
    """As TensorFlow gives them back: strings are bytes."""
    return np.array([value.encode() for value in values], object) if values.dtype == object else values


def _changed(
    raw: Mapping[str, np.ndarray], features: Iterable[Feature], change: Callable
) -> dict[str, np.ndarray]:
    """The sequences after `change(values, a column of padding, feature)`: alike in all, for they may run in step."""
    changed = {}
    for feature in features:
        value = raw[feature.name]
        gap = np.full((len(value), 1), MISSING[feature.dtype], value.dtype)
        changed[feature.name] = change(value, gap, feature)
    return changed


def _full(values: np.ndarray, feature: Feature) -> np.ndarray:
    """Every row filled to the model's length with the first id that stands anywhere."""
    present = values[(values != MISSING[feature.dtype]) & (values == values)]  # NaN is not itself
    return np.full(
        (len(values), feature.length), present[0] if len(present) else _UNSEEN[feature.dtype], values.dtype
    )


def _unseen(values: np.ndarray, feature: Feature, number: int) -> np.ndarray:
    one = f"{_UNSEEN['string']} {number}" if feature.dtype == "string" else _UNSEEN[feature.dtype] + number
    return np.full(values.shape, one, values.dtype)
