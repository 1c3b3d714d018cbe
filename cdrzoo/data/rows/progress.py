"""How far a preparation is, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cdrzoo.data.rows.tasks import Done

SHARES = {"read": 2.5, "users": 0.5, "items": 1.5, "raw": 6.0, "count": 3.9, "encode": 6.8, "write": 2.1}
"""What a row costs in each stage, compared with the others: seconds of a million of 10 million rows (docs/scale.md);
`users`, `items` and `raw` by estimate."""
EVERY = 5.0
"""Seconds between two lines, at least."""


class Progress:
    """Says, at most every `EVERY` seconds, which stage it is at, and how long the rest will take.

    Args:
        say: is given the lines.
        stages: that there may be, in their order.
    """

    def __init__(self, say: Callable[[str], None], stages: Sequence[str]):
        self.stages = list(stages)
        self.say, self.started, self.spoke = say, time.monotonic(), time.monotonic()
        self.stage, self.count, self.left, self.rows = "", 0, 0, 0
        self.processor, self.memory = 0.0, 0

    def begin(self, stage: str, count: int, left: int) -> None:
        """A stage of `count` tasks, of which `left` are to be done."""
        self.stage, self.count, self.left, self.rows = stage, count, left, 0
        self.processor, self.memory = 0.0, 0
        if count > left:
            self.say(f"{stage}: {count - left} of {count} are done already")
        self.since = time.monotonic()

    def done(self, done: Done) -> None:
        """A task is done."""
        self.left -= 1
        self.rows += done.rows
        self.processor += done.processor
        self.memory = max(self.memory, done.memory)
        now = time.monotonic()
        if now - self.spoke < EVERY and self.left:
            return
        self.spoke = now
        spent = now - self.since
        finished = self.count - self.left
        # This stage as it goes, those behind it by what they usually cost beside it.
        after = self.stages[self.stages.index(self.stage) + 1 :]
        behind = sum(SHARES[name] for name in after) / SHARES[self.stage]
        whole = spent / max(finished, 1) * self.count
        rest = whole - spent + behind * whole
        done_with = (
            f"; {self.processor:,.0f} s of processor time, {self.memory / 2**30:.2f} GB in a process"
            if not self.left
            else ""
        )
        self.say(
            f"{self.stage}: {finished} of {self.count}, {self.rows:,} rows, {now - self.started:,.0f} s{done_with}; "
            f"about {max(rest, 0):,.0f} s to go"
        )
