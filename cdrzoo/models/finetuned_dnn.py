"""Finetune: a network of the sources goes on learning on the target."""

from __future__ import annotations

import keras

from cdrzoo.errors import InputError
from cdrzoo.models.stages import SecondStage


@keras.saving.register_keras_serializable(package="cdrzoo")
class FinetunedDNN(SecondStage):
    """Pre-training and fine-tuning: the second stage after a `SourceDNN`.

    It is a copy of the first stage, whose scores it gives until it is trained, and all of it is trained on the target's
    rows: rows of tables that the source has seen start from what it taught, others anew. Two stages are two `fit`s:

        first = SourceDNN(schema);  first.compile(...);  first.fit(rows of the sources)
        model = FinetunedDNN(schema, first);  model.compile(...);  model.fit(rows of the target)

    The second usually takes a smaller learning rate (in a run: `learning_rate` and `first.learning_rate`). Hidden
    layers and dropout are those of the first stage. The model given to it stays what it is.

    Args:
        schema: the schema of the first stage.
        pretrained: a trained `SourceDNN`.
        train_embeddings: `False` keeps the tables as the first stage left them; default `True`.

    Call arguments: `{target: {feature: tensor}}`, see `CrossDomainModel`.

    Returns:
        `{target: float32 [B, 1]}`.

    Reference: Yang et al., Click-Through Rate Prediction Using Transfer Learning with Fine-Tuned Parameters
    (Information Sciences, 2022), the rival "Finetune" of Zhang et al., Collaborative Cross-Domain Transfer Learning
    (KDD 2023).
    """

    def __init__(self, schema, pretrained, train_embeddings=True, **kwargs):
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
