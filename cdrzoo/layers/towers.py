"""Towers: stacks of dense layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from cdrzoo.errors import SchemaError, check_dropout
from cdrzoo.layers.activations import activation as make_activation
from cdrzoo.layers.sampling import Dropout
from cdrzoo.schema import Domain, Label
from cdrzoo.xla import fused

Scored = Domain | Label
"""What has a name, a task and a mean label."""


@keras.saving.register_keras_serializable(package="cdrzoo")
class MLP(keras.layers.Layer):
    """Hidden layers: h <- dropout(activation(h W + b)) for each width. See `head` for what follows.

    Args:
        units: widths of the layers.
        activation: `"dice"` or a Keras activation.
        dropout: share of each layer's outputs that training drops.
        final_activation: of the last layer, where it differs from the others (`"linear"` for none).

    Call arguments:
        x: `[..., width]`.

    Returns:
        `[..., units[-1]]`.
    """

    def __init__(
        self,
        units: Sequence[int],
        activation: Any = "relu",
        dropout: float = 0.0,
        final_activation: Any = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.activation = activation
        self.dropout = dropout
        self.final_activation = final_activation
        names = [activation] * len(self.units)
        if final_activation is not None and names:
            names[-1] = final_activation
        # Flat lists: Keras before 3.15 leaves the layers of nested lists out of what it saves.
        self.dense = [keras.layers.Dense(width, dtype=self.dtype_policy) for width in self.units]
        self.activations = [make_activation(name, dtype=self.dtype_policy) for name in names]
        check_dropout(dropout)
        self.dropouts = [Dropout(dropout, dtype=self.dtype_policy) for _ in self.units]

    def build(self, input_shape):
        for width, dense, activate in zip(self.units, self.dense, self.activations):
            dense.build(input_shape)
            input_shape = (*input_shape[:-1], width)
            activate.build(input_shape)

    def call(self, x, training=False):
        def hidden(x):
            for dense, activate, drop in zip(self.dense, self.activations, self.dropouts):
                x = drop(activate(dense(x)))
            return x

        return fused(hidden, x, layer=self, training=training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], (input_shape[-1], *self.units)[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "dropout": self.dropout,
            "final_activation": self.final_activation,
        }


def head(domain: Scored, *others: Scored, name: str = "head") -> keras.layers.Dense:
    """The last layer of a model: `[B, width]` -> float32 `[B, 1]`.

    Its bias starts at `first_output`, so that the first steps are not spent on finding the base rate. `others` are
    further domains whose rows it scores: a number cannot be the logit of a click in one and a rating in another.
    """
    check_one_task(domain, *others)
    start = keras.initializers.Constant(first_output(domain))
    return keras.layers.Dense(1, bias_initializer=start, dtype="float32", name=name)


def towers(
    domains: Sequence[Domain], units: Sequence[int], dropout: float = 0.0
) -> tuple[dict[str, MLP], dict[str, keras.layers.Dense]]:
    """The end of a model in which every domain has its own: by output, hidden layers and the last layer (`head`).

    A domain of several labels has an end for each (`Domain.outputs`).
    """
    outputs = {key: label for d in domains for key, label in d.heads.items()}
    names = {key: key.replace(".", "_") for key in outputs}
    return (
        {key: MLP(units, dropout=dropout, name=f"{names[key]}_tower") for key in outputs},
        {key: head(label, name=f"{names[key]}_head") for key, label in outputs.items()},
    )


def further_heads(domains: Sequence[Domain]) -> dict[str, keras.layers.Dense]:
    """Last layers of the labels behind the first, by the label's name: one for the rows of all domains that have it."""
    of: dict[str, list[Label]] = {}
    for domain in domains:
        for label in list(domain.heads.values())[1:]:
            of.setdefault(label.name, []).append(label)
    return {name: head(*labels, name=f"{name}_head") for name, labels in of.items()}


def headed(
    domains: Sequence[Domain], hidden: Mapping[str, Any], first: Any, further: Mapping[str, Any]
) -> dict[str, Any]:
    """The logits of every output, from what one network made of the rows of each domain, `{domain: [B, width]}`."""
    outputs = {d.name: d.outputs for d in domains}
    return {
        key: (first if key == name else further[label.name])(h)
        for name, h in hidden.items()
        for key, label in outputs[name].items()
    }


def check_one_task(domain: Scored, *others: Scored) -> None:
    """Raises a `SchemaError` if what scores the rows of all these domains would score clicks and ratings."""
    odd = [other.name for other in others if other.task != domain.task]
    if odd:
        raise SchemaError(
            f"One head scores the rows of all domains, but they have both tasks: {domain.name!r} has "
            f"{domain.task}s, {odd[0]!r} has not. Choose one task, or a model with a head for each domain."
        )


def first_output(domain: Scored) -> float:
    """What a model that knows nothing should say: the mean label, for clicks its logit; 0 where it is not known."""
    if domain.mean is None or domain.task == "rating":
        return domain.mean or 0.0
    rate = min(max(domain.mean, 1e-4), 1 - 1e-4)
    return math.log(rate / (1 - rate))
