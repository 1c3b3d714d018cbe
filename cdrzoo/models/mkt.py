"""MKT: a model of all entities finds what they have in common; the target's own model takes of it what it can use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from cdrzoo.errors import InputError, SchemaError, check_choice
from cdrzoo.layers import (
    GLU,
    MLP,
    PLE,
    FeatureEmbedding,
    FieldImportance,
    FieldVectors,
    TargetAttention,
    cosine,
    field_widths,
    head,
    history_field,
    scale_fields,
    towers,
)
from cdrzoo.losses import row_weights, weighted_mean
from cdrzoo.models.base import PriorCorrected, check_layers
from cdrzoo.models.stages import SecondStage, frozen
from cdrzoo.schema import Schema

POLARISED = {"cosine": lambda cosine: cosine, "abs": ops.abs, "square": ops.square}
"""What the polarised distribution loss minimises of the cosine of common and independent knowledge."""

GROUPS = ("user", "sequence", "shared", "specific")
"""The parts of an entity's vector v = [v_u | v_seq | v_shared | v_spec] (eq. 1)."""


@keras.saving.register_keras_serializable(package="cdrzoo")
class HFA(keras.layers.Layer):
    """Heterogeneous feature alignment: the fields that an entity has alone, weighed and brought to a common width.

        a = ReLU(FC(flatten(V * p)))        V: one row a field, p: `FieldImportance`                  (eqs. 3-8)

    Args:
        widths: width of each field.
        units: width of a.
        importance: `False` leaves p out (p = 1; the ablation without HFA).
        cross, cross_layers: of the explicit crosses, see `FieldImportance`.

    Call arguments:
        specific: the fields side by side, `[B, sum(widths)]`.
        crossed: what the importance is read off; default `specific`.

    Returns:
        `[B, units]`.
    """

    def __init__(
        self, widths: Sequence[int], units: int, importance=True, cross="dcn", cross_layers=2, **kwargs
    ):
        super().__init__(**kwargs)
        self.widths = tuple(widths)
        self.units = units
        self.importance = importance
        self.cross = cross
        self.cross_layers = cross_layers
        policy = self.dtype_policy
        self.gate = (
            FieldImportance(len(self.widths), cross, cross_layers, dtype=policy) if importance else None
        )
        self.fc = keras.layers.Dense(units, activation="relu", dtype=policy)

    def call(self, specific, crossed=None):
        p = self.weights_of(specific, crossed)
        return self.fc(scale_fields(specific, p, self.widths))

    def weights_of(self, specific, crossed=None):
        """p: float32 `[B, number of fields]`, each in (0, 2)."""
        if not self.importance:
            return ops.ones((ops.shape(specific)[0], len(self.widths)), "float32")
        return self.gate(specific if crossed is None else crossed)

    def get_config(self):
        arguments = {"widths": list(self.widths), "units": self.units, "importance": self.importance}
        return {**super().get_config(), **arguments, "cross": self.cross, "cross_layers": self.cross_layers}


@keras.saving.register_keras_serializable(package="cdrzoo")
class MEM(PriorCorrected):
    """Multi-Entity Model: the first stage of MKT, trained on the rows of all entities.

    A row is [v_u | v_seq | v_shared | v_spec] (eq. 1). The alignment (`HFA`, one an entity) gives q = [v_shared | a],
    of one width for all entities; the common knowledge extractor is a `PLE` whose tasks are the entities; each entity
    has an extractor of its own; both feed its tower (sections 3.2.2 to 3.2.4):

        g_com = CKE([v_u | v_seq | q]),   g_ind = MLP_e(v),   y = sigmoid(Tower_e([g_com | g_ind]))    (eqs. 9, 10)
        L     = sum_e N_e CE_e / sum_e N_e + gamma sum_e mean(cos(g_com, g_ind))                        (eqs. 11-13)

    The groups are read off the schema. What the rows of all entities list is shared: with role user it is the user's
    profile, histories are the sequences, the rest are shared features. Whatever some entity lacks, of any role, is
    specific to each of those that have it and goes through their alignment; where its table is named by several
    entities they still share the embedding. Features of one name are one slot, also with tables of their own. An entity
    without specific features has a = 0; if none has any, q = v_shared.

    Where the paper is silent or cannot be taken literally:
    w_ex is as wide as v_spec (it prints d_s); eq. 4 loses a path, see `CrossNet`; q alone knows nothing of the user,
    yet its knowledge is that of "user-entity interaction", so the user and his sequences are read too; the head is not
    written: did g_ind not feed it, minimising the cosine would be all it learnt; sums of losses are means with the same
    relative weights; the sequence encoder is DIN's attention with ReLU, because entities share it and the statistics of
    Dice would be those of a mixture. With ReLU knowledge the cosine is never negative and its minimum is orthogonality;
    with linear knowledge a plain cosine drives the two to be antiparallel, and the other modes to be orthogonal.

    Args:
        schema: the schema; two or more domains.
        expert_units: hidden layers of every extractor; the last is the width of the knowledge. Default `(1024, 512)`.
        tower_units: hidden layers of a tower; default `(64,)`.
        align_units: width of a; default 64.
        levels, shared_experts, specific_experts: of the CKE; default 1 each.
        pooling: of histories, `"attention"` (default) or `"mean"`.
        hfa: `False`: p = 1 (the ablation without HFA; the aligning layer stays, the widths need it).
        cross, cross_layers: the explicit crosses, see `CrossNet`; default 2 of `"dcn"`.
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

    Logged while training: `<domain>_loss`, `pdl_<domain>` and `pdl`, their sum, before gamma.

    Reference: Guan et al., Effective Two-Stage Knowledge Transfer for Multi-Entity Cross-Domain Recommendation (2024),
    section 3.2.
    """

    def __init__(
        self,
        schema,
        expert_units=(1024, 512),
        tower_units=(64,),
        align_units=64,
        levels=1,
        shared_experts=1,
        specific_experts=1,
        pooling="attention",
        hfa=True,
        cross="dcn",
        cross_layers=2,
        hfa_input="specific",
        cke_input="all",
        common="mixture",
        knowledge_activation="relu",
        gamma=0.1,
        pdl="cosine",
        weighting="rows",
        negatives_kept=1.0,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(schema, **kwargs)
        check_choice("`hfa_input`", hfa_input, ("specific", "specific+shared"))
        check_choice("`cke_input`", cke_input, ("all", "q"))
        check_choice("`common`", common, ("mixture", "shared"))
        check_choice("`pdl`", pdl, tuple(POLARISED))
        check_choice("`weighting`", weighting, ("rows", "domains"))
        if common == "shared" and not shared_experts:
            raise InputError(
                "common='shared' is what the shared experts give: set shared_experts to 1 or more."
            )
        if not self.schema.sources:
            raise SchemaError(
                "MKT transfers from a source, but the schema has the target alone. Add a domain."
            )
        check_layers("expert_units", expert_units)
        self.expert_units = expert_units
        self.tower_units = tower_units
        self.align_units = align_units
        self.levels = levels
        self.shared_experts = shared_experts
        self.specific_experts = specific_experts
        self.pooling = pooling
        self.hfa = hfa
        self.cross = cross
        self.cross_layers = cross_layers
        self.hfa_input = hfa_input
        self.cke_input = cke_input
        self.common = common
        self.knowledge_activation = knowledge_activation
        self.gamma = gamma
        self.pdl = pdl
        self.weighting = weighting
        self.correct_prior(negatives_kept)
        self.dropout = dropout
        self.auxiliary_weights = {"pdl": gamma, **{f"pdl_{d.name}": 0.0 for d in self.schema.domains}}

        self.groups = entity_groups(self.schema)
        domains = list(self.groups)
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = entity_fields(self.schema, domains, pooling)
        self.align = {
            d: HFA(self._specific_widths(d), align_units, hfa, cross, cross_layers, name=f"{d}_hfa")
            for d in domains
            if self.groups[d]["specific"]
        }
        if cke_input == "q" and not self.align and not self.groups[domains[0]]["shared"]:
            raise SchemaError(
                "cke_input='q' reads what describes the entities, but the domains list users and histories alone. List "
                "a feature of role item, or use cke_input='all'."
            )
        of_expert = {"dropout": dropout, "final_activation": knowledge_activation}
        self.cke = PLE(
            domains, expert_units, levels, specific_experts, shared_experts, **of_expert, name="cke"
        )
        self.extractors = {d: MLP(expert_units, **of_expert, name=f"{d}_extractor") for d in domains}
        self.towers, self.heads = towers(self.schema.domains, tower_units, dropout)

    def _specific_widths(self, domain: str) -> list[int]:
        widths = field_widths(self.schema, self.schema.domain(domain))
        return [widths[field] for field in self.groups[domain]["specific"]]

    def call(self, x, training=False):
        logits, similarity = {}, {}
        for name in x:
            known = self.knowledge(name, x[name], training)
            own = self.extractors[name](concatenated(known, GROUPS), training=training)
            similarity[name] = cosine(known["common"], own)
            both = ops.concatenate([known["mixture"], own], axis=-1)
            logits[name] = self.heads[name](self.towers[name](both, training=training))
        self.side.similarity = similarity
        return self.scores(logits)

    def vectors(self, domain: str, features, training=False) -> dict[str, Any]:
        """v of the rows of a domain, group by group (eq. 1): `{group: [B, width]}`; empty groups are left out."""
        embedded = self.embedding({domain: features})[domain]
        return grouped(self.fields[domain](features, embedded, training=training), self.groups[domain])

    def knowledge(self, domain: str, features, training=False) -> dict[str, Any]:
        """What a second stage may take over of the rows of a domain, and what it is made of.

        Returns:
            The groups of `vectors`, `common` (g_com) and `mixture` (what the domain's tower reads; the same unless
            `common="shared"`), `[B, expert_units[-1]]` each.
        """
        v = self.vectors(domain, features, training)
        q = {"shared": v.get("shared"), "aligned": self._aligned(domain, v)}
        read = ("user", "sequence", "shared", "aligned") if self.cke_input == "all" else ("shared", "aligned")
        mixture, alone = self.cke(concatenated({**v, **q}, read), task=domain, training=training)
        return {**v, "mixture": mixture, "common": alone if self.common == "shared" else mixture}

    def _aligned(self, domain: str, v):
        if domain in self.align:
            return self.align[domain](v["specific"], self._crossed(v))
        if not self.align:
            return None
        some = next(iter(v.values()))
        return ops.zeros((ops.shape(some)[0], self.align_units), some.dtype)

    def _crossed(self, v):
        return v["specific"] if self.hfa_input == "specific" else concatenated(v, ("specific", "shared"))

    def feature_importance(self, x) -> dict[str, dict[str, Any]]:
        """p of every specific field, `{domain: {field: float32 [B]}}`; below 1 it is weakened, above 1 amplified."""
        importance: dict[str, dict[str, Any]] = {}
        for name in x:
            v = self.vectors(name, x[name])
            p = self.align[name].weights_of(v["specific"], self._crossed(v)) if name in self.align else None
            importance[name] = {field: p[:, i] for i, field in enumerate(self.groups[name]["specific"])}
        return importance

    def similarity(self, x) -> dict[str, Any]:
        """cos(g_com, g_ind) of every row (eq. 11): `{domain: float32 [B]}`."""
        self.call(x)
        return self.side.similarity

    def auxiliary_losses(self, x, y, y_pred, sample_weight, training):
        measure = POLARISED[self.pdl]
        weights = row_weights(y, sample_weight)
        polarised = {  # eq. 12
            f"pdl_{name}": weighted_mean(measure(self.side.similarity[name]), weights[name]) for name in y
        }
        return {**polarised, "pdl": sum(polarised.values())}


@keras.saving.register_keras_serializable(package="cdrzoo")
class MKT(PriorCorrected, SecondStage):
    """Multi-entity Knowledge Transfer: the second stage, a Target Entity Model that a frozen `MEM` informs.

    It has tables, sequence encoder and network of its own, and takes over from the first stage what means the same to
    both, each vector through a gate that lets pass what the target can use (section 3.3):

        v_x = v_x^TEM + GLU_x(v_x^MEM)                  x: user, sequence, shared
        g   = MLP([v_u | v_seq | v_shared | v_spec^TEM]) + GLU_cross(g_com)                             (eqs. 14, 15)
        y   = sigmoid(w MLP_tower(g) + b),   L = mean CE over the target's rows                         (eq. 16)

    It is trained on the target's rows alone: `fit` takes batches `{target: ...}`. Two stages are two `fit`s:

        mem = MEM(schema);  mem.compile(...);  mem.fit(rows of all domains)
        mkt = MKT(schema, mem);  mkt.compile(...);  mkt.fit(rows of the target)

    The first stage is taken over as it is, not copied: frozen, called for inference only, its optimizer dropped. What
    is served is this model and the part of the first stage that it reads: the tables of the target's features, the
    encoder of its sequences, its alignment, its expert and the shared ones; with several levels of the CKE the
    sources' experts of the lower levels too, because the shared gate mixes them.

    Where the paper is silent or contradicts itself: it says both that the two models are trained together (section
    3.1) and that the first is frozen (3.3), and it is frozen; the knowledge is added where its width fits, before the
    last hidden layer; the target's own features go straight into the network.

    Args:
        schema: the schema of the first stage. Another of its domains may be the target.
        pretrained: a trained `MEM`.
        units: hidden layers up to g; default `(1024, 512)`.
        tower_units: hidden layers after it; default `(64,)`.
        pooling: of histories, `"attention"` (default) or `"mean"`.
        train_embeddings: `True` leaves the tables of the first stage trainable (section 3.1).
        warm_start: `True` starts this model's tables as copies of the first stage's.
        negatives_kept: see `MEM`.
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments: `{target: {feature: tensor}}`, see `CrossDomainModel`.

    Returns:
        `{target: float32 [B, 1]}`.

    Reference: Guan et al., Effective Two-Stage Knowledge Transfer for Multi-Entity Cross-Domain Recommendation (2024),
    section 3.3.
    """

    def __init__(
        self,
        schema,
        pretrained,
        units=(1024, 512),
        tower_units=(64,),
        pooling="attention",
        train_embeddings=False,
        warm_start=False,
        negatives_kept=1.0,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(schema, **kwargs)
        target = self.schema.target
        _check_pretrained(pretrained, self.schema)
        check_layers("units", units)
        self.pretrained = frozen(pretrained)
        self.units = units
        self.tower_units = tower_units
        self.pooling = pooling
        self.train_embeddings = train_embeddings
        self.warm_start = warm_start
        self.correct_prior(negatives_kept)
        self.dropout = dropout
        if train_embeddings:
            pretrained.trainable = True
            for layer in pretrained.layers:
                layer.trainable = layer is pretrained.embedding

        self.groups = pretrained.groups[target]
        widths = field_widths(self.schema, self.schema.target_domain)
        self.embedding = FeatureEmbedding(self.schema, [target])
        self.fields = entity_fields(self.schema, [target], pooling)[target]
        self.gates = {
            group: GLU(sum(widths[field] for field in self.groups[group]), name=f"{group}_gate")
            for group in ("user", "sequence", "shared")
            if self.groups[group]
        }
        self.gates["cross"] = GLU(units[-1], name="cross_gate")
        self.body = MLP(units, dropout=dropout, name="body")
        self.tower = MLP(tower_units, dropout=dropout, name="tower")
        self.head = head(self.schema.target_domain)

    def build(self, input_shape=None):
        super().build(input_shape)
        if self.warm_start:
            for name in {f.table for f in self.schema.target_domain.features if f.table}:
                self.embedding.table(name).assign(self.pretrained.embedding.table(name, self.schema.target))

    def call(self, x, training=False):
        target, rows = self.schema.target, self.target_rows(x)
        embedded = self.embedding(x)[target]
        v = grouped(self.fields(rows, embedded, training=training), self.groups)
        known = self._known(rows)
        for group in v.keys() & self.gates.keys():
            v[group] = v[group] + self.gates[group](known[group])
        g = self.body(concatenated(v, GROUPS), training=training) + self.gates["cross"](known["cross"])
        return self.scores({target: self.head(self.tower(g, training=training))})

    def _known(self, features) -> dict[str, Any]:
        known = self.pretrained.knowledge(self.schema.target, features, training=False)
        return {**known, "cross": known["common"]}

    def gate_activity(self, x) -> dict[str, Any]:
        """How far the gates are open for rows of the target: `{gate: float32 [B, width]}`, each number in (0, 1)."""
        known = self._known(x[self.schema.target])
        return {name: ops.cast(gate.activity(known[name]), "float32") for name, gate in self.gates.items()}

    def feature_importance(self, x) -> dict[str, Any]:
        """The first stage's importance of the target's specific fields, `{field: float32 [B]}`."""
        target = self.schema.target
        return self.pretrained.feature_importance({target: x[target]})[target]


def entity_groups(schema: Schema) -> dict[str, dict[str, tuple[str, ...]]]:
    """The fields of every domain's rows by group, `{domain: {group: fields}}`; what is shared stands in one order.

    A field is shared if the rows of all domains have it, a history with the same features in the same order.
    """
    features: dict[str, dict[str, tuple[str, ...]]] = {}
    for domain in schema.domains:
        features[domain.name] = {}
        for f in domain.features:
            name = history_field(f.of) if f.role == "history" else f.name
            listed = domain.histories(f.of) if f.role == "history" else (f,)
            features[domain.name][name] = tuple(each.name for each in listed)
    roles = {
        (f.name if f.role != "history" else history_field(f.of)): f.role
        for f in schema.target_domain.features
    }
    shared = [
        field
        for field, listed in features[schema.target].items()
        if all(other.get(field) == listed for other in features.values())
    ]
    of_role = {"user": ("user",), "sequence": ("history",), "shared": ("item", "context")}
    common = {group: tuple(f for f in shared if roles[f] in held) for group, held in of_role.items()}
    return {
        name: {**common, "specific": tuple(field for field in listed if field not in shared)}
        for name, listed in features.items()
    }


def entity_fields(schema: Schema, domains: Sequence[str], pooling: str) -> dict[str, FieldVectors]:
    """A vector a field for the rows of each domain.

    Domains whose rows compare a history with the same features of the candidate share its attention.
    """
    fields = {d: FieldVectors(schema, d, pooling=pooling, name=f"{d}_fields") for d in domains}
    shared: dict[Any, TargetAttention] = {}
    for one in fields.values():
        for of, attention in one.attentions.items():
            key = of, one.compared(of)
            if key not in shared:
                shared[key] = TargetAttention(attention.units, activation="relu", name=f"attention_{of}")
            one.attentions[of] = shared[key]
    return fields


def grouped(fields: dict[str, Any], groups: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The vectors of a row's fields side by side, `{group: [B, width]}`; empty groups are left out."""
    return {g: concatenated(fields, names) for g, names in groups.items() if names}


def concatenated(vectors: dict[str, Any], names: Sequence[str]) -> Any:
    """Those of the named vectors that there are, side by side."""
    present = [vectors[name] for name in names if vectors.get(name) is not None]
    return ops.concatenate(present, axis=-1)


def _check_pretrained(pretrained: Any, schema: Schema) -> None:
    if not isinstance(pretrained, MEM):
        raise InputError(
            f"`pretrained` must be a trained MEM, the first stage of MKT. Received: {type(pretrained).__name__}."
        )
    known, target = pretrained.schema, schema.target_domain
    tables = {f.table for f in target.features if f.table}
    if target not in known.domains or any(known.table(name) != schema.table(name) for name in tables):
        raise SchemaError(
            f"The first stage was trained with another schema: domain {target.name!r} or its tables differ. Give both "
            "stages the schema of one encoder (with all domains; the second stage reads the target's rows alone)."
        )
