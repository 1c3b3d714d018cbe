"""Mixtures of experts: networks that several tasks (or the rows of several domains) share to a learnt extent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from cdrzoo.errors import InputError
from cdrzoo.layers.towers import MLP


@keras.saving.register_keras_serializable(package="cdrzoo")
class CGC(keras.layers.Layer):
    """Customized gate control: experts of each task beside experts of all, mixed by a gate of each task.

        out_k = sum_i g_k,i E_i(x),   g_k = softmax(x_k W_k)   over the experts of task k, then the shared ones
        out_s = sum_i g_s,i E_i(x),   g_s = softmax(x_s W_s)   over the experts of every task, then the shared ones

    An expert of task k reads x_k, a shared one x_s. The shared output exists only where a further level reads it.
    Without experts of their own the tasks' gates mix the shared ones: the layer of MMoE.

    Args:
        tasks: names of the tasks.
        units: hidden layers of an expert.
        specific: experts of each task; default 1.
        shared: experts of all tasks; default 1.
        shared_gate: whether there is a shared output; default `False`.
        dropout: of the experts' hidden layers; default 0.
        final_activation: of an expert's last layer; default that of the others, ReLU.

    Call arguments:
        x: `{task: [batch, width]}`, the rows as the tasks that are wanted see them; the same rows in each. With
            `shared_gate`, all tasks.
        x_shared: the rows as the shared experts see them, `[batch, width]`.
        wanted: the tasks whose output is wanted; default: those in `x`.

    Returns:
        Three things: `{task: [batch, units[-1]]}` for the wanted tasks; the shared output or None; and
        `{task: [batch, units[-1]]}`, the shared experts alone, mixed in the proportions that the task's gate gives them
        (None without shared experts).

    Reference: Tang et al., Progressive Layered Extraction (RecSys 2020), sections 4.1 and 4.2; without experts of the
    tasks, Ma et al., Multi-gate Mixture-of-Experts (KDD 2018), section 4.2.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        units: Sequence[int],
        specific: int = 1,
        shared: int = 1,
        shared_gate: bool = False,
        dropout: float = 0.0,
        final_activation: Any = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if specific < 0 or shared < 0 or specific + shared == 0:
            raise InputError(
                f"There must be experts. Received: {specific} for each task and {shared} for all."
            )
        self.tasks = tuple(tasks)
        self.units = tuple(units)
        self.specific = specific
        self.shared = shared
        self.shared_gate = shared_gate
        self.dropout = dropout
        self.final_activation = final_activation
        policy = self.dtype_policy
        expert = {"dropout": dropout, "final_activation": final_activation, "dtype": policy}
        # Flat lists, the tasks' experts one task after the other: Keras before 3.15 does not save nested ones.
        count = specific * len(self.tasks)
        self.specific_experts = [MLP(units, **expert) for _ in range(count)]
        self.shared_experts = [MLP(units, **expert) for _ in range(shared)]
        self.gates = [keras.layers.Dense(specific + shared, use_bias=False, dtype=policy) for _ in self.tasks]
        if shared_gate:
            self.gate_of_all = keras.layers.Dense(count + shared, use_bias=False, dtype=policy)

    def build(self, x_shape, x_shared_shape):
        for layer in (*self.specific_experts, *self.shared_experts, *self.gates):
            layer.build(x_shared_shape)
        if self.shared_gate:
            self.gate_of_all.build(x_shared_shape)

    def _own(self, task: str) -> list[MLP]:
        first = self.specific * self.tasks.index(task)
        return self.specific_experts[first : first + self.specific]

    def call(self, x, x_shared, wanted=None, training=False):
        of_task = {k: [expert(x[k], training=training) for expert in self._own(k)] for k in x}
        of_all = [expert(x_shared, training=training) for expert in self.shared_experts]
        logits = {k: self.gates[self.tasks.index(k)](x[k]) for k in wanted or x}
        out = {k: mixture(_softmax(logits[k]), of_task[k] + of_all) for k in logits}
        if self.shared > 1:
            alone = {k: mixture(_softmax(logits[k][:, self.specific :]), of_all) for k in logits}
        else:
            alone = dict.fromkeys(logits, of_all[0]) if of_all else None
        if not self.shared_gate:
            return out, None, alone
        every = [one for k in self.tasks for one in of_task[k]] + of_all
        return out, mixture(_softmax(self.gate_of_all(x_shared)), every), alone

    def weights_of(self, task: str, x):
        """The gate of a task: float32 `[batch, specific + shared]`; every row sums to 1."""
        return _softmax(self.gates[self.tasks.index(task)](x))

    def compute_output_shape(self, x_shape, x_shared_shape):
        one = (*x_shared_shape[:-1], self.units[-1])
        of_tasks = dict.fromkeys(x_shape, one)
        return of_tasks, one if self.shared_gate else (), of_tasks if self.shared else ()  # (): None

    def get_config(self):
        return {
            **super().get_config(),
            "tasks": list(self.tasks),
            "units": list(self.units),
            "specific": self.specific,
            "shared": self.shared,
            "shared_gate": self.shared_gate,
            "dropout": self.dropout,
            "final_activation": self.final_activation,
        }


@keras.saving.register_keras_serializable(package="cdrzoo")
class PLE(keras.layers.Layer):
    """Progressive layered extraction: levels of `CGC`, for rows that belong to one task, or to several.

    The first level reads the row; a further one reads what the gates of the level below gave. A row of task k runs
    through experts of other tasks only where the shared gate of a level below the last mixes them: with one level
    they get neither its data nor its gradient.

    Args:
        tasks: names of the tasks.
        units: hidden layers of an expert; the same in each level.
        levels: number of levels; default 1.
        specific, shared: experts of each task and of all, in each level; default 1 and 1.
        dropout: of the experts' hidden layers; default 0.
        final_activation: of an expert's last layer; default that of the others, ReLU.

    Call arguments:
        x: rows of one task, `[batch, width]`; or `{task: [batch, width]}`, the same rows for several tasks, which then
            run through the experts once.
        task: the name of the one.

    Returns:
        Two things, `[batch, units[-1]]` each: the output, and the last level's shared experts alone (see `CGC`). For
        several tasks, `{task: [batch, units[-1]]}` each.

    Reference: Tang et al., Progressive Layered Extraction (RecSys 2020), section 4.2.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        units: Sequence[int],
        levels: int = 1,
        specific: int = 1,
        shared: int = 1,
        dropout: float = 0.0,
        final_activation: Any = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if levels < 1:
            raise InputError(f"`levels` must be at least 1. Received: {levels}.")
        self.tasks = tuple(tasks)
        self.units = tuple(units)
        self.levels = levels
        self.specific = specific
        self.shared = shared
        self.dropout = dropout
        self.final_activation = final_activation
        expert = {"dropout": dropout, "final_activation": final_activation, "dtype": self.dtype_policy}
        self.extractors = [
            CGC(self.tasks, units, specific, shared, shared_gate=level < levels - 1, **expert)
            for level in range(levels)
        ]

    def build(self, x_shape):
        x_shape = _any(x_shape)
        for extractor in self.extractors:
            extractor.build(dict.fromkeys(self.tasks, x_shape), x_shape)
            x_shape = (*x_shape[:-1], self.units[-1])

    def call(self, x, task: str | None = None, training=False):
        tasks = tuple(x) if task is None else (task,)
        x = _any(x)
        of_tasks, of_all = dict.fromkeys(self.tasks, x), x
        for level, extractor in enumerate(self.extractors[:-1], 1):
            # The last level reads the shared output and those of the row's own tasks alone.
            wanted = tasks if level == self.levels - 1 else self.tasks
            of_tasks, of_all, _ = extractor(of_tasks, of_all, wanted=wanted, training=training)
        out, _, alone = self.extractors[-1]({k: of_tasks[k] for k in tasks}, of_all, training=training)
        return (out, alone) if task is None else (out[task], alone and alone[task])

    def compute_output_shape(self, x_shape):
        one = (*_any(x_shape)[:-1], self.units[-1])
        out = dict.fromkeys(x_shape, one) if isinstance(x_shape, dict) else one
        return out, out if self.shared else ()  # (): None

    def get_config(self):
        return {
            **super().get_config(),
            "tasks": list(self.tasks),
            "units": list(self.units),
            "levels": self.levels,
            "specific": self.specific,
            "shared": self.shared,
            "dropout": self.dropout,
            "final_activation": self.final_activation,
        }


def mixture(weights: Any, experts: Sequence[Any]) -> Any:
    """Sum of the experts' outputs `[batch, width]` by their weights `[batch, number of experts]`."""
    weights = ops.cast(weights, experts[0].dtype)
    return sum(weights[:, i : i + 1] * expert for i, expert in enumerate(experts))


def _any(rows: Any) -> Any:
    """The rows, or their shape, of any of several tasks."""
    return next(iter(rows.values())) if isinstance(rows, dict) else rows


def _softmax(logits: Any) -> Any:
    return ops.softmax(ops.cast(logits, "float32"), axis=-1)
