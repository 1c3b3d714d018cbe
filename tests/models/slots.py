"""The row of a model over several domains once more in NumPy, and who learns from it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cdrzoo.layers.fields import field_widths
from tests.models import oracle


def row(model, name, rows) -> np.ndarray:
    """The fields of all domains side by side, the target's first, zeros for what the row lacks, and the one-hot."""
    schema = model.schema
    fields = oracle.fields(model.rows.fields[name], oracle.tables(model.rows.embedding, name), rows)
    widths: dict[str, int] = {}
    for domain in (schema.target_domain, *schema.sources):
        widths.update({k: w for k, w in field_widths(schema, domain).items() if k not in widths})
    count = len(next(iter(fields.values())))
    slots = [fields.get(field, np.zeros((count, width))) for field, width in widths.items()]
    names = [d.name for d in schema.domains]
    one_hot = [np.tile(np.eye(len(names))[names.index(name)], (count, 1))] if len(names) > 1 else []
    return np.concatenate([*slots, *one_hot], axis=-1)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def taught(model, x, y) -> set[int]:
    """The trainable variables, by id, that the losses of these rows give a gradient other than 0."""
    with tf.GradientTape() as tape:
        scores = model(x)
        loss = sum(tf.reduce_sum(tf.square(scores[name] - y[name])) for name in y)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    return {
        id(v)
        for v, g in zip(variables, gradients)
        if g is not None and np.abs(tf.convert_to_tensor(g)).max() > 0
    }
