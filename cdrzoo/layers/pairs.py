"""Pairs of vectors, and towers that meet: of batches whose i-th rows, in all domains, are one user's.

TensorFlow rather than `keras.ops` where users are compared: a step that Keras traces sees no ids, and only TensorFlow
has an assertion that becomes part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from keras import ops

from cdrzoo.errors import InputError
from cdrzoo.layers.towers import MLP
from cdrzoo.schema import Schema

PAIRS = "This model trains on pairs: the i-th rows of all domains are one user's."
HOW = "Take `prepared.train(..., paired=True)`."


def cosine(one: Any, other: Any) -> Any:
    """The cosine of rows, `[B, width]` twice -> float32 `[B]`; 0 where one of the two is 0."""
    one, other = ops.cast(one, "float32"), ops.cast(other, "float32")
    squares = ops.sum(ops.square(one), -1) * ops.sum(ops.square(other), -1)
    return ops.sum(one * other, -1) / ops.sqrt(squares + 1e-16)


def user_keys(schema: Schema) -> dict[str, str]:
    """`{domain: name of the feature that is its user's key}`; empty where one user is not one id in all domains."""
    keys = {
        domain.name: feature
        for domain in schema.domains
        for feature in domain.with_role("user")
        if feature.kind == "id" and feature.column == domain.user
    }
    one = len(keys) == len(schema.domains) and len({feature.table for feature in keys.values()}) == 1
    return {name: feature.name for name, feature in keys.items()} if one else {}


def crossed(x: Mapping[str, Mapping[str, Any]], training: bool, users: Mapping[str, str]) -> bool:
    """Whether the rows of a batch tell each other something: in training, where there is more than one domain.

    Args:
        x: `{domain: {feature: tensor}}`.
        training: whether this is a training step. A score never depends on another domain's row: who is served has no
            row there.
        users: `user_keys` of the schema; where it is empty, users are not compared.

    Raises:
        InputError: the rows cannot be paired, because the domains differ in their number.
        tensorflow.errors.InvalidArgumentError: by the step itself; some rows of one number are not one user's.
    """
    if not training or len(x) < 2:
        return False
    rows = {name: next(iter(features.values())).shape[0] for name, features in x.items()}
    if len(set(rows.values())) > 1:
        received = ", ".join(f"{n} rows of {name}" for name, n in rows.items())
        raise InputError(f"{PAIRS} Received: {received}. {HOW}")
    if users:
        first, *others = (x[name][users[name]] for name in x)
        for other in others:
            tf.debugging.assert_equal(first, other, f"{PAIRS} Received: rows of different users. {HOW}")
    return True


def step(tower: MLP, layer: int, x: Any, added: Any = None, training: bool = False) -> Any:
    """One hidden layer of a tower, where towers meet between layers: dropout(activation(x W + b + added))."""
    if not tower.built:  # it is never called itself
        tower.build(x.shape)
    h = tower.dense[layer](x)
    h = tower.activations[layer](h if added is None else h + added)
    return tower.dropouts[layer](h, training=training)
