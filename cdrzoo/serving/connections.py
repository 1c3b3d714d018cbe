"""The two ends of a connection over REST: what arrives until it is cut off, and a close that loses no answer."""

from __future__ import annotations

import collections
import contextlib
import io
import socket
import time
from collections.abc import Callable
from typing import Any

from cdrzoo.serving.limits import CONNECTIONS, IDLE_SECONDS, LINGER_BYTES, LINGER_SECONDS

PIECE = 2**16


class Arriving(io.RawIOBase):
    """What a client sends, until `late()`: then it is at its end, whatever is still sent.

    The socket stays open for reading: one that is shut answers what arrives with a reset.
    """

    def __init__(self, connection: socket.socket, late: Callable[[], bool]):
        self._connection, self._late = connection, late

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(0.2)
        try:
            while not self._late():
                with contextlib.suppress(TimeoutError):
                    return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(IDLE_SECONDS)
        return 0


class Closing:
    """Connections whose last answer is on its way.

    Closed over bytes that nobody has read, a connection is reset, and a client that was still sending never sees the
    answer. So each is read and thrown away for a while. Any thread adds, one sweeps.
    """

    def __init__(self):
        self._open: collections.deque[tuple[float, int, socket.socket]] = collections.deque()

    def add(self, connection: socket.socket) -> None:
        """Says that nothing more will be sent."""
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            connection.setblocking(False)
        self._look(time.monotonic() + LINGER_SECONDS, LINGER_BYTES, connection)

    def sweep(self) -> None:
        """Reads on, and closes those that have ended, or take too long, send too much or are too many."""
        for _ in range(len(self._open)):
            self._look(*self._open.popleft())

    def close(self) -> None:
        """Closes all."""
        while self._open:
            self._open.popleft()[2].close()

    def _look(self, until: float, left: int, connection: socket.socket) -> None:
        turn = left - 128 * PIECE  # others wait for theirs
        try:
            while left > max(turn, 0):
                read = len(connection.recv(PIECE))
                if not read:
                    return connection.close()
                left -= read
        except BlockingIOError:
            pass
        except OSError:
            return connection.close()
        if left <= 0 or time.monotonic() > until or len(self._open) >= CONNECTIONS:
            return connection.close()
        self._open.append((until, left, connection))
