"""Memory of a process: too much is refused before it is taken, and what was freed is kept for the next step."""

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


KEPT = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_MAX_": (-4, 0),
    "MALLOC_TRIM_THRESHOLD_": (-1, 2_000_000_000),
}
"""By the variables that say the same: settings of glibc's `mallopt`, and their values."""


def keep() -> None:
    """Lets this process keep what a training step frees for the next one. Call it before TensorFlow, pandas or pyarrow
    is imported: what threads that run already hold is left as it is.

    glibc hands large blocks back to the system when they are freed. The next step gets them page by page, each filled
    with zeros, which can take a third of its time (docs/speed.md). Variables that the user has set are left alone, and
    so is any other C library.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    for variable, setting in KEPT.items():
        if mallopt is not None and variable not in os.environ:
            mallopt(*setting)
