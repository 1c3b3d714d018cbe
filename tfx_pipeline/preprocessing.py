"""What Transform runs: the encoding of cdrzoo's serving graph, with vocabularies and statistics that Beam counts.

One vocabulary a table, whatever features and domains look it up; 0 is padding, 1 unknown, known ids from 2. It is the
very graph of an export (`cdrzoo.data.graph`), so training and serving cannot come apart. Of ids that are seen equally
often Transform puts the last in alphabetical order first, `Encoder.adapt` the first; all else is as there.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import tensorflow as tf

from cdrzoo.data import Encoder
from cdrzoo.data.graph import EncoderGraph
from cdrzoo.data.raw import MISSING, as_numbers
from cdrzoo.schema import Feature, Schema
from tfx_pipeline._tfx import tft
from tfx_pipeline.rows import LABEL, NUMBERS, USER, WEIGHT, raw_name

_NO_TOKENS = "49d0cd50-04bb-48c0-bc6f-5b575dce351a"
"""What Transform writes into a vocabulary that would be empty."""


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Raw examples of any domain to rows of tables; see `tfx_pipeline.rows`.

    Each row holds the values of its own domain, so of the others there is nothing but padding, which is zeros: the sum
    over the domains is the row's own encoding.
    """
    schema = Schema.from_dict(json.loads(custom_config["schema"]))
    raw = {
        domain.name: {f.name: _dense(inputs[raw_name(schema, domain, f)], f) for f in domain.features}
        for domain in schema.domains
    }
    lookups = {
        table.name: _Lookup(_vocabulary(schema, table.name, raw))
        for table in schema.tables
        if table.hash_buckets is None
    }
    outputs: dict[str, Any] = {}
    statistics: list[tf.Tensor] = []
    for domain in schema.domains:
        numbers = {f.name: _moments(raw[domain.name][f.name]) for f in domain.features if f.kind == "number"}
        statistics += [value for pair in numbers.values() for value in pair]
        encoded = EncoderGraph(schema, domain.name, lookups, numbers)(raw[domain.name])
        for feature in domain.features:
            values = encoded[feature.name]
            if feature.kind != "number":
                values = tf.cast(values, tf.int64)
            if feature.kind != "ids":
                values = tf.reshape(values, [-1])
            outputs[feature.name] = outputs[feature.name] + values if feature.name in outputs else values
    outputs[LABEL] = _single(inputs[LABEL], 0.0)
    outputs[WEIGHT] = _single(inputs[WEIGHT], 1.0)
    outputs[USER] = _single(inputs[USER], "")
    if statistics:
        bits = tf.bitcast(tf.stack(statistics), tf.int64)
        outputs[NUMBERS] = tf.zeros_like(outputs[LABEL], tf.int64)[:, None] + bits[None]
    return outputs


def encoder(schema: Schema, transform: tft.TFTransformOutput, numbers: np.ndarray | None) -> Encoder:
    """cdrzoo's encoder with what Transform counted.

    Args:
        schema: the schema.
        transform: what Transform put out.
        numbers: one row of `row.numbers`; `None` for a schema without numbers.
    """
    made = Encoder(schema)
    vocabularies = {}
    for table in schema.tables:
        if table.hash_buckets is None:
            tokens = [token.decode() for token in transform.vocabulary_by_name(table.name)]
            tokens = [token for token in tokens if token != _NO_TOKENS]
            vocabularies[table.name] = np.array(
                tokens, np.int64 if as_numbers(schema, table.name) else object
            )
    made.set_vocabularies(vocabularies)
    values = iter(() if numbers is None else numbers.astype(np.int64).view(np.float64).tolist())
    made.numbers = {
        domain.name: {f.name: (next(values), next(values)) for f in domain.features if f.kind == "number"}
        for domain in schema.domains
    }
    return made


class _Lookup:
    """A vocabulary that is not known before all rows are counted, as a lookup table."""

    def __init__(self, vocabulary: Any):
        self.vocabulary = vocabulary

    def lookup(self, keys: tf.Tensor) -> tf.Tensor:
        return tft.apply_vocabulary(keys, self.vocabulary, default_value=-1)


def _vocabulary(schema: Schema, table: str, raw: dict[str, dict[str, tf.Tensor]]) -> Any:
    """Every occurrence counts: in an id column and among the last `length` ids of a sequence."""
    tokens = []
    for domain in schema.domains:
        for feature in domain.features:
            if feature.table == table:
                values = raw[domain.name][feature.name]
                present = values != MISSING[feature.dtype]
                if feature.kind == "ids":
                    newer = tf.cumsum(tf.cast(present, tf.int32), axis=1, reverse=True)
                    present &= newer <= feature.length
                kept = tf.boolean_mask(values, present)
                if feature.dtype == "int64" and not as_numbers(schema, table):
                    kept = tf.strings.as_string(kept)
                tokens.append(kept)
    threshold = schema.table(table).min_count
    return tft.vocabulary(
        tf.concat(tokens, 0), frequency_threshold=threshold, vocab_filename=table, name=table
    )


def _moments(raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and deviation in float64; a number that never changes is divided by 1."""
    values = tf.cast(raw, tf.float64)
    present = raw != -1 if raw.dtype == tf.int64 else ~tf.math.is_nan(values)
    values = tf.boolean_mask(values, present)
    mean = tft.mean(values, output_dtype=tf.float64)
    deviation = tf.sqrt(tft.var(values, output_dtype=tf.float64))
    varies = deviation > 1e-12 * tf.maximum(tf.constant(1.0, tf.float64), tf.abs(mean))
    return mean, tf.where(varies, deviation, tf.ones_like(deviation))


def _dense(given: Any, feature: Feature) -> tf.Tensor:
    """`[B]`, for sequences `[B, longest]`, of raw values, with missing ones filled in."""
    missing = (
        float("nan")
        if feature.dtype == "float32"
        else -1
        if feature.kind == "number"
        else MISSING[feature.dtype]
    )
    return tf.sparse.to_dense(given, missing) if feature.kind == "ids" else _single(given, missing)


def _single(given: Any, missing: Any) -> tf.Tensor:
    dense = tf.sparse.to_dense(given, missing)
    return tf.pad(dense, [[0, 0], [0, 1]], constant_values=missing)[:, 0]  # a column in case no row has any
