"""cdrzoo's two roads: `prepare` in memory, and `cdrzoo prepare` to a folder of which `load_rows` gives the rows."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np

from benchmarks import workload
from benchmarks.runs.stages import LENGTH, Road, answer
from cdrzoo import data
from cdrzoo.schema import Schema

ID, HISTORY = {"kind": "id"}, {"kind": "ids", "role": "history", "length": LENGTH, "of": "shop"}
SCHEMA: dict[str, Any] = {
    "target": "shop",
    "tables": {name: {"width": workload.WIDTH} for name in ("user", "item", "cat")},
    "domains": {
        "shop": {
            "label": "click",
            "features": [
                {"name": "user", **ID, "role": "user", "table": "user"},
                {"name": "item", **ID, "role": "item", "table": "item"},
                {"name": "cat", **ID, "role": "item", "table": "cat"},
                {"name": "hist_item", **HISTORY, "table": "item"},
                {"name": "hist_cat", **HISTORY, "table": "cat"},
            ],
        }
    },
}


def rows_of(log: str) -> dict[str, Any]:
    return {"shop": {"path": log, "kind": "examples"}}


class Memory(Road):
    """Rows in memory."""

    def prepare(self, log: str, folder: str) -> None:
        self.rows = data.prepare(Schema.from_dict(SCHEMA), rows_of(log), split="given")

    def load(self) -> None:
        import keras
        import tensorflow  # noqa: F401

        from cdrzoo.models import DNN  # noqa: F401

        keras.utils.set_random_seed(0)

    def train(self) -> None:
        from cdrzoo import callbacks, models, optimizers

        self.model = models.DNN(self.rows.schema, units=workload.TOWER)
        self.model.compile(optimizer=optimizers.Adam())
        watch = callbacks.Evaluate(self.rows.valid())
        self.model.fit(self.rows.train(workload.BATCH), epochs=1, verbose=2, callbacks=[watch])

    def score(self, out: str) -> None:
        np.save(out, self.model.predict(self.rows.test(), verbose=0)["shop"].ravel())


class Disk(Memory):
    """Rows in a folder, which a command prepares with as many processes as there are cores."""

    def prepare(self, log: str, folder: str) -> None:
        run, self.folder = pathlib.Path(folder, "run.yaml"), pathlib.Path(folder, "rows")
        run.write_text(
            json.dumps({"schema": SCHEMA, "data": rows_of(log), "split": "given"}), encoding="utf-8"
        )
        how = ["--out", str(self.folder), "--jobs", str(os.cpu_count())]
        subprocess.run(
            [sys.executable, "-m", "cdrzoo", "prepare", str(run), *how], check=True, stdout=sys.stderr
        )

    def train(self) -> None:
        self.rows = data.load_rows(self.folder)
        super().train()


if __name__ == "__main__":
    answer(Disk() if "disk" in sys.argv else Memory())
