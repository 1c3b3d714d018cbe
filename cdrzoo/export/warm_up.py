"""Warm-up requests, which TensorFlow Serving runs before a version takes traffic."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from cdrzoo.export.rows import rank_inputs, serialize_rows
from cdrzoo.schema import Feature

WARM_UP_ROWS = (1, 16, 100)
"""Batch sizes of the warm-up requests, as far as there are examples."""


def write_warm_up(
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
