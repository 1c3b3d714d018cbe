"""DANN: a network whose hidden layer must not tell the domain of a row."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cdrzoo.errors import SchemaError
from cdrzoo.layers import MLP, DomainAlignment, RowVectors, head
from cdrzoo.losses import row_weights
from cdrzoo.models.base import CrossDomainModel, check_layers


@keras.saving.register_keras_serializable(package="cdrzoo")
class DANN(CrossDomainModel):
    """Domain-Adversarial Neural Network.

    h = G_f(x),   y = sigmoid(G_y(h)),   d^ = sigmoid(G_d(Rev(h)))      Rev: the identity, its gradient times -lambda

    L = sum_e mean(CE(y, G_y)) over domains e + mean(CE(d, d^)),   d = 1 for rows of the target, 0 for others

    so that G_d learns to tell the domains apart and G_f learns to prevent it. lambda scales what G_f gets and not what
    G_d learns. Labels of all domains are known here, so that each has a prediction loss; with several sources the
    target is told from the rest, because the served domain is what must not stand out.

    Domains with different features: x is the row of DNN (`SlotConcat`), so the first matrix of G_f is a projection of
    each field, which domains that both list the field share and others have alone. Only h has to be alike.

    To keep that from diverging, the two domains have half of the weight each in the loss of G_d, and the reversal rests
    while G_d does no better than chance (`DomainAlignment`, which says why; `stable=False` is without the two).

    Args:
        schema: the schema; two or more domains.
        units: hidden layers of G_f; default `(256, 128)`.
        tower_units: hidden layers of G_y; default `(32,)`: together the network of `DNN`.
        domain_units: hidden layers of G_d; default `(64,)`.
        reversal: the largest lambda; default 1.
        reversal_warmup: training steps over which lambda rises to it, as 2 / (1 + exp(-10 p)) - 1 with p from 0 to 1;
            default 1000. The paper's p is the progress of the whole training, which a model does not know.
        stable: `False` trains to the letter.
        pooling: of histories, `"mean"` (default) or `"attention"` (DIN's, of each domain).
        dropout: share of each hidden layer of G_f and G_y that is dropped in training; default 0.

    Call arguments and returns: see `CrossDomainModel`.

    Logged while training: `<domain>_loss` and `domain_loss`, that of G_d.

    Reference: Ganin et al., Domain-Adversarial Training of Neural Networks (JMLR 2016), sections 4.2 and 5.2.2.
    """

    def __init__(
        self,
        schema,
        units=(256, 128),
        tower_units=(32,),
        domain_units=(64,),
        reversal=1.0,
        reversal_warmup=1000,
        stable=True,
        pooling="mean",
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(schema, **kwargs)
        if not self.schema.sources:
            raise SchemaError(
                "DANN transfers from a source, but the schema has the target alone. Add a domain."
            )
        check_layers("units", units)
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
        if not training or len(y) < 2:  # of one domain there is nothing to tell apart
            return {}
        h = ops.concatenate([self.side.h[name] for name in y], axis=0)
        target = ops.concatenate(
            [ops.full_like(y_pred[name], name == self.schema.target) for name in y], axis=0
        )
        weights = row_weights(y, sample_weight)
        weight = ops.concatenate([weights[name] for name in y], axis=0)[:, None]
        # No classes, no probability.
        terms = self.alignment(h, probability=target, target=target, weight=weight, training=True)
        return {"domain_loss": terms["domain_loss"]}
