"""FuxiCTR's layers put together as its models of clicks are, through its training step.

The package has the layers, the step and DIN; the other models are scripts of its repository.
"""

from __future__ import annotations

import itertools
from importlib.metadata import version
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch import layers
from fuxictr.pytorch.models import BaseModel
from model_zoo.LongCTR.DIN import DIN

from benchmarks import workload

OPTIONS: dict[str, Any] = {"gpu": -1, "verbose": 0, "model_root": ".", "metrics": []}
OPTIMIZER: dict[str, Any] = {"optimizer": "adam", "loss": "binary_crossentropy"}
TOWER = list(workload.TOWER)


def features(shape: str, rows: int, model: str) -> FeatureMap:
    tables = workload.tables(shape, rows)
    found = FeatureMap("rows", ".")
    found.default_emb_dim = workload.WIDTH
    found.labels = ["y"]
    for name, n in tables.items():
        source = "user" if name == "user" else "item"
        found.features[name] = {
            "type": "categorical",
            "vocab_size": n,
            "padding_idx": 0,
            "source": source,
        }
    if shape == "histories" and model != "din":
        for table in ("item", "cat"):
            more = {"type": "sequence", "share_embedding": table, "max_len": workload.LENGTH}
            pooling = {"feature_encoder": "layers.MaskedAveragePooling()"}
            found.features[f"{table}_history"] = {**found.features[table], **more, **pooling}
    found.num_fields = found.get_num_fields()
    return found


class AttentionalPairs(torch.nn.Module):
    """AFM's attention over the products of pairs."""

    def __init__(self, fields: int):
        super().__init__()
        self.pairs = layers.InnerProductInteraction(fields, output="elementwise_product")
        self.attention = torch.nn.Sequential(
            torch.nn.Linear(workload.WIDTH, 16),
            torch.nn.ReLU(),
            torch.nn.Linear(16, 1, bias=False),
            torch.nn.Softmax(dim=1),
        )
        self.weight_p = torch.nn.Linear(workload.WIDTH, 1, bias=False)

    def forward(self, vectors):
        pairs = self.pairs(vectors)
        return self.weight_p(torch.sum(self.attention(pairs) * pairs, dim=1))


class Bilinear(torch.nn.Module):
    """FiBiNET's pairs of the vectors, and of the vectors that are weighed."""

    def __init__(self, fields: int):
        super().__init__()
        self.weigh = layers.SqueezeExcitation(fields, 3)
        self.one = layers.BilinearInteractionV2(fields, workload.WIDTH, "field_interaction")
        self.other = layers.BilinearInteractionV2(fields, workload.WIDTH, "field_interaction")
        self.tower = tower(fields * (fields - 1) * workload.WIDTH)

    def forward(self, vectors):
        pairs = [self.one(vectors), self.other(self.weigh(vectors))]
        return self.tower(torch.cat(pairs, dim=1).flatten(start_dim=1))


class Crosses(torch.nn.Module):
    """DCN-v2, crosses beside a tower."""

    def __init__(self, fields: int):
        super().__init__()
        width = fields * workload.WIDTH
        self.crosses = layers.CrossNetV2(width, 2)
        self.tower = layers.MLP_Block(width, TOWER)
        self.last = torch.nn.Linear(width + TOWER[-1], 1)

    def forward(self, vectors):
        row = vectors.flatten(start_dim=1)
        return self.last(torch.cat([self.crosses(row), self.tower(row)], dim=-1))


def tower(width: int):
    return layers.MLP_Block(width, TOWER, output_dim=1)


def parts(model: str, found: FeatureMap) -> tuple[bool, list[torch.nn.Module]]:
    """Whether there is a linear part, and what is added up: of the vectors of all fields, `[batch, fields, width]`."""
    fields = found.num_fields
    deep = [torch.nn.Sequential(torch.nn.Flatten(1), tower(fields * workload.WIDTH))]
    products = layers.InnerProductInteraction(fields, output="product_sum")
    makers = {
        "lr": lambda: (True, []),
        "fm": lambda: (True, [products]),
        "wide_deep": lambda: (True, deep),
        "deepfm": lambda: (True, [products, *deep]),
        "nfm": lambda: (
            True,
            [
                torch.nn.Sequential(
                    layers.InnerProductInteraction(fields, "bi_interaction"), tower(workload.WIDTH)
                )
            ],
        ),
        "afm": lambda: (True, [AttentionalPairs(fields)]),
        "xdeepfm": lambda: (True, [layers.CompressedInteractionNet(fields, list(workload.CROSS)), *deep]),
        "fibinet": lambda: (True, [Bilinear(fields)]),
        "dcn": lambda: (False, [Crosses(fields)]),
        "dnn": lambda: (False, deep),
    }
    return makers[model]()


class Model(BaseModel):
    """The sum of its parts."""

    def __init__(self, model: str, found: FeatureMap, **options: Any):
        super().__init__(found, **(OPTIONS | options))
        linear, added = parts(model, found)
        self.linear = layers.LogisticRegression(found) if linear else None
        self.vectors = layers.FeatureEmbedding(found, workload.WIDTH) if added else None
        self.added = torch.nn.ModuleList(added)
        self.compile(**OPTIMIZER, lr=1e-3)
        self.reset_parameters()

    def forward(self, inputs):
        x = self.get_inputs(inputs)
        sums = [self.linear(x)] if self.linear else []
        if self.added:
            vectors = self.vectors(x)
            sums += [part(vectors) for part in self.added]
        return {"y_pred": self.output_activation(sum(sums))}


def batch(model: str, x: dict[str, torch.Tensor], y: torch.Tensor):
    if model != "din":
        histories = {
            f"{name[:-1]}_history": x[name] for name in ("items", "cats") if name in x
        }  # not `items`: a method
        return {**{name: v for name, v in x.items() if v.ndim == 1}, **histories, "y": y}
    items = {
        name: torch.cat([x[f"{name}s"], x[name][:, None]], dim=1).flatten() for name in ("item", "cat")
    }  # the candidate is the last
    return {"user": x["user"], "y": y}, items, x["items"] != 0


def make(model: str, shape: str, rows: int):
    found = features(shape, rows, model)
    if model == "din":
        sizes = {"dnn_hidden_units": TOWER, "attention_hidden_units": list(workload.ATTENTION)}
        made = DIN(found, embedding_dim=workload.WIDTH, **sizes, **OPTIONS, **OPTIMIZER)
    else:
        made = Model(model, found)
    made._max_gradient_norm, made._batch_index = 10.0, 0  # what `fit` sets
    made.train()
    x, y = workload.batches(shape, rows)
    ready = [
        ({name: torch.from_numpy(v[i]).long() for name, v in x.items()}, torch.from_numpy(y[i, :, :1]))
        for i in range(len(y))
    ]

    def run(clock, steps):
        clock.start()
        for one in itertools.islice(itertools.cycle(ready), steps + 1):
            made.train_step(batch(model, *one)).item()
            clock.step_ended()
        clock.stop()

    return {}, run


if __name__ == "__main__":
    workload.answer(make, **{name: version(name) for name in ("fuxictr", "torch")})
