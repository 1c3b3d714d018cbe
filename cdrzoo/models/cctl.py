"""CCTL: companion towers that measure what the source is worth, a selector that learns from it, and dual embeddings."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops
from typing_extensions import Unpack

from cdrzoo import replicas
from cdrzoo.errors import InputError, check_choice, check_share
from cdrzoo.layers.companion import CompanionTower, check_comparable, copy_draws, copy_weights
from cdrzoo.layers.contrast import RepresentationEnhancement
from cdrzoo.layers.reinforce import DelayedReinforce, ascent
from cdrzoo.layers.selector import Selector
from cdrzoo.layers.tokens import SemanticAlignment
from cdrzoo.losses import row_weights, rows_of
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units, placeholder_rows


@keras.saving.register_keras_serializable(package="cdrzoo")
class CCTL(CrossDomainModel):
    """Collaborative Cross-domain Transfer Learning: what a source row weighs is learnt from what the source is worth.

    Two towers f of one shape, `mixed` and `pure`, each with its own tables, read rows v^t of the target (eq. 2). The
    mixed one also learns from the source's rows v^s, which SAN brings to the target's widths (eqs. 6, 7):

        L_mixed = mean_i(sg[p_i] CE(y_i^s, f(SAN(v_i^s); mixed))) + L_tgt + w L_ren                   (eq. 3)
        L_tgt   = mean_i CE(y_i^t, f(v_i^t; mixed)),   L_pure = mean_i CE(y_i^t, f(v_i^t; pure))      (eqs. 3, 4)
        L_ren   = cos(id^s, id^t) - cos(seq^s, seq^t)          (`RepresentationEnhancement`)          (eq. 12)
        r       = L_pure - L_tgt                                                                      (eq. 5)
        p_i     = sigmoid(MLP(sg[SAN(v_i^s)]))                 (`Selector`, its weights Theta)        (eq. 8)
        Theta  <- Theta + alpha sum_k (R_k - b) grad mean_i log p_i    (eq. 9; `DelayedReinforce`, b its baseline)

    sg[.]: no gradient; id, seq: embeddings of an id, and of a user's behaviours, in the two domains. Every `sync_every`
    steps the pure tower becomes a copy of the mixed one. It gets L_ren's gradient too, with constant source embeddings:
    r is the worth of the source's rows alone. `call` scores with the mixed tower, an export with the pure one.

    Args:
        schema: two or more domains; for REN ids whose table target and source share, or rows with histories of both.
        units: hidden layers of a tower; default `(256, 128, 32)` (section 3.1.3).
        pooling: how a tower reads histories, `"attention"` (DIN; default) or `"mean"`.
        align: `False` leaves SAN out, for domains with the same features (section 2.4.1).
        selector_units: hidden layers of the selector; default `(64, 32)`; `()`: none.
        selector_mode: `"log_weight"` (eq. 9; default), `"bernoulli"` (rows are drawn), `"none"` (p = 1: without IFN) or
            `"closed"` (p = 0: the source's rows teach nothing, a control).
        selector_learning_rate, alpha: the rate is their product; default 0.02 and 1. alpha 0: p stays 1/2 (Figure 5b).
        gamma, reward_norm, reward_clip: see `DelayedReinforce`; default 0.8 (section 2.4.2), `"window"` and 1.
        sync_every, selector_every: steps of a window, default 1000 (short fits: 5), and windows of an update, 1.
        ren_weight, dropout: w, default 1 ("added"; 0: without REN), and of hidden layers, default 0, alike in both.
        selector_optimizer: `"adam"` (default) or `"sgd"`: eq. 9 as printed, along the mean over steps.
        weighting: `"domains"` (means; default) or `"rows"` (sums as in eq. 3: the batch sizes set their ratio).
        share_side_features: sources share the mixed tower's tables that hold no ids (section 2.5); default `True`.

    Call arguments and returns: see `CrossDomainModel`. Source rows are scored by the mixed tower too.
    Logged: `<target>_loss` (L_tgt), `<source>_loss` (weighted), `pure_loss`, `ren_loss`, `reward`, `selector` (mean p).

    Reference: Zhang et al., A Collaborative Transfer Learning Framework for Cross-domain Recommendation (KDD 2023).

    Example:
        >>> from cdrzoo.data import synthetic
        >>> from cdrzoo.models import CCTL
        >>> prepared = synthetic.prepare()
        >>> model = CCTL(prepared.schema, units=(16, 8), pooling="mean", sync_every=5)
        >>> model.compile()
        >>> sorted(model.fit(prepared.train({"books": 256, "films": 128}), verbose=0).history)
        ['books_loss', 'films_loss', 'loss', 'pure_loss', 'ren_loss', 'reward', 'selector']
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (256, 128, 32),
        pooling: str = "attention",
        align: bool = True,
        selector_units: Units = (64, 32),
        selector_mode: str = "log_weight",
        selector_learning_rate: float = 0.02,
        alpha: float = 1.0,
        gamma: float = 0.8,
        sync_every: int = 1000,
        reward_norm: str = "window",
        reward_clip: float = 1.0,
        ren_weight: float = 1.0,
        dropout: float = 0.0,
        selector_every: int = 1,
        selector_optimizer: str = "adam",
        weighting: str = "domains",
        share_side_features: bool = True,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        check_share("`alpha`", alpha)
        check_choice("`weighting`", weighting, ("rows", "domains"))
        self.check_sources("CCTL")
        self.units, self.align, self.alpha, self.gamma = units, align, alpha, gamma
        self.pooling, self.dropout, self.weighting, self.ren_weight = pooling, dropout, weighting, ren_weight
        self.selector_units, self.selector_mode, self.sync_every = selector_units, selector_mode, sync_every
        self.selector_every, self.reward_norm, self.reward_clip = selector_every, reward_norm, reward_clip
        self.selector_learning_rate, self.share_side_features = selector_learning_rate, share_side_features
        self.selector_optimizer = ascent(selector_optimizer, alpha * selector_learning_rate)
        lends = share_side_features and selector_mode != "closed"  # closed: the source teaches nothing
        self.mixed = CompanionTower(self.schema, units, pooling, dropout, lends, name="mixed")
        self.pure = CompanionTower(self.schema, units, pooling, dropout, name="pure")
        san = [SemanticAlignment(self.schema, s, pooling, align, lent) for s, lent in self.mixed.lent.items()]
        selector = Selector(selector_units, selector_mode, name="selector")
        # Files number layers in the order in which they are first named: in this one since the first version.
        maps = [layer for each in san for layer in each.maps.values()]
        self._filed = [*(s.embedding for s in san), *(s.fields for s in san), *maps, selector.network]
        self.san, self.selector = {each.source: each for each in san}, selector
        self.reinforce = DelayedReinforce(gamma, sync_every, selector_every, reward_norm, reward_clip)
        self.ren = RepresentationEnhancement(self.schema, list(self.san) if ren_weight else ())
        self._draws = keras.random.SeedGenerator()

    def build(self, input_shape=None):
        super().build(input_shape)
        rows = placeholder_rows(self.schema)
        self.pure(rows[self.schema.target])
        self.selector_weights(rows)
        self.reinforce.build(self.selector.learns)
        self.ren.build()
        self._memory = [*self.reinforce.state, *self.ren.state]
        copy_weights(self.mixed, self.pure)  # or the first rewards would measure the towers' random starts

    def call(self, x, training=False):
        logits = {s: self.mixed.read(v, training) for s, v in self.aligned(x, training).items()}
        logits |= {t: self.mixed(rows, training=training) for t, rows in x.items() if t not in logits}
        return self.scores({name: logits[name] for name in x})

    def aligned(self, x, training=False) -> dict[str, Any]:
        """SAN(v^s) (eq. 7) of source rows: `{source: [B, width of v^t]}`, for every source in `x`."""
        rows = {s: x[s] for s in x if self.schema.domain(s).name in self.san}
        return {s: self.san[s](v, self.mixed.looked_up(s, v), training=training) for s, v in rows.items()}

    def selector_weights(self, x) -> dict[str, Any]:
        """The selector's p for source rows: `{source: float32 [B]}`, for every source in `x` (Figure 5a)."""
        return {s: self.selector(v) for s, v in self.aligned(x).items()}

    def get_config(self):
        return {**super().get_config(), "selector_optimizer": self.selector_optimizer.name}

    def compile(self, optimizer="adam", **kwargs):
        check_comparable(optimizer)
        super().compile(optimizer=optimizer, **kwargs)
        self.selector_optimizer.build(self.selector.learns)

    @property
    def optimized_variables(self):
        reward_only = {id(v) for v in self.selector.trainable_variables}
        return [v for v in self.trainable_variables if id(v) not in reward_only]

    def fit(self, *args, **kwargs):
        history = super().fit(*args, **kwargs)
        self.reinforce.warn_if_idle()
        return history

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        target, given, rows = self.schema.target, row_weights(y, sample_weight), rows_of(y)
        if absent := [d.name for d in self.schema.domains if d.name not in x or d.name not in y]:
            raise InputError(f"CCTL trains on rows of every domain, but the batches lack {absent[0]!r}.")
        copy_draws(self.mixed, self.pure)
        self.ren.observe(x, given)
        with tf.GradientTape() as tape:
            logits = {target: self.mixed(x[target], training=True)}
            aligned = self.aligned(x, training=True)
            logits.update({s: self.mixed.read(v, training=True) for s, v in aligned.items()})
            p, weights, score = self.selector.weigh(aligned, given, self._draws)  # eq. 8
            y_pred = self.scores(logits)
            losses = self.domain_losses(y, y_pred, {**(sample_weight or {}), **weights})
            pure = self.scores({target: self.pure(x[target], training=True)})
            pure = self.domain_losses({target: y[target]}, pure, sample_weight)  # eq. 4
            sources = {s: v.embedding for s, v in self.san.items()}
            ren, pure_ren = self.ren(x, given, sources, self.mixed.embedding, self.pure.embedding)  # eq. 12
            loss = self.weighted_sum(losses, rows) + self.ren_weight * ren  # eq. 3
            # The towers share no variable, so one optimizer step on the sum is a step on each of the two losses.
            total = loss + self.weighted_sum(pure, rows) + self.ren_weight * pure_ren + sum(self.losses)
            total = self.optimizer.scale_loss(total / replicas.count())
        variables = self.optimized_variables
        self.optimizer.apply_gradients(zip(tape.gradient(total, variables), variables))
        reward = ops.stop_gradient(pure[target] - losses[target])  # eq. 5
        self.reinforce.observe(score, reward)
        self.reinforce.end_step(self.selector_optimizer, at_window_end=self.synchronise)  # eq. 9
        self._loss_tracker.update_state(loss, sample_weight=rows[target])
        terms = {"pure_loss": pure[target], "ren_loss": ren, "reward": reward, "selector": p}
        self.report(losses, terms, rows)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def synchronise(self) -> None:
        """pure <- mixed: every weight of the target's side, with the optimizer's moments (section 2.3.5)."""
        copy_weights(self.mixed, self.pure, self.optimizer if self.compiled else None)

    def prepare_export(self):
        self.synchronise()  # the final one: what is served is the pure tower (section 3.4)

    def serve(self, features):
        (score,) = self.scores({self.schema.target: self.pure(features, training=False)}).values()
        return self.served(ops.squeeze(score, axis=-1))
