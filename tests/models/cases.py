"""One case a model: what the conformance tests need to know of it. A new model adds its case here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from cdrzoo.models import card
from cdrzoo.schema import Schema
from tests.models.factors import trained
from tests.models.toys import toy_schema, twin_schema


@dataclasses.dataclass(frozen=True)
class Case:
    """A model for the conformance tests.

    Args:
        name: what the registry calls the model.
        changes: another value for every argument of the constructor. A value may be an `Elsewhere`.
        arguments: small values for the arguments, so that the tests are fast.
        schema: gives the schema.
        parts: gives arguments that are trained models, from the schema.
        unmoved: `{part of a variable's path: reason}` of trainable variables that training does not move.
        learns: the feature whose parity the labels follow, one that the model reads. `None`: labels alone are not what
            it learns from.
        whole_batch: why rows of weight 0 have a part in a training step; empty: they have none.
        without_effect: `{argument: reason}` of arguments that change nothing which these tests can see.
        uneven: what the model says of `three_schema`, whose domains list different histories. `None`: it takes it.
    """

    name: str
    changes: Mapping[str, Any]
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schema: Callable[[], Schema] = toy_schema
    parts: Callable[[Schema], dict[str, Any]] = lambda schema: {}
    unmoved: Mapping[str, str] = dataclasses.field(default_factory=dict)
    learns: str | None = "genre"
    whole_batch: str = ""
    without_effect: Mapping[str, str] = dataclasses.field(default_factory=dict)
    uneven: str | None = None

    def build(self, schema: Schema | None = None, **changes: Any) -> Any:
        """The model, with `changes` in place of its usual arguments."""
        schema = schema or self.schema()
        return card(self.name).load()(schema, **{**self.arguments, **self.parts(schema), **changes})


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """A change that wants another schema."""

    value: Any
    schema: Callable[[], Schema]


SLOTS = "'history_films' is 12 wide in one domain and 4 in 'music'.*List the same histories in both domains"
"""One network reads the rows of all domains, in the same columns."""
BRIDGED = "What a user liked in 'music' is read off the target's rows, which do not list it"
SOURCE_SIZES = {"units": (8, 6)}
MEM_SIZES = {"expert_units": (8, 6), "tower_units": (5,), "align_units": 6, "pooling": "mean"}

CASES = (
    Case("lr", changes={}),
    Case("dnn", arguments={"units": (8, 6)}, changes={"units": (8, 5), "dropout": 0.5}, uneven=SLOTS),
    Case(
        "din",
        arguments={"units": (8, 6), "attention_units": (5, 4)},
        changes={"units": (8, 5), "attention_units": (5, 3), "dropout": 0.5},
        uneven=SLOTS,
        whole_batch="Dice goes by the statistics of the batch",
    ),
    Case(
        "shared_bottom",
        arguments={"units": (8, 6), "tower_units": (5,)},
        changes={"units": (8, 5), "tower_units": (4,), "pooling": "attention", "dropout": 0.5},
        uneven=SLOTS,
    ),
    Case(
        "mmoe",
        arguments={"expert_units": (8, 6), "tower_units": (5,)},
        changes={
            "expert_units": (8, 5),
            "experts": 2,
            "tower_units": (4,),
            "pooling": "attention",
            "dropout": 0.5,
        },
        uneven=SLOTS,
    ),
    Case(
        "ple",
        arguments={"expert_units": (8, 6), "tower_units": (5,)},
        changes={
            "expert_units": (8, 5),
            "levels": 1,
            "specific_experts": 2,
            "shared_experts": 2,
            "tower_units": (4,),
            "pooling": "attention",
            "dropout": 0.5,
        },
        uneven=SLOTS,
    ),
    Case(
        "star",
        arguments={"units": (8, 6), "aux_units": (5,)},
        changes={"units": (8, 5), "aux_units": (4,), "pooling": "attention", "dropout": 0.5},
        uneven=SLOTS,
        whole_batch="its normalisation goes by the statistics of the batch",
    ),
    Case(
        "dann",
        arguments={"units": (16, 8), "tower_units": (6,), "domain_units": (4,)},
        changes={
            "units": (16, 7),
            "tower_units": (5,),
            "domain_units": (3,),
            "reversal": 0.5,
            "reversal_warmup": 0,
            "stable": False,
            "pooling": "attention",
            "dropout": 0.5,
        },
        uneven=SLOTS,
    ),
    Case(
        "minet",
        arguments={"units": (8, 6), "attention_units": 5, "rank": 3},
        changes={"units": (8, 5), "attention_units": 4, "rank": 2, "dropout": 0.5},
    ),
    Case(
        "source_dnn",
        arguments=SOURCE_SIZES,
        changes={"units": (8, 5), "dropout": 0.5},
        unmoved={"device": "the target alone looks this table up, and the sources' rows are trained on"},
    ),
    Case(
        "finetuned_dnn",
        changes={"train_embeddings": False},
        parts=lambda schema: {"pretrained": card("source_dnn").load()(schema, **SOURCE_SIZES)},
    ),
    Case(
        "ctnet",
        arguments={"units": (7, 6)},
        changes={"units": (8, 5), "dropout": 0.5},
        parts=lambda schema: {"pretrained": card("source_dnn").load()(schema, **SOURCE_SIZES)},
    ),
    Case("mv_dnn", arguments={"units": (8, 6)}, changes={"units": (8, 5), "dropout": 0.5}, uneven=SLOTS),
    Case(
        "cctl",
        arguments={"units": (8, 6), "pooling": "mean", "selector_units": (5,), "sync_every": 3},
        changes={
            "units": (8, 5),
            "pooling": "attention",
            "align": Elsewhere(False, twin_schema),
            "selector_units": (4,),
            "selector_mode": "bernoulli",
            "selector_learning_rate": 0.1,
            "alpha": 0.5,
            "gamma": 0.1,
            "sync_every": 2,
            "reward_norm": "ema",
            "reward_clip": 1e-9,
            "ren_weight": 0.1,
            "dropout": 0.5,
            "selector_every": 2,
            "share_side_features": False,
            "selector_optimizer": "sgd",
            "weighting": "rows",
        },
    ),
    Case(
        "dadin",
        arguments={"units": (8,), "predictor_units": 7},
        changes={
            "units": (7,),
            "item_attention": False,
            "interest_attention": False,
            "bi_interaction": False,
            "dnn": False,
            "domain_agnostic": False,
            "domain_weight": 0.0,
            "class_weight": 0.5,
            "alpha": 0.2,
            "threshold": "base_rate",
            "reversal": 0.5,
            "reversal_warmup": 20,
            "stable": False,
            "predictor_units": 6,
            "predictor_activation": "relu",
            "dropout": 0.5,
            "bias_outside": True,
            "separate_columns": True,
            "domain_mark": True,
            "domain_heads": True,
        },
    ),
    Case(
        "mem",
        arguments=MEM_SIZES,
        changes={
            "expert_units": (8, 5),
            "tower_units": (4,),
            "align_units": 5,
            "levels": 2,
            "shared_experts": 2,
            "specific_experts": 2,
            "pooling": "attention",
            "hfa": False,
            "cross": "literal",
            "cross_layers": 1,
            "hfa_input": "specific+shared",
            "cke_input": "q",
            "common": "shared",
            "knowledge_activation": "linear",
            "gamma": 0.5,
            "pdl": "square",
            "weighting": "domains",
            "negatives_kept": 0.1,
            "dropout": 0.5,
        },
        without_effect={"negatives_kept": "it corrects what is served"},
    ),
    Case(
        "mkt",
        arguments={"units": (8, 6), "tower_units": (5,), "pooling": "mean"},
        changes={
            "units": (8, 5),
            "tower_units": (4,),
            "pooling": "attention",
            "train_embeddings": True,
            "warm_start": True,
            "gated": False,
            "negatives_kept": 0.1,
            "dropout": 0.5,
        },
        parts=lambda schema: {"pretrained": card("mem").load()(schema, **MEM_SIZES)},
        without_effect={"negatives_kept": "it corrects what is served"},
    ),
    Case(
        "dacdr",
        arguments={"width": 6, "encoder_units": (7,), "units": (8, 6)},
        changes={
            "targets": ("films", "books"),
            "attention_mode": "gate",
            "width": 5,
            "domain_attention": False,
            "item_attention": False,
            "share_attention": True,
            "own_history": True,
            "encoder_units": (6,),
            "units": (8, 5),
            "dropout": 0.5,
            "finetune": "films",
            "user_features": True,
        },
        # It scores its target alone: what the sources hold reaches it through the histories in the target's rows.
    ),
    Case("mlp_pp", arguments={"units": (8, 6)}, changes={"units": (8, 5), "dropout": 0.5}),
    Case("csn", arguments={"units": (8, 6)}, changes={"units": (8, 5), "dropout": 0.5}),
    Case(
        "conet",
        arguments={"units": (8, 6, 5)},
        changes={"units": (8, 6, 4), "cross_layers": 1, "lasso": 0.01, "dropout": 0.5},
        uneven=SLOTS,
    ),
    Case("mf", changes={"base": "gmf", "factorization": "bias-free"}, learns="item"),
    Case("cmf", changes={"factorization": "bias-free"}, learns="item"),
    Case(
        "emcdr",
        changes={"mapping": "mlp"},
        parts=lambda schema: {"pretrained": trained(schema)},
        learns=None,
    ),
    Case(
        "ptupcdr",
        changes={"meta_units": 7},
        parts=lambda schema: {"pretrained": trained(schema)},
        learns=None,
        uneven=BRIDGED,
    ),
    Case("cml", changes={"margin": 0.5, "readers": 3}, learns=None),
    Case(
        "sscdr",
        changes={"mapping": "linear", "unsupervised_weight": 1.0, "hops": 1},
        parts=lambda schema: {"pretrained": trained(schema, "cml")},
        learns=None,
        uneven=BRIDGED,
    ),
    Case("fm", changes={}),
    Case("deepfm", arguments={"units": (8, 6), "dropout": 0.0}, changes={"units": (8, 5), "dropout": 0.5}),
    Case(
        "wide_deep",
        arguments={"units": (8, 6), "buckets": 97},
        changes={"units": (8, 5), "buckets": 50, "dropout": 0.5},
        uneven=SLOTS,
    ),
    Case(
        "nfm",
        arguments={"units": (8,), "dropout": 0.0},
        changes={"units": (7,), "batch_norm": False, "dropout": 0.5},
        whole_batch="its normalisation goes by the statistics of the batch",
    ),
    Case(
        "dcn",
        arguments={"units": (8, 6)},
        changes={
            "cross": "dcn",
            "cross_layers": 1,
            "structure": "parallel",
            "units": (8, 5),
            "dropout": 0.5,
        },
        uneven=SLOTS,
    ),
    Case(
        "fibinet",
        arguments={"units": (8, 6), "dropout": 0.0},
        changes={"units": (8, 5), "bilinear": "each", "reduction": 2, "dropout": 0.5},
    ),
    Case(
        "xdeepfm",
        arguments={"units": (8, 6), "cin_units": (5, 4), "dropout": 0.0},
        changes={"units": (8, 5), "cin_units": (5, 3), "dropout": 0.5},
    ),
    Case("afm", arguments={"dropout": 0.0}, changes={"attention_units": 3, "dropout": 0.5}),
    Case("youtube_dnn", arguments={"units": (8, 6)}, changes={"units": (8, 5), "dropout": 0.5}, uneven=SLOTS),
)
