"""A warm start: a new model takes what a trained one has learnt, though its tables have more rows.

This is the one place where tables grow, those of every model alike. Which variable has the rows of which table is not
told by layers: it is seen when the model is made twice, with tables of other sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cdrzoo.data import Encoder
from cdrzoo.data.growth import fresh_rows
from cdrzoo.models.base import CrossDomainModel
from cdrzoo.schema import FIRST_KNOWN, Schema
from cdrzoo.training import descent
from cdrzoo.training.config import RunConfig
from cdrzoo.training.folders import read_encoder, read_model
from cdrzoo.training.variables import optimizers_of

UNKNOWN = 1
"""The row of an id that has none."""

Make = Callable[[Schema], CrossDomainModel]
"""Makes the model, compiled, for a schema."""


def go_on(config: RunConfig, model: CrossDomainModel, encoder: Encoder, make: Make) -> None:
    """Gives the model of a configuration, just made, what the run before has learnt.

    Args:
        config: the configuration, with `warm_start_from`.
        model: its model, compiled.
        encoder: that of the model.
        make: makes such a model for any schema.
    """
    rows = fresh_rows(read_encoder(descent.root(config)), encoder)
    before = read_model(descent.former(config) / "model.keras")
    carry(before, model, rows, make)


def carry(
    before: CrossDomainModel, model: CrossDomainModel, rows: Mapping[Any, np.ndarray], make: Make
) -> None:
    """Weights and the state of optimizers of a trained model go to one that was made alike, of tables that have grown.

    A row that is new starts as the unknown row: until it is trained its id scores as it did before. What optimizers
    remember of it starts anew. An optimizer of another kind starts anew as a whole; the learning rate is the new
    model's, as are random seeds. What a first stage has learnt, and this model only reads, stays the new one's.

    Args:
        before: the trained model.
        model: the new one, compiled; changed in place.
        rows: of each table the rows that stand for another id than before, or stood for none.
        make: makes such a model for any schema.
    """
    one, two = _probes(make, model.schema)
    newer, tables = {id(v) for v in _read_only(model)}, _tables(one.weights, two.weights, model.schema)
    for old, new, table in zip(before.weights, model.weights, tables, strict=True):
        if id(new) not in newer:
            _assign(old, new, rows.get(table, ()), like_unknown="float" in new.dtype)
    pairs = zip(*(list(optimizers_of(each)) for each in (before, model, one, two)))
    for old, new, first, second in pairs:
        if type(old) is type(new) and len(old.variables) == len(new.variables):
            tables = _tables(first.variables, second.variables, model.schema)
            for former, variable, table in zip(old.variables, new.variables, tables):
                if variable is not getattr(new, "_learning_rate", None):
                    _assign(former, variable, rows.get(table, ()), like_unknown=False)
    for layer in model._flatten_layers():
        if hasattr(layer, "forget"):
            layer.forget(rows)


def owns_first_stage(model: CrossDomainModel) -> bool:
    """Whether a second stage trains its first stage on, which then is its own, and no newer one takes its place."""
    return bool(model.pretrained.trainable_variables)


def _read_only(model: CrossDomainModel) -> Sequence[keras.Variable]:
    first = getattr(model, "pretrained", None)
    return () if first is None or owns_first_stage(model) else first.variables


def _probes(make: Make, schema: Schema) -> tuple[CrossDomainModel, CrossDomainModel]:
    """The model twice, with the smallest tables, and with ones that differ from these by 1, 2, ... rows."""
    small = smallest(schema)
    larger = {table.name: (table.rows or 0) + 1 + i for i, table in enumerate(small.tables)}
    return make(small), make(small.with_rows(larger))


def smallest(schema: Schema) -> Schema:
    """The schema with tables of one known id."""
    return schema.with_rows({table.name: FIRST_KNOWN + 1 for table in schema.tables})


def _tables(one: Sequence[Any], two: Sequence[Any], schema: Schema) -> list[str | None]:
    """The table whose rows each variable has, if it has one's, told by the shapes of both probes."""
    names = [table.name for table in schema.tables]
    grown = [b.shape[0] - a.shape[0] if len(a.shape) else 0 for a, b in zip(one, two, strict=True)]
    return [names[more - 1] if more else None for more in grown]


def _assign(old: Any, new: Any, rows: Any, like_unknown: bool) -> None:
    """What a variable held, in the first rows of one that may be longer; `rows` start like the unknown one, or anew."""
    held = tf.convert_to_tensor(old.value)
    if not len(rows):
        return new.value.assign(held)
    rows = tf.constant(rows, tf.int64)
    # Parts of a variable are assigned by replica: each has its own.
    for value in tf.distribute.get_strategy().experimental_local_results(new.value):
        start = tf.gather(value, rows)
        value[: old.shape[0]].assign(held)
        if like_unknown:
            start = tf.gather(value, tf.fill(tf.shape(rows), tf.constant(UNKNOWN, tf.int64)))
        value.scatter_update(tf.IndexedSlices(start, rows))
