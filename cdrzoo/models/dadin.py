"""DADIN: interests of both domains under attention, and domain adversarial training that aligns them."""

from __future__ import annotations

import collections
from typing import Any

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.errors import SchemaError
from cdrzoo.layers import (
    MLP,
    BiInteraction,
    DomainAlignment,
    FeatureEmbedding,
    FieldPooling,
    InterestAttention,
    ItemAttention,
    MeanInterest,
)
from cdrzoo.layers.interests import DomainMark, pooled_interests
from cdrzoo.layers.towers import head
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class DADIN(CrossDomainModel):
    """Domain Adversarial Deep Interest Network.

    A row has a candidate q and a user p, each the sum of its features' embeddings (eq. 1), and a history of every
    domain, with steps r_t. Attention pools each history, and weighs the interests, which are crossed:

        a_* = sum_t beta_t r_t,   beta = softmax_t(k_*^T relu(U_* [r_t | q | p | r_t * q]))             (eqs. 2, 3)
        m   = [q | v_u p | v_t a_t | v_s a_s],   v_* = exp(g_*^T relu(V_* [q | p | a_t | a_s]) + o_*)   (eqs. 4 to 6)
        z   = sum_{i<j} (c_i m_i) * (c_j m_j),   h_spec = MLP(z)                                        (eqs. 7, 8)
        h   = h_spec + h_DA,   h_DA = relu(Dense(h_spec)),   y = sigmoid(Dense(Dropout(Dense(h))))      (eqs. 9, 10)

    a_t, a_s: the pooled histories of the target and of a source; k, U and g, V, o: the attentions' own weights; v_u,
    v_t, v_s: what an interest weighs; c_i: what a part m_i of m counts in a product. Three classifiers of the domain
    read h_DA through a gradient reversal (`DomainAlignment`, eqs. 11 to 14), and

        L = L_y + lambda_2 L_d + lambda_3 (alpha L_d^0 + (1 - alpha) L_d^1)                             (eqs. 15 to 22)

    is minimised as a whole: L_y is the cross-entropy of y, a mean over all rows, L_d that of the domain, L_d^0 and
    L_d^1 those within a class. Where the paper is silent or contradicts itself: docs/models/dadin.md.

    Args:
        schema: the schema; tables of one width (d), an item feature in every domain, clicks (ratings with
            `class_weight=0` only: there are no classes then).
        units: hidden layers of the MLP before its last, which is linear and d wide; default `(128,)`.
        item_attention: `False` averages histories (variant 1 of Table 4).
        interest_attention: `False` sets v = 1 (variant 2).
        bi_interaction: `False` hands [m_1 | ... | m_F] on instead of z (variant 3).
        dnn: `False`: h_spec = z (variant 4); without bi-interaction h_spec = Dense(m) (variant 5).
        domain_agnostic: `False`: h = h_DA = h_spec (variant 6).
        domain_weight: lambda_2; default 1. 0: without the global classifier (variant 7).
        class_weight: lambda_3; default 1. 0: without the intra-class classifiers (variant 8; with both 0, variant 9).
        alpha: share of class 0 in the intra-class loss; default 0.5.
        threshold: T, which divides the classes by y; default 0.5. `"base_rate"` and `"label"`: see `DomainAlignment`.
        reversal: strength of the gradient reversal; default 1.
        reversal_warmup: training steps over which it rises to that (Ganin et al., 2016); default 0: at once.
        stable: `False` aligns to the letter, without the two measures that `DomainAlignment` names.
        predictor_units, predictor_activation, dropout: of the predictor's hidden layer: its width, default 100 (section
            3.3.2), `"linear"` by default (eq. 9 prints none), and the share that is dropped in training, default 0.2.
        bias_outside: `True` prints eq. 6 to the letter: v_* = exp(...) + o_*.
        separate_columns: `True`: each column of a history is an interest, not added to the others of its step (eq. 1).
        domain_mark, domain_heads: `True`: a learnt vector of the row's domain is a part of m, each domain has its own
            last layer. Not in the paper; default `False`.

    Call arguments and returns: see `CrossDomainModel`.

    Logged: `<domain>_loss`, `prediction_loss` (L_y); in training also `domain_loss` (L_d), `class0_loss`, `class1_loss`
    and `domain_accuracy` of the global classifier, all unweighted.

    Reference: Kong, Hou, Zhao, Liu, Su and Chen, DADIN: Domain Adversarial Deep Interest Network for Cross Domain
    Recommender Systems (2023), sections 3.2 and 3.3, equations 1 to 22.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.DADIN(prepared.schema, threshold="base_rate")
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (128,),
        item_attention: bool = True,
        interest_attention: bool = True,
        bi_interaction: bool = True,
        dnn: bool = True,
        domain_agnostic: bool = True,
        domain_weight: float = 1.0,
        class_weight: float = 1.0,
        alpha: float = 0.5,
        threshold: float | str = 0.5,
        reversal: float = 1.0,
        reversal_warmup: int = 0,
        stable: bool = True,
        predictor_units: int = 100,
        predictor_activation: str = "linear",
        dropout: float = 0.2,
        bias_outside: bool = False,
        separate_columns: bool = False,
        domain_mark: bool = False,
        domain_heads: bool = False,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units, self.dnn, self.domain_agnostic = units, dnn, domain_agnostic
        self.item_attention, self.interest_attention = item_attention, interest_attention
        self.bi_interaction, self.bias_outside = bi_interaction, bias_outside
        self.domain_weight, self.class_weight, self.alpha = domain_weight, class_weight, alpha
        self.threshold, self.stable = threshold, stable
        self.reversal, self.reversal_warmup = reversal, reversal_warmup
        self.predictor_units, self.predictor_activation = predictor_units, predictor_activation
        self.dropout, self.separate_columns = dropout, separate_columns
        self.domain_mark, self.domain_heads = domain_mark, domain_heads
        self.weighting = "rows"  # of L_y
        self.pooling = FieldPooling(self.schema, separate_columns)
        self.check_histories("DADIN")
        self.interests = ["user", *self.pooling.histories]
        width = self.pooling.width
        self.embedding = FeatureEmbedding(self.schema)
        pool = ItemAttention if item_attention else MeanInterest
        self.item = {name: pool(name=f"{name}_attention") for name in self.pooling.histories}
        self.interest = InterestAttention(bias_outside) if interest_attention else None
        self.mark = DomainMark([d.name for d in self.schema.domains]) if domain_mark else None
        self.cross = BiInteraction(start="size") if bi_interaction else keras.layers.Flatten()
        if dnn:
            self.deep = MLP((*units, width), final_activation="linear")
        else:
            self.deep = keras.layers.Identity() if bi_interaction else keras.layers.Dense(width)
        self.agnostic = keras.layers.Dense(width, "relu", name="domain_agnostic") if domain_agnostic else None
        self.predictor = MLP((predictor_units,), activation=predictor_activation, dropout=dropout)
        self.head = head(self.schema.target_domain, *self.schema.sources)
        self.heads = {d.name: head(d, name=f"{d.name}_head") for d in self.schema.sources if domain_heads}
        self._make_alignment()

    def _make_alignment(self) -> None:
        if self.schema.target_domain.task == "rating" and self.class_weight:
            raise SchemaError(
                "Ratings have no classes to align. Set class_weight=0, or make them clicks (`threshold`)."
            )
        weights = (self.domain_weight, self.class_weight)
        marginal, conditional = (bool(weight and self.schema.sources) for weight in weights)
        options = (self.threshold, self.reversal, self.reversal_warmup, self.stable)
        self.alignment = DomainAlignment(marginal, conditional, *options, name="alignment")  # eqs. 11 to 18
        self.auxiliary_weights = self.alignment.term_weights(*weights, self.alpha)  # eq. 22

    def build(self, input_shape=None):
        super().build(input_shape)
        self.alignment.build((None, self.pooling.width))

    def call(self, x, training=False):
        states = self.states(x, training)
        self.side.h_da = states["h_da"]
        return self.scores(states["logit"])

    def states(self, x, training=False) -> dict[str, dict[str, Any]]:
        """What happens on the way to the scores, `{what: {domain: value}}`: `item_weights` `{history: beta [B, n]}`,
        `interest_weights` `{"user" or "history_<domain>": v [B]}`, `h_spec` and `h_da` `[B, d]`, `logit` `[B, 1]`.
        """
        states: dict[str, dict[str, Any]] = collections.defaultdict(dict)
        for name, embedded in self.embedding(x).items():
            fields, masks = self.pooling(x[name], embedded, domain=name)  # eq. 1
            m, beta = pooled_interests(fields, masks, self.item, training)  # eqs. 2, 3
            v = self.interest(m) if self.interest else ops.ones_like(m[:, 1:, 0])  # eq. 6
            m = ops.concatenate([m[:, :1], ops.expand_dims(v, -1) * m[:, 1:]], axis=1)  # eqs. 4, 5
            h_spec = self.deep(self.cross(self.mark(m, domain=name) if self.mark else m))  # eqs. 7, 8
            h_da = self.agnostic(h_spec) if self.agnostic else h_spec
            h = h_da + h_spec if self.agnostic else h_spec
            states["item_weights"][name] = beta
            states["interest_weights"][name] = {i: v[:, k] for k, i in enumerate(self.interests)}
            states["h_spec"][name], states["h_da"][name] = h_spec, h_da
            last = self.heads.get(name, self.head)
            states["logit"][name] = last(self.predictor(h, training=training))  # eqs. 9, 10
        return states

    def interest_weights(self, x) -> dict[str, dict[str, Any]]:
        """The weights v of eq. 6, `{domain: {"user" | "history_<domain>": float32 [B]}}` (Figure 7)."""
        weights = self.states(x)["interest_weights"]
        return keras.tree.map_structure(lambda v: ops.cast(v, "float32"), weights)

    def auxiliary_losses(self, x, y, y_pred, sample_weight, training):
        return self.alignment.by_domain(
            self.schema.target, self.side.h_da, y, y_pred, sample_weight, training
        )

    def report(self, losses, terms, rows):
        super().report(losses, {"prediction_loss": self.weighted_sum(losses, rows), **terms}, rows)
