"""TensorFlow Serving's JSON: the body of a `:predict` request to arrays, and answers to JSON."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from cdrzoo.serving.json_text import parse
from cdrzoo.serving.limits import invalid, listed, short
from cdrzoo.serving.versions import Version


def predict(body: bytes, version: Version) -> dict[str, Any]:
    """The answer to the body of a `:predict` request: `{"predictions": ...}` to rows, `{"outputs": ...}` to columns."""
    request = parse(body)
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise invalid('The body must be an object with either "instances" (rows) or "inputs" (columns).')
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid('"signature_name" must be a string.')
    infos = version.signature(name).inputs
    rows = "instances" in request
    columns = _columns(request["instances"], infos) if rows else request["inputs"]
    if not (isinstance(columns, Mapping) and _bytes(columns) is None):
        if len(infos) != 1:
            raise invalid(f'"inputs" must be an object with {listed(infos)}.')
        columns = {next(iter(infos)): columns}
    version.check_names(name, columns)
    inputs = {key: dense(value, tf.as_dtype(infos[key].dtype), key) for key, value in columns.items()}
    outputs = {key: _values(value) for key, value in version.run(name, inputs).items()}
    answer: Any = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    if not rows:
        return {"outputs": answer}
    if len(outputs) > 1:
        answer = [dict(zip(outputs, row)) for row in zip(*outputs.values(), strict=True)]
    return {"predictions": answer}


def _columns(instances: Any, infos: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Rows, `[{input: value}]` or, of a signature with one input, `[value]`, as columns."""
    if not isinstance(instances, list) or not instances:
        raise invalid('"instances" must be a list of at least one row.')
    first = instances[0]
    if not (isinstance(first, dict) and _bytes(first) is None):
        if len(infos) != 1:
            raise invalid(f"A row must be an object with {listed(infos)}.")
        return {next(iter(infos)): instances}
    for i, row in enumerate(instances):
        if not isinstance(row, dict) or row.keys() != first.keys():
            raise invalid(f"Row {i} must have the inputs of row 0: {listed(first)}.")
    return {key: [row[key] for row in instances] for key in first}


# Lists to arrays -----------------------------------------------------------------------------------------------------


def dense(value: Any, dtype: tf.DType, name: str) -> np.ndarray:
    """Nested lists as an array; every list of one depth has one length, every value is of the type."""
    shape: list[int] = []
    level = [value]
    while level and list in (kinds := set(map(type, level))):
        if len(kinds) > 1:
            raise invalid(f"Input {name!r} has a list where other rows have a value. Write all rows alike.")
        if len(lengths := set(map(len, level))) > 1:
            raise invalid(
                f"Input {name!r} must be dense: lists of one depth have one length. Pad sequences with what stands "
                f'for missing ("" or -1). Received: lists of {min(lengths)} to {max(lengths)} entries.'
            )
        shape += lengths
        level = list(itertools.chain.from_iterable(level))
        if len(shape) > 8:
            raise invalid(f"Input {name!r} is nested too deeply.")
    if dtype == tf.string:
        return _strings(level, shape, name)
    return _numbers(level, dtype, shape, name)


def _strings(flat: list[Any], shape: list[int], name: str) -> np.ndarray:
    _check_types(flat, {str, dict}, "string", shape, name)
    values = np.empty(len(flat), object)
    try:
        values[:] = [each.encode() if type(each) is str else _bytes(each, name) for each in flat]
    except UnicodeEncodeError as error:
        raise invalid(
            f"Input {name!r} holds half a character: {short(ascii(error.object))}. Write the whole one, or U+FFFD."
        ) from None
    for i, each in enumerate(values):
        if each is None:
            _wrong(flat, i, "string", shape, name)
    return values.reshape(shape)


def _numbers(flat: list[Any], dtype: tf.DType, shape: list[int], name: str) -> np.ndarray:
    wanted: set[type] = {bool} if dtype == tf.bool else {int, float} if dtype.is_floating else {int}
    types = _check_types(flat, wanted, dtype.name, shape, name)
    if dtype.is_floating and int in types:  # TensorFlow Serving's rule
        most = 2 ** (np.finfo(dtype.as_numpy_dtype).nmant + 1) - 1
        for i, each in enumerate(flat):
            if type(each) is int and not -most <= each <= most:
                where = _where(i, shape)
                raise invalid(
                    f"Input {name!r} has a whole number{where} that {dtype.name} may not hold: {short(str(each), 40)}. "
                    f"The largest is {most:,}; write a decimal, such as 1.5e9, where rounding is meant."
                )
    try:
        with np.errstate(over="raise"):
            values = np.array(flat, float if dtype.is_floating else bool if dtype == tf.bool else np.int64)
            typed = values.astype(dtype.as_numpy_dtype)
        fits = dtype.is_floating or np.array_equal(typed, values)
    except (OverflowError, FloatingPointError):
        fits = False
    if not fits:
        raise invalid(f"Input {name!r} has a number that {dtype.name} cannot hold. Write a smaller one.")
    return typed.reshape(shape)


def _check_types(flat: list[Any], wanted: set[type], what: str, shape: list[int], name: str) -> set[type]:
    types = set(map(type, flat))
    if types - wanted:
        _wrong(flat, next(i for i, each in enumerate(flat) if type(each) not in wanted), what, shape, name)
    return types


def _wrong(flat: list[Any], i: int, what: str, shape: list[int], name: str) -> None:
    received = short(json.dumps(flat[i]))
    raise invalid(f"Input {name!r} must be {what}. Received: {received}{_where(i, shape)}.")


def _where(i: int, shape: list[int]) -> str:
    """` in row 3`, of the place in the flat list; nothing of a scalar."""
    return f" in row {i // max(int(np.prod(shape[1:])), 1)}" if shape else ""


def _bytes(value: Any, name: str = "") -> bytes | None:
    """What `{"b64": "..."}` holds, padded or not; `None` of anything else."""
    if not isinstance(value, Mapping) or value.keys() != {"b64"} or not isinstance(value["b64"], str):
        return None
    text = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f'"b64" of input {name!r} must hold base64. Received: {short(repr(text))}.') from None


# Answers -------------------------------------------------------------------------------------------------------------


def _values(value: np.ndarray) -> Any:
    if value.dtype == object:
        value = np.vectorize(lambda each: each.decode("utf-8", "replace"), otypes=[object])(value)
    return value.tolist()


def status(statuses: Mapping[int, Any]) -> dict[str, Any]:
    """The answer to `GET /v1/models/NAME`."""
    name_of = get_model_status_pb2.ModelVersionStatus.State.Name
    return {
        "model_version_status": [
            {
                "version": str(number),
                "state": name_of(each.state),
                "status": {
                    "error_code": "UNKNOWN" if each.message else "OK",
                    "error_message": each.message,
                },
            }
            for number, each in statuses.items()
        ]
    }


def metadata(version: Version) -> dict[str, Any]:
    """The answer to `GET /v1/models/NAME/metadata`."""
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=version.signatures)
    return {
        "model_spec": {"name": version.name, "signature_name": "", "version": str(version.number)},
        "metadata": {
            "signature_def": json_format.MessageToDict(signatures, preserving_proto_field_name=True)
        },
    }
