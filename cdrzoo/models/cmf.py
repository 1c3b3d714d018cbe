"""CMF: matrix factorisations of all domains at once, in which a user has one vector."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import Factorization
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike


@keras.saving.register_keras_serializable(package="cdrzoo")
class CMF(CrossDomainModel):
    """Collective matrix factorisation.

        biased:     z_d = mu_d + b_u + b_i + p_u . q_i        bias-free:     z_d = p_u . q_i
        L = sum_d alpha_d L_d

    Users share p_u and b_u in all domains d; items' q_i and b_i, and mu_d, are each domain's own. y = z for ratings,
    sigmoid(z) for clicks; L_d is the domain's mean loss. The weights alpha_d are `loss_weights`, of `compile` or of a
    run's training (default 1 each); regularisation is the optimizer's `weight_decay`. The paper has no biases: a bare
    product is a weak model of ratings, so they are the default and the other is asked for by name.

    A user who is new to the target is served with the vector that his rows in the source have trained: users of all
    domains are one vocabulary, so the id in a request finds it.

    Args:
        schema: the schema; users of one table, tables of users and items of one width.
        factorization: `"biased"` (default) or `"bias-free"`.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether rows are noted as trained.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Singh and Gordon, Relational Learning via Collective Matrix Factorization (KDD 2008), section 3.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.CMF(prepared.schema)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(self, schema: SchemaLike, factorization: str = "biased", **kwargs: Unpack[ModelOptions]):
        super().__init__(schema, **kwargs)
        self.factorization = factorization
        self.factors = Factorization(self.schema, "mf", factorization, shared_users=True, name="factors")

    def call(self, x, training=False):
        return self.scores({name: self.factors(x[name], domain=name, training=training) for name in x})

    @property
    def serving_features(self):
        return self.factors.read(self.schema.target_domain.features, self.schema.target)
