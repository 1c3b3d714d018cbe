"""DANN: a network whose hidden layer must not tell the domain of a row."""

from __future__ import annotations

from typing import Any

import keras
from typing_extensions import Unpack

from cdrzoo.layers import MLP, DomainAlignment, RowVectors
from cdrzoo.layers.towers import head
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class DANN(CrossDomainModel):
    """Domain-Adversarial Neural Network.

        h = G_f(x),   y = sigmoid(G_y(h)),   d^ = sigmoid(G_d(Rev(h)))
        L = sum_e mean(CE(y, G_y)) over domains e + mean(CE(d, d^))

    x: the row of DNN (`SlotConcat`); G_f, G_y, G_d: networks; Rev: the identity, its gradient times -lambda; CE: the
    cross-entropy; d: 1 for rows of the target, 0 for others. G_d learns to tell the domains apart and G_f learns to
    prevent it. lambda scales what G_f gets and not what G_d learns. Labels of all domains are known here, so that each
    has a prediction loss; with several sources the target is told from the rest, because the served domain is what must
    not stand out.

    Domains with different features: the first matrix of G_f is a projection of each field, which domains that both list
    the field share and others have alone. Only h has to be alike.

    To keep that from diverging, the two domains have half of the weight each in the loss of G_d, and the reversal rests
    while G_d does no better than chance (`DomainAlignment`, which says why; `stable=False` is without the two).

    Args:
        schema: the schema; two or more domains.
        units: hidden layers of G_f; default `(256, 128)`.
        tower_units: hidden layers of G_y; `()`: none; default `(32,)`: together the network of `DNN`.
        domain_units: hidden layers of G_d; default `(64,)`; `()`: none.
        reversal: the largest lambda; default 1.
        reversal_warmup: training steps over which lambda rises to it, as 2 / (1 + exp(-10 p)) - 1 with p from 0 to 1;
            default 1000. The paper's p is the progress of the whole training, which a model does not know.
        stable: `False` trains to the letter.
        pooling: of histories, `"mean"` (default) or `"attention"` (DIN's, of each domain).
        dropout: share of each hidden layer of G_f and G_y that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`; in training also `domain_loss`, that of G_d.

    Reference: Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette, Marchand and Lempitsky, Domain-Adversarial
    Training of Neural Networks (JMLR 17, 2016), sections 4.2 and 5.2.2.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.DANN(prepared.schema, units=(64, 32))
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (256, 128),
        tower_units: Units = (32,),
        domain_units: Units = (64,),
        reversal: float = 1.0,
        reversal_warmup: int = 1000,
        stable: bool = True,
        pooling: str = "mean",
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.check_sources("DANN")
        self.units = units
        self.tower_units = tower_units
        self.domain_units = domain_units
        self.reversal = reversal
        self.reversal_warmup = reversal_warmup
        self.stable = stable
        self.pooling = pooling
        self.dropout = dropout
        self.rows = RowVectors(self.schema, pooling)
        self.extractor = MLP(units, dropout=dropout, name="extractor")
        self.tower = MLP(tower_units, dropout=dropout, name="tower")
        self.head = head(self.schema.target_domain, *self.schema.sources)
        self.alignment = DomainAlignment(
            conditional=False,
            strength=reversal,
            warmup=reversal_warmup,
            stable=stable,
            units=domain_units,
            name="alignment",
        )

    def build(self, input_shape=None):
        super().build(input_shape)
        self.alignment.build((None, self.units[-1]))

    def call(self, x, training=False):
        h = self.states(x, training)
        self.side.h = h
        return self.scores({name: self.head(self.tower(h[name], training=training)) for name in h})

    def states(self, x, training=False) -> dict[str, Any]:
        """h, `{domain: [B, units[-1]]}`: what must not tell the domain."""
        rows = self.rows(x, training=training)
        return {name: self.extractor(row, training=training) for name, row in rows.items()}

    def auxiliary_losses(self, x, y, y_pred, sample_weight, training):
        target, h = self.schema.target, self.side.h
        terms = self.alignment.by_domain(target, h, y, y_pred, sample_weight, training)
        return {name: terms[name] for name in terms if name == "domain_loss"}
