"""JSON of any size: how much it holds is known before it is parsed, and it is parsed in pieces.

`json.loads` holds Python's lock to its end: other requests would wait for all of a large text. Here they wait for a
piece.
"""

from __future__ import annotations

import collections
import json
import re
from typing import Any

import numpy as np

from cdrzoo.serving.limits import MAX_DEPTH, MAX_EXAMPLE, check_values, invalid, quoted, short, too_large

BLOCK = 2**20
PIECE = 2**16
QUOTE, COMMA, COLON = b'",:'
MAX_TEXT = 2 * MAX_EXAMPLE
"""Bytes of one text, with quotes: an Example in base64 has room."""
SPACE: Any = re.compile(rb"[ \t\n\r]*")
LIST, OBJECT = tuple(b"[]"), tuple(b"{}")
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1


def parse(body: bytes) -> Any:
    """What a JSON text in UTF-8 says.

    Raises:
        Refused: it is no JSON, has too many values, is nested too deeply, or an object has a key twice.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    return _Text(body).value(0, len(body), 0)


class _Text:
    """A JSON text, and where its commas and colons outside of strings are, with the number of brackets around each.

    A text that is no JSON gets some numbers: it is for the parser to say so.
    """

    def __init__(self, body: bytes):
        self.body, self.bytes = body, np.frombuffer(body, np.uint8)
        if b"\\" in body:  # an escaped quote ends no string
            body = body.replace(b"\\\\", b"..").replace(b'\\"', b"..")
        self.at: Any = [np.empty(0, np.int64)]
        self.depth: Any = [np.empty(0, np.int32)]
        count = depth = 0
        inside = False
        for start in range(0, len(body), BLOCK):
            block = np.frombuffer(body, np.uint8, min(BLOCK, len(body) - start), start)
            strings = np.logical_xor.accumulate(block == QUOTE) ^ inside
            inside = bool(strings[-1])
            steps = np.where(strings, np.int8(0), _STEP[block])
            depths = np.cumsum(steps, dtype=np.int32) + np.int32(depth)
            depth = int(depths[-1])
            commas = (block == COMMA) & ~strings
            count += int(np.count_nonzero(commas)) + int(np.count_nonzero(steps > 0))
            check_values(count)
            if (deepest := int(depths.max())) > MAX_DEPTH:
                raise invalid(
                    f"The body is nested too deeply: {deepest} levels, and {MAX_DEPTH} are the most."
                )
            if len(body) > PIECE:
                found = np.flatnonzero(commas | ((block == COLON) & ~strings))
                self.at.append(found + start)
                self.depth.append(depths[found])
        self.at, self.depth = np.concatenate(self.at), np.concatenate(self.depth)

    def value(self, start: int, stop: int, depth: int) -> Any:
        """The value that stands there, within so many brackets."""
        body = self.body  # never copied as a whole: that takes as long as parsing does
        start = SPACE.match(body, start, stop).end()
        while stop > start and body[stop - 1] in b" \t\n\r":
            stop -= 1
        if stop - start <= PIECE:
            return self._loads(start, stop)
        if (brackets := (body[start], body[stop - 1])) not in (LIST, OBJECT):
            if stop - start > MAX_TEXT:
                raise too_large(f"A text has {stop - start:,} bytes, and {MAX_TEXT:,} are the most.")
            return self._loads(start, stop)
        if SPACE.match(body, start + 1, stop - 1).end() == stop - 1:
            return [] if brackets == LIST else {}
        first, last = np.searchsorted(self.at, [start + 1, stop - 1])
        at = self.at[first:last][self.depth[first:last] == depth + 1]
        commas = self.bytes[at] == COMMA
        if brackets == LIST:
            return self._list(start, stop, at[commas], depth + 1)
        return self._object(start, stop, at[commas].tolist(), at[~commas], depth + 1)

    def _list(self, start: int, stop: int, commas: np.ndarray, depth: int) -> list[Any]:
        """The entries between commas: a long one by itself, short ones together."""
        near = np.searchsorted(
            commas, np.arange(start, stop, PIECE)
        )  # and the one before: a long one is between
        chosen = np.unique(np.concatenate([near, near - 1]))
        chosen = chosen[(chosen >= 0) & (chosen < len(commas))]
        places, edges = [-1, *chosen.tolist(), len(commas)], [start, *commas[chosen].tolist(), stop - 1]
        found: list[Any] = []
        for i, j, left, right in zip(places, places[1:], edges, edges[1:]):
            if j - i == 1:
                found.append(self.value(left + 1, right, depth))
                continue
            piece = self._loads(left + 1, right, b"[", b"]")
            if len(piece) < j - i:
                raise invalid(f"The body is not JSON: an entry of a list is empty, behind byte {left}.")
            found += piece
        return found

    def _object(
        self, start: int, stop: int, commas: list[int], colons: np.ndarray, depth: int
    ) -> dict[str, Any]:
        pairs = []
        edges = [start, *commas, stop - 1]
        places = np.searchsorted(colons, edges).tolist()
        for left, right, place in zip(edges, edges[1:], places):
            colon = int(colons[place]) if place < len(colons) else right
            if colon >= right or not isinstance(key := self._loads(left + 1, colon), str):
                raise invalid(f"The body is not JSON: an object has no key and value, behind byte {left}.")
            pairs.append((key, self.value(colon + 1, right, depth)))
        return _once(pairs)

    def _loads(self, start: int, stop: int, before: bytes = b"", behind: bytes = b"") -> Any:
        text = before + self.body[start:stop] + behind
        try:
            return json.loads(text.decode(), object_pairs_hook=_once)
        except ValueError as error:  # bytes that are not UTF-8 too
            if "digits" in str(error):  # Python reads no more, for that takes the square of the time
                raise invalid(
                    "The body is not JSON: a number of more than 4,000 digits. Write it shorter."
                ) from None
            said = short(str(error), 200) + (f", counted from byte {start}" if start else "")
            raise invalid(f"The body is not JSON: {said}. Send one object.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose keys must differ: which of two values is meant nobody can know."""
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = collections.Counter(key for key, _ in pairs).most_common(1)
        raise invalid(f"An object has {quoted(twice)} more than once. Give every key once.")
    return found
