"""What is said of one of many trainings when it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from cdrzoo.metrics import better


class Told:
    """Makes the line of each: model, seed, epoch, what it reached on validation rows, the best so far, the time left.

    Args:
        title: what they are.
        total: how many.
    """

    def __init__(self, title: str, total: int):
        self.title, self.total = title, total
        self.done, self.fresh, self.best = 0, 0, math.nan
        self.begun = self.last = time.monotonic()

    def line(self, line: Mapping[str, Any]) -> str:
        """Of a line of `results.jsonl`."""
        now = time.monotonic()
        self.done += 1
        self.fresh, self.last = self.fresh + (now - self.last > 0.1), now  # what is kept is read in no time
        metric, value = next(iter(line["result"]["validation"].items()))
        worse = value <= self.best if better(metric) == "max" else value >= self.best
        if not (worse or math.isnan(value)):  # one that diverged is not the best
            self.best = value
        left = (now - self.begun) / self.fresh * (self.total - self.done) if self.fresh else 0
        return (
            f"{self.title} {self.done}/{self.total}  {line['label']}  seed {line['changes']['seed']}  epoch "
            f"{line['result'].get('best_epoch', '-')}  val_{metric} {value:.4f}  best {self.best:.4f}  "
            f"{_minutes(left)} left"
        )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
