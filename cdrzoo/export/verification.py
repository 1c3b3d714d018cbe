"""Proof that an exported model does what the trained one does, and holds nothing it must not hold."""

from __future__ import annotations

import collections
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cdrzoo import files
from cdrzoo.errors import InputError, VerifyError
from cdrzoo.export.arguments import check_arguments
from cdrzoo.export.card import MEND, loading, read_card
from cdrzoo.export.graph import inlined, read_variables
from cdrzoo.export.replay import Replay, Served
from cdrzoo.export.report import Check, Report
from cdrzoo.export.rows import item_key, rank_signature, raw_rows, signature, stacked
from cdrzoo.schema import Feature, Reading, Schema

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-6
"""Largest difference of two scores that count as equal; of scores beyond 1 (ratings), relative to them."""


def verify(
    path: str | pathlib.Path,
    model: Any = None,
    encoder: Any = None,
    examples: pd.DataFrame | None = None,
    *,
    tolerance: float = TOLERANCE,
    rebuilt: tuple[pd.DataFrame, pd.DataFrame] | str | None = None,
) -> Report:
    """Replays rows through a SavedModel and looks at what it holds.

    With a model the scores are compared with those of the Keras model, and the variables with those that scoring a
    target row reads. Without, with the scores that the export recorded.

    Checked are: the signatures (named, typed, of the target alone); the variables (no more than the target's path
    reads, none of a source, none of an optimizer); equal scores through `serving_default` and `serve_examples`, in
    this process and in a plain graph session, as servers load it; that rows as text, read as the export says, get the
    scores of the values in them; that rows do not influence each other (permuted, alone, none at all); that padding,
    short, long and empty sequences, unknown and missing ids and absent features do what they should; that `rank` gives
    candidates the scores of `serving_default`, in order, and as many as were asked.

    Args:
        path: the version: the folder with `saved_model.pb`.
        model: the model that was exported; needs `encoder`.
        encoder: its encoder.
        examples: raw rows of the target. Default: the rows that were recorded at the export.
        tolerance: largest absolute difference of scores; for a score beyond 1 relative to it. Default 1e-6. A model
            that computes in bfloat16 has about three digits: where it is compared across machines, allow it 1e-2.
        rebuilt: some rows, and the same built from the logs (`cdrzoo.data.request_rows`); or, as text, why not.

    Returns:
        The report; print it, or write its `to_dict()`.

    Raises:
        InputError: there is nothing to verify, or nothing to verify it with.
        VerifyError: a check fails; the message is the report, which is also its attribute `report`.
    """
    path = _check_given(path, model, encoder, examples)
    card, told, features = read_card(path)
    schema = told if model is None else model.schema
    reading = Reading.from_dict(card.get("reading"))
    frame, text, expected = _examples(path, examples, features)
    reference = None
    if model is not None:
        model.prepare_export()  # a model that was loaded anew is to be in the state its export was made in
        scores = _keras_scores(model, encoder)
        expected, reference = scores(frame), lambda raw: scores(_frame(raw, features))
    report = Report(str(path), rows=len(frame))
    meta_graph = _meta_graph(path)
    _check_signatures(report, meta_graph, features, schema)
    callable_as_told = report.ok
    _check_contents(report, path, meta_graph, card, schema)
    if model is not None:
        _check_variables(report, path, card, model, encoder, features)
    if callable_as_told:
        raw = raw_rows(frame, features, reading)
        replay = Replay(report, _served(path, card, schema), raw, reference, features, schema, tolerance)
        replay.check(expected)
        _check_forms(replay, card, text, rebuilt, expected)
    return _passed(report)


def check_descent(report: Report, descent: Sequence[Mapping[str, str]]) -> Report:
    """Adds to a report whether the model card names the runs that a run descends from, the oldest first.

    Raises:
        VerifyError: it names others.
    """
    split = read_card(pathlib.Path(report.path))[0].get("split")
    told = split.get("descent", []) if isinstance(split, Mapping) else []
    if told or descent:
        names = " -> ".join(one["run"] for one in told) or "no other run"
        report.checks.append(Check("descends from", list(descent) == told, names))
    return _passed(report)


def _check_forms(
    replay: Replay,
    card: Mapping[str, Any],
    text: Sequence[Mapping[str, str] | None],
    rebuilt: tuple[pd.DataFrame, pd.DataFrame] | str | None,
    expected: np.ndarray,
) -> None:
    """The same rows as text, and built from the logs."""
    reading = Reading.from_dict(card.get("reading"))
    if "reading" in card:
        replay.check_text(text, reading, expected)
    if isinstance(rebuilt, str):
        replay.report.checks.append(Check("rows built from the logs", True, f"not made: {rebuilt}"))
    elif rebuilt is not None:
        replay.check_rebuilt(*rebuilt, reading)


def _served(path: pathlib.Path, card: Mapping[str, Any], schema: Schema) -> Served:
    with loading(path, card):
        return Served(path, [label.name for label in schema.target_domain.outputs.values()])


def _meta_graph(path: pathlib.Path) -> Any:
    with files.reading(path / "saved_model.pb", MEND):
        stored = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        (meta_graph,) = stored.meta_graphs
    return meta_graph


def _passed(report: Report) -> Report:
    if report.ok:
        return report
    error = VerifyError(f"{report.path} is not what it should be.\n{report}")
    error.report = report
    raise error


def _check_given(path: Any, model: Any, encoder: Any, examples: pd.DataFrame | None) -> pathlib.Path:
    check_arguments(path=path, examples=examples)
    if (model is None) != (encoder is None):
        raise InputError("`model` and `encoder` belong together: give both or neither.")
    if model is not None:
        check_arguments(model=model, encoder=encoder)
    elif examples is not None:
        raise InputError("`examples` need `model` and `encoder` to say which scores they should get.")
    if not (pathlib.Path(path) / "saved_model.pb").exists():
        raise InputError(f"{path} holds no SavedModel. Give the folder of a version, such as models/films/1.")
    return pathlib.Path(path)


def _keras_scores(model: Any, encoder: Any) -> Callable[[pd.DataFrame], np.ndarray]:
    """What gives the scores of the Keras model for raw rows of the target: float32 [rows], or [rows, labels]."""
    target, names = model.schema.target, [feature.name for feature in model.serving_features]

    def scores(rows: pd.DataFrame) -> np.ndarray:
        return stacked(model.score_rows(encoder.encode(target, rows, names, serving=True)).values())

    return scores


def _examples(
    path: pathlib.Path, examples: pd.DataFrame | None, features: Sequence[Feature]
) -> tuple[pd.DataFrame, list[dict[str, str] | None], np.ndarray | None]:
    """Rows to replay and, where the export recorded them, their text and the scores they got."""
    import pandas

    recorded = path / "assets.extra" / "replay.jsonl"
    if examples is not None and len(examples):
        return examples, [], None
    if not recorded.exists():
        raise InputError(
            f"Nothing to replay: {path} records no rows. Give `model`, `encoder` and `examples`, or export with "
            "`examples`."
        )
    with files.reading(recorded, MEND):
        lines = [json.loads(line) for line in recorded.read_text(encoding="utf-8").split("\n") if line]
        # Objects: a missing whole number would turn a column into floats.
        columns = {f.column: [line["features"][f.name] for line in lines] for f in features}
        text = [line.get("text") for line in lines]
        cells = [one[f.name] for one in text if one is not None for f in features]
        if not all(isinstance(cell, str) for cell in cells):
            raise ValueError("a cell of its text is no text")
        scores = np.array([line["score"] for line in lines], np.float32)
        if not len(scores):
            raise ValueError("it holds no row")
    return pandas.DataFrame(columns, dtype=object), text, scores


def _frame(raw: Mapping[str, np.ndarray], features: Iterable[Feature]) -> pd.DataFrame:
    import pandas

    return pandas.DataFrame({f.column: list(raw[f.name]) for f in features})


def _check_signatures(report: Report, meta_graph: Any, features: Sequence[Feature], schema: Schema) -> None:
    def described(tensors):
        return {
            name: (tf.as_dtype(info.dtype).name, tf.TensorShape(info.tensor_shape).as_list())
            for name, info in tensors.items()
        }

    def specified(specs):
        return {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in specs.items()}

    output = {label.name: ("float32", [None]) for label in schema.target_domain.outputs.values()}
    wanted = {
        "serving_default": (specified(signature(features)), output),
        "serve_examples": ({"examples": ("string", [None])}, output),
    }
    if any(feature.role == "item" for feature in features):
        key = item_key(features, schema.target_domain)
        ranked = {"index": ("int32", [None]), **({"item": (key.dtype, [None])} if key else {}), **output}
        wanted["rank"] = (specified(rank_signature(features)), ranked)
    for name, tensors in wanted.items():
        definition = meta_graph.signature_def[name]
        found = described(definition.inputs), described(definition.outputs)
        report.checks.append(
            Check(
                f"signature {name}",
                found == tensors,
                f"{', '.join(sorted(found[0])) or 'no inputs'} -> {', '.join(sorted(found[1])) or 'nothing'}",
            )
        )
    of_target = {feature.name for feature in schema.target_domain.tensors}
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
    stored = _stored(path, card)
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
    report: Report,
    path: pathlib.Path,
    card: Mapping[str, Any],
    model: Any,
    encoder: Any,
    features: Sequence[Feature],
) -> None:
    """The stored values are those of the variables that scoring a target row reads: the same ones, as often."""
    lookups = encoder.graph(model.schema.target, [feature.name for feature in model.serving_features])
    with inlined(model):
        function = tf.function(lambda raw: model.serve_outputs(lookups(raw)), autograph=False)
        read = read_variables([function.get_concrete_function(signature(features))], model)
    wanted = collections.Counter(_digest(variable.numpy()) for variable in read)
    found = collections.Counter(_digest(value) for value in _stored(path, card).values())
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


def _stored(path: pathlib.Path, card: Mapping[str, Any]) -> dict[str, np.ndarray]:
    with loading(path, card):
        reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
        return {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
        }


def _digest(value: np.ndarray) -> tuple:
    return value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
