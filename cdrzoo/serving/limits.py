"""What a request may take of the development server: its limits, its refusals, and who waits for whom."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import grpc

MAX_BYTES = 16 * 2**20
"""The largest request; a client splits what is larger."""
MAX_VALUES = 1_000_000
"""Values that all inputs of a request may have together."""
MAX_DEPTH = 16
"""Lists and objects within each other in JSON. The deepest request that means anything has 11."""
MAX_INPUTS = 10_000
"""Inputs of a request, known or not."""
MAX_EXAMPLE = 2**20
"""Bytes of one `tf.train.Example`."""
MAX_CANDIDATES = 16_384
"""Candidates of one `rank`, which the graph scores all at once."""
MAX_MESSAGE = 1_500
"""Bytes of an error's message. gRPC sends it as metadata, up to three times as long; clients take 8 KiB of those."""
MAX_WAITING = 8
"""Large requests that are read and answered; one at a time is answered."""
LARGE_BYTES = 2**18
LARGE_VALUES = 2**16
"""A request of more is a large one."""
ROWS_A_RUN, VALUES_A_RUN = 4096, 100_000
"""Rows, and values of all inputs, that the graph takes at once: it bounds memory, and what other requests wait for."""
CONNECTIONS = 128
"""Connections over REST."""
CALLS = 64
"""Calls over gRPC."""
REQUEST_SECONDS = 20.0
"""A request must be here within this time of its first byte."""
IDLE_SECONDS = 60.0
"""A connection over REST may be silent for so long."""
LINGER_SECONDS, LINGER_BYTES = 5.0, 2**28
"""What a client still sends after its last answer is read, and thrown away, for so long and so much."""


class Refused(Exception):
    """A request that is not answered: why, as a status code of gRPC and a sentence."""

    def __init__(self, code: grpc.StatusCode, message: str):
        message = short(message, MAX_MESSAGE)
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> Refused:
    """The request is at fault."""
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, message)


def too_large(message: str) -> Refused:
    """The request asks for more than a limit allows."""
    return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{message} Split the request.")


def check_values(count: int) -> None:
    """Refuses a request with too many values."""
    if count > MAX_VALUES:
        raise too_large(
            f"The inputs have {count:,} values or more together, and {MAX_VALUES:,} are the most of a request."
        )


def short(text: str, most: int = 80) -> str:
    """A text of at most `most` bytes of UTF-8; what is cut off is marked."""
    encoded = text.encode("utf-8", "replace")
    return encoded.decode() if len(encoded) <= most else encoded[: most - 3].decode("utf-8", "ignore") + "..."


def quoted(name: Any) -> str:
    """A name that a client sent, as an error shows it."""
    return repr(short(name) if isinstance(name, str) else name)


def listed(names: Any) -> str:
    """Names, in order, for an error; `none` of none, and not all of too many."""
    names = sorted(names)
    shown = ", ".join(short(name) for name in names[:40])
    return (shown + (f" and {len(names) - 40} more" if len(names) > 40 else "")) or "none"


class Lane:
    """Large requests go one at a time, beside the small ones; few may wait, as each holds its bytes."""

    def __init__(self):
        self._places = threading.BoundedSemaphore(MAX_WAITING)
        self._turn = threading.Lock()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """While a large request is read, waits, and is answered.

        Raises:
            Refused: as many as may wait do.
        """
        if not self._places.acquire(timeout=1):
            raise Refused(
                grpc.StatusCode.UNAVAILABLE,
                f"{MAX_WAITING} large requests are waiting already. Try again, or send smaller ones.",
            )
        try:
            yield
        finally:
            self._places.release()

    def turn(self) -> contextlib.AbstractContextManager[Any]:
        """While a large request, which has its place, is answered."""
        return self._turn


class Arrivals:
    """Requests that have not arrived yet, oldest first. Those that take too long are cut off."""

    def __init__(self):
        self._lock = threading.Lock()
        self._open: dict[Hashable, tuple[float, float, Callable[[], Any]]] = {}

    def begin(self, key: Hashable, seconds: float, cut: Callable[[], Any]) -> None:
        """Waits for a request, at most so long; `cut()` ends it from another thread."""
        now = time.monotonic()
        with self._lock:
            self._open.pop(key, None)
            self._open[key] = (now, now + seconds, cut)

    def end(self, key: Hashable) -> None:
        """The request is here, or will never be."""
        with self._lock:
            self._open.pop(key, None)

    def sweep(self) -> None:
        """Cuts off those whose time is over."""
        now = time.monotonic()
        with self._lock:
            late = [(key, cut) for key, (_, until, cut) in self._open.items() if until < now]
            for key, _ in late:
                del self._open[key]
        for _, cut in late:
            cut()

    def evict(self, most: int = 0) -> bool:
        """Where more than `most` wait, cuts off the oldest that has waited a second; whether there was one."""
        with self._lock:
            if len(self._open) <= most:
                return False
            key, (since, _, cut) = next(iter(self._open.items()))
            if time.monotonic() - since < 1:
                return False
            del self._open[key]
        cut()
        return True
