"""Towers that meet: of batches whose i-th rows, in all domains, are one user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdrzoo.errors import InputError
from cdrzoo.layers.towers import MLP


def crossed(x: Mapping[str, Mapping[str, Any]], training: bool) -> bool:
    """Whether the rows of a batch tell each other something: in training, where there is more than one domain.

    Args:
        x: `{domain: {feature: tensor}}`.
        training: whether this is a training step. A score never depends on another domain's row: who is served has no
            row there.

    Raises:
        InputError: the rows cannot be paired, because the domains differ in their number.
    """
    if not training or len(x) < 2:
        return False
    rows = {name: next(iter(features.values())).shape[0] for name, features in x.items()}
    if len(set(rows.values())) > 1:
        raise InputError(
            "This model trains on pairs: the i-th rows of all domains are one user's. Received: "
            f"{', '.join(f'{n} rows of {name}' for name, n in rows.items())}. Take `prepared.train(..., paired=True)`."
        )
    return True


def step(tower: MLP, layer: int, x: Any, added: Any = None, training: bool = False) -> Any:
    """One hidden layer of a tower, where towers meet between layers: dropout(activation(x W + b + added))."""
    h = tower.dense[layer](x)
    h = tower.activations[layer](h if added is None else h + added)
    return tower.dropouts[layer](h, training=training)
