"""The encoder inside a TensorFlow graph. Apart from `encoder.py`, which does without TensorFlow."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from cdrzoo.data import scaling
from cdrzoo.data.raw import CROSS, as_numbers
from cdrzoo.schema import FIRST_KNOWN, PADDING, Feature, Schema
from cdrzoo.schema.features import together, with_weights
from cdrzoo.schema.transforms import LARGEST


class EncoderGraph(tf.Module):
    """Raw tensors of one domain to rows of tables.

    All features of a table are looked up at once: one lookup a table, not one a feature, keeps serving graphs small.

    Args:
        schema: the schema.
        domain: the domain the rows belong to.
        lookups: by table what finds ids: its `lookup` takes keys and gives int64, 0 for the first known id and -1 for
            one that is not known. Of a table without (and without `hash_buckets`) no id is known.
        numbers: mean and deviation, or cuts, of each number of the domain, by feature.
        features: names of the features it takes; default all.
    """

    def __init__(
        self,
        schema: Schema,
        domain: str,
        lookups: Mapping[str, Any],
        numbers: Mapping[str, Any],
        features: Iterable[str] | None = None,
    ):
        super().__init__(name="encoder")  # a domain may be called 1x, a module may not
        names = None if features is None else set(features)
        # In a plain tuple below: tf.Module would wrap lists and dictionaries of its own and track what need not be.
        self._features = tuple(f for f in schema.domain(domain).features if names is None or f.name in names)
        self._inputs = schema.domain(domain).inputs(self._features)
        self._weights = {f.name: f.weighing.name for f in self._features if f.weighing}
        self._sequences = tuple(tuple(f.name for f in group) for group in together(self._features))
        self._lengths = {f.name: f.length for f in self._features if f.kind == "ids"}
        self._numbers = {f.name: numbers[f.name] for f in self._features if f.kind == "number"}
        self._buckets = {table.name: table.hash_buckets for table in schema.tables}
        self._keys = {t.name: tf.int64 if as_numbers(schema, t.name) else tf.string for t in schema.tables}
        self._tables = {f.table: lookups[f.table] for f in self._features if f.table in lookups}

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """The raw tensors it takes, by feature; what has a `serving_value` may be left out, and then has that."""
        return {f.name: tf.TensorSpec(f.raw_shape, tf.as_dtype(f.dtype), name=f.name) for f in self._inputs}

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        encoded, rows = {}, tf.shape(next(raw[f.name] for f in self._inputs if f.name in raw))[:1]
        raw = {
            f.name: raw[f.name] if f.name in raw else tf.fill(rows, tf.constant(f.serving_value, f.dtype))
            for f in self._inputs
        }
        for feature in self._features:
            if feature.kind == "number":
                encoded[feature.name] = self._number(feature, raw[feature.name])
            elif feature.kind == "vector":
                encoded[feature.name] = _vector(raw[feature.name])
            elif feature.cross is not None:
                encoded[feature.name] = self._cross(feature, [raw[name] for name in feature.cross])
        ids = [f for f in self._features if f.kind in ("id", "ids") and f.cross is None]
        for name in dict.fromkeys(f.table for f in ids):
            features = [f for f in ids if f.table == name]
            flat = [tf.reshape(raw[f.name], [-1]) for f in features]
            rows = tf.split(self._rows(name, features, flat), [tf.size(x) for x in flat], num=len(flat))
            for feature, found in zip(features, rows, strict=True):
                encoded[feature.name] = tf.reshape(found, tf.shape(raw[feature.name]))
        for group in self._sequences:
            columns, beside = [encoded[name] for name in group], self._weights.get(group[0])
            weights = [tf.bitcast(_weights(raw[beside]), tf.int32)] if beside else []
            last = _last(columns, weights, self._lengths[group[0]])
            encoded.update(zip(group, last, strict=False))
            if beside:
                found = tf.bitcast(last[-1], tf.float32)
                encoded[beside] = tf.where(last[0] != PADDING, found, tf.zeros_like(found))
        return {f.name: encoded[f.name] for f in with_weights(self._features)}

    def _rows(self, table: str, features: list[Feature], flat: list[tf.Tensor]) -> tf.Tensor:
        missing = tf.concat([_missing(x) for x in flat], 0)
        if self._keys[table] == tf.string:
            flat = [x if x.dtype == tf.string else tf.strings.as_string(x) for x in flat]
        keys = tf.concat(flat, 0)
        if self._buckets[table] is not None:
            rows = tf.strings.to_hash_bucket_fast(keys, self._buckets[table])
        elif table in self._tables:
            rows = self._tables[table].lookup(keys)  # not found is -1
        else:
            rows = tf.fill(tf.shape(keys), tf.constant(-1, tf.int64))
        return tf.where(missing, PADDING, tf.cast(rows, tf.int32) + FIRST_KNOWN)

    def _cross(self, feature: Feature, parts: list[tf.Tensor]) -> tf.Tensor:
        parts = [tf.reshape(x, [-1]) for x in parts]
        missing = functools.reduce(tf.logical_or, map(_missing, parts))
        texts = [x if x.dtype == tf.string else tf.strings.as_string(x) for x in parts]
        shape = functools.reduce(
            tf.broadcast_dynamic_shape, map(tf.shape, texts)
        )  # one user, many candidates
        texts = [tf.broadcast_to(x, shape) for x in texts]
        rows = tf.strings.to_hash_bucket_fast(tf.strings.join(texts, CROSS), self._buckets[feature.table])
        return tf.where(missing, PADDING, tf.cast(rows, tf.int32) + FIRST_KNOWN)

    def _number(self, feature: Feature, raw: tf.Tensor) -> tf.Tensor:
        raw = tf.reshape(raw, [-1])
        values = tf.cast(raw, tf.float64)
        missing = raw == -1 if feature.dtype == "int64" else ~tf.math.is_finite(values)
        values = scaling.stepped(tf.where(missing, tf.zeros_like(values), values), feature, tf.math)
        if feature.table is not None:
            cuts = tf.convert_to_tensor(self._numbers[feature.name], tf.float64)
            rows = tf.searchsorted(cuts, values, side="right") + FIRST_KNOWN
            return tf.where(missing, PADDING, rows)
        moments = self._numbers[feature.name]
        missing |= scaling.beyond(values, feature, moments, tf.math)
        columns = scaling.columns(values, feature, moments, tf.math)
        columns += [tf.ones_like(values)] * feature.flag
        found = [tf.cast(tf.where(missing, tf.zeros_like(c), c), tf.float32) for c in columns]
        return tf.stack(found, 1) if feature.values else found[0]


def _missing(ids: tf.Tensor) -> tf.Tensor:
    """Where a raw id is missing, bool. Lengths of texts are compared in a third of the time that the texts take."""
    return tf.strings.length(ids) == 0 if ids.dtype == tf.string else ids == -1


def _vector(raw: tf.Tensor) -> tf.Tensor:
    """Zeros for one that holds NaN or a number beyond `LARGEST`, which files and clients refuse: it is missing."""
    missing = ~tf.reduce_all(tf.abs(raw) <= LARGEST, axis=1, keepdims=True)
    return tf.where(missing, tf.zeros_like(raw), raw)


def _weights(raw: tf.Tensor) -> tf.Tensor:
    """0 for what is no weight: files and clients refuse it."""
    return tf.where((raw > 0) & tf.math.is_finite(raw), raw, tf.zeros_like(raw))


class _Vocabulary(tf.lookup.TextFileInitializer):
    """The table draws a name of its own. Else it is named after the file, whose path here would stand in an export."""

    _shared_name = None


def lookup_table(path: pathlib.Path, numbers: bool, size: int) -> tf.lookup.StaticHashTable:
    """A vocabulary of a text file of `size` lines, an id (a number or any text) a line, for `EncoderGraph`."""
    initializer = _Vocabulary(
        str(path),
        key_dtype=tf.int64 if numbers else tf.string,
        key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
        value_dtype=tf.int64,
        value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
        vocab_size=size,
    )
    return tf.lookup.StaticHashTable(initializer, default_value=-1)


def _last(ids: list[tf.Tensor], beside: list[tf.Tensor], length: int) -> list[tf.Tensor]:
    """Sequences that run in step, each [B, any], to [B, length]: the last `length` steps where any id is present.

    What is `beside` the ids goes with them. A column that is shorter than another is padded behind. Steps keep their
    order; padding stands behind them.
    """
    columns = [*ids, *beside]
    if len(columns) > 1:
        longest = tf.reduce_max([tf.shape(column)[1] for column in columns])
        columns = [tf.pad(c, [[0, 0], [0, longest - tf.shape(c)[1]]]) for c in columns]
    present = functools.reduce(tf.logical_or, [tf.cast(c, tf.bool) for c in columns[: len(ids)]])
    # Most requests are packed already, and moving steps costs more than the rest of the lookups.
    holes = tf.reduce_any(present[:, 1:] & ~present[:, :-1]) | tf.reduce_any(present[:, length:])
    last = tf.cond(holes, lambda: _packed(columns, present, length), lambda: _cut(columns, length))
    return [tf.ensure_shape(column, [None, length]) for column in last]


def _cut(columns: list[tf.Tensor], length: int) -> list[tf.Tensor]:
    """The first `length` steps, `[B, any]` -> `[B, length]` each."""
    short = tf.maximum(length - tf.shape(columns[0])[1], 0)
    return [tf.pad(column, [[0, 0], [0, short]])[:, :length] for column in columns]


def _packed(columns: list[tf.Tensor], present: tf.Tensor, length: int) -> list[tf.Tensor]:
    """The last `length` present steps, `[B, any]` -> `[B, length]` each."""
    counts = tf.reduce_sum(tf.cast(present, tf.int32), axis=1)
    kept = tf.where(tf.reshape(present, [-1]))[:, 0]  # present steps of all rows, one row after the other
    taken, steps = tf.minimum(counts, length)[:, None], tf.range(length)
    at = tf.cumsum(counts)[:, None] - taken + steps
    at = tf.where(steps < taken, at, tf.size(kept))  # padding stands behind them all
    return [tf.gather(tf.pad(tf.gather(tf.reshape(c, [-1]), kept), [[0, 1]]), at) for c in columns]
