"""torch-rechub's models, and an MLP made of its layers, through its trainer."""

from __future__ import annotations

import itertools
from importlib.metadata import version

import torch
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.basic.layers import MLP, EmbeddingLayer
from torch_rechub.models import multi_task, ranking
from torch_rechub.models.ranking.dcn_v2 import DCNv2
from torch_rechub.trainers import CTRTrainer, MTLTrainer

from benchmarks import workload

KINDS = ["classification"] * 2


class DNN(torch.nn.Module):
    """It has no plain DNN: its embedding layer with mean pooling, and its MLP."""

    def __init__(self, features):
        super().__init__()
        self.features = features
        self.embedding = EmbeddingLayer(features)
        self.mlp = MLP(sum(f.embed_dim for f in features), dims=list(workload.TOWER), activation="relu")

    def forward(self, x):
        return torch.sigmoid(self.mlp(self.embedding(x, self.features, squeeze_dim=True)).squeeze(1))


def built(model: str, tables: dict[str, int], histories: tuple[str, ...] = ()):
    """The model of ids with tables of so many rows, and of histories of items and of categories, where they have names.

    What is linear in its models reads the vectors of the ids and no weights of their own.
    """
    ids = [
        SparseFeature(name, vocab_size=n, embed_dim=workload.WIDTH, padding_idx=0)
        for name, n in tables.items()
    ]
    tower = {"dims": list(workload.TOWER)}
    if histories:

        def history(name, table):
            pooling = "concat" if model == "din" else "mean"
            shared = {"pooling": pooling, "shared_with": table, "padding_idx": 0}
            return SequenceFeature(name, vocab_size=tables[table], embed_dim=workload.WIDTH, **shared)

        seen = [history(name, table) for name, table in zip(histories, ("item", "cat"))]
        if model == "dnn":
            return DNN(ids + seen)
        attention = {"dims": list(workload.ATTENTION), "activation": "dice"}
        return ranking.DIN(ids[:1], seen, ids[1:], mlp_params=tower, attention_mlp_params=attention)
    experts, tasks = {"dims": list(workload.EXPERTS)}, [{"dims": list(workload.TASK)}] * 2
    makers = {
        "wide_deep": lambda: ranking.WideDeep(ids, ids, tower),
        "deepfm": lambda: ranking.DeepFM(ids, ids, tower),
        "fibinet": lambda: ranking.FiBiNet(ids, tower),
        "dcn": lambda: DCNv2(ids, 2, tower, use_low_rank_mixture=False),
        "dnn": lambda: DNN(ids),
        "shared_bottom": lambda: multi_task.SharedBottom(ids, KINDS, experts, tasks),
        "mmoe": lambda: multi_task.MMOE(ids, KINDS, 3, experts, tasks),
        "ple": lambda: multi_task.PLE(ids, KINDS, 2, 1, 1, experts, tasks),
    }
    return makers[model]()


def make(model: str, shape: str, rows: int):
    histories = ("items", "cats") if shape == "histories" else ()
    made, adam = built(model, workload.tables(shape, rows), histories), {"optimizer_params": {"lr": 1e-3}}
    several = model in workload.TASKS
    trainer = MTLTrainer(made, KINDS, **adam) if several else CTRTrainer(made, **adam)
    x, y = workload.batches(shape, rows)
    ready = [
        (
            {name: torch.from_numpy(v[i]).long() for name, v in x.items()},
            torch.from_numpy(y[i] if several else y[i, :, 0]),
        )
        for i in range(len(y))
    ]

    def run(clock, steps):
        clock.start()
        trainer.train_one_epoch(_timed(itertools.islice(itertools.cycle(ready), steps + 1), clock))
        clock.stop()

    return {}, run


def _timed(batches, clock: workload.Clock):
    for batch in batches:
        yield batch
        clock.step_ended()  # the next batch is asked for when the step has ended


if __name__ == "__main__":
    workload.answer(make, **{name: version(name) for name in ("torch-rechub", "torch")})
