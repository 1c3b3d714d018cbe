"""MiNet: what a user always likes, what he just did here and what he just did elsewhere, weighed for each candidate."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.errors import SchemaError
from cdrzoo.layers import MLP, FeatureEmbedding, FieldVectors, InterestAttention, ItemAttention
from cdrzoo.layers.fields import history_field
from cdrzoo.layers.interests import history_steps, own_partners_first
from cdrzoo.layers.pooling import joined, one_batch
from cdrzoo.layers.towers import head
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class MiNet(CrossDomainModel):
    """Mixed Interest Network.

        w_j  = k^T relu(U [r_j | q | p | r_j * q]),   a_t = sum_j softmax_j(w) r_j         in a_s: (r_j M) * q
        v_*  = exp(g_*^T relu(G_* [q | p | a_t | a_s]) + b_*)
        y_t  = sigmoid(MLP_t([q | v_u p | v_t a_t | v_s a_s])),   y_s = sigmoid(MLP_s([q_s | p_s]))
        L    = L_t + w_2 L_s

    q: a row's candidate, what it lists of role item, side by side; p: its user, all else but histories; r_j: an event
    of the user's recent behaviours in the target (pooled: a_t) or a source (a_s), the columns that have a partner in q
    first; k, U and g, G, b: item and interest attention; M: a matrix of low rank that brings the source's items to the
    candidate; v_u, v_t, v_s: what an interest weighs; q_s, p_s: of a source's row, which has no history; L_t, L_s: mean
    cross-entropies; w_2: 1 unless `loss_weights`, of `compile` or of a run's training, say otherwise. With several
    sources each has its attention, weight and network. Where this differs from the authors' code:
    docs/models/cross_domain.md.

    Args:
        schema: the schema; item and user (or context) features in all domains, and histories in the target's rows.
        units: hidden layers of each network; default `(256, 128)` (the authors' code).
        attention_units: width of both attentions; default 64 (the authors' code).
        rank: of M; default 10 (the authors' code).
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Ouyang, Zhang, Zhao et al., MiNet: Mixed Interest Network for Cross-Domain Click-Through Rate Prediction
    (CIKM 2020), section 2.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.MiNet(prepared.schema)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape, list(model.interest_weights(x))
        (TensorShape([64, 1]), ['user', 'history_films', 'history_books'])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (256, 128),
        attention_units: int = 64,
        rank: int = 10,
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.units = units
        self.attention_units = attention_units
        self.rank = rank
        self.dropout = dropout
        target, domains = self.schema.target_domain, self.schema.domains
        self._check()
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = {d.name: FieldVectors(self.schema, d.name) for d in domains}
        ordered = {
            of: own_partners_first(self.fields[target.name].compared(of))
            for of in (d.name for d in (target, *self.schema.sources) if target.histories(d.name))
        }
        self.histories = {of: [target.feature(name) for name in names] for of, (names, _) in ordered.items()}
        partners = ordered[target.name][1] if target.name in ordered else []
        matched = sum(self.fields[target.name].widths[p] for p in partners)
        self.item = {
            of: ItemAttention(
                attention_units,
                rank=None if of == target.name and matched else rank,
                matched=matched if of == target.name and matched else None,
                name=f"{of}_attention",
            )
            for of in self.histories
        }
        self.interest = InterestAttention(
            units=attention_units, starts=(1.0, *[0.0] * len(self.histories)), name="interest"
        )
        roles = {d.name: self.fields[d.name].roles for d in domains}
        self.candidate = {d: [f for f, role in roles[d].items() if role == "item"] for d in roles}
        self.candidate[target.name].sort(key=lambda f: partners.index(f) if f in partners else len(partners))
        self.profile = {d: [f for f, r in roles[d].items() if r in ("user", "context")] for d in roles}
        self.networks = {d.name: MLP(units, dropout=dropout, name=f"{d.name}_network") for d in domains}
        self.heads = {d.name: head(d, name=f"{d.name}_head") for d in domains}

    def _check(self) -> None:
        for domain in self.schema.domains:
            for roles in (("item",), ("user", "context")):
                if not any(domain.with_role(role) for role in roles):
                    raise SchemaError(
                        f"MiNet asks what a user thinks of a candidate, but domain {domain.name!r} lists no feature of "
                        f"role {' or '.join(roles)}. Add one."
                    )
        if not self.schema.target_domain.histories():
            raise SchemaError(
                f"MiNet reads recent behaviours, but domain {self.schema.target!r} lists no history. Add one: "
                "role: history, of: DOMAIN."
            )

    def call(self, x, training=False):
        logits = {}
        for name, embedded in self.embedding(x).items():
            q, interests = self._interests(name, x[name], embedded, training)
            if name == self.schema.target:
                v = self.interest(one_batch([q, *interests]))
                interests = [v[:, i : i + 1] * one for i, one in enumerate(interests)]
            h = self.networks[name](joined([q, *interests]), training=training)
            logits[name] = self.heads[name](h)
        return self.scores(logits)

    def _interests(self, name, ids, embedded, training=False):
        """The candidate; the user and, of the target's rows, the short-term interests: `[B, width]` each."""
        fields = self.fields[name](ids, embedded)
        sides = (self.candidate[name], self.profile[name])
        q, p = (ops.concatenate([fields[field] for field in side], axis=-1) for side in sides)
        interests = [p]
        for of, histories in self.histories.items() if name == self.schema.target else ():
            steps, mask = history_steps(histories, ids, embedded)
            interests.append(self.item[of](q, p, steps, mask, training=training)[0])
        return q, interests

    def interest_weights(self, x) -> dict[str, Any]:
        """v of the target's rows, `{"user" | "history_<domain>": float32 [B]}`."""
        name = self.schema.target
        q, interests = self._interests(name, x[name], self.embedding({name: x[name]})[name])
        v = ops.cast(self.interest([q, *interests]), "float32")
        return {name: v[:, i] for i, name in enumerate(("user", *map(history_field, self.histories)))}
