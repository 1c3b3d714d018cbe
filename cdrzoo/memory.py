"""Whether what is asked for fits in memory: said before it is taken, for a process that takes too much is killed."""

from __future__ import annotations

import math
import os
import pathlib

from cdrzoo.errors import InputError

CONTAINER = "/sys/fs/cgroup/memory.max"
"""Where Linux says how much a container may have: a number of bytes, or `max`."""


def most() -> float:
    """Bytes that this process may have: the machine's, or its container's; infinite where neither is known."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return math.inf
    try:
        container = pathlib.Path(CONTAINER).read_text().strip()
    except OSError:
        container = ""
    return min(machine, int(container)) if container.isdigit() else machine


def check(what: str, numbers: float, mend: str) -> None:
    """Raises an `InputError` unless so many float32 numbers fit. `what` takes them; `mend`: a sentence."""
    there = most()
    if 4 * numbers > there:
        raise InputError(
            f"{what} would take {4 * numbers / 2**30:,.1f} GiB of memory, and there are {there / 2**30:,.1f}. {mend}"
        )
