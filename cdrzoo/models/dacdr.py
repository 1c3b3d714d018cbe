"""DACDR: a user of the target is what he did in the source, as the target's domain and the candidate see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from typing_extensions import Unpack

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.layers import MLP, DomainView, FeatureEmbedding, RoleVectors
from cdrzoo.layers.embedding import known
from cdrzoo.layers.fields import in_slots, slots
from cdrzoo.layers.pooling import joined
from cdrzoo.layers.towers import head
from cdrzoo.models.base import ModelOptions, SchemaLike, Units
from cdrzoo.models.new_domain import Extensible
from cdrzoo.schema import Domain, Feature


@keras.saving.register_keras_serializable(package="cdrzoo")
class DACDR(Extensible):
    """Domain-Aware Cross-Attention.

    Two steps of attention for each sequence X_z of behaviours in a source, first the domain (coarse), then the
    candidate (fine), a domain encoder g and a head h:

        alpha_i = softmax_i(e_d W_1^Q . x_i W_1^K / sqrt(d)),      e_1[i] = n alpha_i x_i W_1^V        (eq. 3)
        beta_i  = softmax_i(e_v W_2^Q . e_1[i] W_2^K / sqrt(d)),   e_z = sum_i beta_i e_1[i] W_2^V     (eq. 4)
        u = g([e_seq | e_side | e_d])                                                                  (eq. 6)
        z = h([u | e_seq | e_side | e_v | e_d])                                                        (eq. 7)

    x_i are the n valid steps of X_z, W_1 and W_2 the projections, d wide, that a target has for it. e_d: a learnt
    vector of the target's domain, and the row's features of role context; e_v: those of role item; e_seq: the e_z of
    sequences of items, side by side; e_side: those of side information (categories, ratings). Every history of another
    domain is a sequence. The user's key is not read, so nobody is a stranger; what one target lists and another does
    not is zeros there. The loss is that of the task alone (eq. 8).

    Eqs. 3 and 4 as printed do not depend on the behaviours: see docs/models/dacdr.md for this and every other choice.

    Args:
        schema: the schema; each target lists at least one history of another domain and one item feature.
        targets: names of the domains that are trained and scored, or `"all"`; default: the schema's target. Rows of
            others are passed over: the sources are seen through the targets' histories alone.
        attention_mode: `"domain_query"` (default), `"gate"` or `"literal"`, see `DomainAwareCrossAttention`.
        width: d, of the projections, of u and of the domain's vector; default 16.
        domain_attention: `False`: the ablation without domain-level attention, e_1 = X W_1^V.
        item_attention: `False`: the ablation without item-level attention, e_z = mean(e_1 W_2^V). Both `False`: the
            ablation without either.
        share_attention: `True`: the sequences of a target share their projections; their tables must have one width.
        own_history: `True` also reads the target's own histories as sequences. Not in the paper, whose users are new
            there; a help where many are not.
        encoder_units: hidden layers of g; default `(64,)`; `()`: none. Its output is linear, `width` wide.
        units: hidden layers of h; default `(256, 128, 64)`.
        dropout: share of each layer of g and h that is dropped in training; default 0.
        finetune: the one target whose own part is trained, all else being frozen; `for_new_domain` sets it. Default
            `None`: everything is trained.
        user_features: `True`: h also reads the user's side features (section 3.3), those of role user without the key.
            They are then columns of every target.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`; features that are not read may be missing.
        training: whether dropout is on.

    Returns:
        `{target: float32 [B, 1]}` for the targets in `x`: a probability for clicks, a value for ratings.

    Logged: `<target>_loss`.

    Reference: Luo, Ma, Nie, Peng, Lin, Shao and Xu, Domain-Aware Cross-Attention for Cross-Domain Recommendation
    (ICASSP 2024), sections 3.1 to 3.5, equations 1 to 8.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.DACDR(prepared.schema, own_history=True)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
        >>> alpha, beta = model.attention_weights(x)["films"]["books_shown"]
        >>> alpha.shape
        TensorShape([64, 30])
    """

    def __init__(
        self,
        schema: SchemaLike,
        targets: Sequence[str] | str | None = None,
        attention_mode: str = "domain_query",
        width: int = 16,
        domain_attention: bool = True,
        item_attention: bool = True,
        share_attention: bool = False,
        own_history: bool = False,
        encoder_units: Units = (64,),
        units: Units = (256, 128, 64),
        dropout: float = 0.0,
        finetune: str | None = None,
        user_features: bool = False,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        every = [d.name for d in self.schema.domains]
        self.targets = tuple(every if targets == "all" else targets or (self.schema.target,))
        self.attention_mode, self.width, self.share_attention = attention_mode, width, share_attention
        self.domain_attention, self.item_attention = domain_attention, item_attention
        self.own_history, self.user_features, self.encoder_units = own_history, user_features, encoder_units
        self.units, self.dropout, self.finetune = units, dropout, finetune
        if self.schema.target not in self.targets or finetune not in (None, *self.targets):
            raise InputError(
                f"`targets` must hold the schema's target {self.schema.target!r}, and `finetune` be one of them. "
                f"Received: targets={self.targets}, finetune={finetune!r}."
            )
        self.read = {name: self.features_of(self.schema.domain(name)) for name in self.targets}
        seen = self.schema.reading(self.read)  # what is not read gets no table
        items = {d.name: d.item for d in self.schema.domains}
        histories = slots(seen, self.targets, "history").values()
        self.sequences = sorted(histories, key=lambda f: f.field != items[f.of])  # e_seq, then e_side
        widths = {f.name: seen.table(f.table).width for f in self.sequences}
        self.places = dict.fromkeys(widths, width)

        self.embedding = FeatureEmbedding(seen, self.targets, name="embedding")
        self.item = RoleVectors(seen, self.targets, "item")
        self.context = RoleVectors(seen, self.targets, "context")
        self.user = RoleVectors(seen, self.targets, "user") if user_features else None
        attention = (width, attention_mode, domain_attention, item_attention, share_attention)
        self.views = {
            name: DomainView(
                {s: widths[s] for s in widths if s in {f.name for f in own}}, *attention, name=f"{name}_view"
            )
            for name, own in self.read.items()
        }
        self.encoder = MLP(
            (*encoder_units, width), dropout=dropout, final_activation="linear", name="encoder"
        )
        self.mlp = MLP(units, dropout=dropout, name="mlp")
        self.head = head(self.schema.target_domain, *map(self.schema.domain, self.targets))

    def features_of(self, domain: Domain) -> tuple[Feature, ...]:
        """The features of a domain's rows that are looked at; a `SchemaError` if there are not enough."""
        read = tuple(
            f
            for f in domain.features
            if (f.role != "user" or (self.user_features and f.column != domain.user))
            and (self.own_history or f.of != domain.name)
        )
        roles = {f.role for f in read}
        if "history" not in roles:
            raise SchemaError(
                f"DACDR knows a user by what he did elsewhere, but domain {domain.name!r} lists no history of another "
                "domain. Add one: role: history, of: SOURCE."
            )
        if "item" not in roles:
            raise SchemaError(
                f"DACDR asks with the candidate, but domain {domain.name!r} lists no feature of role item."
            )
        return read

    def call(self, x, training=False):
        return self.scores({name: states["logit"] for name, states in self.states(x, training).items()})

    def states(self, x, training=False) -> dict[str, dict[str, Any]]:
        """What happens on the way to the scores, for the targets in `x`.

        `seen`: `{sequence: (e_z [B, width], alpha [B, n], beta [B, n])}`; `user`: u, `[B, width]`; `logit`: `[B, 1]`.
        """
        rows = {name: x[name] for name in self.targets if name in x}
        if not rows:
            received = ", ".join(x) or "none"
            raise InputError(
                f"This model scores rows of {', '.join(self.targets)}. Received rows of: {received}."
            )
        states = {}
        for name, embedded in self.embedding(rows).items():
            view, ids = self.views[name], rows[name]
            steps = {sequence: embedded[sequence] for sequence in view.sequences}
            masks = {sequence: known(ids[sequence]) for sequence in view.sequences}
            e_v, context = self.item(ids, embedded), self.context(ids, embedded)
            e_d, seen = view(steps, masks, context, e_v)  # eqs. 3, 4
            e_z = in_slots({s: one[0] for s, one in seen.items()}, self.places, like=e_v)
            user = self.encoder(joined([*e_z, e_d]), training=training)  # eq. 6
            side = [self.user(ids, embedded)] if self.user else []
            row = joined([user, *e_z, e_v, e_d, *side])
            logit = self.head(self.mlp(row, training=training))  # eq. 7
            states[name] = {"seen": seen, "user": user, "logit": logit}
        return states

    def attention_weights(self, x) -> dict[str, dict[str, tuple]]:
        """`{target: {sequence: (alpha, beta)}}` for the targets in `x`, each float32 `[B, n]`, 0 on padded steps.

        With softmax attention both sum to 1 over a row's steps; without attention they are 1 / n. Gates are in (0, 1).
        """
        states = self.states(x)
        return {name: {s: one[1:] for s, one in of["seen"].items()} for name, of in states.items()}

    def user_vectors(self, x) -> dict[str, Any]:
        """u of eq. 6, `{target: [B, width]}`. It depends on the candidate, except with `item_attention=False`."""
        return {name: of["user"] for name, of in self.states(x).items()}
