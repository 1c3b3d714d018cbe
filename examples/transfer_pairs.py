"""Makes the transfer reports that docs/results shows: what a source gave, on real pairs and on built-in logs.

    python examples/transfer_pairs.py NAME --data DATA --out OUT [--keep FOLDER]

NAME is one of `ciao_10_05`, `douban_music_book` (all models, five seeds), `ciao_01_02`, `amazon_1_2` (the DNN of
all domains, three seeds) and `planted_0` (two seeds). What is trained already is not trained again. `transfer.json` of
every report is kept in `FOLDER/NAME/MODEL`; `python -m docs.render` makes the pages' tables from those in docs/results.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from cdrzoo import train
from cdrzoo.evaluation.transfer import transfer
from cdrzoo.experiments.catalogue import Part, find
from cdrzoo.experiments.comparison import Comparison
from cdrzoo.experiments.reproduce import configuration
from cdrzoo.training.config import RunConfig

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "docs" / "results"
MODELS = (
    "DNN, all domains; Shared-Bottom; MMoE; STAR; Finetune; CTNet; MiNet; MV-DNN; CoNet; CCTL; CCTL, source rows off; "
    "DADIN; DADIN, marked; MKT; DACDR; DACDR, own history; DACDR, own history, both targets"
).split("; ")
ADAGRAD = {"optimizer": "adagrad", "learning_rate": 0.1}
FACTORS = {
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "batch_size": 64,
    "weight_decay": 0.003,
    "epoch": "longest",
    "steps_per_execution": 16,
}


def first(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the first stage."""
    return {f"first.{name}": value for name, value in settings.items()}


DOUBAN: dict[str, dict[str, Any]] = {
    "DNN, target alone": {"model": "dnn", "domains": "target", **ADAGRAD},
    "DNN, all domains": {"model": "dnn", "domains": "all"},
    "Shared-Bottom": {"model": "shared_bottom"},
    "MMoE": {"model": "mmoe"},
    "STAR": {"model": "star", **ADAGRAD},
    "Finetune": {"model": "finetuned_dnn"},
    "MiNet": {"model": "minet"},
    "MV-DNN": {"model": "mv_dnn"},
    "CCTL": {"model": "cctl", **ADAGRAD},
    "MKT": {"model": "mkt"},
    "CMF": {"model": "cmf", **FACTORS},
    "EMCDR, linear": {"model": "emcdr", **first(FACTORS), **ADAGRAD},
    "PTUPCDR, DNN": {"model": "ptupcdr", "first.base": "dnn", **first(FACTORS), **ADAGRAD},
    "DACDR": {"model": "dacdr", "units": [64], "weight_decay": 0, "batch_size": 64, **ADAGRAD},
}
"""Two trials each, as the model stands and with Adagrad, by validation rows; of the last four as under cold start."""

TWIN = "DNN, target alone"


def compared(name: str) -> dict[str, dict[str, Any]]:
    """The settings that a comparison's search found."""
    found = {line["label"]: line["changes"] for line in Comparison.load(RESULTS / name).results}
    return {label: {**found[label], "seed": 0} for label in (TWIN, *MODELS)}


def pairs() -> dict[str, tuple[Part, int, dict[str, dict[str, Any]]]]:
    """Of each name: its rows, the seeds, and the settings of every model; those of the twin where it has its own."""
    alone = {"DNN, all domains": {"model": "dnn", "domains": "all"}}
    fast = {"DNN, all domains": {**alone["DNN, all domains"], **ADAGRAD}}
    douban = Part(
        {},
        dataset="douban",
        folder="douban_book_music",
        pair={"source": "music", "target": "book"},
        settings={"epochs": 15, "batch_size": 256},
    )
    return {
        "ciao_10_05": (find("ctr_ciao_10_05").parts[""], 5, compared("ctr_ciao_10_05")),
        "douban_music_book": (douban, 5, DOUBAN),
        "ciao_01_02": (find("ctr_ciao_01_02").parts[""], 3, fast),
        "amazon_1_2": (find("ctr_amazon_1_2").parts[""], 3, fast),
        "planted_0": (find("planted_transfer").parts["0"], 2, alone),
    }


def report(config: RunConfig, out: pathlib.Path, seeds: int, twin: pathlib.Path | None) -> pathlib.Path:
    """The folder of the report of one model; the trainings of a twin are shared by all that have it."""
    run = trained(config, out / "run")
    runs = out / "report" / "runs"
    shared = twin.parent / "runs" if twin else runs
    if not runs.exists():
        runs.mkdir(parents=True)
        for each in shared.glob("twin-seed-*"):
            shutil.copytree(each, runs / each.name)
    transfer(run, out / "report", twin=twin, seeds=seeds)
    if twin and not shared.exists():
        for each in runs.glob("twin-seed-*"):
            shutil.copytree(each, shared / each.name)
    return out / "report"


def trained(config: RunConfig, folder: pathlib.Path) -> pathlib.Path:
    """The folder of a finished run."""
    if not (folder / "metrics.json").exists():
        train(None if folder.exists() else config, folder, resume=folder.exists())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=pairs())
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("DATA"))
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--keep", type=pathlib.Path, default=RESULTS / "transfer_pairs")
    arguments = parser.parse_args()
    part, seeds, models = pairs()[arguments.name]
    out = arguments.out / arguments.name
    config = configuration(part, arguments.data, arguments.out / "rows")
    twin = trained(config.with_changes(models[TWIN]), out / "twin" / "run") if TWIN in models else None
    for label, settings in models.items():
        if label == TWIN:
            continue
        folder = report(config.with_changes(settings), out / label, seeds, twin)
        kept = arguments.keep / arguments.name / label
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "transfer.json", kept)
        print(arguments.name, label, flush=True)


if __name__ == "__main__":
    main()
