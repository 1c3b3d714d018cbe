"""DCN-v2: crosses of the row's whole vector by matrices, and an MLP."""

from __future__ import annotations

import keras
from keras import ops
from typing_extensions import Unpack

from cdrzoo.errors import check_choice
from cdrzoo.layers import MLP, CrossNet, RowVectors
from cdrzoo.layers.towers import head
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units

STRUCTURES = ("stacked", "parallel")
"""Where the MLP of `DCN` stands: after the crosses, or beside them."""


@keras.saving.register_keras_serializable(package="cdrzoo")
class DCN(CrossDomainModel):
    """Deep & Cross Network, by default its second version.

        x_0 = [e_1 | .. | e_n],   x_{l+1} = x_0 * (x_l W_l + b_l) + x_l,   l < L
        "stacked": z = w MLP(x_L) + b;   "parallel": z = w [x_L | MLP(x_0)] + b;   y = sigmoid(z)

    e_i: the vector of a field; W_l, b_l: the L crosses; w, b: the last layer. With a schema of several domains one
    network reads the rows of all of them (`RowVectors`).

    Args:
        schema: the schema.
        cross: the form of the crosses, see `CrossNet`; default `"dcn_v2"`, which needs the package
            tensorflow-recommenders. `"dcn"` is the first version.
        cross_layers: L; default 2.
        structure: `"stacked"` or `"parallel"`; default `"stacked"`. The paper finds each best on some data; the first
            version is parallel.
        units: hidden layers; default `(256, 128, 32)`, those of `DNN`, as the paper searches its own.
        dropout: share of each hidden layer that is dropped in training; default 0.

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Raises:
        InputError: for another cross or structure, or where the cross's package is absent.

    Logged: `<domain>_loss`.

    Reference: Wang, Shivanna, Cheng, Jain, Lin, Hong and Chi, DCN V2: Improved Deep & Cross Network and Practical
    Lessons for Web-scale Learning to Rank Systems (WWW 2021), equations 1 and 2 and figure 1; Wang, Fu, Fu and Wang,
    Deep & Cross Network for Ad Click Predictions (ADKDD 2017).

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.DCN(prepared.schema, cross="dcn")
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        cross: str = "dcn_v2",
        cross_layers: int = 2,
        structure: str = "stacked",
        units: Units = (256, 128, 32),
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        check_choice("`structure`", structure, STRUCTURES)
        self.cross = cross
        self.cross_layers = cross_layers
        self.structure = structure
        self.units = units
        self.dropout = dropout
        self.rows = RowVectors(self.schema)
        self.crosses = CrossNet(cross_layers, cross)
        self.mlp = MLP(units, dropout=dropout)
        self.head = head(self.schema.target_domain, *self.schema.sources)

    def call(self, x, training=False):
        logits = {}
        for name, row in self.rows(x).items():
            crossed = self.crosses(row)
            if self.structure == "stacked":
                last = self.mlp(crossed, training=training)
            else:
                last = ops.concatenate([crossed, self.mlp(row, training=training)], axis=-1)
            logits[name] = self.head(last)
        return self.scores(logits)
