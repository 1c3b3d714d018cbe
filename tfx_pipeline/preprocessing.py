"""What Transform runs: the encoding of cdrzoo's serving graph, with vocabularies and statistics that Beam counts.

One vocabulary a table, whatever features and domains look it up; 0 is padding, 1 unknown, known ids from 2. It is the
very graph of an export (`cdrzoo.data.graph`), so training and serving cannot come apart. Of ids that are seen equally
often Transform puts the last in alphabetical order first, `Encoder.adapt` the first; all else is as there. A pipeline
with warm starts counts nothing here: its encoder is there before (`tfx_pipeline.continual`).
"""

from __future__ import annotations

import itertools
import json
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from cdrzoo.data import Encoder, scaling
from cdrzoo.data.graph import EncoderGraph
from cdrzoo.data.raw import MISSING, as_numbers
from cdrzoo.data.statistics import KEPT
from cdrzoo.schema import Feature, Schema, Table
from tfx_pipeline._tfx import tft
from tfx_pipeline.rows import LABEL, NUMBERS, USER, WEIGHT, further, raw_name

_NO_TOKENS = "49d0cd50-04bb-48c0-bc6f-5b575dce351a"
"""What Transform writes into a vocabulary that would be empty."""


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Raw examples of any domain to rows of tables; see `tfx_pipeline.rows`.

    Each row holds the values of its own domain, so of the others there is nothing but padding, which is zeros: the sum
    over the domains is the row's own encoding.
    """
    schema = Schema.from_dict(json.loads(custom_config["schema"]))
    raw = {
        domain.name: {f.name: _dense(inputs[raw_name(schema, domain, f)], f) for f in domain.inputs()}
        for domain in schema.domains
    }
    known = Encoder.load(custom_config["encoder"]) if custom_config["encoder"] else None
    lookups = {}
    for table in filter(schema.has_vocabulary, (table.name for table in schema.tables)):
        if known is None:
            lookups[table] = _Lookup(_vocabulary(schema, table, raw))
        elif len(known.lookups[table]):  # else no id is known
            lookups[table] = _Lookup(str(pathlib.Path(custom_config["encoder"], "vocab", f"{table}.txt")))
    outputs: dict[str, Any] = {}
    statistics: list[tf.Tensor] = []
    for domain in schema.domains:
        if known is None:
            numbers = {
                f.name: _learnt(schema, f, raw[domain.name][f.name])
                for f in domain.features
                if f.kind == "number"
            }
            statistics += numbers.values()
        else:
            numbers = known.numbers[domain.name]
        encoded = EncoderGraph(schema, domain.name, lookups, numbers)(raw[domain.name])
        for feature in domain.tensors:
            values = encoded[feature.name]
            if feature.is_id:
                values = tf.cast(values, tf.int64)
            values = tf.reshape(values, [-1, feature.values] if feature.values else [-1])
            outputs[feature.name] = outputs[feature.name] + values if feature.name in outputs else values
    outputs[LABEL] = _single(inputs[LABEL], 0.0)
    outputs[WEIGHT] = _single(inputs[WEIGHT], 1.0)
    for name in further(schema):
        for kind in (LABEL, WEIGHT):
            outputs[f"{kind}.{name}"] = _single(inputs[f"{kind}.{name}"], 0.0)
    outputs[USER] = _single(inputs[USER], "")
    if statistics:
        bits = tf.bitcast(tf.concat(statistics, 0), tf.int64)
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
        if schema.has_vocabulary(table.name):
            tokens = [token.decode() for token in transform.vocabulary_by_name(table.name)]
            tokens = [token for token in tokens if token != _NO_TOKENS]
            vocabularies[table.name] = np.array(
                tokens, np.int64 if as_numbers(schema, table.name) else object
            )
    made.set_vocabularies(vocabularies)
    values = iter(() if numbers is None else numbers.astype(np.int64).view(np.float64).tolist())
    made.numbers = {
        domain.name: {
            f.name: tuple(itertools.islice(values, _size(schema, f)))
            for f in domain.features
            if f.kind == "number"
        }
        for domain in schema.domains
    }
    return made


def _size(schema: Schema, feature: Feature) -> int:
    """How many values are learnt of a number: mean and deviation, or cuts."""
    buckets = None if feature.table is None else schema.table(feature.table).buckets
    return 2 if buckets is None else buckets - 1


class _Lookup:
    """A vocabulary as a lookup table: one that is not known before all rows are counted, or a file."""

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
    keys = tf.concat(tokens, 0)
    # TensorFlow keeps a lookup by its name for as long as the process lives, and a later pipeline's keys may differ.
    scope = f"{table}_{keys.dtype.name}"
    return tft.vocabulary(keys, frequency_threshold=threshold, vocab_filename=table, name=scope)


def _learnt(schema: Schema, feature: Feature, raw: tf.Tensor) -> tf.Tensor:
    """float64 `[_size]`: what is learnt of a number."""
    values = tf.cast(raw, tf.float64)
    present = raw != -1 if raw.dtype == tf.int64 else tf.math.is_finite(values)
    values = scaling.stepped(tf.boolean_mask(values, present), feature, tf.math)
    if feature.table is None:
        return tf.stack(_moments(values))
    return tf.ensure_shape(_cuts(values, schema.table(feature.table)), [_size(schema, feature)])


def _cuts(values: tf.Tensor, table: Table) -> tf.Tensor:
    """`Spread.cuts`, by Beam."""
    parts = tf.range(1, table.buckets, dtype=tf.int64)
    if table.by == "width":
        there = tft.size(values) > 0
        low, high = (tf.where(there, of(values), tf.zeros_like(of(values))) for of in (tft.min, tft.max))
        return low + (high - low) * (tf.cast(parts, tf.float64) / table.buckets)
    bits = tf.bitcast(tf.where(values == 0, tf.zeros_like(values), values), tf.int64)
    keys, counts = tft.count_per_key(tf.bitwise.bitwise_and(bits, tf.constant(KEPT, tf.int64)))
    values = tf.concat([tf.bitcast(keys, tf.float64), tf.zeros([1], tf.float64)], 0)  # where there are none
    order = tf.argsort(values)
    upto = tf.cumsum(tf.gather(tf.concat([counts, tf.zeros([1], tf.int64)], 0), order))
    at = tf.searchsorted(upto, parts * upto[-1] // table.buckets, side="right")
    return tf.gather(tf.gather(values, order), tf.minimum(at, tf.size(values) - 1))


def _moments(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and deviation in float64; a number that never changes is divided by 1."""
    mean = tft.mean(values, output_dtype=tf.float64)
    deviation = tf.sqrt(tft.var(values, output_dtype=tf.float64))
    varies = deviation > 1e-12 * tf.maximum(tf.constant(1.0, tf.float64), tf.abs(mean))
    return mean, tf.where(varies, deviation, tf.ones_like(deviation))


def _dense(given: Any, feature: Feature) -> tf.Tensor:
    """`[B]`, for sequences `[B, longest]`, for vectors `[B, size]`, of raw values, with missing ones filled in."""
    missing = (
        float("nan")
        if feature.dtype == "float32"
        else -1
        if feature.kind == "number"
        else MISSING[feature.dtype]
    )
    if feature.kind == "vector":  # of rows of other domains there is nothing
        shape = tf.stack([given.dense_shape[0], tf.constant(feature.size, tf.int64)])
        dense = tf.sparse.to_dense(tf.SparseTensor(given.indices, given.values, shape))
        return tf.ensure_shape(dense, [None, feature.size])
    return tf.sparse.to_dense(given, missing) if feature.ragged else _single(given, missing)


def _single(given: Any, missing: Any) -> tf.Tensor:
    dense = tf.sparse.to_dense(given, missing)
    return tf.pad(dense, [[0, 0], [0, 1]], constant_values=missing)[:, 0]  # a column in case no row has any
