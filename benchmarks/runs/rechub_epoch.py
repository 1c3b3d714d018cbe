"""torch-rechub's documented road: pandas, LabelEncoder, its `pad_sequences`, `DataGenerator` and `CTRTrainer`."""

from __future__ import annotations

import numpy as np
import torch
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import DataGenerator, pad_sequences

from benchmarks import workload
from benchmarks.runs import pandas_rows
from benchmarks.runs.rechub_run import built
from benchmarks.runs.stages import Road, answer


class TorchRechub(Road):
    def prepare(self, log: str, folder: str) -> None:
        self.folder = folder
        self.tables, self.rows = pandas_rows.encoded(log, pad_sequences)

    def load(self) -> None:
        torch.manual_seed(0)

    def train(self) -> None:
        (x_val, y_val), (x_test, y_test) = self.rows["valid"], self.rows["test"]
        train, valid, self.test = DataGenerator(*self.rows["train"]).generate_dataloader(
            x_val=x_val, y_val=y_val, x_test=x_test, y_test=y_test, batch_size=workload.BATCH
        )
        self.trainer = CTRTrainer(
            built("dnn", self.tables, ("hist_item", "hist_cat")),
            optimizer_params={"lr": 1e-3},
            n_epoch=1,
            model_path=self.folder,
        )
        self.trainer.fit(train, valid)

    def score(self, out: str) -> None:
        np.save(out, np.array(self.trainer.predict(self.trainer.model, self.test)))


if __name__ == "__main__":
    answer(TorchRechub())
