"""MKT: the target's own network, which takes of a trained model of all entities what it can use."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.errors import InputError
from cdrzoo.layers import GLU, MLP, EntityVectors
from cdrzoo.layers.entities import side_by_side
from cdrzoo.layers.towers import head
from cdrzoo.models.arguments import checked_share
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units
from cdrzoo.models.stages import SecondStage, frozen


@keras.saving.register_keras_serializable(package="cdrzoo")
class MKT(SecondStage):
    """Multi-entity Knowledge Transfer: the second stage, a Target Entity Model (TEM) that a frozen `MEM` informs.

    It has tables, sequence encoder and network of its own, and takes over from the first stage what means the same to
    both, each vector through a gate that lets pass what the target can use (section 3.3):

        v_x = v_x^TEM + GLU_x(v_x^MEM)                  x: user, sequence, shared                     (section 3.3)
        g   = MLP([v_u | v_seq | v_shared | v_spec^TEM]) + GLU_cross(g_com^MEM)                       (eqs. 14, 15)
        y   = sigmoid(w MLP_tower(g) + b),   L = mean CE over the target's rows                       (eq. 16)

    v: the groups of a row (`EntityVectors`); g_com: what the entities know in common (`MEM`). The first stage is taken
    over as it is, not copied: frozen, called for inference only, its optimizer dropped. What is served is this model
    and the part of the first stage that it reads: the tables of the target's features, the encoder of its sequences,
    its alignment, its expert and the shared ones; with several levels of the PLE the sources' experts of the lower
    levels too, because the shared gate mixes them.

    Args:
        schema: the schema of the first stage. Another of its domains may be the target.
        pretrained: a trained `MEM`.
        units: hidden layers up to g; default `(1024, 512)`.
        tower_units: hidden layers after it; default `(64,)`; `()`: none.
        pooling: of histories, `"attention"` (default) or `"mean"`.
        train_embeddings: `True` leaves the tables of the first stage trainable (section 3.1).
        warm_start: `True` starts this model's tables as copies of the first stage's.
        gated: `False` puts a linear map in the place of each GLU, so that all passes (a control).
        negatives_kept: see `MEM`.
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments: `{target: {feature: tensor}}`, see `CrossDomainModel`; `fit` takes such rows alone.

    Returns:
        `{target: float32 [B, 1]}`.

    Logged: `<target>_loss`.

    Reference: Guan et al., Effective Two-Stage Knowledge Transfer for Multi-Entity Cross-Domain Recommendation (2024),
    section 3.3.

    Example:
        >>> from cdrzoo.data import synthetic
        >>> from cdrzoo.models import MEM, MKT
        >>> prepared = synthetic.prepare()
        >>> first = MEM(prepared.schema, expert_units=(16, 8), tower_units=(4,), pooling="mean")
        >>> first.compile()
        >>> _ = first.fit(prepared.train({"books": 384, "films": 128}), verbose=0)
        >>> model = MKT(prepared.schema, first, units=(16, 8), tower_units=(4,), pooling="mean")
        >>> model.compile()
        >>> sorted(model.fit(prepared.train(128, domains=("films",)), verbose=0).history)
        ['films_loss', 'loss']
    """

    def __init__(
        self,
        schema: SchemaLike,
        pretrained: CrossDomainModel,
        units: Units = (1024, 512),
        tower_units: Units = (64,),
        pooling: str = "attention",
        train_embeddings: bool = False,
        warm_start: bool = False,
        negatives_kept: float = 1.0,
        dropout: float = 0.0,
        gated: bool = True,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.negatives_kept = checked_share(self.schema, negatives_kept)
        self.check_first_stage(pretrained, "MEM")
        self.pretrained = frozen(pretrained)
        self.units, self.tower_units, self.pooling = units, tower_units, pooling
        self.train_embeddings, self.warm_start, self.dropout = train_embeddings, warm_start, dropout
        if train_embeddings:
            pretrained.trainable = True
            for layer in pretrained.layers:
                layer.trainable = False
            pretrained.embedding.trainable = True

        target = self.schema.target
        rows = EntityVectors(self.schema, [target], pooling)
        self.groups = rows.groups[target]
        # Files hold tables and attentions at these two attributes.
        self.embedding, self.fields = rows.embedding, rows.fields[target]
        self.rows = rows
        self.gated, gate = gated, GLU if gated else keras.layers.Dense
        self.gates = {
            group: gate(sum(rows.widths(target, group)), name=f"{group}_gate")
            for group in ("user", "sequence", "shared")
            if self.groups[group]
        }
        self.gates["cross"] = gate(units[-1], name="cross_gate")
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
        v = dict(self.rows(x, training=training)[target])
        known = self._known(rows)
        for group in v.keys() & self.gates.keys():
            v[group] = v[group] + self.gates[group](known[group])
        g = self.body(side_by_side(v), training=training) + self.gates["cross"](known["cross"])  # eqs. 14, 15
        return self.scores({target: self.head(self.tower(g, training=training))})

    def _known(self, features) -> dict[str, Any]:
        target = self.schema.target
        known = self.pretrained.knowledge(target, self.pretrained.rows({target: features})[target])
        return {**known, "cross": known["common"]}

    def gate_activity(self, x) -> dict[str, Any]:
        """How far the gates are open for rows of the target: `{gate: float32 [B, width]}`, each number in (0, 1).

        Raises:
            InputError: of a model without gates.
        """
        if not self.gated:
            raise InputError("This model has no gates (gated=False). Train one with gated=True.")
        known = self._known(x[self.schema.target])
        return {name: ops.cast(gate.activity(known[name]), "float32") for name, gate in self.gates.items()}

    def feature_importance(self, x) -> dict[str, Any]:
        """The first stage's importance of the target's specific fields, `{field: float32 [B]}`."""
        target = self.schema.target
        return self.pretrained.feature_importance({target: x[target]})[target]
