"""MF: matrix factorisation of every domain by itself, the first stage of what maps users between domains."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import Factorization
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike


@keras.saving.register_keras_serializable(package="cdrzoo")
class MF(CrossDomainModel):
    """Matrix factorisation of each domain, with vectors of its own for users and items (`Factorization`).

        biased:     z = mu + b_u + b_i + s(p_u, q_i)        bias-free:     z = s(p_u, q_i)

    p_u, q_i: the vectors of user and item; b_u, b_i: their biases; mu: the domain's; y = z for ratings, sigmoid(z) for
    clicks. By itself it is a single-domain model, and the first stage of EMCDR and PTUPCDR. It reads the keys of users
    and items alone.

    A user who is new to the target has an untrained vector there, close to the middle of all, and gets what the item
    gets on average. In the cold-start protocol all validation rows are such users', so the epoch is chosen by how well
    the items are known, and no held-out row says anything about the users' vectors. With few rows of the target, let an
    epoch of the first stage be all rows of the source: `first: {epoch: longest}` in a run configuration.

    Args:
        schema: the schema; users of one table, tables of users and items of one width.
        base: s: `"mf"` p . q (default), `"gmf"` w . (p * q) or `"dnn"` (p W + c) . q.
        factorization: `"biased"` (default) or `"bias-free"`.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether rows are noted as trained.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems (IEEE Computer 42,
    2009), equation 4; the bases: Zhu et al., Personalized Transfer of User Preferences for Cross-domain Recommendation
    (WSDM 2022), section 4.3.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.MF(prepared.schema, base="gmf")
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        base: str = "mf",
        factorization: str = "biased",
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.base = base
        self.factorization = factorization
        self.factors = Factorization(self.schema, base, factorization, name="factors")

    def call(self, x, training=False):
        return self.scores({name: self.factors(x[name], domain=name, training=training) for name in x})

    @property
    def serving_features(self):
        return self.factors.read(self.schema.target_domain.features, self.schema.target)
