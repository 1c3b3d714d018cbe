"""What a training says of itself while it runs: a line per epoch that fits a screen, or where it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import keras

from cdrzoo.training.callbacks import KeepBest

WIDTH = 100
"""Characters of a line, at most."""


class EpochLines(keras.callbacks.Callback):
    """Writes a line per epoch: its seconds, the loss, the metrics of the validation rows, and whether it is the best.

    In a terminal the last line shows the step and the time that is left of the epoch. Place it behind the callbacks
    that measure.

    Args:
        epochs: how many there are at most.
        keep: the callback that keeps the best epoch.
    """

    def __init__(self, epochs: int, keep: KeepBest):
        super().__init__()
        self.epochs, self.keep = epochs, keep
        self.begun = self.shown = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = self.shown = time.monotonic()
        self.before = self.keep.best
        self.place = f"epoch {epoch + 1:>{len(str(self.epochs))}}/{self.epochs}"

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        if now - self.shown < 0.5 or not sys.stdout.isatty():
            return
        self.shown, steps = now, self.params.get("steps")
        left = (
            f" of {steps}, {(now - self.begun) / (batch + 1) * (steps - batch - 1):.0f} s left"
            if steps
            else ""
        )
        print(f"\r{self.place}  step {batch + 1}{left}\x1b[K", end="", flush=True)

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        seconds, loss = time.monotonic() - self.begun, logs.get("loss", float("nan"))
        line = f"{self.place} {seconds:6.1f} s  loss {loss:7.4f}  valid"
        best = "  best" if self.keep.best != self.before else ""
        for name, value in logs.items():
            said = f" {name[4:]} {value:.4f}"
            if name.startswith("val_") and "@" not in name and len(line + said + best) <= WIDTH:
                line += f"{said} "
        clear = "\r\x1b[K" if sys.stdout.isatty() else ""
        print(clear + line.rstrip() + best, flush=True)


class Whereabouts(keras.callbacks.Callback):
    """Hands on where a training is, when an epoch ends and every few seconds in between.

    Args:
        hear: is given `{"epoch", "epochs", "step", "steps", "metric", "value"}`. The step is `None` between epochs,
            and so are the steps of an epoch while they are not known. The metric is the first of the validation rows,
            of the last epoch.
        every: seconds.
    """

    def __init__(self, hear: Callable[[dict[str, Any]], None], every: float = 5):
        super().__init__()
        self.hear, self.every = hear, every

    def on_train_begin(self, logs=None):
        self.last, self.reached = time.monotonic(), {}

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() - self.last > self.every:
            self._say(step=batch + 1, steps=self.params.get("steps"))

    def on_epoch_end(self, epoch, logs=None):
        measured = ((name, value) for name, value in (logs or {}).items() if name.startswith("val_"))
        self.reached = dict(zip(("metric", "value"), next(measured, ())))
        self._say(step=None, steps=None)

    def _say(self, **place):
        self.last = time.monotonic()
        self.hear({"epoch": self.epoch, "epochs": self.params["epochs"], **place, **self.reached})
