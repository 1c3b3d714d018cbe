"""Export: a SavedModel that takes the target's raw features and needs neither cdrzoo nor Keras to run.

    folder/
      3/                                  the version; a server takes the highest number
        saved_model.pb variables/ assets/     three signatures, the target's variables alone, the vocabularies
        assets.extra/
          tf_serving_warmup_requests      TensorFlow Serving runs these before it takes traffic
          replay.jsonl                    recorded raw rows and the scores the Keras model gave them
          model_card.json model_card.md

`serving_default` takes one named tensor a feature: ids as they stand in the logs (string or int64, `[batch]`),
sequences `[batch, any length]` (oldest first; missing steps are `""` or -1, wherever they stand), numbers `[batch]`
(missing: NaN; for int64 -1). `serve_examples` takes serialized `tf.train.Example`s, `examples: [batch]`; a feature that
an example lacks is missing. Both give `{"click": [batch]}` or `{"rating": [batch]}`, float32.

`rank` orders candidates for one user. What the schema says of user, context and history comes once (`[1]`, `[1, any]`),
the features of role item once a candidate (`[n]`, `[n, any]`), and `k`, a scalar int32, says how many are wanted. It
gives, best first, `index` (int32, the place among the candidates), `item` (the candidate's raw id, where the schema has
one) and `click` or `rating`, `[min(k, n)]` each; of equal scores the earlier candidate comes first. The user's ids are
looked up once; his rows are then repeated for the candidates, which are scored as `serving_default` scores rows. A
schema without a feature of role item has nothing to rank, and no such signature.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import math
import pathlib
import platform
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cdrzoo.errors import DataError, InputError
from cdrzoo.schema import Feature

if TYPE_CHECKING:
    import pandas as pd

MISSING: dict[str, Any] = {"string": "", "int64": -1, "float32": math.nan}
"""The raw value of each dtype that stands for a missing one."""

REPLAY_ROWS = 256
"""At most so many of the examples are recorded with their scores."""

WARM_UP_ROWS = (1, 16, 100)
"""Batch sizes of the warm-up requests, as far as there are examples."""


def export(
    model: Any,
    encoder: Any,
    folder: str | pathlib.Path,
    *,
    version: int | None = None,
    examples: pd.DataFrame | None = None,
    card: Mapping[str, Any] | None = None,
) -> pathlib.Path:
    """Writes the target's part of a model as a SavedModel: `folder/version`.

    Only the variables that scoring a target row reads are inside; no optimizer, no source, no part used in training
    alone. The version appears under its number once it is complete, and an existing one is never touched.

    Args:
        model: a trained `CrossDomainModel`.
        encoder: the encoder whose schema the model was made with.
        folder: the model's folder, which holds one folder a version. It is made if need be.
        version: a whole number of at least 0; default: one above the highest that exists, or 1.
        examples: raw rows of the target (every feature by its column) for warm-up requests and the recorded replay.
            Default: warm-up with one row of missing values, no replay.
        card: what the model card is to say beyond what can be read off the model, for example `data`, `split`,
            `metrics`, `training`, `intended_use`, `limits`. It may also replace what is read off.

    Returns:
        The path of the new version.

    Raises:
        InputError: the version exists, the encoder is not the model's, or the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    _check(model, encoder, folder, version)
    model.prepare_export()
    domain = model.schema.target_domain
    features = model.serving_features
    candidates = [feature for feature in features if feature.role == "item"]
    lookups = encoder.graph(domain.name, [feature.name for feature in features])

    def scores(rows):
        return tf.reshape(tf.cast(model.serve(rows), tf.float32), [-1])

    def score(raw):
        return {domain.task: scores(lookups(raw))}

    def score_examples(examples):
        return score(parse_examples(examples, features))

    def rank(raw):
        count = tf.shape(raw[candidates[0].name])[0]
        best, index = tf.math.top_k(scores(_repeated(lookups(raw), count)), tf.minimum(raw["k"], count))
        items = {"item": tf.gather(raw[key.name], index)} if (key := item_key(candidates)) else {}
        return {"index": index, **items, domain.task: best}

    archive = keras.export.ExportArchive()
    archive.track(lookups)  # the tables; of the model's variables Keras tracks those that the endpoints read
    with inlined():
        serving = archive.add_endpoint("serving_default", score, [signature(features)])
        archive.add_endpoint(
            "serve_examples", score_examples, [tf.TensorSpec([None], tf.string, name="examples")]
        )
        if candidates:
            archive.add_endpoint("rank", rank, [rank_signature(features)])
        traced = serving.get_concrete_function()

    examples = examples.head(REPLAY_ROWS) if examples is not None and len(examples) else None
    rows = missing_rows(features) if examples is None else raw_rows(examples, features)
    replay = "" if examples is None else _replay(model, encoder, examples, rows)
    facts = {**_facts(model, features, read_variables(traced, model)), **_plain(card or {})}

    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the versions, so that the last step is a rename; a server passes by names that are not numbers.
        with _removed_on_failure(folder / f".export-{uuid.uuid4().hex}") as unfinished:
            with inlined():  # saving traces again
                archive.write_out(str(unfinished), verbose=False)
            _check_serves_anywhere(unfinished)
            extra = unfinished / "assets.extra"
            extra.mkdir()
            _write_warm_up(extra / "tf_serving_warmup_requests", folder.absolute().name, rows, features)
            (extra / "model_card.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            (extra / "model_card.md").write_text(_markdown(facts), encoding="utf-8")
            if replay:
                (extra / "replay.jsonl").write_text(replay, encoding="utf-8")
            return _publish(unfinished, folder, version)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise InputError(
            f"The export to {folder} could not be written: {reason}. Nothing was left behind. Free space or choose "
            "another folder, then export again; the model is not harmed."
        ) from error


# Rows and their tensors ---------------------------------------------------------------------------------------------


def signature(features: Iterable[Feature]) -> dict[str, tf.TensorSpec]:
    """The raw tensors of `serving_default`, by feature."""
    return {
        f.name: tf.TensorSpec([None, None] if f.kind == "ids" else [None], tf.as_dtype(f.dtype), name=f.name)
        for f in features
    }


def rank_signature(features: Iterable[Feature]) -> dict[str, tf.TensorSpec]:
    """The raw tensors of `rank`: those of `serving_default`, one row of all that is not the candidates', and `k`."""
    features = tuple(features)
    specs = signature(features)
    for f in features:
        if f.role != "item":
            specs[f.name] = tf.TensorSpec([1, *specs[f.name].shape[1:]], specs[f.name].dtype, name=f.name)
    return {**specs, "k": tf.TensorSpec([], tf.int32, name="k")}


def rank_inputs(
    rows: Mapping[str, np.ndarray], features: Iterable[Feature], k: int, user: int = 0
) -> dict[str, np.ndarray]:
    """A request of `rank`: the items of all rows for the user and the context of one of them."""
    chosen = {f.name: rows[f.name] if f.role == "item" else rows[f.name][user : user + 1] for f in features}
    return {**chosen, "k": np.array(k, np.int32)}


def item_key(features: Iterable[Feature]) -> Feature | None:
    """The first id of role item: what `rank` calls a candidate by."""
    return next((f for f in features if f.role == "item" and f.kind == "id"), None)


def parse_examples(examples: tf.Tensor, features: Iterable[Feature]) -> dict[str, tf.Tensor]:
    """Serialized `tf.train.Example`s, `[batch]`, to the raw tensors; a feature that is absent or empty is missing."""
    features = tuple(features)
    rows = tf.io.parse_example(
        examples,
        {
            f.name: tf.io.FixedLenSequenceFeature([], f.dtype, True, default_value=MISSING[f.dtype])
            for f in features
        },
    )
    for f in features:
        if f.kind != "ids":  # one value a row; a column of missing ones is there in case no example has any
            rows[f.name] = tf.pad(rows[f.name], [[0, 0], [0, 1]], constant_values=MISSING[f.dtype])[:, 0]
    return rows


def raw_rows(frame: pd.DataFrame, features: Iterable[Feature]) -> dict[str, np.ndarray]:
    """Rows of a DataFrame as the tensors of `serving_default`.

    Args:
        frame: a column for each feature, under `feature.column`; None and NaN are missing; sequences are lists.
        features: the features that are wanted.

    Returns:
        `id`: object or int64 `[n]`; `ids`: object or int64 `[n, longest]`, padded; `number`: float32 or int64 `[n]`.

    Raises:
        DataError: a column is missing, or holds what its feature does not take.
    """
    rows = {}
    for feature in features:
        if feature.column not in frame:
            raise DataError(
                f"The examples lack column {feature.column!r}, which feature {feature.name!r} reads. They have: "
                f"{', '.join(map(str, frame))}."
            )
        try:
            rows[feature.name] = _column(list(frame[feature.column]), feature)
        except (TypeError, ValueError, OverflowError) as error:
            wanted = f"lists of {feature.dtype}" if feature.kind == "ids" else feature.dtype
            raise DataError(
                f"Feature {feature.name!r} takes {wanted}, one a row. Column {feature.column!r} holds something else: "
                f"{error}."
            ) from None
    return rows


def missing_rows(features: Iterable[Feature], rows: int = 1) -> dict[str, np.ndarray]:
    """Rows in which every feature is missing."""
    return {
        f.name: _typed([None] * rows, f.dtype).reshape((-1, 1) if f.kind == "ids" else -1) for f in features
    }


def serialize_rows(rows: Mapping[str, np.ndarray], features: Iterable[Feature]) -> np.ndarray:
    """The rows as serialized `tf.train.Example`s, object `[n]`; what is missing is left out."""
    features = list(features)
    serialized = []
    for i in range(len(next(iter(rows.values())))):
        example = tf.train.Example()
        for feature in features:
            values = np.atleast_1d(rows[feature.name][i])
            values = values[[not _is_missing(value, feature.dtype) for value in values]]
            field = example.features.feature[feature.name]
            if feature.dtype == "string":
                field.bytes_list.value.extend(value.encode() for value in values)
            elif feature.dtype == "int64":
                field.int64_list.value.extend(values.tolist())
            else:
                field.float_list.value.extend(values.tolist())
            if not len(values):
                del example.features.feature[feature.name]
        serialized.append(example.SerializeToString())
    return np.array(serialized, object)


def _column(values: Sequence[Any], feature: Feature) -> np.ndarray:
    if feature.kind != "ids":
        return _typed(values, feature.dtype)
    values = [_steps(value) for value in values]
    longest = max([1, *map(len, values)])
    flat = [step for value in values for step in [*value, *[None] * (longest - len(value))]]
    return _typed(flat, feature.dtype).reshape(-1, longest)


def _steps(value: Any) -> list[Any]:
    if isinstance(value, str):
        return value.split("|") if value else []
    return [] if not hasattr(value, "__len__") and _is_missing(value, "float32") else list(value)


_IDS = (str, bytes, int, np.integer)


def _typed(values: Sequence[Any], dtype: str) -> np.ndarray:
    absent = [_is_missing(value, dtype) for value in values]
    values = [MISSING[dtype] if missing else value for value, missing in zip(values, absent, strict=True)]
    for value in values:  # what NumPy and `str` would take without a word
        if dtype == "string" and (isinstance(value, bool) or not isinstance(value, _IDS)):
            raise ValueError(
                f"{value!r}, neither text nor a whole number (pandas makes floats of whole numbers with a gap; give "
                "them as its Int64, or as text)"
            )
        if isinstance(value, (list, tuple, dict)) or (
            dtype == "int64" and isinstance(value, float) and value % 1
        ):
            raise ValueError(f"{value!r}")
    if dtype == "string":
        typed = np.empty(len(values), object)
        typed[:] = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
        return typed
    return np.array(values, dtype)


def _is_missing(value: Any, dtype: str) -> bool:
    if value is None or type(value).__name__ == "NAType" or value != value:
        return True
    return dtype != "float32" and isinstance(value, _IDS) and value == MISSING[dtype]


# The graph ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def inlined() -> Iterator[None]:
    """Traces with every inner `tf.function` as plain Python: no nested calls, and none that XLA must compile."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _repeated(rows: Mapping[str, tf.Tensor], count: tf.Tensor) -> dict[str, tf.Tensor]:
    """`[1, ...]` to `[count, ...]`; what has `count` rows stays as it is, any other number is an error."""
    return {
        name: tf.ensure_shape(
            tf.broadcast_to(value, tf.concat([[count], tf.shape(value)[1:]], 0)), [None, *value.shape[1:]]
        )
        for name, value in rows.items()
    }


def read_variables(function: Any, model: Any) -> list[keras.Variable]:
    """The variables of the model that a traced function reads, in the model's order."""
    handles = {id(outer) for outer, _ in function.graph.captures if outer.dtype == tf.resource}
    return [variable for variable in model.variables if id(variable.value.handle) in handles]


def _check_serves_anywhere(path: pathlib.Path) -> None:
    (meta_graph,) = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    functions = meta_graph.graph_def.library.function
    for function in functions:
        if function.attr["_XlaMustCompile"].b:
            raise InputError(
                f"The serving graph holds {function.signature.name!r}, which only XLA can run, and a server may lack "
                "it. Do not use jit_compile=True where `training` is False."
            )
    for node in [*meta_graph.graph_def.node, *(node for function in functions for node in function.node_def)]:
        if node.op in ("PyFunc", "EagerPyFunc", "PyFuncStateless"):
            raise InputError(
                f"The serving graph calls Python ({node.name!r}). Use TensorFlow operations in `serve`."
            )


# Files --------------------------------------------------------------------------------------------------------------


def _check(model: Any, encoder: Any, folder: pathlib.Path, version: int | None) -> None:
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 0):
        raise InputError(f"`version` must be a whole number of at least 0. Received: {version!r}.")
    if version is not None and (folder / str(version)).exists():
        raise InputError(
            f"Version {version} exists in {folder}, and a version is never overwritten. Leave `version` out for the "
            "next number, or choose another."
        )
    if not model.built:
        raise InputError("The model has no weights yet. Train it, or load weights, before the export.")
    for feature in model.serving_features:
        if feature.name == "k":
            raise InputError(
                "A feature called 'k' cannot be served: `rank` asks by that name how many candidates are wanted. "
                "Rename it; `column: k` goes on reading the raw column."
            )
        if feature.table is not None:
            wanted, received = (schema.table(feature.table).rows for schema in (model.schema, encoder.schema))
            if wanted != received:
                raise InputError(
                    f"The encoder is not the model's: table {feature.table!r} has {received} rows in the encoder and "
                    f"{wanted} in the model. Export with the encoder that was saved with the run."
                )


@contextlib.contextmanager
def _removed_on_failure(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    try:
        folder.mkdir()
        yield folder
    except BaseException:  # an interruption too
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _publish(unfinished: pathlib.Path, folder: pathlib.Path, version: int | None) -> pathlib.Path:
    while True:
        taken = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
        path = folder / str(max(taken, default=0) + 1 if version is None else version)
        try:
            return unfinished.rename(path)
        except OSError:
            if not path.exists():
                raise
            if version is not None:  # someone else was quicker
                raise InputError(f"Version {version} exists in {folder} now. Choose another.") from None


def _replay(model: Any, encoder: Any, examples: pd.DataFrame, rows: Mapping[str, np.ndarray]) -> str:
    """Raw rows and the scores that the Keras model gives them, a JSON object a line."""
    target = model.schema.target
    scores = model({target: encoder.encode(target, examples)}, training=False)[target]
    scores = np.asarray(model.served(scores)).reshape(-1)
    lines = []
    for i, score in enumerate(scores.astype(np.float32)):
        raw = {f.name: _json_value(rows[f.name][i], f) for f in model.serving_features}
        lines.append(json.dumps({"features": raw, "score": float(score)}, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def _json_value(value: Any, feature: Feature) -> Any:
    if feature.kind == "ids":
        steps = value.tolist()
        while steps and _is_missing(steps[-1], feature.dtype):
            steps.pop()
        return steps
    value = value.item() if isinstance(value, np.generic) else value
    return None if _is_missing(value, feature.dtype) else value


def _write_warm_up(
    path: pathlib.Path, name: str, rows: Mapping[str, np.ndarray], features: Iterable[Feature]
) -> None:
    """A TFRecord file of `tensorflow.serving.PredictionLog`s.

    The messages are written by hand, field by field: four nested ones do not earn the package that defines them.
    PredictionLog {6: PredictLog {1: PredictRequest {1: ModelSpec {1: name, 3: signature_name},
    2: map of inputs {1: name, 2: TensorProto}}}}.
    """
    count = len(next(iter(rows.values())))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in sorted({min(size, count) for size in WARM_UP_ROWS}):
            some = {key: value[:size] for key, value in rows.items()}
            requests = {
                "serving_default": some,
                "serve_examples": {"examples": serialize_rows(some, features)},
            }
            if any(feature.role == "item" for feature in features):
                requests["rank"] = rank_inputs(some, features, size)
            for signature_name, inputs in requests.items():
                request = _field(1, _field(1, name.encode()) + _field(3, signature_name.encode()))
                for key, value in inputs.items():
                    tensor = tf.make_tensor_proto(value.tolist(), _dtype(value), value.shape)
                    request += _field(2, _field(1, key.encode()) + _field(2, tensor.SerializeToString()))
                writer.write(_field(6, _field(1, request)))


def _dtype(value: np.ndarray) -> tf.DType:
    return tf.string if value.dtype == object else tf.as_dtype(value.dtype)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


# The model card -----------------------------------------------------------------------------------------------------


def _facts(model: Any, features: Iterable[Feature], variables: Sequence[keras.Variable]) -> dict[str, Any]:
    """What the model itself can say on its card."""
    domain = model.schema.target_domain
    config = {
        key: value for key, value in model.get_config().items() if key not in ("schema", "name", "trainable")
    }
    return {
        "model": type(model).__name__,
        "exported": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "intended_use": f"Scores rows of {domain.name!r}: "
        + ("the probability of a click." if domain.task == "click" else "the expected rating."),
        "limits": "Ids that were not seen in training share one row of their table; a missing value reads as zeros. "
        "Scores mean what they meant in the training data: its period, its candidates, its share of positives.",
        "inputs": {
            f.name: {
                "dtype": f.dtype,
                "shape": "[batch, any length]" if f.kind == "ids" else "[batch]",
                "missing": "NaN" if f.dtype == "float32" else MISSING[f.dtype],
                **({"newest_steps_read": f.length} if f.kind == "ids" else {}),
            }
            for f in features
        },
        "outputs": {domain.task: {"dtype": "float32", "shape": "[batch]"}},
        "size": {
            "exported_variables": len(variables),
            "exported_parameters": _parameters(variables),
            "model_variables": len(model.weights),
            "model_parameters": _parameters(model.weights),
        },
        "variables": {v.path: {"shape": list(v.shape), "dtype": str(v.dtype)} for v in variables},
        "arguments": _plain(config),
        "schema": model.schema.to_dict(),
        "libraries": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        },
    }


def _parameters(variables: Iterable[keras.Variable]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def _plain(value: Any) -> Any:
    """As JSON has it: NumPy's types become Python's, what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(entry) for entry in value]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _markdown(facts: Mapping[str, Any]) -> str:
    lines = [f"# {facts['model']}", ""]
    for key, value in facts.items():
        if key in ("model", "schema", "variables"):  # model_card.json has these
            continue
        lines += [f"## {key.replace('_', ' ').capitalize()}", "", *_bullets(value), ""]
    return "\n".join(lines)


def _bullets(value: Any, indent: str = "") -> list[str]:
    if isinstance(value, Mapping):
        lines = []
        for key, entry in value.items():
            nested = isinstance(entry, Mapping)
            lines.append(f"{indent}- {key}:" + ("" if nested else f" {_inline(entry)}"))
            lines += _bullets(entry, indent + "  ") if nested else []
        return lines
    return [f"{indent}{_inline(value)}"]


def _inline(value: Any) -> str:
    if isinstance(value, str) and not value:
        return '""'
    if isinstance(value, list):
        return ", ".join(_inline(entry) for entry in value)
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
