"""What a training changes: its variables and optimizers, as `KeepBest` and `Resume` keep them in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np


def trained(model: Any) -> list[Any]:
    """Everything that training changes: weights, seeds and optimizers, but no running metric; each once."""
    held = [v for optimizer in optimizers_of(model) for v in optimizer.variables]
    counted = {id(variable) for variable in model.metrics_variables}
    unique = {id(variable): variable for variable in [*model.variables, *held]}
    return [variable for key, variable in unique.items() if key not in counted]


def optimizers_of(part: Any, seen: set[int] | None = None) -> Iterator[keras.optimizers.Optimizer]:
    """The optimizers that a model and its layers hold, in a fixed order."""
    seen = set() if seen is None else seen
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, keras.optimizers.Optimizer):
        yield part
        return
    held: Sequence[Any] = ()
    if isinstance(part, keras.layers.Layer):
        # `_self_` is TensorFlow's own book: it still has the optimizer that a first stage has dropped.
        held = [value for name, value in sorted(vars(part).items()) if not name.startswith("_self_")]
    elif isinstance(part, Mapping):
        held = list(part.values())
    elif isinstance(part, (list, tuple)):
        held = part
    for one in held:
        yield from optimizers_of(one, seen)


def as_array(value: Any) -> np.ndarray:
    """As NumPy can store it: bfloat16, which it cannot, exactly as float32."""
    array = value.numpy() if hasattr(value, "numpy") else value
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


class Late:
    """A variable that NumPy reads when it writes it: all at once would take the memory of the model again."""

    def __init__(self, variable: Any):
        self.variable = variable

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(as_array(self.variable))  # else of a scalar it is none


def assigned(variables: Sequence[Any], arrays: np.lib.npyio.NpzFile, count: int, name: str) -> bool:
    """Gives variables, one by one, the arrays of this name and their number, if these are so many, and all fit."""
    if [_shape(arrays, f"{name}{i}") for i in range(count)] != [tuple(v.shape) for v in variables]:
        return False
    for i, variable in enumerate(variables):
        variable.assign(arrays[f"{name}{i}"])
    return True


def _shape(arrays: np.lib.npyio.NpzFile, name: str) -> tuple[int, ...]:
    """The shape of an array that is not read."""
    assert arrays.zip is not None
    with arrays.zip.open(f"{name}.npy") as file:
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[np.lib.format.read_magic(file)]
        return read(file)[0]
