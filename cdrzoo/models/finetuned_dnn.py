"""Finetune: a network of the sources goes on learning on the target."""

from __future__ import annotations

import keras
from typing_extensions import Unpack

from cdrzoo.errors import InputError
from cdrzoo.models.base import CrossDomainModel, ModelOptions, SchemaLike
from cdrzoo.models.stages import SecondStage


@keras.saving.register_keras_serializable(package="cdrzoo")
class FinetunedDNN(SecondStage):
    """Pre-training and fine-tuning: the second stage after a `SourceDNN`.

        y = sigmoid(f(x)),   L = mean CE over target rows

    f: a copy of the first stage, whose scores it gives until it is trained; CE: the cross-entropy. All of it is trained
    on the target's rows: rows of tables that the source has seen start from what it taught, others anew. The second
    `fit` usually takes a smaller learning rate (in a run: `learning_rate` and `first.learning_rate`). Hidden layers and
    dropout are those of the first stage. The model given to it stays what it is.

    Args:
        schema: the schema of the first stage.
        pretrained: a trained `SourceDNN`.
        train_embeddings: `False` keeps the tables as the first stage left them; default `True`.

    Call arguments:
        x: `{target: {feature: tensor}}`, see `CrossDomainModel`.
        training: whether dropout is on.

    Returns:
        `{target: float32 [B, 1]}`: a probability for clicks, a value for ratings.

    Logged: `<target>_loss`.

    Reference: Yang, Liu, Su et al., Click-Through Rate Prediction Using Transfer Learning with Fine-Tuned Parameters
    (Information Sciences, 2022), the rival "Finetune" of Zhang et al., A Collaborative Transfer Learning Framework for
    Cross-domain Recommendation (KDD 2023).

    Example:
        >>> from cdrzoo import models
        >>> from cdrzoo.data import synthetic
        >>> prepared = synthetic.prepare()
        >>> first = models.SourceDNN(prepared.schema)  # to be trained: compile, fit on rows of the sources
        >>> model = models.FinetunedDNN(prepared.schema, first)
        >>> x, y = next(iter(prepared.train(64, domains=("films",))))
        >>> model(x)["films"].shape
        TensorShape([64, 1])
    """

    def __init__(
        self,
        schema: SchemaLike,
        pretrained: CrossDomainModel,
        train_embeddings: bool = True,
        **kwargs: Unpack[ModelOptions],
    ):
        super().__init__(schema, **kwargs)
        if not hasattr(pretrained, "check_same"):
            raise InputError(
                f"`pretrained` must be a trained SourceDNN, the first stage. Received: {type(pretrained).__name__}."
            )
        pretrained.check_same(self.schema)
        self.train_embeddings = train_embeddings
        self.pretrained = pretrained.copy()
        self.pretrained.embedding.trainable = train_embeddings

    def call(self, x, training=False):
        target, rows = self.schema.target, self.target_rows(x)
        return self.scores({target: self.pretrained.logit(target, rows, training)})
