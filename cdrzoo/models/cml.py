"""CML: in each domain users stand near what they like, the first stage of SSCDR."""

from __future__ import annotations

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.layers import MetricFactors
from cdrzoo.layers.mappings import hinge
from cdrzoo.layers.sampling import drawn
from cdrzoo.losses import row_weights
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike


@keras.saving.register_keras_serializable(package="cdrzoo")
class CML(CrossDomainModel):
    """Collaborative metric learning in each domain: the first stage of SSCDR.

        L = mean over liked (u, i) of [m + |u - i|^2 - |u - j|^2]_+
        z = a - b |u - i|^2

    u, i: a user and an item, points of the unit ball, a user being nearer to what he likes than to another item j,
    drawn uniformly from the domain's items; m: the margin. Liked is what has a label above the domain's mean; of
    clicks, the clicks. y = z for ratings, sigmoid(z) for clicks: distances are no labels, so a and b are fitted to the
    labels, and the prediction loss fits nothing else.

    Args:
        schema: the schema; users of one table, tables of users and items of one width.
        margin: m; default 1.
        readers: how many users of each item of a source are kept for SSCDR's inference; default 8.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether rows are noted as trained.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`, which fits a and b; in training also `metric`, the hinges' sum.

    Reference: Hsieh, Yang, Cui, Lin, Belongie and Estrin, Collaborative Metric Learning (WWW 2017), section 3; Kang,
    Hwang, Lee and Yu, Semi-Supervised Learning for Cross-Domain Recommendation to Cold-Start Users (CIKM 2019).

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.CML(prepared.schema, margin=0.5)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self, schema: SchemaLike, margin: float = 1.0, readers: int = 8, **kwargs: Unpack[ModelOptions]
    ):
        super().__init__(schema, **kwargs)
        self.margin = margin
        self.readers = readers
        self.factors = MetricFactors(self.schema, readers, name="factors")
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x, training=False):
        return self.scores({name: self.factors(x[name], domain=name, training=training) for name in x})

    @property
    def serving_features(self):
        return self.factors.read(self.schema.target_domain.features, self.schema.target)

    def auxiliary_losses(self, x, y, y_pred, sample_weight, training):
        if not training:
            return {}
        factors, loss = self.factors, 0.0
        for name in y:
            importance = self._terms.weights[name]  # a domain that does not count says nothing here either
            users, items = (x[name][keys[name].name] for keys in (factors.users, factors.items))
            liked = ops.reshape(y[name], (-1,)) > mean_label(self.schema.domain(name))
            weight = row_weights(y, sample_weight)[name] * ops.cast(liked, "float32")
            factors.note_readers(name, users, items, importance * weight > 0)
            rows = self.schema.table(factors.items[name].table).rows
            others = drawn(ops.shape(items), rows, self.seed_generator)
            points = (factors.user(name, users), factors.item(name, items), factors.item(name, others))
            loss = loss + importance * hinge(self.margin, *points, weight)
        return {"metric": loss}


def mean_label(domain) -> float:
    """What a label must be above to say that the user likes the item."""
    return 0.5 * (domain.task == "click") if domain.mean is None else domain.mean
