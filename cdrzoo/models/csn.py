"""CSN: networks of the domains, whose activations are mixed layer by layer by learnt scalars."""

from __future__ import annotations

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.layers import FeatureEmbedding, FieldVectors
from cdrzoo.layers.pairs import crossed, step, user_keys
from cdrzoo.layers.pooling import joined
from cdrzoo.layers.towers import towers
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units


@keras.saving.register_keras_serializable(package="cdrzoo")
class CSN(CrossDomainModel):
    """Cross-stitch network.

        a_A <- alpha_AA a_A + alpha_AB a_B
        a_B <- alpha_BA a_A + alpha_BB a_B

    a_A, a_B: what the towers of two domains, A and B, say of a pair of rows, which are one user's, after a hidden
    layer; alpha: the layer's cross-stitch unit. alpha starts at 0.9 on the diagonal and at 0.1 / (D - 1) beside it, D
    being the number of domains. A row is all that its domain lists, and tables that features of several domains name
    are shared, the users' to begin with.

    It is trained on paired batches (`prepared.train(..., paired=True)`). A row that is scored has no partner in another
    domain: it goes through its own tower, without the stitches. The same holds for a batch of one domain.

    Where this differs from the paper: there the two towers read one image, and alpha learns 100 to 1000 times faster
    than the rest; here it has the optimizer's learning rate.

    Args:
        schema: the schema; two or more domains that share the users' table.
        units: hidden layers of each tower; default `(256, 128, 32)`, as `DNN` has them.
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`; in training the i-th rows of all domains are one
            user's, which a step asserts.
        training: whether dropout is on, and what the towers say of each other.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Misra, Shrivastava, Gupta and Hebert, Cross-stitch Networks for Multi-task Learning (CVPR 2016), equation
    1; as a recommender Hu et al., CoNet (CIKM 2018), section 3.2.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> model = models.CSN(prepared.schema, units=(64, 32))
        >>> x, y = next(iter(prepared.train(64, paired=True)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        units: Units = (256, 128, 32),
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.check_shared_users("CSN")
        self.units = units
        self.dropout = dropout
        names = [d.name for d in self.schema.domains]
        self.users = user_keys(self.schema)
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = {name: FieldVectors(self.schema, name) for name in names}
        self.towers, self.heads = towers(self.schema.domains, units, dropout)
        beside = 0.1 / max(len(names) - 1, 1)
        start = [[0.9 if one == other else beside for other in names] for one in names]
        self.alpha = [
            self.add_weight(
                shape=(len(names), len(names)),
                initializer=keras.initializers.Constant(start),
                name=f"alpha_{layer}",
            )
            for layer in range(len(units) if len(names) > 1 else 0)
        ]

    def call(self, x, training=False):
        embedded = self.embedding(x)
        a = {}
        for name in x:
            fields = self.fields[name](x[name], embedded[name], training=training)
            a[name] = joined(list(fields.values()))
        stitched = crossed(x, training, self.users)
        for layer in range(len(self.units)):
            a = {name: step(self.towers[name], layer, a[name], training=training) for name in a}
            if stitched:
                a = self._stitch(self.alpha[layer], a)
        return self.scores({name: self.heads[name](a[name]) for name in a})

    def _stitch(self, alpha, a):
        """What each tower goes on with; a domain that is not in the batch adds nothing."""
        place = {d.name: i for i, d in enumerate(self.schema.domains)}
        alpha = ops.cast(alpha, next(iter(a.values())).dtype)
        return {one: sum(alpha[place[one], place[other]] * a[other] for other in a) for one in a}
