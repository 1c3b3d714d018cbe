"""What a training says of itself while it runs: a line per epoch that fits a screen."""

from __future__ import annotations

import sys
import time

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
