"""PTUPCDR: every user has a function of his own from his vector in the source to that in the target."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import Factorization, PersonalBridge
from cdrzoo.layers.mappings import bridged, check_first_stage, item_history
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike
from cdrzoo.models.stages import MappedUsers, frozen
from cdrzoo.schema import FIRST_KNOWN


@keras.saving.register_keras_serializable(package="cdrzoo")
class PTUPCDR(MappedUsers):
    """Personalised transfer of user preferences: the second stage after an `MF`, a factorisation of each domain.

        p_u = sum_j softmax_j(MLP(v_j^S)) v_j^S                                                           (eqs. 1-3)
        M_u = reshape(MLP(p_u)),   u^ = u^S M_u                                                           (eqs. 4-7)
        L   = mean over the target's ratings r of (r - s(u^, v^T))^2   (for clicks: cross-entropy)        (eq. 8)

    v_j^S: the items of a user's history in the source, which a meta network reads to make his bridge M_u to the target
    (`PersonalBridge`); u^S: his vector there; v^T: the item's in the target; s: the first stage's match, whose `base`
    is one of the paper's three (mf, gmf, dnn). The factors rest. With biases u is [p_u | b_u] and v [q_i | b_i], and
    the bridge carries a user's bias too.

    Training scores every user whom a source has trained by his bridge. Serving does it for users whom the target has
    not trained; others have their own vector. A request holds the raw ids of user and item and the user's history in
    the source: domains share the vocabulary of users, so the id finds his row in the source's table, and the history's
    ids find the rows of the source's items; the first stage keeps which domain has trained which rows (they are part of
    an export). Of several sources each has its bridge, and what they map is averaged over those that know the user.

    "Liked" is what the history lists. The paper's lists what a user rated above 3, the last 20; those of the datasets
    here list all that he rated, the last 30. `history_min_label: 4` in the source's data and `length: 20` make the
    paper's. Its code counts unknown ids as steps and gives an empty history uniform attention over padding; here
    neither counts, and a user without a known item in his history has the bridge of p_u = 0.

    Args:
        schema: the schema of the first stage; the target's rows list the source's items as a history.
        pretrained: a trained `MF`.
        meta_units: width of the meta network's hidden layer; default 50.

    Call arguments:
        x: `{target: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether users whom the target has trained go over their bridge, too.

    Returns:
        `{target: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<target>_loss`.

    Reference: Zhu, Tang, Liu, Zhuang, Xie, Zhang, Lin and He, Personalized Transfer of User Preferences for
    Cross-domain Recommendation (WSDM 2022), section 3, equations 1 to 8.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> first = models.MF(prepared.schema, base="gmf")  # to be trained: compile, fit on rows of all domains
        >>> model = models.PTUPCDR(prepared.schema, first)
        >>> x, y = next(iter(prepared.train(64, domains=("films",))))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        pretrained: CrossDomainModel,
        meta_units: int = 50,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        check_first_stage(pretrained, Factorization, self.schema, "MF")
        self.pretrained = frozen(pretrained)
        self.meta_units = meta_units
        self.histories = {s.name: item_history(self.schema, s.name) for s in self.schema.sources}
        self.bridges = {s: PersonalBridge(meta_units, name=f"bridge_{s}") for s in self.histories}

    @property
    def serving_features(self):
        return (*self.pretrained.serving_features, *self.histories.values())

    def call(self, x, training=False):
        target, factors = self.schema.target, self.pretrained.factors
        rows = self.target_rows(x)
        users = rows[factors.users[target].name]
        mapped, known = [], []
        for source, bridge in self.bridges.items():
            history = rows[self.histories[source].name]
            liked = factors.item(source, history)
            mapped.append(bridge(factors.user(source, users), liked, history >= FIRST_KNOWN))
            known.append(factors.knows(source, users))
        warm = factors.knows(target, users)
        user = bridged(factors.user(target, users), warm & (not training), mapped, known)
        item = factors.item(target, rows[factors.items[target].name])
        return self.scores({target: factors.match(target, user, item)})
