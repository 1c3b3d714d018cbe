"""MEM: a model of all entities that tells what they have in common from what each has alone; the first stage of MKT."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.errors import InputError, SchemaError, check_choice
from cdrzoo.layers import HFA, MLP, PLE, EntityVectors
from cdrzoo.layers.entities import side_by_side
from cdrzoo.layers.pairs import cosine
from cdrzoo.layers.pooling import joined
from cdrzoo.layers.towers import towers
from cdrzoo.losses import row_weights, weighted_mean
from cdrzoo.models.arguments import checked_share
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units

POLARISED: dict[str, Any] = {"cosine": lambda cosine: cosine, "abs": ops.abs, "square": ops.square}


@keras.saving.register_keras_serializable(package="cdrzoo")
class MEM(CrossDomainModel):
    """Multi-Entity Model: the first stage of MKT, trained on the rows of all entities.

    A row v of entity e (a domain) has four groups (eqs. 1, 2, `EntityVectors`). `HFA_e` brings what the entity lists
    alone to one width; PLE, whose tasks are the entities, extracts what they have in common, an MLP the rest:

        q     = [v_shared | HFA_e(v_spec)]                                                            (eqs. 3-8)
        g_com = PLE_e([v_u | v_seq | q]),   g_ind = MLP_e(v)                                          (eqs. 9, 10)
        y     = sigmoid(Tower_e([g_com | g_ind]))                                                     (section 3.2.4)
        L     = sum_e N_e CE_e / sum_e N_e + gamma sum_e mean(cos(g_com, g_ind))                      (eqs. 11-13)

    N_e: rows of e in a batch. An entity without specific features has HFA_e = 0; if none has any, q = v_shared.

    Args:
        schema: the schema; two or more domains.
        expert_units: hidden layers of every extractor; the last is the width of the knowledge. Default `(1024, 512)`.
        tower_units: hidden layers of a tower; default `(64,)`; `()`: none.
        align_units: width of HFA's output; default 64.
        levels, shared_experts, specific_experts: of the PLE; default 1 each.
        pooling: of histories, `"attention"` (default) or `"mean"`.
        hfa: `False`: p = 1 (the ablation without HFA; the aligning layer stays, the widths need it).
        cross, cross_layers: the explicit crosses of HFA, see `CrossNet`; default 2 of `"dcn"`.
        hfa_input: what the importance is read off: `"specific"` (eqs. 3-6; default), or `"specific+shared"` (the text).
        cke_input: `"all"` ([v_u | v_seq | q]; default) or `"q"` (eq. 9).
        common: what g_com is: the gated `"mixture"` of shared and own experts (default), or the `"shared"` experts
            alone. The tower reads the mixture in both cases.
        knowledge_activation: of the last layer of the extractors; default `"relu"`.
        gamma: weight of the polarised distribution loss; default 0.1. 0: the ablation without PDL.
        pdl: what of the cosine is minimised: `"cosine"` (default), `"abs"` or `"square"`.
        weighting: `"rows"` (every row counts alike; default) or `"domains"` (every domain's mean does).
        negatives_kept: the share of the target's rows without a click that its log kept; default 1. Below 1, `serve`
            gives the probability on all traffic (`prior_correction`); training and `call` stay with the log's.
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments and returns: see `CrossDomainModel`. The target's score is that of MKT without its second stage.

    Logged: `<domain>_loss`, `pdl_<domain>` and `pdl`, their sum, before gamma.

    Reference: Guan et al., Effective Two-Stage Knowledge Transfer for Multi-Entity Cross-Domain Recommendation (2024),
    section 3.2.

    Example:
        >>> from cdrzoo.data import synthetic
        >>> from cdrzoo.models import MEM
        >>> prepared = synthetic.prepare()
        >>> model = MEM(prepared.schema, expert_units=(16, 8), tower_units=(4,), pooling="mean")
        >>> model.compile()
        >>> sorted(model.fit(prepared.train({"books": 384, "films": 128}), verbose=0).history)
        ['books_loss', 'films_loss', 'loss', 'pdl', 'pdl_books', 'pdl_films']
    """

    def __init__(
        self,
        schema: SchemaLike,
        expert_units: Units = (1024, 512),
        tower_units: Units = (64,),
        align_units: int = 64,
        levels: int = 1,
        shared_experts: int = 1,
        specific_experts: int = 1,
        pooling: str = "attention",
        hfa: bool = True,
        cross: str = "dcn",
        cross_layers: int = 2,
        hfa_input: str = "specific",
        cke_input: str = "all",
        common: str = "mixture",
        knowledge_activation: str = "relu",
        gamma: float = 0.1,
        pdl: str = "cosine",
        weighting: str = "rows",
        negatives_kept: float = 1.0,
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.negatives_kept = checked_share(self.schema, negatives_kept)
        self.check_sources("MKT")
        self.check_common("MEM")
        self.expert_units, self.tower_units, self.align_units = expert_units, tower_units, align_units
        self.levels, self.shared_experts, self.specific_experts = levels, shared_experts, specific_experts
        self.pooling, self.hfa, self.cross, self.cross_layers = pooling, hfa, cross, cross_layers
        self.hfa_input, self.cke_input, self.common = hfa_input, cke_input, common
        self.knowledge_activation, self.dropout = knowledge_activation, dropout
        self.gamma, self.pdl, self.weighting = gamma, pdl, weighting
        self._check()
        self.auxiliary_weights = {"pdl": gamma, **{f"pdl_{d.name}": 0.0 for d in self.schema.domains}}

        rows = EntityVectors(self.schema, pooling=pooling)
        self.groups, domains = rows.groups, rows.domains
        # Files hold tables and attentions at these two attributes.
        self.embedding, self.fields = rows.embedding, rows.fields
        self.rows = rows
        self.align = {
            d: HFA(rows.widths(d, "specific"), align_units, hfa, cross, cross_layers, name=f"{d}_hfa")
            for d in domains
            if self.groups[d]["specific"]
        }
        if cke_input == "q" and not self.align and not self.groups[domains[0]]["shared"]:
            raise SchemaError(
                "cke_input='q' reads what describes the entities, but the domains list users and histories alone. List "
                "a feature of role item, or use cke_input='all'."
            )
        of_expert: dict[str, Any] = {"dropout": dropout, "final_activation": knowledge_activation}
        self.cke = PLE(
            domains, expert_units, levels, specific_experts, shared_experts, **of_expert, name="cke"
        )
        self.extractors = {d: MLP(expert_units, **of_expert, name=f"{d}_extractor") for d in domains}
        self.towers, self.heads = towers(self.schema.domains, tower_units, dropout)

    def _check(self) -> None:
        check_choice("`hfa_input`", self.hfa_input, ("specific", "specific+shared"))
        check_choice("`cke_input`", self.cke_input, ("all", "q"))
        check_choice("`common`", self.common, ("mixture", "shared"))
        check_choice("`pdl`", self.pdl, POLARISED)
        check_choice("`weighting`", self.weighting, ("rows", "domains"))
        if self.common == "shared" and not self.shared_experts:
            raise InputError(
                "common='shared' is what the shared experts give: set shared_experts to 1 or more."
            )

    def call(self, x, training=False):
        logits, self.side.similarity = {}, {}
        for name, v in self.rows(x, training=training).items():
            known = self.knowledge(name, v, training)
            own = self.extractors[name](side_by_side(known), training=training)  # eq. 10
            self.side.similarity[name] = cosine(known["common"], own)  # eq. 11
            both = joined([known["mixture"], own])
            logits[name] = self.heads[name](self.towers[name](both, training=training))
        return self.scores(logits)

    def knowledge(self, domain: str, v, training=False) -> dict[str, Any]:
        """What a second stage may take over of the rows of a domain, and what it is made of.

        Returns:
            The groups of v (eq. 1; what `rows` gives of the domain), `common` (g_com) and `mixture` (what the domain's
            tower reads; the same unless `common="shared"`), `[B, expert_units[-1]]` each.
        """
        q = {"shared": v.get("shared"), "aligned": self._aligned(domain, v)}  # eq. 8
        read = ("user", "sequence", "shared", "aligned") if self.cke_input == "all" else ("shared", "aligned")
        mixture, alone = self.cke(side_by_side({**v, **q}, read), task=domain, training=training)  # eq. 9
        return {**v, "mixture": mixture, "common": alone if self.common == "shared" else mixture}

    def _aligned(self, domain: str, v):
        if domain in self.align:
            return self.align[domain](v["specific"], self._crossed(v))
        if not self.align:
            return None
        some = next(iter(v.values()))
        return ops.zeros((ops.shape(some)[0], self.align_units), some.dtype)

    def _crossed(self, v):
        return side_by_side(v, ("specific",) if self.hfa_input == "specific" else ("specific", "shared"))

    def feature_importance(self, x) -> dict[str, dict[str, Any]]:
        """p of every specific field, `{domain: {field: float32 [B]}}`; below 1 it is weakened, above 1 amplified."""
        importance: dict[str, dict[str, Any]] = {}
        for name, v in self.rows(x).items():
            p = self.align[name].weights_of(v["specific"], self._crossed(v)) if name in self.align else None
            importance[name] = {field: p[:, i] for i, field in enumerate(self.groups[name]["specific"])}
        return importance

    def similarity(self, x) -> dict[str, Any]:
        """cos(g_com, g_ind) of every row (eq. 11): `{domain: float32 [B]}`."""
        self.call(x)
        return self.side.similarity

    def auxiliary_losses(self, x, y, y_pred, sample_weight, training):
        measure, weights = POLARISED[self.pdl], row_weights(y, sample_weight)
        of = {d: weighted_mean(measure(self.side.similarity[d]), weights[d]) for d in y}  # eq. 12
        return {**{f"pdl_{d}": value for d, value in of.items()}, "pdl": sum(of.values())}
