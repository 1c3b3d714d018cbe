"""SSCDR: a mapping carries users, and what they like, from a source's ball to the target's."""

from __future__ import annotations

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.errors import InputError, shown
from cdrzoo.layers import MetricFactors, UserMapping
from cdrzoo.layers.mappings import bridged, check_first_stage, hinge, in_ball, item_history, squared_distance
from cdrzoo.layers.pooling import masked_mean
from cdrzoo.layers.sampling import drawn, once, one_of
from cdrzoo.layers.towers import first_output
from cdrzoo.losses import row_weights, weighted_mean
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike
from cdrzoo.models.stages import MappedUsers, frozen
from cdrzoo.schema import FIRST_KNOWN, PADDING


@keras.saving.register_keras_serializable(package="cdrzoo")
class SSCDR(MappedUsers):
    """Semi-supervised mapping for cold-start users: the second stage after a `CML`.

        L_s = mean_u |f(u^S) - u^T|^2
        L_u = mean_u [m + |u^T - f(i)|^2 - |u^T - f(j)|^2]_+
        L   = L_s + lambda L_u
        z   = a - b |u - v|^2

    u^S, u^T: the points of a user of both domains, which rest; f: a function from points of the source to points of the
    target, made into the unit ball; i: an item of the user's history in the source, which the target need not know; j:
    any item of it; m: CML's margin. v: the item's point; u: the point of a user whom the target has not trained, the
    mean over hops h = 0, ..., `hops` of the mean of f over his neighbours at that distance in the source: himself; the
    items of his history; other users who liked those. Each counts once, unknown ones do not count, and a hop that is
    empty is left out. a and b are fitted to the target's labels, with all users mapped. Users whom the target has
    trained are served with their own point.

    A request holds the raw ids of user and item and the user's history in the source: domains share the vocabulary of
    users, so the id finds his row in the source's table, and the history's ids find the items' rows; the first stage
    keeps which domain has trained which rows and who liked what (they are part of an export). Where this differs from
    the paper: docs/models/ratings.md.

    Args:
        schema: the schema of the first stage; the target's rows list the source's items as a history.
        pretrained: a trained `CML`.
        mapping: f: `"mlp"` (k, 2k with tanh, k; default) or `"linear"`.
        unsupervised_weight: lambda; default 0.25.
        hops: 0 (f(u) alone) to 2; default 2.

    Call arguments:
        x: `{target: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether users whom the target has trained are mapped, too.

    Returns:
        `{target: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<target>_loss`, which fits a and b; in training also `supervised` and `unsupervised` (lambda included).

    Reference: Kang, Hwang, Lee and Yu, Semi-Supervised Learning for Cross-Domain Recommendation to Cold-Start Users
    (CIKM 2019).

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> first = models.CML(prepared.schema)  # to be trained: compile, fit on rows of all domains
        >>> model = models.SSCDR(prepared.schema, first, hops=1)
        >>> x, y = next(iter(prepared.train(64, domains=("films",))))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        pretrained: CrossDomainModel,
        mapping: str = "mlp",
        unsupervised_weight: float = 0.25,
        hops: int = 2,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        check_first_stage(pretrained, MetricFactors, self.schema, "CML")
        if hops not in (0, 1, 2):
            raise InputError(f"`hops` must be 0, 1 or 2. Received: {shown(hops)}.")
        self.pretrained = frozen(pretrained)
        self.mapping = mapping
        self.unsupervised_weight = unsupervised_weight
        self.hops = hops
        self.histories = {s.name: item_history(self.schema, s.name) for s in self.schema.sources}
        self.maps = {s: UserMapping(mapping, name=f"map_{s}") for s in self.histories}
        self.a = self.add_weight(shape=(), initializer="zeros", autocast=False, name="a")
        self.b = self.add_weight(shape=(), initializer="zeros", autocast=False, name="b")
        self.seed_generator = keras.random.SeedGenerator()

    @property
    def serving_features(self):
        return (*self.pretrained.serving_features, *self.histories.values())

    def call(self, x, training=False):
        target, factors = self.schema.target, self.pretrained.factors
        rows = self.target_rows(x)
        users = rows[factors.users[target].name]
        mapped, known = zip(
            *(self.inferred(source, users, rows[h.name]) for source, h in self.histories.items())
        )
        warm = factors.knows(target, users)
        point = bridged(factors.user(target, users), warm & (not training), mapped, known)
        distance = squared_distance(point, factors.item(target, rows[factors.items[target].name]))
        a = first_output(self.schema.target_domain) + self.a
        return self.scores({target: (a - self.b * ops.stop_gradient(distance))[:, None]})

    def carried(self, source: str, points):
        """f of points of a source, in the unit ball."""
        return in_ball(self.maps[source](points))

    def inferred(self, source: str, users, history):
        """The point of users in the target as their neighbourhood in a source has it, and whether there is any."""
        factors = self.pretrained.factors
        users, history = (
            ops.cast(ids, "int64") for ids in (users, history)
        )  # of int32 a GPU's host would see to
        items, liked = once(ops.where(history >= FIRST_KNOWN, history, PADDING))
        means = [self.carried(source, factors.user(source, users))]
        found = [factors.knows(source, users)]
        if self.hops > 0:
            means.append(masked_mean(self.carried(source, factors.item(source, items)), liked))
            found.append(ops.any(liked, axis=1))
        if self.hops > 1:
            others = ops.cast(factors.readers_of(source, items), "int64")
            others = ops.reshape(others, (-1, others.shape[1] * others.shape[2]))
            others, there = once(ops.where(others == users[:, None], PADDING, others))
            means.append(masked_mean(self.carried(source, factors.user(source, others)), there))
            found.append(ops.any(there, axis=1))
        found = ops.stack(found, axis=1)
        return masked_mean(ops.stack(means, axis=1), found), ops.any(found, axis=1)

    def auxiliary_losses(self, x, y, y_pred, sample_weight, training):
        if not training:
            return {}
        target, factors = self.schema.target, self.pretrained.factors
        rows = x[target]
        users = rows[factors.users[target].name]
        own, warm = factors.user(target, users), factors.knows(target, users)
        weight = row_weights(y, sample_weight)[target]
        supervised = unsupervised = 0.0
        for source, listed in self.histories.items():
            history = ops.cast(rows[listed.name], "int64")
            known = history >= FIRST_KNOWN
            liked = one_of(history, known, self.seed_generator)
            rows_of_items = self.schema.table(factors.items[source].table).rows
            others = drawn(ops.shape(liked), rows_of_items, self.seed_generator)
            items = factors.item(source, ops.concatenate([liked, ops.cast(others, "int64")]))
            points = ops.concatenate([factors.user(source, users), items])
            mapped, near, far = ops.split(self.carried(source, points), 3)
            both = weight * ops.cast(warm & factors.knows(source, users), "float32")
            supervised = supervised + weighted_mean(squared_distance(mapped, own), both)
            counts = weight * ops.cast(warm & ops.any(known, axis=1), "float32")
            unsupervised = unsupervised + hinge(self.pretrained.margin, own, near, far, counts)
        return {"supervised": supervised, "unsupervised": self.unsupervised_weight * unsupervised}
