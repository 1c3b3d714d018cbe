"""DADIN: interests of both domains under attention, and domain adversarial training that aligns them."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from cdrzoo.errors import SchemaError
from cdrzoo.layers import (
    MLP,
    BiInteraction,
    DomainAlignment,
    FeatureEmbedding,
    FieldPooling,
    InterestAttention,
    ItemAttention,
    head,
    history_field,
    masked_mean,
)
from cdrzoo.losses import row_weights, rows_of
from cdrzoo.models.base import CrossDomainModel


@keras.saving.register_keras_serializable(package="cdrzoo")
class DADIN(CrossDomainModel):
    """Domain Adversarial Deep Interest Network.

    A row has a candidate q and a user p, each the sum of its features' embeddings (eq. 1), and a history of every
    domain, whatever its own domain is. Item attention, with weights of its own for each history (eqs. 2, 3), and
    interest attention (eqs. 5, 6) under the query q:

        a = sum_t beta_t r_t,   beta = softmax(h^T relu(W [r_t | q | p | r_t * q]))    a: target's history, b: source's
        m = [q | v_u p | v_t a | v_s b],   v_* = exp(g_*^T relu(V_* [q | p | a | b]) + b_*)

    Feature crossing (eqs. 7, 8), the domain agnostic layer with its skip connection, one predictor for all domains
    (eqs. 9, 10):

        z      = sum_{i<j} (c_i m_i) * (c_j m_j),   h_spec = MLP(z)
        h_DA   = relu(W h_spec + b),   h = h_DA + h_spec
        y      = sigmoid(W_2 Dropout(W_1 h + b_1) + b_2)

    Three classifiers of the domain read h_DA through a gradient reversal (eqs. 11-14, `DomainAlignment`), and

        L = L_y + lambda_2 L_d + lambda_3 (alpha L_d^0 + (1 - alpha) L_d^1)                              (eq. 22)

    is minimised as a whole; L_y is the mean over the rows of all domains. `call` scores, so that only training knows
    the classifiers and an export of the target holds none of them.

    Where the paper is silent or contradicts itself: the cross-entropies get their minus (eqs. 15-18); a is weighed
    with v_t (eq. 5 prints v_s twice); the bias of eq. 6 stands inside the exponential, as in MiNet, whose block it is;
    the bars of eq. 8 are brackets; L is that of eq. 22 and section 4.5 (eq. 21 is `alpha=2/3, class_weight=0.75`); the
    two FC layers are `units` and one of the tables' width, which is linear: with a ReLU there, above the ReLU of eq.
    9, a narrow model can die as a whole (it did: one score for all rows); the c_i start where z is as large as the
    vectors that it multiplies (about 3.8 for two histories): from 1, products of vectors as small as a table's start
    are next to nothing, biases move the ReLUs of the MLP until hardly one is on, and some seeds never learn (with 1, 3
    of 5 ended at AUC 0.50 on Amazon food to kitchen), so there is no c fixed at 1 (NFM) either; context features count
    as the user's. With several sources each has its history, attention and interest weight; the classifiers tell the
    target from the rest, because the served domain is what must not stand out, and for one source this is the paper's
    form. The alignment is kept from diverging, which to the letter it does (`stable`).

    Args:
        schema: the schema; tables of one width (d), an item feature in every domain, clicks (ratings with
            `class_weight=0` only: there are no classes then).
        units: hidden layers before the last of width d; default `(128,)`.
        item_attention: `False` averages histories (variant 1 of Table 4).
        interest_attention: `False` sets v = 1 (variant 2).
        bi_interaction: `False` hands [m_1 | ... | m_F] on instead of z (variant 3).
        dnn: `False`: h_spec = z (variant 4); without bi-interaction h_spec = W m + b (variant 5).
        domain_agnostic: `False`: h = h_DA = h_spec (variant 6).
        domain_weight: lambda_2; default 1. 0: without the global classifier (variant 7).
        class_weight: lambda_3; default 1. 0: without the intra-class classifiers (variant 8; with both 0, variant 9).
        alpha: share of class 0 in the intra-class loss; default 0.5.
        threshold: T, which divides the classes by the predicted probability: a number (default 0.5), `"base_rate"` (a
            running mean of the predictions; advised where clicks are rare) or `"label"` (by the true label).
        reversal: strength of the gradient reversal; default 1.
        reversal_warmup: training steps over which it rises to that (Ganin et al., 2016); default 0: at once.
        stable: `False` aligns to the letter, without the two measures that `DomainAlignment` names.
        predictor_units: width of the predictor's hidden layer; default 100 (section 3.3.2).
        predictor_activation: of that layer; default `"linear"` (eq. 9 prints none).
        dropout: share of that layer that is dropped in training; default 0.2.
        bias_outside: `True` prints eq. 6 to the letter: v_* = exp(...) + b_*.

    Call arguments and returns: see `CrossDomainModel`.

    Logged while training, unweighted: `<domain>_loss`, `prediction_loss` (L_y), `domain_loss` (L_d), `class0_loss`,
    `class1_loss`, and `domain_accuracy` of the global classifier.

    Reference: Kong et al., DADIN: Domain Adversarial Deep Interest Network for Cross Domain Recommender Systems (2023).
    """

    def __init__(
        self,
        schema,
        units=(128,),
        item_attention=True,
        interest_attention=True,
        bi_interaction=True,
        dnn=True,
        domain_agnostic=True,
        domain_weight=1.0,
        class_weight=1.0,
        alpha=0.5,
        threshold=0.5,
        reversal=1.0,
        reversal_warmup=0,
        stable=True,
        predictor_units=100,
        predictor_activation="linear",
        dropout=0.2,
        bias_outside=False,
        **kwargs,
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.item_attention = item_attention
        self.interest_attention = interest_attention
        self.bi_interaction = bi_interaction
        self.dnn = dnn
        self.domain_agnostic = domain_agnostic
        self.domain_weight = domain_weight
        self.class_weight = class_weight
        self.alpha = alpha
        self.threshold = threshold
        self.reversal = reversal
        self.reversal_warmup = reversal_warmup
        self.stable = stable
        self.predictor_units = predictor_units
        self.predictor_activation = predictor_activation
        self.dropout = dropout
        self.bias_outside = bias_outside

        self.pooling = FieldPooling(self.schema)
        self._check()
        listed = {f.of for domain in self.schema.domains for f in domain.histories()}
        order = [self.schema.target_domain, *self.schema.sources]
        self.interests = ["user", *(history_field(d.name) for d in order if d.name in listed)]
        width = self.pooling.width
        self.embedding = FeatureEmbedding(self.schema)
        self.item = {
            name: ItemAttention(name=f"{name}_attention") for name in self.interests[1:] if item_attention
        }
        self.interest = InterestAttention(bias_outside) if interest_attention else None
        self.cross = BiInteraction(start=self._start()) if bi_interaction else keras.layers.Flatten()
        if dnn:
            self.deep = MLP((*units, width), final_activation="linear")
        else:
            self.deep = keras.layers.Identity() if bi_interaction else keras.layers.Dense(width)
        self.agnostic = keras.layers.Dense(width, "relu", name="domain_agnostic") if domain_agnostic else None
        self.predictor = MLP((predictor_units,), activation=predictor_activation, dropout=dropout)
        self.head = head(self.schema.target_domain, *self.schema.sources)
        self.alignment = DomainAlignment(
            bool(domain_weight and self.schema.sources),
            bool(class_weight and self.schema.sources),
            threshold,
            reversal,
            reversal_warmup,
            stable,
            name="alignment",
        )

    def _check(self) -> None:
        if self.schema.target_domain.task == "rating" and self.class_weight:
            raise SchemaError(
                "Ratings have no classes to align. Set class_weight=0, or make them clicks (`threshold`)."
            )
        for domain in self.schema.domains:
            if not domain.with_role("item"):
                raise SchemaError(
                    f"DADIN needs a candidate, but domain {domain.name!r} lists no feature of role item."
                )

    def _start(self) -> float:
        """c with which z, a sum of products c m_i * c m_j, is as large as the m_i: c^2 s^2 sqrt(pairs) = s."""
        fields = 1 + len(self.interests)
        s = 0.05 / math.sqrt(3.0)  # of a table's row, which starts uniform in [-0.05, 0.05]
        return (s * math.sqrt(fields * (fields - 1) / 2)) ** -0.5

    def build(self, input_shape=None):
        super().build(input_shape)
        self.alignment.build((None, self.pooling.width))

    def call(self, x, training=False):
        states = self.states(x, training)
        self.side.h_da = states["h_da"]
        return self.scores(states["logit"])

    def states(self, x, training=False) -> dict[str, dict[str, Any]]:
        """What happens on the way to the scores, `{what: {domain: value}}`.

        `item_weights`: `{history: beta [B, n]}`; `interest_weights`: `{interest: v [B]}`; `h_spec`, `h_da`: `[B, d]`;
        `logit`: `[B, 1]`. An interest is `user` or `history_<domain>`.
        """
        embedded = self.embedding(x)
        what = ("item_weights", "interest_weights", "h_spec", "h_da", "logit")
        states: dict[str, dict[str, Any]] = {name: {} for name in what}
        for name in x:
            fields, masks = self.pooling(x[name], embedded[name], domain=name)
            pooled, states["item_weights"][name] = self._pool(fields, masks, training)
            weights = self.interest(pooled) if self.interest else ops.ones_like(pooled[:, 1:, 0])
            states["interest_weights"][name] = {i: weights[:, k] for k, i in enumerate(self.interests)}
            weights = ops.concatenate([ops.ones_like(weights[:, :1]), weights], axis=-1)
            h_spec = self.deep(self.cross(ops.expand_dims(weights, -1) * pooled))
            h_da = self.agnostic(h_spec) if self.domain_agnostic else h_spec
            h = h_da + h_spec if self.domain_agnostic else h_spec
            states["h_spec"][name], states["h_da"][name] = h_spec, h_da
            states["logit"][name] = self.head(self.predictor(h, training=training))
        return states

    def _pool(self, fields, masks, training):
        """The candidate and the interests, `[B, F, d]`, and the weights of the steps; what a row lacks is zeros."""
        item = fields["item"]
        pooled, steps = [item, fields.get("user", ops.zeros_like(item))], {}
        for name in self.interests[1:]:
            if name not in fields:
                pooled.append(ops.zeros_like(item))
            elif self.item_attention:
                vector, steps[name] = self.item[name](
                    *pooled[:2], fields[name], masks[name], training=training
                )
                pooled.append(vector)
            else:
                pooled.append(masked_mean(fields[name], masks[name]))
        return ops.stack(pooled, axis=1), steps

    def interest_weights(self, x) -> dict[str, dict[str, Any]]:
        """The weights v of eq. 6, `{domain: {"user" | "history_<domain>": float32 [B]}}` (Figure 7)."""
        weights = self.states(x)["interest_weights"]
        return keras.tree.map_structure(lambda v: ops.cast(v, "float32"), weights)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        # Keras divides a loss by the number of replicas, whose gradients it adds; further terms are ours to divide.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        losses = {
            name: loss * replicas for name, loss in self.domain_losses(y, y_pred, sample_weight).items()
        }
        rows = rows_of(y)
        weighted = [self._terms.weights[name] * rows[name] * loss for name, loss in losses.items()]
        prediction = sum(weighted) / ops.maximum(sum(rows.values()), 1.0)
        terms = {"prediction_loss": prediction}
        loss = prediction + sum(self.losses)
        if training and len(y) > 1:
            terms.update(self._align(y, y_pred, row_weights(y, sample_weight)))
            if self.domain_weight:
                loss += self.domain_weight * terms["domain_loss"]
            if self.class_weight:
                classes = self.alpha * terms["class0_loss"] + (1.0 - self.alpha) * terms["class1_loss"]
                loss += self.class_weight * classes
        self.report(losses, terms, rows)
        return loss / replicas

    def _align(self, y, y_pred, weights) -> dict[str, Any]:
        """L_d, L_d^0 and L_d^1 of the rows that `call` has just read."""
        names = list(y)

        def rows(of):
            return ops.concatenate([of[name] for name in names], axis=0)

        target = {name: ops.full_like(y_pred[name], name == self.schema.target) for name in names}
        labels = {name: ops.reshape(ops.cast(y[name], "float32"), (-1, 1)) for name in names}
        return self.alignment(
            rows(self.side.h_da),
            rows(y_pred),
            rows(target),
            label=rows(labels),
            weight=rows(weights)[:, None],
            training=True,
        )
