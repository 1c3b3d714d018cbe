"""Models of two stages: what the second, which trains on rows of the target alone, has to know of the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.models.base import CrossDomainModel, batch_shapes
from cdrzoo.schema import FIRST_KNOWN


class SecondStage(CrossDomainModel):
    """A model that trains on rows of the target alone: what others have to say, its first stage has learnt."""

    @property
    def training_domains(self):
        return (self.schema.target,)

    def target_rows(self, x: Mapping[str, Any]) -> Any:
        """The rows of the target in a batch of nothing else; an `InputError` for others."""
        target = self.schema.target
        if list(x) != [target]:
            raise InputError(
                f"{type(self).__name__} reads rows of the target {target!r} alone. Received: rows of "
                f"{', '.join(map(repr, x))}. Leave others out; the first stage has learnt from them."
            )
        return x[target]

    def check_first_stage(self, pretrained: Any, wanted: str) -> None:
        """Raises unless a trained model of the class called `wanted` knows the target's rows as they are here."""
        if wanted not in {kind.__name__ for kind in type(pretrained).__mro__}:
            raise InputError(
                f"`pretrained` must be a trained {wanted}, the first stage of {type(self).__name__}. "
                f"Received: {type(pretrained).__name__}."
            )
        known, target = pretrained.schema, self.schema.target_domain
        tables = {f.table for f in target.features if f.table}
        if target not in known.domains or any(known.table(t) != self.schema.table(t) for t in tables):
            raise SchemaError(
                f"The first stage was trained with another schema: domain {target.name!r} or its tables differ. Give "
                "both stages the schema of one encoder (with all domains; the second stage reads the target's rows "
                "alone)."
            )


class MappedUsers(SecondStage):
    """A second stage that learns from users whom its first stage, a factorisation, has trained in two domains."""

    def make_train_function(self, force=False):
        seen = {name: users.numpy()[FIRST_KNOWN:] for name, users in self.pretrained.factors.seen.items()}
        if not any((seen[self.schema.target] & seen[source.name]).any() for source in self.schema.sources):
            first = type(self.pretrained).__name__
            raise InputError(
                f"{type(self).__name__} learns from users whom `pretrained` has trained both in the target "
                f"{self.schema.target!r} and in a source. Received: a {first} that has trained "
                f"{', '.join(f'{users.sum()} users in {name!r}' for name, users in seen.items())}, none of them in "
                f"both. Train it first (`fit`), on rows of all domains that have users in common."
            )
        return super().make_train_function(force)


def frozen(part: keras.Model) -> keras.Model:
    """A trained model as a part of another one, which reads it and does not train it.

    It is the model itself, not a copy: built, `trainable = False`, and no longer compiled, because its old training
    step would go on changing it. Its optimizer is dropped; to train it by itself again, set `trainable` and `compile`.
    Call it with `training=False`, or dropout and batch statistics would still be on.
    """
    if not part.built:
        part.build(batch_shapes(part.schema))
    # Keras passes over an assignment that changes nothing: a model that was made untrainable has trainable layers.
    part.trainable = True
    part.trainable = False
    part.compiled = False
    part.optimizer = part.train_function = part.test_function = None
    return part
