"""Factorisations of domains, and what maps a user's vector from one to another.

Users are one vocabulary for all domains: the number of a user's row is the same in the source's table and in the
target's. That is how a request to the target, which holds the raw id of a user whom the target has never seen, finds
his vector: training rows of the source have put his id into the vocabulary, and his row of the *source's* table is
trained. Which domain has trained which rows is kept beside the tables (`Factorization.knows`).

TensorFlow rather than `keras.ops` where rows of tables are read and written: see `cdrzoo.layers.embedding`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from cdrzoo import replicas
from cdrzoo.errors import InputError, SchemaError, check_choice, shown
from cdrzoo.layers.embedding import FeatureEmbedding, note_rows, rows_seen
from cdrzoo.layers.pooling import masked_mean, masked_softmax, weighted_sum
from cdrzoo.layers.towers import first_output
from cdrzoo.losses import weighted_mean
from cdrzoo.schema import FIRST_KNOWN, PADDING, Domain, Feature, Schema

BASES = ("mf", "gmf", "dnn")
KINDS = ("biased", "bias-free")


def key(domain: Domain, role: str) -> Feature:
    """The feature that is a domain's user (`role="user"`) or item key."""
    column = getattr(domain, role)
    for feature in domain.with_role(role):
        if feature.kind == "id" and feature.column == column:
            return feature
    raise SchemaError(
        f"A factorisation needs to know who and what: domain {domain.name!r} lists no id feature of role {role} that "
        f"is its key. Received: {role}: {column or 'null'}. Add one, called {role!r} or named by `{role}: COLUMN`."
    )


def keys_alone(schema: Schema, shared_users: bool = False, further: int = 0) -> Schema:
    """The schema of user and item keys, every table `further` columns wider.

    Each domain has its own table of items, and its own of users unless they are shared; users keep one vocabulary.

    Raises:
        SchemaError: users have several vocabularies, or the tables of users and items differ in width.
    """
    users = {d.name: key(d, "user").table for d in schema.domains}
    if len(set(users.values())) > 1:
        raise SchemaError(
            f"A user's vector is carried from domain to domain, so all must look up one table of users. Received: "
            f"{', '.join(f'{table!r} in {name!r}' for name, table in users.items())}. Name one table in all."
        )
    domains = tuple(
        dataclasses.replace(d, features=tuple(f for f in d.features if f in (key(d, "user"), key(d, "item"))))
        for d in schema.domains
    )
    names = {f.table for d in domains for f in d.features}
    widths = {name: schema.table(name).width for name in names}
    if len(set(widths.values())) > 1:
        raise SchemaError(
            f"Vectors of users and items are multiplied, so their tables need one width. Received: {widths}. "
            "Give them one."
        )
    tables = tuple(
        dataclasses.replace(
            t, width=t.width + further, per_domain=not (shared_users and t.name in users.values())
        )
        for t in schema.tables
        if t.name in names
    )
    return Schema(domains, schema.target, tables)


class Keyed(keras.layers.Layer):
    """What factorisations share: tables of users and items, and which users each domain has trained.

    Args:
        keys: the schema of `keys_alone`.
        initializer: of the tables.
    """

    def __init__(self, keys: Schema, initializer: Any, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.keys = keys
        self.users = {d.name: key(d, "user") for d in keys.domains}
        self.items = {d.name: key(d, "item") for d in keys.domains}
        self.embedding = FeatureEmbedding(
            keys, initializer=initializer, dtype=self.dtype_policy, name="tables"
        )

    def build(self, input_shape=None):
        self.embedding.build()
        rows = self.keys.table(self.users[self.keys.target].table).rows
        self.seen = {
            name: self.add_weight(
                name=f"{name}_seen",
                shape=(rows,),
                dtype="bool",
                initializer="zeros",
                trainable=False,
                autocast=False,
            )
            for name in self.users
        }
        self.built = True

    def note(self, domain: str, users: Any) -> None:
        """Remembers that a domain has trained these users."""
        note_rows(self.seen[domain], users)

    def knows(self, domain: str, users: Any) -> Any:
        """Whether a domain has trained these users: bool, the shape of `users`."""
        return rows_seen(self.seen[domain], users)

    def read(self, features: Sequence[Feature], domain: str) -> tuple[Feature, ...]:
        """Those of a domain's features that are its keys, in order."""
        return tuple(f for f in features if f in (self.users[domain], self.items[domain]))


@keras.saving.register_keras_serializable(package="cdrzoo")
class Factorization(Keyed):
    """Matrix factorisation of every domain: users and items are vectors, a label is how well they match.

        biased:     z = mu + b_u + b_i + s(p_u, q_i)        bias-free:     z = s(p_u, q_i)

        mf:  s = p_u . q_i       gmf:  s = w . (p_u * q_i)       dnn:  s = (p_u W + c) . q_i

    A user's vector is [p_u | b_u], so that what maps it to another domain maps his bias, too; an item's is
    [q_i | b_i]. mu is learnt as a difference to the mean label (for clicks its logit). Without biases so are the
    numbers of a vector, to sqrt(mean label / width): a product starts at the mean label of ratings, where it would
    begin as a rating of 0; and weight decay draws to the mean label, not to 0. w starts at 1 and W at the identity:
    all bases start as a plain product.

    Args:
        schema: the schema; users of one table, tables of users and items of one width.
        base: `"mf"` (default), `"gmf"` or `"dnn"`.
        kind: `"biased"` (default) or `"bias-free"`.
        shared_users: whether the domains share the users' vectors (CMF); default: each has its own.

    Call arguments:
        rows: the rows of a domain, `{feature: tensor}`, of which the keys are read.
        domain: its name.
        training: whether to remember that the domain has trained these users.

    Returns:
        z, float32 `[B, 1]`.

    Reference: Koren et al., Matrix Factorization Techniques for Recommender Systems (2009), equation 4; the bases: Zhu
    et al., Personalized Transfer of User Preferences (WSDM 2022), section 4.3.
    """

    def __init__(self, schema, base="mf", kind="biased", shared_users=False, **kwargs):
        schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        check_choice("`base`", base, BASES)
        check_choice("`factorization`", kind, KINDS)
        keys = keys_alone(schema, shared_users, further=int(kind == "biased"))
        self.width = keys.tables[0].width - int(kind == "biased")
        mean = schema.target_domain.mean if schema.target_domain.task == "rating" else None
        super().__init__(keys, "uniform", **kwargs)
        self.centre = math.sqrt(max(mean or 0.0, 0.0) / self.width) if kind == "bias-free" else 0.0
        self.schema, self.base, self.kind, self.shared_users = schema, base, kind, shared_users

    @property
    def vector_width(self) -> int:
        """Numbers of a user's or item's vector, the bias included."""
        return self.width + (self.kind == "biased")

    def build(self, input_shape=None):
        super().build(input_shape)
        self.mu, self.w, self.W, self.c = {}, {}, {}, {}
        for d in self.schema.domains:
            if self.kind == "biased":
                name = f"{d.name}_mu"
                self.mu[d.name] = self.add_weight(name=name, shape=(), initializer="zeros", autocast=False)
            if self.base == "gmf":
                self.w[d.name] = self.add_weight(
                    name=f"{d.name}_w", shape=(self.width,), initializer="ones", autocast=False
                )
            if self.base == "dnn":
                shape = (self.width, self.width)
                self.W[d.name] = self.add_weight(
                    name=f"{d.name}_W", shape=shape, initializer="identity", autocast=False
                )
                self.c[d.name] = self.add_weight(
                    name=f"{d.name}_c", shape=(self.width,), initializer="zeros", autocast=False
                )

    def user(self, domain: str, ids: Any) -> Any:
        """Vectors of users as a domain knows them, `[B, vector_width]`."""
        u = self.embedding.lookup(self.users[domain].table, ids, domain) + self.centre
        if self.base != "dnn":
            return u
        p, bias = u[:, : self.width], u[:, self.width :]
        return ops.concatenate([ops.matmul(p, self.W[domain]) + self.c[domain], bias], axis=-1)

    def item(self, domain: str, ids: Any) -> Any:
        """Vectors of a domain's items, `[*ids.shape, vector_width]`."""
        return self.embedding.lookup(self.items[domain].table, ids, domain) + self.centre

    def match(self, domain: str, user: Any, item: Any) -> Any:
        """z of vectors of users, which may come from another domain, and of this domain's items: `[B, 1]`."""
        products = user[:, : self.width] * item[:, : self.width]
        if self.base == "gmf":
            products = products * self.w[domain]
        z = ops.sum(products, axis=-1, keepdims=True)
        if self.kind == "biased":
            mu = first_output(self.schema.domain(domain)) + self.mu[domain]
            z = z + user[:, self.width :] + item[:, self.width :] + mu
        return z

    def call(self, rows, domain, training=False):
        users = rows[key(self.schema.domain(domain), "user").name]
        if training:
            self.note(domain, users)
        items = self.item(domain, rows[self.items[domain].name])
        return self.match(domain, self.user(domain, users), items)

    def compute_output_shape(self, input_shape):
        return (next(iter(input_shape.values()))[0], 1)

    def get_config(self):
        arguments = {"base": self.base, "kind": self.kind, "shared_users": self.shared_users}
        return {**super().get_config(), "schema": self.schema.to_dict(), **arguments}


@keras.saving.register_keras_serializable(package="cdrzoo")
class MetricFactors(Keyed):
    """Users and items of every domain as points of the unit ball, near to each other where they go together.

        e <- e / max(1, |e|),    z = a - b |u - i|^2

    No gradient reaches the points through z: a hinge puts them where they belong, and a and b turn distances into
    labels; a is learnt as a difference to the mean label (for clicks its logit), and both start at 0. Of each item of a
    source it keeps some users who liked it (user n at place n mod `readers`, the latest one staying), for inference
    over a user's neighbourhood.

    Args:
        schema: the schema; users of one table, tables of users and items of one width.
        readers: how many users of an item are kept; default 8.

    Call arguments and returns: see `Factorization`.

    Reference: Kang et al., Semi-Supervised Learning for Cross-Domain Recommendation to Cold-Start Users (CIKM 2019).
    """

    def __init__(self, schema, readers=8, **kwargs):
        schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        keys = keys_alone(schema)
        start = keras.initializers.RandomNormal(stddev=0.5 / math.sqrt(keys.tables[0].width))
        super().__init__(keys, start, **kwargs)
        self.schema, self.readers = schema, readers

    def build(self, input_shape=None):
        super().build(input_shape)
        self.a, self.b, self.liked_by = {}, {}, {}
        for d in self.schema.domains:
            self.a[d.name] = self.add_weight(
                name=f"{d.name}_a", shape=(), initializer="zeros", autocast=False
            )
            self.b[d.name] = self.add_weight(
                name=f"{d.name}_b", shape=(), initializer="zeros", autocast=False
            )
        for d in self.schema.sources:
            shape = (self.keys.table(self.items[d.name].table).rows, self.readers)
            self.liked_by[d.name] = self.add_weight(
                name=f"{d.name}_liked_by",
                shape=shape,
                dtype="int32",
                initializer="zeros",
                trainable=False,
                autocast=False,
            )

    def user(self, domain: str, ids: Any) -> Any:
        """Points of users as a domain knows them, `[*ids.shape, width]`."""
        return in_ball(self.embedding.lookup(self.users[domain].table, ids, domain))

    def item(self, domain: str, ids: Any) -> Any:
        """Points of a domain's items, `[*ids.shape, width]`."""
        return in_ball(self.embedding.lookup(self.items[domain].table, ids, domain))

    def forget(self, rows: Any) -> None:
        """Takes users off the lists whose rows stand for others now; `rows` are by table."""
        for domain, liked_by in self.liked_by.items():
            gone = np.isin(liked_by.numpy(), rows.get(self.users[domain].table, ()))
            liked_by.assign(ops.where(gone, PADDING, liked_by))

    def note_readers(self, domain: str, users: Any, items: Any, liked: Any) -> None:
        """Remembers which known user liked which item of a source; other rows go to the row of padding, as nobody."""
        if domain in self.liked_by:
            users, items = tf.cast(users, tf.int32), tf.cast(items, tf.int32)
            counts = liked & (users >= FIRST_KNOWN) & (items != PADDING)
            users, items = tf.where(counts, users, PADDING), tf.where(counts, items, PADDING)
            items, users = replicas.gathered((items, users))
            at = tf.stack([items, users % self.readers], axis=-1)
            # The operation itself: a variable of several replicas has no such method.
            tf.raw_ops.ResourceScatterNdUpdate(ref=self.liked_by[domain].handle, indices=at, updates=users)

    def readers_of(self, domain: str, items: Any) -> Any:
        """Rows of users who liked these items of a source, `[*items.shape, readers]`; 0 where there are fewer."""
        return tf.nn.embedding_lookup(self.liked_by[domain].value, tf.cast(items, tf.int32))

    def call(self, rows, domain, training=False):
        row = self.schema.domain(domain)
        users, items = rows[key(row, "user").name], rows[key(row, "item").name]
        if training:
            self.note(domain, users)
        distance = squared_distance(self.user(domain, users), self.item(domain, items))
        return (first_output(row) + self.a[domain] - self.b[domain] * ops.stop_gradient(distance))[:, None]

    def compute_output_shape(self, input_shape):
        return (next(iter(input_shape.values()))[0], 1)

    def get_config(self):
        return {**super().get_config(), "schema": self.schema.to_dict(), "readers": self.readers}


def in_ball(e: Any) -> Any:
    """e / max(1, |e|): what stands outside of the unit ball, on its surface."""
    return e / ops.sqrt(ops.maximum(ops.sum(ops.square(e), axis=-1, keepdims=True), 1.0))


def squared_distance(one: Any, other: Any) -> Any:
    """|one - other|^2 over the last axis."""
    return ops.sum(ops.square(one - other), axis=-1)


def hinge(margin: float, user: Any, near: Any, far: Any, weight: Any) -> Any:
    """The weighted mean of [margin + |user - near|^2 - |user - far|^2]_+; 0 where nothing has weight.

    Args:
        user, near, far: `[B, k]`.
        weight: `[B]`.
    """
    loss = ops.relu(margin + squared_distance(user, near) - squared_distance(user, far))
    return weighted_mean(loss, weight)


@keras.saving.register_keras_serializable(package="cdrzoo")
class UserMapping(keras.layers.Layer):
    """One function for all users, from their vectors in a source to those in the target.

        linear:  f(u) = u A                 mlp:  f(u) = tanh(u W_1 + b_1) W_2 + b_2,  W_1: k x 2k

    A starts at the identity.

    Args:
        kind: `"linear"` or `"mlp"`.

    Call arguments:
        u: `[..., k]`.

    Returns:
        `[..., k]`.

    Reference: Man et al., Cross-Domain Recommendation: An Embedding and Mapping Approach (IJCAI 2017), section 4.2.
    """

    def __init__(self, kind="linear", **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        if kind not in ("linear", "mlp"):
            raise InputError(f"`mapping` must be linear or mlp. Received: {shown(kind)}.")
        self.kind = kind

    def build(self, input_shape):
        k = input_shape[-1]
        policy = self.dtype_policy
        if self.kind == "linear":
            self.dense = [keras.layers.Dense(k, use_bias=False, kernel_initializer="identity", dtype=policy)]
        else:
            self.dense = [
                keras.layers.Dense(2 * k, "tanh", dtype=policy),
                keras.layers.Dense(k, dtype=policy),
            ]
        for layer in self.dense:
            layer.build((None, k))
            k = layer.units

    def call(self, u):
        for layer in self.dense:
            u = layer(u)
        return u

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable(package="cdrzoo")
class PersonalBridge(keras.layers.Layer):
    """A function for each user, made from what he liked in the source, from his vector there to that in the target.

        a_j = softmax_j(w . relu(v_j W + b)),   p_u = sum_j a_j v_j                                     (eqs. 1-3)
        M_u = reshape(relu(p_u W_1 + b_1) W_2 + b_2, [k, k]),   f_u(u) = u M_u                          (eqs. 4-7)

    The softmax is over the valid steps; without one p_u = 0 and M_u is what b_1, W_2 and b_2 make of it. b_2 starts
    at the identity, so that f_u does.

    Args:
        meta_units: width of the meta network's hidden layer.

    Call arguments:
        u: `[B, k]`.
        history: v, vectors of the items he liked, `[B, n, k]`.
        mask: bool `[B, n]`.

    Returns:
        `[B, k]`.

    Reference: Zhu et al., Personalized Transfer of User Preferences for Cross-domain Recommendation (WSDM 2022),
    section 3.
    """

    def __init__(self, meta_units=50, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.meta_units = meta_units

    def build(self, u_shape, history_shape=None, mask_shape=None):
        k, policy = u_shape[-1], self.dtype_policy
        identity = keras.initializers.Constant(np.eye(k, dtype="float32").reshape(-1))
        self.hidden = keras.layers.Dense(k, "relu", dtype=policy, name="hidden")
        self.score = keras.layers.Dense(1, use_bias=False, dtype=policy, name="score")
        self.meta = keras.layers.Dense(self.meta_units, "relu", dtype=policy, name="meta")
        self.matrix = keras.layers.Dense(k * k, bias_initializer=identity, dtype=policy, name="matrix")
        for layer, width in (
            (self.hidden, k),
            (self.score, k),
            (self.meta, k),
            (self.matrix, self.meta_units),
        ):
            layer.build((None, width))

    def call(self, u, history, mask):
        k = u.shape[-1]
        a = masked_softmax(ops.squeeze(self.score(self.hidden(history)), -1), mask)
        matrix = ops.reshape(self.matrix(self.meta(weighted_sum(a, history))), (-1, k, k))
        return weighted_sum(u, matrix)

    def compute_output_shape(self, u_shape, history_shape=None, mask_shape=None):
        return u_shape

    def get_config(self):
        return {**super().get_config(), "meta_units": self.meta_units}


def bridged(own: Any, warm: Any, mapped: Sequence[Any], known: Sequence[Any]) -> Any:
    """The vector that stands for a user in the target.

    His own where the target has trained it; else the mean of those mapped from the sources that have trained his; else
    his own row after all, which nobody has trained and which starts as the middle of all.

    Args:
        own: `[B, k]`.
        warm: bool `[B]`, whether the target has trained `own`.
        mapped: of each source `[B, k]`.
        known: of each source bool `[B]`, whether it has trained what is mapped.
    """
    known = ops.stack(list(known), axis=1)
    mean = masked_mean(ops.stack(list(mapped), axis=1), known)
    return ops.where((warm | ~ops.any(known, axis=1))[:, None], own, mean)


def item_history(schema: Schema, source: str) -> Feature:
    """The history in the target's rows that lists the items of a source."""
    item = key(schema.domain(source), "item")
    for feature in schema.target_domain.histories(source):
        if feature.table == item.table and feature.field == item.column:
            return feature
    raise SchemaError(
        f"What a user liked in {source!r} is read off the target's rows, which do not list it. Add to "
        f"{schema.target!r} a feature of role history: kind: ids, of: {source}, field: {item.column}, "
        f"table: {item.table}."
    )


def check_first_stage(pretrained: Any, kind: type, schema: Schema, name: str) -> None:
    """Raises if a first stage is none, or was trained with tables that are not the second stage's."""
    if not isinstance(getattr(pretrained, "factors", None), kind) or getattr(
        pretrained.factors, "shared_users", False
    ):
        raise InputError(f"`pretrained` must be a trained {name}. Received: {type(pretrained).__name__}.")
    if not schema.sources:
        raise SchemaError(
            "A user's vector is mapped from a source; the schema has the target alone. Add a domain."
        )
    if pretrained.schema.tables != schema.tables or pretrained.schema.target != schema.target:
        raise SchemaError(
            "The first stage was trained with another schema: its target or its tables differ. Give both stages the "
            "schema of one encoder, with tables of one width."
        )
