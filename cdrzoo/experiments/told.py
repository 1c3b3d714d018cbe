"""What is said of one of many trainings while it runs, and when it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from cdrzoo.metrics import better

SELDOM = 10
"""Seconds between two lines, at least; later more."""


class Told:
    """Makes the line of each: model, seed, epoch, what it reached on validation rows, the best so far, the time left.

    Args:
        title: what they are.
        total: how many.
        tell: is told where one of them is.
    """

    def __init__(self, title: str, total: int, tell: Callable[[str], None] = lambda text: None):
        self.title, self.total, self.tell = title, total, tell
        self.done, self.fresh, self.best = 0, 0, math.nan
        self.begun = self.last = self.spoke = time.monotonic()

    def line(self, line: Mapping[str, Any]) -> str:
        """Of a line of `results.jsonl`."""
        now = self.spoke = time.monotonic()
        self.done += 1
        self.fresh, self.last = self.fresh + (now - self.last > 0.1), now  # what is kept is read in no time
        metric, value = next(iter(line["result"]["validation"].items()))
        worse = value <= self.best if better(metric) == "max" else value >= self.best
        if not (worse or math.isnan(value)):  # one that diverged is not the best
            self.best = value
        left = self._each(now) * (self.total - self.done) if self.fresh else 0
        return (
            f"{self.title} {self.done}/{self.total}  {line['label']}  seed {line['changes']['seed']}  epoch "
            f"{line['result'].get('best_epoch', '-')}  val_{metric} {value:.4f}  best {self.best:.4f}  "
            f"{_minutes(left)} left"
        )

    def hear(self, news: Mapping[str, Any]) -> None:
        """Tells where a training is, unless the last line is so new that nobody waits for another.

        Args:
            news: what a `Whereabouts` says, with the training's `label` and `seed`, and whether it is of a `first`
                stage.
        """
        now = time.monotonic()
        if now - self.spoke < max(SELDOM, (now - self.begun) / 20):  # the lines of an hour fit a screen
            return
        self.spoke = now
        place = f"epoch {news['epoch']}/{news['epochs']}"
        if news["step"]:
            place += f"  step {news['step']}" + (f"/{news['steps']}" if news["steps"] else "")
        if news["first"]:
            place = f"first stage  {place}"
        elif "metric" in news:
            place += f"  {news['metric']} {news['value']:.4f}"
        best = "" if math.isnan(self.best) else f"  best {self.best:.4f}"
        self.tell(
            f"{self.title} {self.done + 1}/{self.total}  {news['label']}  seed {news['seed']}  {place}{best}"
            f"{self._left(news, now)}"
        )

    def _left(self, news: Mapping[str, Any], now: float) -> str:
        """The time left: of trainings like those that have ended, else of as many epochs as there may be."""
        running = now - self.last
        if self.fresh:
            left = self._each(self.last) * (self.total - self.done) - running
            return f"  {_minutes(max(0, left))} left"
        if news["first"] or (news["step"] and news["epoch"] == 1):  # the first step takes long
            return ""
        part = news["step"] / news["steps"] if news["steps"] else 1
        epochs = news["epochs"] * (self.total - self.done)
        return f"  at most {_minutes(running * (epochs / (news['epoch'] - 1 + part) - 1))} left"

    def _each(self, now: float) -> float:
        """Seconds of a training."""
        return (now - self.begun) / self.fresh


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
