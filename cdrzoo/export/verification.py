"""Proof that an exported model does what the trained one does, and holds nothing it must not hold."""

from __future__ import annotations

import collections
import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cdrzoo.errors import InputError, VerifyError
from cdrzoo.export.graph import graph_session, inlined, read_variables
from cdrzoo.export.rows import (
    MISSING,
    item_key,
    missing_rows,
    rank_inputs,
    rank_signature,
    raw_rows,
    serialize_rows,
    signature,
)
from cdrzoo.schema import Feature, Schema

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-6
"""Largest difference of two scores that count as equal; of scores beyond 1 (ratings), relative to them."""


_UNSEEN: dict[str, Any] = {"string": "an id that no log holds", "int64": 2**62 + 12345}


_SINGLE_ROWS = 8


_RANKED_USERS = 4


@dataclass(frozen=True)
class Check:
    """One thing that was checked: its name, whether it holds, and what was found."""

    name: str
    ok: bool
    found: str


@dataclass
class Report:
    """What `verify` found.

    Args:
        path: the version that was verified.
        rows: rows that were replayed.
        checks: in the order they were made.
        largest: the largest difference of two scores that should be equal.
    """

    path: str
    rows: int = 0
    checks: list[Check] = field(default_factory=list)
    largest: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For `verify.json`."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [
            f"{'ok  ' if check.ok else 'FAIL'} {check.name:<{width}}  {check.found}" for check in self.checks
        ]
        failed = sum(not check.ok for check in self.checks)
        outcome = "verified" if self.ok else f"{failed} of {len(self.checks)} checks failed"
        return "\n".join(
            [*lines, f"{self.path}: {outcome}; {self.rows} rows, largest difference {self.largest:.1e}"]
        )


def verify(
    path: str | pathlib.Path,
    model: Any = None,
    encoder: Any = None,
    examples: pd.DataFrame | None = None,
    *,
    tolerance: float = TOLERANCE,
) -> Report:
    """Replays rows through a SavedModel and looks at what it holds.

    With a model the scores are compared with those of the Keras model, and the variables with those that scoring a
    target row reads. Without, with the scores that the export recorded.

    Checked are: the signatures (named, typed, of the target alone); the variables (no more than the target's path
    reads, none of a source, none of an optimizer); equal scores through `serving_default` and `serve_examples`, in
    this process and in a plain graph session, as servers load it; that rows do not influence each other (permuted,
    alone, none at all); that padding, short, long and empty sequences, unknown and missing ids and absent features do
    what they should; that `rank` gives candidates the scores of `serving_default`, in order, and as many as were asked.

    Args:
        path: the version: the folder with `saved_model.pb`.
        model: the model that was exported; needs `encoder`.
        encoder: its encoder.
        examples: raw rows of the target. Default: the rows that were recorded at the export.
        tolerance: largest absolute difference of scores; for a score beyond 1 relative to it. Default 1e-6. A model
            that computes in bfloat16 has about three digits: where it is compared across machines, allow it 1e-2.

    Returns:
        The report; print it, or write its `to_dict()`.

    Raises:
        InputError: there is nothing to verify, or nothing to verify it with.
        VerifyError: a check fails; the message is the report, which is also its attribute `report`.
    """
    path = pathlib.Path(path)
    if not (path / "saved_model.pb").exists():
        raise InputError(f"{path} holds no SavedModel. Give the folder of a version, such as models/films/1.")
    if (model is None) != (encoder is None):
        raise InputError("`model` and `encoder` belong together: give both or neither.")
    if model is None and examples is not None:
        raise InputError("`examples` need `model` and `encoder` to say which scores they should get.")
    card = _card(path)
    schema = Schema.from_dict(card["schema"]) if model is None else model.schema
    features = [schema.target_domain.feature(name) for name in card["inputs"]]
    frame, expected = _examples(path, examples, features)
    reference = None
    if model is not None:
        model.prepare_export()  # a model that was loaded anew is to be in the state its export was made in

        def reference(raw):
            return keras_scores(_frame(raw, features))

        def keras_scores(rows):
            x = {schema.target: encoder.encode(schema.target, rows, [feature.name for feature in features])}
            return np.asarray(model.served(model(x, training=False)[schema.target]), np.float32).reshape(-1)

        expected = keras_scores(frame)

    report = Report(str(path), rows=len(frame))
    (meta_graph,) = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    _check_signatures(report, meta_graph, features, schema)
    callable_as_told = report.ok
    _check_contents(report, path, meta_graph, card, schema)
    if model is not None:
        _check_variables(report, path, model, encoder, features)
    if callable_as_told:
        raw = raw_rows(frame, features)
        _check_scores(report, _Served(path), raw, expected, reference, features, schema, tolerance)
    if not report.ok:
        error = VerifyError(f"{path} is not what it should be.\n{report}")
        error.report = report  # type: ignore[attr-defined]
        raise error
    return report


def _card(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads((path / "assets.extra" / "model_card.json").read_text(encoding="utf-8"))
    except OSError:
        raise InputError(
            f"{path} was not exported by cdrzoo: assets.extra/model_card.json is missing."
        ) from None


def _examples(
    path: pathlib.Path, examples: pd.DataFrame | None, features: Sequence[Feature]
) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Rows to replay and, where the export recorded them, the scores they got."""
    import pandas

    recorded = path / "assets.extra" / "replay.jsonl"
    if examples is not None and len(examples):
        return examples, None
    if not recorded.exists():
        raise InputError(
            f"Nothing to replay: {path} records no rows. Give `model`, `encoder` and `examples`, or export with "
            "`examples`."
        )
    lines = [json.loads(line) for line in recorded.read_text(encoding="utf-8").splitlines()]
    # Objects: a missing whole number would turn a column into floats.
    frame = pandas.DataFrame(
        {f.column: [line["features"][f.name] for line in lines] for f in features}, dtype=object
    )
    return frame, np.array([line["score"] for line in lines], np.float32)


def _frame(raw: Mapping[str, np.ndarray], features: Iterable[Feature]) -> pd.DataFrame:
    import pandas

    return pandas.DataFrame({f.column: list(raw[f.name]) for f in features})


class _Served:
    """A version, loaded in this process and in a graph session; one call a signature and a way."""

    def __init__(self, path: pathlib.Path):
        self.eager = tf.saved_model.load(str(path)).signatures
        self.session, self.signatures = graph_session(path)

    def __call__(
        self, inputs: Mapping[str, np.ndarray], signature: str = "serving_default", session: bool = False
    ) -> np.ndarray:
        (output,) = self.outputs(inputs, signature, session).values()
        return output

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


def _check_signatures(report: Report, meta_graph: Any, features: Sequence[Feature], schema: Schema) -> None:
    def described(tensors):
        return {
            name: (tf.as_dtype(info.dtype).name, tf.TensorShape(info.tensor_shape).as_list())
            for name, info in tensors.items()
        }

    def specified(specs):
        return {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in specs.items()}

    output = {schema.target_domain.task: ("float32", [None])}
    wanted = {
        "serving_default": (specified(signature(features)), output),
        "serve_examples": ({"examples": ("string", [None])}, output),
    }
    if any(feature.role == "item" for feature in features):
        key = item_key(features)
        ranked = {"index": ("int32", [None]), **({"item": (key.dtype, [None])} if key else {}), **output}
        wanted["rank"] = (specified(rank_signature(features)), ranked)
    for name, tensors in wanted.items():
        definition = meta_graph.signature_def[name]
        found = described(definition.inputs), described(definition.outputs)
        report.checks.append(
            Check(
                f"signature {name}",
                found == tensors,
                f"{', '.join(found[0]) or 'no inputs'} -> {', '.join(found[1]) or 'nothing'}",
            )
        )
    of_target = {feature.name for feature in schema.target_domain.features}
    foreign = sorted(set(meta_graph.signature_def["serving_default"].inputs) - of_target)
    report.checks.append(
        Check("inputs of the target alone", not foreign, ", ".join(foreign) or "no other input")
    )


def _check_contents(
    report: Report, path: pathlib.Path, meta_graph: Any, card: Mapping[str, Any], schema: Schema
) -> None:
    nodes = meta_graph.object_graph_def.nodes
    inside = {i: node.variable for i, node in enumerate(nodes) if node.WhichOneof("kind") == "variable"}
    read = {
        i
        for function in meta_graph.object_graph_def.concrete_functions.values()
        for i in function.bound_inputs
    }
    idle = [inside[i].name for i in inside if i not in read]
    found = f"{len(inside)} variables" + f", idle: {', '.join(idle)}" * bool(idle)
    report.checks.append(Check("every variable is read", not idle, found))
    stored = _stored(path)
    shapes = sorted((list(value.shape), str(value.dtype)) for value in stored.values())
    told = sorted((entry["shape"], entry["dtype"]) for entry in card["variables"].values())
    report.checks.append(
        Check(
            "stored values are those variables",
            len(stored) == len(inside) and shapes == told,
            f"{len(stored)} arrays, {sum(value.size for value in stored.values()):,} numbers; "
            f"the model card lists {len(told)}",
        )
    )
    tables = {feature.table for feature in schema.target_domain.features}
    foreign = sorted(file.name for file in (path / "assets").glob("*") if file.stem not in tables)
    report.checks.append(
        Check("vocabularies of the target alone", not foreign, ", ".join(foreign) or "no other file")
    )


def _check_variables(
    report: Report, path: pathlib.Path, model: Any, encoder: Any, features: Sequence[Feature]
) -> None:
    """The stored values are those of the variables that scoring a target row reads: the same ones, as often."""
    lookups = encoder.graph(model.schema.target, [feature.name for feature in features])
    with inlined():
        function = tf.function(lambda raw: model.serve(lookups(raw)), autograph=False)
        read = read_variables(function.get_concrete_function(signature(features)), model)
    wanted = collections.Counter(_digest(variable.numpy()) for variable in read)
    found = collections.Counter(_digest(value) for value in _stored(path).values())
    others = len(model.variables) - len(read)
    report.checks.append(
        Check(
            "values are the target path's",
            wanted == found,
            f"{(wanted & found).total()} of {len(read)} equal; the model's other {others} variables are not inside"
            if wanted == found
            else f"{sum((wanted - found).values())} lacking, {sum((found - wanted).values())} foreign",
        )
    )


def _stored(path: pathlib.Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


def _digest(value: np.ndarray) -> tuple:
    return value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()


def _check_scores(
    report: Report,
    served: _Served,
    raw: dict[str, np.ndarray],
    expected: np.ndarray,
    reference: Callable[[dict[str, np.ndarray]], np.ndarray] | None,
    features: Sequence[Feature],
    schema: Schema,
    tolerance: float,
) -> None:
    def compare(name: str, got: np.ndarray, wanted: np.ndarray) -> None:
        same_form = got.dtype == np.float32 and got.shape == wanted.shape
        gap = np.abs(got - wanted) / np.maximum(1, np.abs(wanted)) if same_form else np.array([math.nan])
        largest = float(gap.max()) if gap.size else 0.0
        report.largest = max(report.largest, largest)
        found = f"largest difference {largest:.1e}"
        if not same_form:
            found = f"{got.dtype} {got.shape} instead of float32 {wanted.shape}"
        report.checks.append(Check(name, largest <= tolerance, found))

    def agree(name: str, inputs: dict[str, np.ndarray], wanted: np.ndarray | None = None) -> np.ndarray:
        """The scores of `inputs`, compared with `wanted` and, if it is there, with the Keras model."""
        got = served(inputs)
        if wanted is not None:
            compare(name, got, wanted)
        elif reference is not None:
            compare(name, got, reference(inputs))
        else:
            report.checks.append(Check(name, bool(np.isfinite(got).all()), "finite scores"))
        return got

    serialized = {"examples": serialize_rows(raw, features)}
    of = "the Keras model" if reference is not None else "the recorded scores"
    compare(f"serving_default, {of}", served(raw), expected)
    compare(f"serve_examples, {of}", served(serialized, "serve_examples"), expected)
    compare("serving_default, graph session", served(raw, session=True), expected)
    compare("serve_examples, graph session", served(serialized, "serve_examples", session=True), expected)
    scores = served(raw)
    if schema.target_domain.task == "click":
        inside = bool(np.all((scores >= 0) & (scores <= 1)))
        found = f"from {scores.min():.4f} to {scores.max():.4f}"
        report.checks.append(Check("scores are probabilities", inside, found))

    order = np.random.default_rng(0).permutation(len(scores))
    agree("rows in another order", {name: value[order] for name, value in raw.items()}, scores[order])
    singles = range(min(_SINGLE_ROWS, len(scores)))
    alone = [served({name: value[i : i + 1] for name, value in raw.items()}) for i in singles]
    compare("rows alone", np.concatenate(alone), scores[: len(alone)])
    agree("no rows", {name: value[:0] for name, value in raw.items()}, scores[:0])

    sequences = [feature for feature in features if feature.kind == "ids"]
    if sequences:

        def changed(change: Callable) -> dict[str, np.ndarray]:
            return raw | _changed(raw, sequences, change)

        agree("sequences padded behind", changed(lambda v, gap, f: np.hstack([v, gap, gap])), scores)
        agree("sequences padded before", changed(lambda v, gap, f: np.hstack([gap, gap, v])), scores)
        agree("sequences with gaps", changed(lambda v, gap, f: np.hstack([v[:, :1], gap, v[:, 1:]])), scores)
        empty = agree("sequences of padding", changed(lambda v, gap, f: np.hstack([gap, gap])))
        agree("sequences without a step", changed(lambda v, gap, f: v[:, :0]), empty)
        full = agree("sequences of full length", changed(lambda v, gap, f: _full(v, f)))
        longer = changed(lambda v, gap, f: np.hstack([_unseen(gap, f, 1), _full(v, f)]))
        agree("sequences longer than the model reads", longer, full)

    ids = [feature for feature in features if feature.kind != "number"]
    known = [feature for feature in ids if schema.table(feature.table).hash_buckets is None]
    unseen = [raw | {f.name: _unseen(raw[f.name], f, number) for f in known} for number in (1, 2)]
    agree("unknown ids are alike", unseen[1], agree("unknown ids", unseen[0]))
    nothing = missing_rows(features, len(scores))
    absent = agree("every feature missing", nothing)
    examples = np.array([tf.train.Example().SerializeToString()] * len(scores), object)
    compare("examples without features", served({"examples": examples}, "serve_examples"), absent)

    if any(feature.role == "item" for feature in features):
        _check_rank(report, served, raw, features, schema, compare)


def _check_rank(
    report: Report,
    served: _Served,
    raw: dict[str, np.ndarray],
    features: Sequence[Feature],
    schema: Schema,
    compare: Callable[[str, np.ndarray, np.ndarray], None],
) -> None:
    """Ranks all rows' items for the users of some rows; every item twice, so that scores tie."""
    task, key = schema.target_domain.task, item_key(features)
    items = {name: np.concatenate([value, value]) for name, value in raw.items()}
    count = len(items[features[0].name])
    users = range(min(_RANKED_USERS, count // 2))
    got, in_session, wanted, wrong = [], [], [], set()
    for user in users:
        inputs = {k: rank_inputs(items, features, k, user) for k in (count, count + 1, 3, 0)}
        ranked = {k: served.outputs(chosen, "rank") for k, chosen in inputs.items()}
        index, scores = ranked[count]["index"], ranked[count][task]
        others = {f.name: np.repeat(raw[f.name][[user]], count, 0) for f in features if f.role != "item"}
        got.append(scores)
        in_session.append(served.outputs(inputs[count], "rank", session=True)[task])
        wanted.append(served(items | others)[index])
        by_place = np.zeros(count, np.float32)
        by_place[index] = scores
        if not np.array_equal(index, np.argsort(-by_place, kind="stable")):
            wrong.add("not in order")
        if key and not np.array_equal(ranked[count]["item"], _as_served(items[key.name])[index]):
            wrong.add("the items are not those of the index")
        if any(not np.array_equal(ranked[k]["index"], index[:k]) for k in inputs):
            wrong.add("not as many as asked")
    compare("rank, the scores of serving_default", np.concatenate(got), np.concatenate(wanted))
    compare("rank, graph session", np.concatenate(in_session), np.concatenate(got))
    found = ", ".join(sorted(wrong)) or f"{len(users)} users, {count} candidates, equal scores by their place"
    report.checks.append(Check("rank, best first", not wrong, found))


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
    present = values[values != MISSING[feature.dtype]]
    return np.full(
        (len(values), feature.length), present[0] if len(present) else _UNSEEN[feature.dtype], values.dtype
    )


def _unseen(values: np.ndarray, feature: Feature, number: int) -> np.ndarray:
    one = f"{_UNSEEN['string']} {number}" if feature.dtype == "string" else _UNSEEN["int64"] + number
    return np.full(values.shape, one, values.dtype)
