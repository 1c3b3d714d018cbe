"""DIN: histories weighted by their likeness to the candidate."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.layers import MLP, RowVectors
from cdrzoo.layers.towers import further_heads, head, headed
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class DIN(CrossDomainModel):
    """Deep Interest Network.

        a_j = MLP_a([q | k_j | q - k_j | q * k_j]),   v = sum_j a_j k_j
        z = w MLP([v | q | user | context]) + b,   y = sigmoid(z)

    q: the candidate; k_j: a step of a history; v: the user's interest, without a softmax, so that its strength is kept;
    w, b: the last layer. Both MLPs use Dice. With a schema of several domains one network reads the rows of all of them
    (`SlotConcat`), each domain with its own attention.

    Args:
        schema: the schema; at least one history in the target's rows.
        units: hidden layers; default `(200, 80)` (section 6.2 and the authors' code).
        attention_units: hidden layers of the attention; default `(80, 40)` (the authors' code).
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout and the statistics of the batch (Dice) are on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings. Each of several labels has
        a last layer of its own; those behind the first are called DOMAIN.LABEL.

    Logged: `<domain>_loss`.

    Reference: Zhou, Zhu, Song et al., Deep Interest Network for Click-Through Rate Prediction (KDD 2018), sections 4.3
    and 5.3.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.DIN(prepared.schema)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    several_labels = True

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (200, 80),
        attention_units: Units = (80, 40),
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.check_histories("DIN")
        self.units = units
        self.attention_units = attention_units
        self.dropout = dropout
        self.rows = RowVectors(self.schema, "attention", attention_units)
        self.mlp = MLP(units, activation="dice", dropout=dropout)
        self.head = head(self.schema.target_domain, *self.schema.sources)
        self.further_heads = further_heads(self.schema.domains)  # of several labels

    def call(self, x, training=False):
        rows = self.rows(x, training=training)
        hidden = {name: self.mlp(row, training=training) for name, row in rows.items()}
        return self.scores(headed(self.schema.domains, hidden, self.head, self.further_heads))
