"""CTNet: the target's own network, day after day, with a look at what the newest network of the source says."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.errors import InputError, shown
from cdrzoo.layers import GLU, MLP, FeatureEmbedding, FieldVectors
from cdrzoo.layers.pooling import joined
from cdrzoo.layers.towers import head
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike, Units
from cdrzoo.models.stages import SecondStage, frozen


@keras.saving.register_keras_serializable(package="cdrzoo")
class CTNet(SecondStage):
    """Continual Transfer Network: the second stage after a `SourceDNN`, the source's tower.

        h_0 = [e_1 | ... | e_n],   h_l = relu(h_{l-1} W_l + b_l) + Adapter_l(h^S_l),   l = 1 .. L
        Adapter_l(h) = (h V_l + a_l) * sigmoid(h U_l + c_l),   y = sigmoid(w h_L + b),   L = mean CE over target rows

    e_i: the vectors of the target's row; W_l, b_l: the hidden layers of its tower, w, b the last one; h^S_l: what the
    source's tower, which is frozen and has tables of its own, says of the same row after l layers; Adapter_l: a gated
    linear unit. V and a start at 0: attaching the source's tower does not change what the target's says, and nothing
    that either has learnt is thrown away. That is what makes the transfer a continual one. With the rows of each day

        model.refresh(source)      the source's tower, as its own training has left it, takes the old one's place;
                                   what the target has learnt, adapters and the optimizer's state included, stays
        model.fit(rows of the target since the last time)

    and no `compile` in between. (After a refresh the adapters read another tower; should the newest rows be few, `fit`
    those of some days before once more.) The model of the first stage is copied when it is given: it may go on training
    as it likes and be handed over again.

    Args:
        schema: the schema of the first stage.
        pretrained: a trained `SourceDNN`.
        units: hidden layers of the target's tower, as many as the source's has; default `(256, 128, 32)`.
        dropout: share of each hidden layer of the target's tower that is dropped in training; default 0.

    Call arguments:
        x: `{target: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{target: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<target>_loss`.

    Reference: Liu, Wang, Wang et al., Continual Transfer Learning for Cross-Domain Click-Through Rate Prediction at
    Taobao (WWW 2023, companion). Sizes, where an adapter's output is added, and its start at 0 are this project's
    choice.

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> first = models.SourceDNN(prepared.schema)  # to be trained: compile, fit on rows of the sources
        >>> model = models.CTNet(prepared.schema, first)
        >>> x, y = next(iter(prepared.train(64, domains=("films",))))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        pretrained: CrossDomainModel,
        units: Units = (256, 128, 32),
        dropout: float = 0.0,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        if not hasattr(pretrained, "check_same"):
            raise InputError(
                f"`pretrained` must be a trained SourceDNN, the first stage. Received: {type(pretrained).__name__}."
            )
        pretrained.check_same(self.schema)
        if len(units) != len(pretrained.units):
            raise InputError(
                f"Each hidden layer of the source's tower has its adapter: `units` must name {len(pretrained.units)} "
                f"layers. Received: {shown(units)}."
            )
        target = self.schema.target
        self.pretrained = frozen(pretrained.copy())
        self.units = units
        self.dropout = dropout
        self.embedding = FeatureEmbedding(self.schema, [target])
        self.fields = FieldVectors(self.schema, target)
        self.hidden = [MLP((width,), dropout=dropout, name=f"hidden_{i}") for i, width in enumerate(units)]
        self.adapters = [GLU(width, name=f"adapter_{i}") for i, width in enumerate(units)]
        self.head = head(self.schema.target_domain)

    def build(self, input_shape=None):
        super().build(input_shape)
        for adapter in self.adapters:
            adapter.value.kernel.assign(keras.ops.zeros_like(adapter.value.kernel))

    def call(self, x, training=False):
        target = self.schema.target
        rows = self.target_rows(x)
        embedded = self.embedding(x)[target]
        fields = self.fields(rows, embedded, training=training)
        h = joined(list(fields.values()))
        known = self.pretrained.states(target, rows, training=False)[1:]
        for layer, adapter, state in zip(self.hidden, self.adapters, known):
            h = layer(h, training=training) + adapter(state)
        return self.scores({target: self.head(h)})

    def refresh(self, pretrained) -> None:
        """Puts a newer tower of the source in the place of the old one; nothing else changes.

        Args:
            pretrained: a `SourceDNN` of the same schema and sizes, trained further.
        """
        pretrained.check_same(self.schema)
        if tuple(pretrained.units) != tuple(self.pretrained.units):
            raise InputError(
                f"The source's tower has hidden layers {tuple(self.pretrained.units)}, which the adapters read. "
                f"Received one with {tuple(pretrained.units)}."
            )
        self.pretrained.set_weights(pretrained.get_weights())
