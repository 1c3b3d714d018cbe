"""What a PredictRequest holds, read off its bytes before any memory is taken for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from google.protobuf import message
from tensorflow.core.framework import tensor_shape_pb2

from cdrzoo.serving.limits import MAX_INPUTS, MAX_VALUES, check_values, invalid

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Of TensorProto: the bytes of a value in each packed `*_val`; 0: varints. And those that are one field a value.
_PACKED = {5: 4, 6: 8, 7: 0, 9: 4, 10: 0, 11: 0, 12: 8, 13: 0, 16: 0, 17: 0, 18: 1}
_SINGLE = (8, 14, 15)


@dataclass
class Survey:
    """A PredictRequest before it is parsed: the bytes of its ModelSpec, and where its inputs lie."""

    body: bytes
    spec: bytes = b""
    others: int = 0
    inputs: list[tuple[str, list[tuple[int, int]]]] = field(default_factory=list)

    @classmethod
    def of(cls, body: bytes) -> Survey:
        """Walks over the fields; the tensors are passed over.

        Raises:
            Refused: the bytes are no PredictRequest, or it has too many inputs.
        """
        survey = cls(body)
        try:
            for number, kind, start, stop in fields(body, 0, len(body)):
                if number == 1 and kind == _BYTES:
                    survey.spec += body[start:stop]
                elif number == 2 and kind == _BYTES:
                    survey.inputs.append(_entry(body, start, stop))
                else:
                    survey.others += 1
                if len(survey.inputs) + survey.others > MAX_INPUTS or len(survey.spec) > 2**16:
                    raise invalid(f"The request has more than {MAX_INPUTS:,} fields, or names without end.")
        except ValueError:
            raise invalid("The bytes are not a PredictRequest.") from None
        return survey

    @property
    def names(self) -> list[str]:
        """The inputs' names."""
        return [name for name, _ in self.inputs]

    def count(self) -> int:
        """The values of all inputs: what their shapes say or what they hold, whichever is more.

        Raises:
            Refused: they are too many.
        """
        total = 0
        for _, parts in self.inputs:
            try:
                total += _values(self.body, parts)
            except (ValueError, message.DecodeError):
                raise invalid("The bytes are not a PredictRequest.") from None
            check_values(total)
        return total


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, start and end of the content of every field of a message.

    Raises:
        ValueError: the bytes are no message.
    """
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        start = at
        if kind == _BYTES:
            size, start = _varint(data, at, end)
            at = start + size
        elif kind == _VARINT:
            at = _varint(data, at, end)[1]
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError
        if at > end or not number:
            raise ValueError
        yield number, kind, start, at


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError


def _entry(body: bytes, at: int, end: int) -> tuple[str, list[tuple[int, int]]]:
    """An entry of the map of inputs: its name, and where the parts of its tensor lie."""
    name, parts = b"", []
    for number, kind, start, stop in fields(body, at, end):
        if number == 1 and kind == _BYTES:
            name = body[start:stop]
        elif number == 2 and kind == _BYTES:
            parts.append((start, stop))
    return name.decode(), parts


def _values(body: bytes, parts: list[tuple[int, int]]) -> int:
    """How many values a TensorProto has, whose parts these are. Counting ends where they are too many."""
    count, shape = 0, b""
    for at, end in parts:
        for number, kind, start, stop in fields(body, at, end):
            if number in _SINGLE or (number in _PACKED and kind != _BYTES):
                count += 1
            elif number in _PACKED:
                size = _PACKED[number]
                packed = np.frombuffer(body, np.uint8, stop - start, start)
                count += (stop - start) // size if size else int(np.count_nonzero(packed < 0x80))
            elif number == 2 and kind == _BYTES:
                shape += body[start:stop]
            if count > MAX_VALUES or len(shape) > 2**12:
                return MAX_VALUES + 1
    sizes = [dimension.size for dimension in tensor_shape_pb2.TensorShapeProto.FromString(shape).dim]
    if any(size < 0 for size in sizes):
        return count  # `array` refuses it by name
    return max(count, min(math.prod(sizes), 10**18))
