"""PLE: experts of each domain beside experts of all, in levels."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo import layers
from cdrzoo.layers import RowVectors
from cdrzoo.layers.towers import towers
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo", name="PLEModel")  # "PLE" is the layer
class PLE(CrossDomainModel):
    """Progressive Layered Extraction, whose tasks are the domains.

        x_d <- softmax(W_d x_d) . [E_d(x_d) | E_s(x_s)]
        x_s <- softmax(W_s x_s) . [E_d(x_d) of every domain d | E_s(x_s)]        (not on the last level)
        z    = w_d Tower_d(x_d) + b_d,   y = sigmoid(z)

    d: the row's domain, z after the last level. On each level, E_d: the experts of domain d, which read x_d; E_s: the
    shared ones, which read x_s; W_d, W_s: the gates, which have no bias. w_d, b_d: the last layer. Below, every x is
    the row of DNN (`SlotConcat`: fields of one name are one slot, what a domain does not list is zeros). No experts of
    the domains make it an MMoE, and one expert in all a `SharedBottom`.

    Args:
        schema: the schema.
        expert_units: hidden layers of an expert; default `(256, 128)`.
        levels: default 2; one is the paper's CGC.
        specific_experts, shared_experts: of each domain and of all, on each level; default 1 and 1.
        tower_units: hidden layers of a tower; default `(32,)`; `()`: none.
        pooling: of histories, `"mean"` (default) or `"attention"` (DIN's, of each domain).
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings. Each of several labels has
        experts, gates and a tower of its own; those behind the first are called DOMAIN.LABEL.

    Logged: `<domain>_loss`.

    Reference: Tang, Liu, Zhao and Gong, Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model
    for Personalized Recommendations (RecSys 2020), section 4.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.PLE(prepared.schema, levels=1)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    several_labels = True

    def __init__(
        self,
        schema: SchemaLike,
        expert_units: Units = (256, 128),
        levels: int = 2,
        specific_experts: int = 1,
        shared_experts: int = 1,
        tower_units: Units = (32,),
        pooling: str = "mean",
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.expert_units = expert_units
        self.levels = levels
        self.specific_experts = specific_experts
        self.shared_experts = shared_experts
        self.tower_units = tower_units
        self.pooling = pooling
        self.dropout = dropout
        self.rows = RowVectors(self.schema, pooling)
        tasks = list(self.schema.outputs)
        self.extraction = layers.PLE(
            tasks, expert_units, levels, specific_experts, shared_experts, dropout, name="extraction"
        )
        self.towers, self.heads = towers(self.schema.domains, tower_units, dropout)

    def call(self, x, training=False):
        rows = self.rows(x, training=training)
        logits = {}
        for name, row in rows.items():
            of_tasks = dict.fromkeys(self.schema.domain(name).outputs, row)
            extracted, _ = self.extraction(of_tasks, training=training)
            for key, h in extracted.items():
                logits[key] = self.heads[key](self.towers[key](h, training=training))
        return self.scores(logits)
