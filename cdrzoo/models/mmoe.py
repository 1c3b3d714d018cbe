"""MMoE: experts that all domains share, mixed by a gate of each."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import CGC, RowVectors
from cdrzoo.layers.towers import towers
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class MMoE(CrossDomainModel):
    """Multi-gate Mixture-of-Experts, whose tasks are the domains.

        f_i = Expert_i(x),   g = softmax(W_d x),   h = sum_i g_i f_i
        z   = w_d Tower_d(h) + b_d,   y = sigmoid(z)

    d: the row's domain; W_d: its gate, which has no bias; w_d, b_d: its last layer. x is the row of DNN (`SlotConcat`:
    fields of one name are one slot, what a domain does not list is zeros). One expert makes every gate 1:
    `SharedBottom`.

    Args:
        schema: the schema.
        expert_units: hidden layers of an expert; default `(256, 128)`.
        experts: their number; default 3 (Guan et al., 2024, who compare with it).
        tower_units: hidden layers of a tower; default `(32,)`; `()`: none.
        pooling: of histories, `"mean"` (default) or `"attention"` (DIN's, of each domain).
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings. Each of several labels has
        a gate and a tower of its own; those behind the first are called DOMAIN.LABEL.

    Logged: `<domain>_loss`.

    Reference: Ma, Zhao, Yi, Chen, Hong and Chi, Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts (KDD 2018), section 4.2.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.MMoE(prepared.schema, experts=4)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape, model.gates(x)["films"].shape
        (TensorShape([64, 1]), TensorShape([64, 4]))
    """

    several_labels = True

    def __init__(
        self,
        schema: SchemaLike,
        expert_units: Units = (256, 128),
        experts: int = 3,
        tower_units: Units = (32,),
        pooling: str = "mean",
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.expert_units = expert_units
        self.experts = experts
        self.tower_units = tower_units
        self.pooling = pooling
        self.dropout = dropout
        self.rows = RowVectors(self.schema, pooling)
        tasks = list(self.schema.outputs)
        self.mixture = CGC(tasks, expert_units, specific=0, shared=experts, dropout=dropout, name="mixture")
        self.towers, self.heads = towers(self.schema.domains, tower_units, dropout)

    def call(self, x, training=False):
        logits = {}
        for name, row in self.rows(x, training=training).items():
            keys = self.schema.domain(name).outputs
            mixed, _, _ = self.mixture(dict.fromkeys(keys, row), row, training=training)
            for key, h in mixed.items():
                logits[key] = self.heads[key](self.towers[key](h, training=training))
        return self.scores(logits)

    def gates(self, x):
        """How much each expert weighs, `{domain: float32 [B, experts]}`; every row sums to 1."""
        return {
            key: self.mixture.weights_of(key, row)
            for name, row in self.rows(x).items()
            for key in self.schema.domain(name).outputs
        }
