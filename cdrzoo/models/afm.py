"""AFM: a factorization machine whose pairs of fields are weighed by attention."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.errors import check_dropout
from cdrzoo.layers import FeatureEmbedding, FieldStack, FirstOrder, PairAttention
from cdrzoo.layers.sampling import Dropout
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike


@keras.saving.register_keras_serializable(package="cdrzoo")
class AFM(CrossDomainModel):
    """Attentional factorization machine.

        z = w_0 + sum_i w_i x_i + p^T sum_{i<j} a_ij (e_i * e_j),   a = softmax_ij(h^T relu(W (e_i * e_j) + b))
        y = sigmoid(z)

    x_i: the row's ids (1) and numbers, w_i: their weights, w_0: the bias; e_i: the vector of a field; W, b and h: the
    attention; p: the last layer. The softmax is over the pairs of fields that the row has (`PairAttention`). What the
    fields are, and what several domains share: see `FieldStack`. The paper's L2 penalty on W is left to the optimizer's
    weight decay.

    Args:
        schema: the schema; all tables of one width.
        attention_units: rows of W; default: the width of the tables.
        dropout: share of the pooled vector that is dropped in training; default 0.5 (the authors' code).

    Call arguments:
        x: `{domain: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{domain: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<domain>_loss`.

    Reference: Xiao, Ye, He, Zhang, Wu and Chua, Attentional Factorization Machines: Learning the Weight of Feature
    Interactions via Attention Networks (IJCAI 2017), section 3, equations 4 to 6.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare().only("films")
        >>> model = models.AFM(prepared.schema)
        >>> x, y = next(iter(prepared.train(64)))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        attention_units: int | None = None,
        dropout: float = 0.5,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        self.attention_units = attention_units
        self.dropout = dropout
        self.linear = FirstOrder(self.schema)
        self.embedding = FeatureEmbedding(self.schema)
        self.fields = FieldStack(self.schema)
        self.attention = PairAttention(attention_units)
        check_dropout(dropout)
        self.drop = Dropout(dropout)
        self.head = keras.layers.Dense(1, use_bias=False, dtype="float32", name="head")  # w_0 is the bias

    def call(self, x, training=False):
        linear, fields = self.linear(x), self.fields(x, self.embedding(x))
        logits = {}
        for name, e in fields.items():
            pooled, _ = self.attention(e)
            logits[name] = linear[name] + self.head(self.drop(pooled, training=training))
        return self.scores(logits)
