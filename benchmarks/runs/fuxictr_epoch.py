"""FuxiCTR's documented road: `FeatureProcessor` and `build_dataset` from Parquet to Parquet, `RankDataLoader`, `fit`.

It reads lists of text itself: a `dtype` of `str` would have them filled as text, so theirs is `list`. Its fit wants
validation rows, so all roads have some. Preparation and loader work in processes of Ray.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.preprocess import FeatureProcessor, build_dataset
from fuxictr.pytorch.dataloaders import RankDataLoader

from benchmarks import workload
from benchmarks.runs.fuxictr_run import Model
from benchmarks.runs.stages import LENGTH, PARTS, Road, answer

DATASET = "rows"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray is to tell nobody


class FuxiCTR(Road):
    def prepare(self, log: str, folder: str) -> None:
        self.folder = folder
        ids = {"name": ["user", "item", "cat"], "active": True, "dtype": "str", "type": "categorical"}
        sequence = {"active": True, "dtype": "list", "type": "sequence", "max_len": LENGTH}
        histories = [{"name": f"hist_{of}", **sequence, "share_embedding": of} for of in ("item", "cat")]
        processor = FeatureProcessor(
            feature_cols=[ids, *histories],
            label_col={"name": "click", "dtype": "float"},
            dataset_id=DATASET,
            data_root=folder,
        )
        files = {f"{part}_data": f"{log}/split={part}/rows.parquet" for part in PARTS}
        built = build_dataset(processor, **files, data_format="parquet")
        self.files = {f"{part}_data": file for part, file in zip(PARTS, built)}

    def load(self) -> None:
        torch.manual_seed(0)

    def loader(self, stage: str):
        how = {"batch_size": workload.BATCH, "data_format": "parquet", "shuffle": stage == "train"}
        return RankDataLoader(self.features, stage=stage, **self.files, **how)

    def train(self) -> None:
        self.features = FeatureMap(DATASET, f"{self.folder}/{DATASET}")
        self.features.load(f"{self.folder}/{DATASET}/feature_map.json", {"embedding_dim": workload.WIDTH})
        train, valid = self.loader("train")
        self.model = Model("dnn", self.features, model_root=self.folder)
        self.model.fit(train, validation_data=valid, epochs=1)

    def score(self, out: str) -> None:
        np.save(out, self.model.predict(self.loader("test")))


if __name__ == "__main__":
    answer(FuxiCTR())
