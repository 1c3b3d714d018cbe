"""The stages of an epoch end to end, one by one as `benchmarks.epoch` asks for them. Nothing but Python."""

from __future__ import annotations

import contextlib
import json
import sys

LENGTH = 30
"""Of a history."""
PARTS = ("train", "valid", "test")


class Road:
    """How a library goes from a log to a trained epoch."""

    def begin(self) -> None:
        """Is asked first: what the module imports is there then."""

    def prepare(self, log: str, folder: str) -> None:
        """From the log, a folder of Parquet, to what training reads; files of its own go to another folder."""
        raise NotImplementedError

    def load(self) -> None:
        """Imports what the preparation did without, and sets the seeds."""

    def train(self) -> None:
        """An epoch, with its validation."""
        raise NotImplementedError

    def score(self, out: str) -> None:
        """Writes the scores of the test rows, in their order, to a file of NumPy."""
        raise NotImplementedError


def answer(road: Road) -> None:
    """Does what the lines of the standard input ask of a road, and says when it has done it."""
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # libraries print
        for line in sys.stdin:
            order = json.loads(line)
            getattr(road, order.pop("do"))(**order)
            print("{}", file=out, flush=True)
