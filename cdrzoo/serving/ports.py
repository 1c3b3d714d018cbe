"""Where the development server listens, and whether it can: asked before TensorFlow starts."""

from __future__ import annotations

import contextlib
import socket

from cdrzoo.errors import InputError

HOST = "127.0.0.1"


def taken(port: int) -> InputError:
    """What to raise of a port that cannot be used."""
    return InputError(
        f"Port {port} of {HOST} cannot be used: another server may have it. Choose another, or 0 for a free one."
    )


def check(*ports: int) -> None:
    """Raises an `InputError` where one of the ports cannot be listened on; 0 is any free one."""
    with contextlib.ExitStack() as opened:
        for port in filter(None, ports):
            listening = opened.enter_context(socket.socket())
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            try:
                listening.bind((HOST, port))
            except OSError:
                raise taken(port) from None
