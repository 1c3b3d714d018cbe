"""MV-DNN: one view of the user, one view of the items of each domain, compared by their cosine."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.errors import SchemaError
from cdrzoo.layers import MLP, FeatureEmbedding, FieldVectors, SlotConcat
from cdrzoo.layers.towers import first_output
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units
from cdrzoo.schema import Schema


@keras.saving.register_keras_serializable(package="cdrzoo")
class MVDNN(CrossDomainModel):
    """Multi-View Deep Neural Network, as a model of clicks.

        u = tanh-MLP(user),   v = tanh-MLP_d(item)
        z = gamma cos(u, v) + b_d,   y = sigmoid(z)

    d: the row's domain. The user's view, u, reads whatever describes the user, his histories (each the mean of its
    items' embeddings) and the context, in the slots of all domains; an item view, v, reads the features of role item.
    What a domain teaches about its users reaches the others through the one view of users.

    The paper ranks a clicked item before random ones of its domain, by a softmax over gamma cos. Here rows have labels:
    the loss is the cross-entropy of each row. A cosine alone could say no more than sigmoid(1) = 0.73, so the scale
    gamma, which starts at 10, and a base rate b_d of each domain are learnt.

    Args:
        schema: the schema; features of role item, and others, in all domains.
        units: layers of each view; default `(300, 300, 128)`.
        dropout: share of each layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Elkahky, Song and He, A Multi-View Deep Learning Approach for Cross Domain User Modeling in
    Recommendation Systems (WWW 2015), sections 3 and 4.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.MVDNN(prepared.schema, units=(64, 32))
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (300, 300, 128),
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.dropout = dropout
        domains = self.schema.domains
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = {d.name: FieldVectors(self.schema, d.name) for d in domains}
        self.users = SlotConcat(of_users(self.schema))
        self.user_view = MLP(units, activation="tanh", dropout=dropout, name="user_view")
        self.item_views = {
            d.name: MLP(units, activation="tanh", dropout=dropout, name=f"{d.name}_view") for d in domains
        }
        start: dict[str, Any] = {"shape": (), "autocast": False}
        self.gamma = self.add_weight(name="gamma", initializer=keras.initializers.Constant(10.0), **start)
        self.biases = {
            d.name: self.add_weight(
                name=f"{d.name}_bias", initializer=keras.initializers.Constant(first_output(d)), **start
            )
            for d in domains
        }

    def call(self, x, training=False):
        logits = {}
        for name, (u, v) in self.vectors(x, training).items():
            logits[name] = self.gamma * ops.sum(u * v, axis=-1, keepdims=True) + self.biases[name]
        return self.scores(logits)

    def vectors(self, x, training=False) -> dict[str, tuple[Any, Any]]:
        """Users and items of the rows, vectors of length 1: `{domain: (u, v)}`, float32 `[B, units[-1]]` each."""
        embedded = self.embedding(x)
        fields = {name: self.fields[name](x[name], embedded[name], training=training) for name in x}
        users = self.users(fields)
        count = len(self.schema.domains)
        found = {}
        for name in x:
            # Without the one-hot of the domain, which SlotConcat adds: a user is the same wherever he is met.
            user = users[name][:, :-count] if count > 1 else users[name]
            roles = self.fields[name].roles
            item = ops.concatenate(
                [v for field, v in fields[name].items() if roles[field] == "item"], axis=-1
            )
            u = self.user_view(user, training=training)
            found[name] = unit(u), unit(self.item_views[name](item, training=training))
        return found


def unit(x: Any) -> Any:
    """Rows as float32 vectors of length 1; with a gradient even where a row is 0."""
    x = ops.cast(x, "float32")
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-6)


def of_users(schema: Schema) -> Schema:
    """The schema without the candidates' features."""
    domains = []
    for domain in schema.domains:
        others = tuple(f for f in domain.features if f.role != "item")
        if not others or len(others) == len(domain.features):
            lacking = "user, context or history" if not others else "item"
            raise SchemaError(
                f"MV-DNN compares users with items, but domain {domain.name!r} lists no feature of role {lacking}. Add "
                "one."
            )
        domains.append(dataclasses.replace(domain, features=others))
    used = {f.table for domain in domains for f in domain.features}
    return Schema(tuple(domains), schema.target, tuple(t for t in schema.tables if t.name in used))
