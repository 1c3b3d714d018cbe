"""Embedding tables: every feature of every domain that looks up a table, in one lookup.

TensorFlow rather than `keras.ops`: only `tf.nn.embedding_lookup` on the variable itself reads the wanted rows
alone and gives a gradient of rows (`tf.IndexedSlices`). `keras.ops.take` reads the whole table first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cdrzoo import pieces, replicas
from cdrzoo.errors import SchemaError
from cdrzoo.schema import Schema


@pieces.once
def known(ids: Any) -> tf.Tensor:
    """Where ids are not padding, bool: `ids != 0`, which a GPU would leave to its host if they are int32."""
    return tf.cast(ids, tf.bool)


@keras.saving.register_keras_serializable(package="cdrzoo")
class FeatureEmbedding(keras.layers.Layer):
    """Looks up the tables of a schema for the domains that are handed to it.

    One variable a table, or a table and a domain where `Table.per_domain` says so; one lookup a variable,
    whatever the number of features and domains that read it. Row 0 (padding, missing) starts as zeros and
    never gets a gradient, so it reads as zeros.

    The tables stay float32 under a mixed precision policy; looked-up rows are cast to the compute dtype. XLA
    is kept away from this layer (`supports_jit` is False, which `compile(jit_compile="auto")` obeys): a step
    that XLA compiles as a whole copies every table.

    Args:
        schema: a `Schema` whose tables know their rows.
        domains: names of the domains to make tables for. Default: all domains of the schema.
        initializer: of the tables; rows other than row 0. Default: uniform in [-0.05, 0.05].

    Call arguments:
        x: `{domain: {feature: tensor}}` of any of the domains and any of their features: an id `[batch]`, ids
            `[batch, n]` (int), a number `[batch]` or `[batch, values]`, a vector `[batch, size]` (float).
            Features that the schema does not list are passed over, so that a model of the target alone reads the
            batches of any model.

    Returns:
        `{domain: {feature: tensor}}`: id `[batch, width]`, ids `[batch, n, width]` (of weighted ids rows times weights,
        whose mean is 1, so that the mean of the rows is the weighted one), number `[batch, values]`,
        vector `[batch, width]`: the product with its table, `[size, width]`.

    Raises:
        SchemaError: when a table does not know its rows, or a domain or feature is not in the schema.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        domains: Sequence[str] | None = None,
        initializer: Any = "uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.domains = tuple(domains or (domain.name for domain in self.schema.domains))
        self.initializer = keras.initializers.get(initializer)
        self.supports_jit = False
        self._default_domain = self.schema.target if self.schema.target in self.domains else self.domains[0]
        self._tables: dict[str, keras.Variable] = {}
        self._plain: frozenset[str] = frozenset()
        for name in self.domains:
            for feature in self.schema.domain(name).features:
                if feature.table is not None and self.schema.table(feature.table).rows is None:
                    raise SchemaError(
                        f"Table {feature.table!r} does not know its number of rows. Take the schema of an adapted "
                        "encoder (`encoder.schema`), or say it with `schema.with_rows({...})`."
                    )

    def build(self, input_shape=None):
        for name in self.domains:
            for feature in self.schema.domain(name).features:
                key = self._key(feature.table, name)
                if key is not None and key not in self._tables:
                    table = self.schema.table(feature.table)
                    self._tables[key] = self.add_weight(
                        name=key,
                        shape=(feature.size or table.rows, table.width),
                        initializer=self.initializer if feature.kind == "vector" else self._initialize,
                        autocast=False,
                    )
        self.built = True

    def _initialize(self, shape, dtype=None):
        rows = self.initializer((shape[0] - 1, shape[1]), dtype=dtype)
        return keras.ops.concatenate([keras.ops.zeros((1, shape[1]), dtype=rows.dtype), rows], axis=0)

    def _key(self, table: str | None, domain: str) -> str | None:
        return f"{table}_{domain}" if table is not None and self.schema.table(table).per_domain else table

    def table(self, name: str, domain: str | None = None) -> keras.Variable:
        """The variable `[rows, width]` of a table; of one that each domain owns, that of `domain` (default: the target,
        or else the first domain here)."""
        if not self.built:
            self.build()
        key = self._key(name, domain or self._default_domain)
        if key not in self._tables:
            raise SchemaError(f"No table {key!r} here. Tables: {', '.join(self._tables)}.")
        return self._tables[key]

    @contextlib.contextmanager
    def without_gradients(self) -> Iterator[None]:
        """While a graph is traced that serves, tables whose row 0 is zeros are looked up as they stand."""
        self._plain = frozenset(
            key for key, table in self._tables.items() if not np.any(tf.nn.embedding_lookup(table.value, 0))
        )
        try:
            yield
        finally:
            self._plain = frozenset()

    def call(self, x):
        out: dict[str, dict[str, Any]] = {}
        lookups: dict[str, list[tuple[str, str, tf.Tensor]]] = {}
        for name, features in x.items():
            if name not in self.domains:
                raise SchemaError(
                    f"No tables for domain {name!r}. There are for: {', '.join(self.domains)}. A model takes "
                    "{domain: {feature: tensor}}."
                )
            domain = self.schema.domain(name)
            listed = [feature for feature in domain.features if feature.name in features]
            out[name] = dict.fromkeys(feature.name for feature in listed)
            for feature in listed:
                feature_name, value = feature.name, features[feature.name]
                if feature.kind == "vector":
                    table = self._tables[self._key(feature.table, name)]
                    rows = tf.matmul(
                        tf.cast(value, self.compute_dtype), tf.cast(table.value, self.compute_dtype)
                    )
                    out[name][feature_name] = rows
                elif feature.table is None:
                    columns = feature.values or 1
                    out[name][feature_name] = tf.cast(
                        tf.reshape(value, [value.shape[0] or -1, columns]), self.compute_dtype
                    )
                else:
                    ids = tf.reshape(value, [-1]) if feature.kind != "ids" and len(value.shape) > 1 else value
                    key = self._key(feature.table, name)
                    ids = tf.cast(ids, tf.int64 if ids.dtype == tf.int64 else tf.int32)
                    if key in self._plain:
                        rows = tf.nn.embedding_lookup(self._tables[key].value, ids)
                        out[name][feature_name] = tf.cast(rows, self.compute_dtype)
                        continue
                    lookups.setdefault(key, []).append((name, feature_name, ids))
        for readers, rows in self._rows(lookups):
            if len(rows.shape) > 2:
                cut = pieces.columns(rows)
            else:
                cut = pieces.cut(rows, [_size(each) for *_, each in readers])
            for (name, feature_name, each), piece in zip(readers, cut):
                if each.shape.rank > 1:
                    piece = tf.reshape(piece, [each.shape[0] or -1, _length(each), rows.shape[1]])
                elif each.shape[0]:
                    piece.set_shape([each.shape[0], None])  # which `tf.split` forgets
                out[name][feature_name] = piece
        for name, features in x.items():
            for f in self.schema.domain(name).features:
                if f.weighing and f.name in features:
                    weights = relative(features[f.weighing.name], features[f.name])
                    out[name][f.name] *= tf.cast(weights, self.compute_dtype)[:, :, None]
        return out

    def lookup(self, name: str, ids, domain: str | None = None):
        """Rows of one table, `[*ids.shape, width]`; `domain` as in `table`."""
        table = self.table(name, domain)
        ids = tf.cast(ids, tf.int64)
        flat = tf.reshape(ids, [-1])
        rows = tf.nn.embedding_lookup(table.value, flat) * tf.cast(known(flat), table.dtype)[:, None]
        return tf.reshape(
            tf.cast(rows, self.compute_dtype), tf.concat([tf.shape(ids), [table.shape[1]]], axis=0)
        )

    def _rows(self, lookups):
        """Readers and the rows that they ask for: of a table, or of small ones side by side.

        The rows are one after the other; or `[B, readers, width]`, as layers want them, where these are all readers and
        each has one id and a table of its own.
        Of padding they are zeros without gradient. All ids are one tensor, so that there is one copy to a GPU, which
        leaves int32 to its host.
        """
        groups = self._groups(lookups)
        flat = [
            tf.cast(_flat(each), tf.int64) if wide else _flat(each)
            for (wide, *_), keys in groups
            for key in keys
            for *_, each in lookups[key]
        ]
        if not flat:
            return
        ids, mask = _joined(*flat)
        sizes = [[sum(_size(each) for *_, each in lookups[key]) for key in keys] for _, keys in groups]
        totals, start = [sum(each) for each in sizes], 0
        for (_, keys), each, total, some in zip(groups, sizes, totals, pieces.cut(mask, totals)):
            tables, wanted = [self._tables[key].value for key in keys], ids[start : start + total]
            if len(tables) == 1:
                rows = tf.nn.embedding_lookup(tables[0], wanted) * some
            elif len(groups) == 1 and self._one_id_each(lookups):
                by_row = tf.transpose(tf.reshape(wanted, [len(keys), -1]))
                rows = _side_by_side(tables, by_row, each, tf.cast(known(by_row), tf.float32)[:, :, None])
            else:
                rows = _side_by_side(tables, wanted, each, some)
            yield [reader for key in keys for reader in lookups[key]], tf.cast(rows, self.compute_dtype)
            start += total

    @staticmethod
    def _one_id_each(lookups) -> bool:
        shapes = {tuple(ids.shape) for readers in lookups.values() for *_, ids in readers}
        return len(shapes) == 1 == len(shapes.pop()) and all(
            len(readers) == 1 for readers in lookups.values()
        )

    def _groups(self, lookups) -> list[tuple[tuple, list[str]]]:
        """Tables that are looked up side by side; ids of 32 bits first, then those of 64."""
        groups: dict[tuple, list[str]] = {}
        for key in (key for key in self._tables if key in lookups):
            table, readers = self._tables[key], [ids for *_, ids in lookups[key]]
            wide = any(ids.dtype == tf.int64 for ids in readers)
            sizes = [ids.shape.num_elements() for ids in readers]
            together = replicas.count() == 1 and pieces.small(table, None if None in sizes else sum(sizes))
            groups.setdefault((wide, table.shape[1] if together else key), []).append(key)
        return sorted(groups.items(), key=lambda group: group[0][0])

    def compute_output_shape(self, input_shape):
        def widened(domain, name, shape):
            feature = self.schema.domain(domain).feature(name)
            if feature.table is None:
                return (shape[0], feature.values or 1)
            if feature.kind == "vector":
                shape = shape[:1]
            return (*shape, self.schema.table(feature.table).width)

        return {
            domain: {
                name: widened(domain, name, shape)
                for name, shape in rows.items()
                if self._lists(domain, name)
            }
            for domain, rows in input_shape.items()
        }

    def _lists(self, domain: str, name: str) -> bool:
        return any(feature.name == name for feature in self.schema.domain(domain).features)

    def get_config(self):
        return {
            **super().get_config(),
            "schema": self.schema.to_dict(),
            "domains": list(self.domains),
            "initializer": keras.initializers.serialize(self.initializer),
        }


def relative(weights: Any, ids: Any) -> tf.Tensor:
    """Weights `[batch, n]` over their mean at known ids, float32: the mean of rows times these is the weighted mean."""
    there = tf.cast(known(ids), tf.float32)
    weights = tf.cast(weights, tf.float32) * there
    count, total = (tf.reduce_sum(each, axis=1, keepdims=True) for each in (there, weights))
    return tf.math.divide_no_nan(weights, total) * count


def note_rows(seen: keras.Variable, ids: Any) -> None:
    """Marks rows of a table, bool `[rows]`, as seen; the cost is that of the ids, whatever the size of the table.

    Every replica writes to its own copy of the table, so that it needs the ids of all.
    """
    ids = replicas.gathered(tf.cast(ids, tf.int32))
    seen.value.scatter_update(tf.IndexedSlices(tf.ones_like(ids, tf.bool), ids))


def rows_seen(seen: keras.Variable, ids: Any) -> Any:
    """Whether `note_rows` has marked these rows: bool, the shape of `ids`."""
    return tf.nn.embedding_lookup(seen.value, tf.cast(ids, tf.int32))


def _side_by_side(tables: Sequence, ids: tf.Tensor, sizes: Sequence[int], mask: tf.Tensor) -> tf.Tensor:
    """Rows of tables: of the first table those that the first ids name, and so on; of padding zeros without gradient.

    Args:
        tables: variables of one width.
        ids: int64, those of one table after those of another; or `[B, tables]`.
        sizes: how many ids each table has.
        mask: float32 `[*ids, 1]`, 0 for padding.
    """
    by_row = len(ids.shape) > 1
    limits = np.array([table.shape[0] for table in tables])
    starts, limits = np.cumsum(limits) - limits, limits.astype("uint64")
    if not by_row:
        starts, limits = np.repeat(starts, sizes), np.repeat(limits, sizes)
    # An id beyond its table (below 0, too) reads nothing of the next one, but fails as it does with one table.
    places = tf.where(tf.cast(ids, tf.uint64) < limits, ids + starts, -1)
    places = tf.where(tf.cast(ids, tf.bool), places, sum(table.shape[0] for table in tables))

    @tf.custom_gradient
    def looked_up(*tables):
        zeros = tf.zeros([1, tables[0].shape[1]], tables[0].dtype)
        rows = tf.gather(tf.concat([*tables, zeros], axis=0), places)

        def gradient(upstream):
            values, indices = (
                pieces.columns(each) if by_row else pieces.cut(each, sizes) for each in (upstream * mask, ids)
            )
            shapes = [tf.constant(table.shape.as_list(), tf.int64) for table in tables]
            return [tf.IndexedSlices(*each) for each in zip(values, indices, shapes)]

        return rows, gradient

    return looked_up(*map(tf.convert_to_tensor, tables))


@pieces.once
def _flat(ids: tf.Tensor) -> tf.Tensor:
    return ids if ids.shape.rank == 1 else tf.reshape(ids, [-1])


@pieces.once
def _joined(*ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Ids `[n]`, those of 32 bits first, as one of int64; and where they are not padding, float32 `[all, 1]`."""
    wide = [each for each in ids if each.dtype == tf.int64]
    narrow = list(ids[: len(ids) - len(wide)])
    joined = tf.concat([tf.cast(tf.concat(narrow, axis=0), tf.int64)] * bool(narrow) + wide, axis=0)
    # For a product: `tf.where` takes four times as long.
    return joined, tf.cast(known(joined), tf.float32)[:, None]


def _size(ids: tf.Tensor) -> Any:
    return ids.shape.num_elements() or tf.size(ids)


def _length(ids: tf.Tensor) -> Any:
    return tf.shape(ids)[1] if ids.shape[1] is None else ids.shape[1]
