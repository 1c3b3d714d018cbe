"""EMCDR: factorise both domains, then learn the function from users' vectors in the one to those in the other."""

from __future__ import annotations

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo import replicas
from cdrzoo.layers import Factorization, UserMapping
from cdrzoo.layers.mappings import bridged, check_first_stage
from cdrzoo.losses import row_weights, rows_of, weighted_mean
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike
from cdrzoo.models.stages import MappedUsers, frozen


@keras.saving.register_keras_serializable(package="cdrzoo")
class EMCDR(MappedUsers):
    """Embedding and mapping: the second stage after an `MF`, a matrix factorisation of each domain.

        min_f  mean_u || f(u^S) - u^T ||^2                                                               (eqs. 4-6)

    u^S, u^T: the vectors, in a source and the target, of users whom both domains have trained, which rest; f: linear (u
    A) or an MLP (`UserMapping`). Serving, for a user whom the target has not trained: z = s(f(u^S), v^T), s being the
    first stage's and v^T the item's vector; with biases u is [p_u | b_u], so f maps a user's bias too. A request holds
    his raw id and the item's, no more: domains share the vocabulary of users, so the id finds his row in the source's
    table, and the first stage keeps which domain has trained which rows (`bridged`; they are part of an export). Users
    whom the target has trained are served with their own vector. Of several sources each has its f, and what they map
    is averaged over those that know the user.

    The mean is over the target's training rows, so a user counts as often as he has rated there: vectors of users with
    few ratings are noise (the paper counts users alike). No user whose target rows are held out has been trained in the
    target, so none enters it.

    Args:
        schema: the schema of the first stage.
        pretrained: a trained `MF`.
        mapping: f: `"linear"` (default) or `"mlp"` (k, 2k with tanh, k).

    Call arguments:
        x: `{target: {feature: tensor}}`, see `CrossDomainModel`.
        training: not looked at.

    Returns:
        `{target: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `mapping_loss`, which is minimised, and `<target>_loss`, which is not.

    Reference: Man, Shen, Jin and Cheng, Cross-Domain Recommendation: An Embedding and Mapping Approach (IJCAI 2017),
    section 4, equations 4 to 6.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> first = models.MF(prepared.schema)  # to be trained: compile, fit on rows of all domains
        >>> model = models.EMCDR(prepared.schema, first)
        >>> x, y = next(iter(prepared.train(64, domains=("films",))))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        pretrained: CrossDomainModel,
        mapping: str = "linear",
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        check_first_stage(pretrained, Factorization, self.schema, "MF")
        self.pretrained = frozen(pretrained)
        self.mapping = mapping
        self.maps = {s.name: UserMapping(mapping, name=f"map_{s.name}") for s in self.schema.sources}

    @property
    def serving_features(self):
        return self.pretrained.serving_features

    def call(self, x, training=False):
        target, factors = self.schema.target, self.pretrained.factors
        rows = self.target_rows(x)
        own, warm, mapped, known = self._vectors(rows)
        user = bridged(own, warm, list(mapped.values()), list(known.values()))
        item = factors.item(target, rows[factors.items[target].name])
        return self.scores({target: factors.match(target, user, item)})

    def _vectors(self, rows):
        """u^T and whether it is trained; by source f(u^S) and whether u^S is trained."""
        target, factors = self.schema.target, self.pretrained.factors
        users = rows[factors.users[target].name]
        mapped = {s: f(factors.user(s, users)) for s, f in self.maps.items()}
        known = {s: factors.knows(s, users) for s in self.maps}
        return factors.user(target, users), factors.knows(target, users), mapped, known

    def mapping_loss(self, x, y, sample_weight=None):
        """The squared distance of f(u^S) and u^T, a mean over the rows of users whom both domains have trained."""
        target = self.schema.target
        own, warm, mapped, known = self._vectors(x[target])
        weight = row_weights(y, sample_weight)[target]
        loss = 0.0
        for source, vector in mapped.items():
            counts = weight * ops.cast(warm & known[source], "float32")
            loss = loss + weighted_mean(ops.sum(ops.square(vector - own), axis=-1), counts)
        return loss

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = self.mapping_loss(x, y, sample_weight)
        self.report(self.domain_losses(y, y_pred, sample_weight), {"mapping_loss": loss}, rows_of(y))
        return loss / replicas.count()
