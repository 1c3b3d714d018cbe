"""Two towers of one shape, whose difference says what one of them has learnt beyond the other."""

from __future__ import annotations

from typing import Any

import keras

from cdrzoo.errors import InputError
from cdrzoo.layers.embedding import FeatureEmbedding
from cdrzoo.layers.fields import FieldVectors, field_roles
from cdrzoo.layers.pooling import joined
from cdrzoo.layers.tokens import side_features, split_tokens
from cdrzoo.layers.towers import MLP, head
from cdrzoo.optimizers import copy_slots
from cdrzoo.schema import Schema


@keras.saving.register_keras_serializable(package="cdrzoo")
class CompanionTower(keras.layers.Layer):
    """One tower of a symmetric companion network: the target's tables, its attention and f(.; Theta).

        v^t = [e_user | e_item | e_context],   f(v) = w MLP(v) + b

    e: a token, the fields of its roles side by side.

    Args:
        schema: the schema; rows of the target are read.
        units: hidden layers of the MLP.
        pooling: of histories, `"attention"` (default) or `"mean"`.
        dropout: share of each hidden layer that is dropped in training; default 0.
        lends: whether sources look up their side features in this tower's tables; default `False`.

    Call arguments:
        features: rows of the target, `{feature: tensor}`.
        training: whether dropout and batch statistics are on.

    Returns:
        f(v^t), float32 `[B, 1]`.

    Reference: Zhang et al., A Collaborative Transfer Learning Framework for Cross-domain Recommendation (KDD 2023),
    section 2.3, eq. 2.
    """

    def __init__(self, schema, units, pooling="attention", dropout=0.0, lends=False, **kwargs):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.units, self.pooling, self.dropout = tuple(units), pooling, dropout
        self.lends = lends
        lent = {s.name: side_features(self.schema, s.name) if lends else [] for s in self.schema.sources}
        self.lent = {source: [f.name for f in features] for source, features in lent.items()}
        lent = {source: features for source, features in lent.items() if features}
        self.embedding = FeatureEmbedding(self.schema.reading(lent), [self.schema.target, *lent])
        self.fields = FieldVectors(self.schema, self.schema.target, pooling=pooling)
        self.mlp = MLP(units, dropout=dropout)
        self.head = head(self.schema.target_domain, *self.schema.sources)

    def build(self, features_shape=None):
        self.built = True  # its layers make their variables; without this Keras would run all of it once more

    def call(self, features, training=False):
        target = self.schema.target_domain
        embedded = self.embedding({target.name: features})[target.name]
        fields = self.fields(features, embedded, training=training)
        tokens = split_tokens(fields, field_roles(target))
        return self.read(joined(list(tokens.values())), training)  # eq. 2

    def read(self, vector, training=False):
        """f(v) of rows that are vectors already: `[B, width of v^t]` -> float32 `[B, 1]`."""
        return self.head(self.mlp(vector, training=training))

    def looked_up(self, source: str, features) -> dict[str, Any]:
        """Of rows of a source the features whose tables are this tower's: `{feature: [B, ..., width]}`."""
        return self.embedding({source: features})[source] if self.lent[source] else {}

    def compute_output_shape(self, features_shape):
        return (next(iter(features_shape.values()))[0], 1)

    def get_config(self):
        arguments = {"units": list(self.units), "pooling": self.pooling, "dropout": self.dropout}
        return {**super().get_config(), "schema": self.schema.to_dict(), **arguments, "lends": self.lends}


def check_comparable(optimizer: Any) -> None:
    """An `InputError` for a training that would not treat two towers alike."""
    if getattr(getattr(optimizer, "inner_optimizer", optimizer), "global_clipnorm", None) is not None:
        raise InputError(
            "`global_clipnorm` would scale the pure tower's gradients by the source's, and the reward would not "
            "compare like with like. Use `clipnorm`, which is by variable, or `clipvalue`."
        )


def copy_weights(one: keras.layers.Layer, other: keras.layers.Layer, optimizer: Any = None) -> None:
    """Makes a layer of the same shape what `one` is; the state of its dropout, too, and an optimizer's moments."""
    for source, copy in zip(one.variables, other.variables):
        copy.assign(source)
    if optimizer is not None:
        copy_slots(optimizer, one.trainable_variables, other.trainable_variables)


def copy_draws(one: keras.layers.Layer, other: keras.layers.Layer) -> None:
    """Lets a layer of the same shape drop what `one` will drop: what tells them apart is then no chance."""
    weights = {id(v) for v in one.weights}
    for source, copy in zip(one.variables, other.variables):
        if id(source) not in weights:
            copy.assign(source)
