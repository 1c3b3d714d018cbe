"""What the graph would say badly, or not at all, of a request: looked at before it runs. For the development server."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message

from cdrzoo.serving.limits import (
    MAX_CANDIDATES,
    MAX_EXAMPLE,
    MAX_VALUES,
    invalid,
    listed,
    quoted,
    short,
    too_large,
)

MISSING = {"string": b"", "int64": -1, "float32": np.nan}
_KINDS = {"string": "bytes_list", "int64": "int64_list", "float32": "float_list"}
_NOISE = re.compile(r"Graph execution error:?|Detected at node.*|<stack traces.*|\d+ root error.*|\[\[.*")


def words(error: Exception) -> str:
    """What an error of TensorFlow says, on one line, without what it puts around it."""
    text = getattr(error, "message", None) or str(error)
    lines = (line.strip() for line in str(text).splitlines())
    said = next((line for line in lines if line and not _NOISE.fullmatch(line)), type(error).__name__)
    return short(re.sub(r"^\(\d+\) \w+: ", "", re.sub(r"\s*\[\[.*", "", said)), 500)


def check_names(what: str, wanted: Iterable[str], received: Iterable[str]) -> None:
    """Refuses a request whose inputs are not those of the signature; `what` the signature is called."""
    wanted, received = set(wanted), set(received)
    if unknown := received - wanted:
        raise invalid(f"There is no input {quoted(min(unknown))} in {what}. Inputs: {listed(wanted)}.")
    if absent := wanted - received:
        raise invalid(
            f"{what[0].upper()}{what[1:]} takes the inputs {listed(wanted)}. Not received: {listed(absent)}."
        )


def check_shapes(infos: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> None:
    """Refuses tensors of another dtype or shape than the signature says, and columns of unequal length."""
    rows: dict[str, int] = {}
    for name, info in infos.items():
        dtype, shape, value = tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape), inputs[name]
        if shape.rank and shape.rank == value.ndim and shape[0] == 1 != len(value):
            raise invalid(
                f"Input {name!r} must have 1 row: candidates are ranked for one user. Received: {len(value)} rows."
            )
        if value.dtype != dtype.as_numpy_dtype or not shape.is_compatible_with(value.shape):
            raise invalid(
                f"Input {name!r} must be {dtype.name} of shape {_shape(shape.as_list())}. Received: "
                f"{'string' if value.dtype == object else value.dtype} of shape {_shape(value.shape)}."
            )
        if shape.rank and shape[0] is None:
            rows[name] = len(value)
    if len(set(rows.values())) > 1:
        counts = list(rows.values())
        usual = max(counts, key=counts.count)
        odd = next(name for name, count in rows.items() if count != usual)
        others = [name for name, count in rows.items() if count == usual]
        raise invalid(
            f"Input {odd!r} has {rows[odd]:,} rows, and {listed(others)} {'have' if len(others) > 1 else 'has'} "
            f"{usual:,}. Give every input one value a row."
        )


def _shape(shape: Iterable[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


@dataclass(frozen=True)
class Contract:
    """What the model card of an export says of its rows.

    Args:
        dtypes: of every feature.
        in_step: the histories that run in step, by group: their n-th entries are one event; and ids and weights.
        sizes: of every vector, how many numbers it has.
    """

    dtypes: Mapping[str, str] = field(default_factory=dict)
    in_step: tuple[tuple[str, ...], ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: pathlib.Path) -> Contract | None:
        """Of a version folder; `None` where no model card can be read, for then cdrzoo did not export it."""
        try:
            card = json.loads((path / "assets.extra" / "model_card.json").read_text(encoding="utf-8"))
            dtypes = {name: each["dtype"] for name, each in card["inputs"].items()}
            schema = card["schema"]
            groups: dict[tuple[str, str], list[str]] = {}
            features = schema["domains"][schema["target"]]["features"]
            sizes = {each["name"]: each["size"] for each in features if each.get("size")}
            for each in features:
                if each["role"] == "history" and each["name"] in dtypes:
                    groups.setdefault((each["of"], str(each.get("where"))), []).append(each["name"])
                if each.get("weights") and each["name"] in dtypes:
                    groups["weights", each["name"]] = [each["name"], f"{each['name']}_weights"]
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        return cls(dtypes, tuple(tuple(group) for group in groups.values() if len(group) > 1), sizes)

    def check(self, signature: str, inputs: Mapping[str, np.ndarray]) -> None:
        """Refuses rows that the graph would misread, or would need too much memory for."""
        if signature == "serve_examples":
            return self._check_examples(inputs["examples"])
        if signature == "rank":
            if (k := int(inputs["k"])) < 1:
                raise invalid(f"Input 'k' says how many candidates are wanted, at least 1. Received: {k}.")
            if (rows := max(len(value) for value in inputs.values() if value.ndim)) > MAX_CANDIDATES:
                raise too_large(
                    f"There are {rows:,} candidates, and {MAX_CANDIDATES:,} are the most of a `rank`."
                )
        for group in self.in_step:
            if inputs.keys() >= set(group):  # `reading` takes no features
                self._check_step(group, [inputs[name] for name in group])
        return None

    def _check_step(self, group: tuple[str, ...], columns: list[np.ndarray]) -> None:
        """Of each row, a column must reach as far as the others do, or be missing altogether."""
        if len({column.shape[1] for column in columns}) == 1:
            return
        steps = [
            _steps(column, MISSING[self.dtypes[name]]) for name, column in zip(group, columns, strict=True)
        ]
        longest = np.maximum.reduce(steps)
        for name, column, own in zip(group, columns, steps, strict=True):
            wrong = np.flatnonzero((own > 0) & (column.shape[1] < longest))
            if len(wrong):
                at = int(wrong[0])
                other = next(n for n, s in zip(group, steps, strict=True) if s[at] == longest[at])
                _out_of_step(at, name, column.shape[1], other, int(longest[at]))

    def _check_examples(self, examples: np.ndarray) -> None:
        longest: dict[str, int] = {}
        for i, serialized in enumerate(examples):
            if len(serialized) > MAX_EXAMPLE:
                raise too_large(
                    f"Row {i} of 'examples' has {len(serialized):,} bytes, and {MAX_EXAMPLE:,} are the most."
                )
            try:
                example = tf.train.Example.FromString(serialized)
            except message.DecodeError:
                raise invalid(f"Row {i} of 'examples' is not a serialized tf.train.Example.") from None
            counts: dict[str, int] = {}
            for name, given in example.features.feature.items():
                kind = given.WhichOneof("kind")
                if name not in self.dtypes or kind is None:
                    continue
                if kind != (wanted := _KINDS[self.dtypes[name]]):
                    raise invalid(
                        f"Row {i} of 'examples' has feature {name!r} as {kind}. It takes {wanted}, of "
                        f"{self.dtypes[name]}."
                    )
                counts[name] = len(getattr(given, kind).value)
                if counts[name] not in (0, size := self.sizes.get(name, counts[name])):
                    raise invalid(
                        f"Row {i} of 'examples' has {counts[name]} numbers of {name!r}. A vector of {size} is wanted."
                    )
                longest[name] = max(longest.get(name, 0), counts[name])
            for group in self.in_step:
                there = {counts[name]: name for name in group if counts.get(name)}
                if len(there) > 1:
                    few, most = min(there), max(there)
                    _out_of_step(i, there[few], few, there[most], most)
        if (count := len(examples) * max(len(self.dtypes), sum(longest.values()))) > MAX_VALUES:
            raise too_large(
                f"{len(examples):,} rows have {count:,} values once all sequences are as long as the longest "
                f"({max(longest.values(), default=1):,}), and {MAX_VALUES:,} are the most."
            )


def _steps(column: np.ndarray, missing: Any) -> np.ndarray:
    """How far each row's values reach: the place behind the last that is not missing."""
    there = (column != missing) & (column == column)  # NaN is not itself
    return (there * np.arange(1, column.shape[1] + 1)).max(axis=1, initial=0)


def _out_of_step(row: int, name: str, steps: int, other: str, most: int) -> None:
    raise invalid(
        f"Row {row} has {steps} steps of {name!r} and {most} of {other!r}. Their n-th entries are one event: give both "
        'the same number, with "" or -1 where a value is missing, or leave one out altogether.'
    )
