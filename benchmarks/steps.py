"""A line a step: its seconds, and the memory of the process."""

from __future__ import annotations

import pathlib
import resource
import time
from collections.abc import Callable


def steps() -> Callable[[str], None]:
    """Prints the head of a table; what it gives prints a step's line: the seconds since the last one."""
    begin = time.perf_counter()
    print("| step | seconds | memory, GiB | largest so far, GiB |\n| --- | --- | --- | --- |")

    def done(step: str) -> None:
        nonlocal begin
        pages = pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        held = int(pages) * resource.getpagesize() / 2**30
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {step} | {time.perf_counter() - begin:.1f} | {held:.2f} | {peak:.2f} |", flush=True)
        begin = time.perf_counter()

    return done
