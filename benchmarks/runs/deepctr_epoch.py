"""deepctr's documented road: pandas, LabelEncoder, `pad_sequences`, and `fit` on a dictionary of arrays."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from benchmarks import workload
from benchmarks.runs import pandas_rows
from benchmarks.runs.deepctr_run import built, columns
from benchmarks.runs.stages import LENGTH, Road, answer


class DeepCTR(Road):
    def prepare(self, log: str, folder: str) -> None:
        pad_sequences = tf.keras.preprocessing.sequence.pad_sequences
        self.tables, self.rows = pandas_rows.encoded(log, pad_sequences)

    def load(self) -> None:
        tf.keras.utils.set_random_seed(0)

    def train(self) -> None:
        self.model = built("dnn", columns(self.tables, LENGTH))
        self.model.compile("adam", "binary_crossentropy", metrics=["binary_crossentropy"])
        x, y = self.rows["train"]
        self.model.fit(
            x, y, batch_size=workload.BATCH, epochs=1, verbose=2, validation_data=self.rows["valid"]
        )

    def score(self, out: str) -> None:
        np.save(out, self.model.predict(self.rows["test"][0], batch_size=workload.BATCH).ravel())


if __name__ == "__main__":
    answer(DeepCTR())
