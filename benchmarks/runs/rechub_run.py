"""torch-rechub's DIN, and an MLP made of its layers, through its trainer."""

from __future__ import annotations

from importlib.metadata import version

import torch
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.basic.layers import MLP, EmbeddingLayer
from torch_rechub.models.ranking import DIN
from torch_rechub.trainers import CTRTrainer

from benchmarks import workload


class DNN(torch.nn.Module):
    """It has no plain DNN: its embedding layer with mean pooling, and its MLP."""

    def __init__(self, features):
        super().__init__()
        self.features = features
        self.embedding = EmbeddingLayer(features)
        self.mlp = MLP(sum(f.embed_dim for f in features), dims=list(workload.TOWER), activation="relu")

    def forward(self, x):
        return torch.sigmoid(self.mlp(self.embedding(x, self.features, squeeze_dim=True)).squeeze(1))


def main() -> None:
    args = workload.arguments()

    def sparse(name, size):
        return SparseFeature(name, vocab_size=size, embed_dim=workload.WIDTH, padding_idx=0)

    def history(name, size, shared, pooling):
        return SequenceFeature(
            name,
            vocab_size=size,
            embed_dim=workload.WIDTH,
            pooling=pooling,
            shared_with=shared,
            padding_idx=0,
        )

    user = [sparse("user", args.rows)]
    candidate = [sparse("item", args.rows), sparse("cat", workload.CATEGORIES)]
    pooling = "concat" if args.model == "din" else "mean"
    histories = [
        history("items", args.rows, "item", pooling),
        history("cats", workload.CATEGORIES, "cat", pooling),
    ]
    if args.model == "din":
        model = DIN(
            user,
            histories,
            candidate,
            mlp_params={"dims": list(workload.TOWER)},
            attention_mlp_params={"dims": list(workload.ATTENTION), "activation": "dice"},
        )
    else:
        model = DNN(user + candidate + histories)
    trainer = CTRTrainer(model, optimizer_params={"lr": 1e-3})
    x, y = workload.batches(args.rows, args.steps, args.history)
    ready = [
        (
            {name: torch.from_numpy(values[i]).long() for name, values in x.items()},
            torch.from_numpy(y[i, :, 0]),
        )
        for i in range(args.steps)
    ]
    trainer.train_one_epoch(ready[:3])
    clock = workload.Clock()
    for _ in range(args.windows):
        clock.start()
        trainer.train_one_epoch(_timed(ready, clock))
        clock.stop()
    workload.report(clock, versions={name: version(name) for name in ("torch-rechub", "torch")}, xla="")


def _timed(batches, clock: workload.Clock):
    for batch in batches:
        yield batch
        clock.step_ended()  # the next batch is asked for when the step has ended


if __name__ == "__main__":
    main()
