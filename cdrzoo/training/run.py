"""A run: a configuration in, a folder with a trained model and everything that is needed to trust it out."""

from __future__ import annotations

import json
import pathlib
import tempfile
from typing import Any

import keras

from cdrzoo import data, files, models
from cdrzoo.documents import dump_yaml
from cdrzoo.errors import InputError
from cdrzoo.export import save
from cdrzoo.training.config import RunConfig
from cdrzoo.training.fitting import build, check_model, check_rows, fit, prepare, seen
from cdrzoo.training.folders import check_data, claim, discard, finetuned, keep, load, trained_on
from cdrzoo.training.measuring import summary

EXAMPLE_ROWS = 64
"""Raw test rows that a run keeps for its exports."""


def train(
    config: RunConfig,
    folder: str | pathlib.Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int | str = 0,
) -> dict[str, Any]:
    """Trains and evaluates a model; everything about it goes to a folder.

    The folder holds `config.yaml`, `schema.yaml`, `encoder/` (the vocabularies as text), `split.json`, `model.keras`,
    `metrics.json`, `history.csv` and `logs/` (TensorBoard). The first stage of a model of two has the last four in
    `first/`, and is not trained again once it is done. A stopped run is continued with `resume=True`, with the
    configuration that stands in the folder, and ends as if it had not been stopped.

    Returns:
        What `metrics.json` holds.

    Raises:
        InputError: before any long work, when the input is at fault or the folder is taken.
    """
    folder = pathlib.Path(folder)
    check_model(config)
    if config.finetune:
        old, new = finetuned(config).resolve(), folder.resolve()
        if old == new or old in new.parents or new in old.parents:
            raise InputError(
                f"{folder} and the run that is fine-tuned, {old}, lie in one another. Choose another folder."
            )
    described = dump_yaml(config.to_dict())
    claim(folder, config, resume, overwrite)
    prepared = seen(config, prepare(config))
    check_rows(config, prepared)
    if resume:
        check_data(config, prepared, folder, ", or start anew with `--overwrite`")
    else:
        build(config, prepared)  # an argument that does not fit fails before anything is written or discarded
    with files.lock(folder):
        if overwrite:
            discard(folder)
        if not resume:
            prepared.schema.save(folder / "schema.yaml")
            prepared.encoder.save(folder / "encoder")
            files.write(folder / "split.json", json.dumps(trained_on(config, prepared), indent=2) + "\n")
            files.write(folder / "config.yaml", described)
        fitted = fit(config, prepared, folder, verbose)
        result = summary(config, prepared, fitted)
        # A few raw rows go along, so that an export can be warmed up and proven without the data.
        prepared.frame(prepared.schema.target, "test", EXAMPLE_ROWS).to_parquet(folder / "examples.parquet")
        keep(fitted, result, folder)
    return result


def reload(folder: str | pathlib.Path) -> tuple[RunConfig, Any, data.Prepared]:
    """A finished run: its configuration, its model, and its rows as they were.

    Raises:
        InputError: the run is not finished, or its data has changed since.
    """
    config, model, encoder = load(folder)
    prepared = prepare(config, encoder)
    check_data(config, prepared, pathlib.Path(folder))
    return config, model, prepared


def export_run(
    folder: str | pathlib.Path, to: str | pathlib.Path, version: int | None = None
) -> pathlib.Path:
    """Exports the model of a finished run, with its model card, as a version in the folder `to`."""
    import pandas as pd

    folder = pathlib.Path(folder)
    config, model, encoder = load(folder)
    result = json.loads((folder / "metrics.json").read_text())
    described = config.to_dict()
    card = {
        "model": models.card(config.model).title,
        "paper": models.card(config.model).paper,
        "data": described["data"],
        "split": json.loads((folder / "split.json").read_text()),
        "metrics": {part: result[part] for part in ("validation", "test")},
        "training": {
            name: result[name]
            for name in ("arguments", "width", "training", "first", "seed", "best_epoch", "selection")
            if name in result
        },
        "trained_with": result["versions"],
    }
    examples = pd.read_parquet(folder / "examples.parquet")
    return save(model, encoder, to, version=version, examples=examples, card=card)


def fit_once(
    config: RunConfig, prepared: data.Prepared, first_folder: pathlib.Path | None = None
) -> dict[str, Any]:
    """Trains and evaluates; what a comparison does many times. Nothing stays but a first stage in `first_folder`."""
    with tempfile.TemporaryDirectory(prefix="cdrzoo_") as folder:
        prepared = seen(config, prepared)
        fitted = fit(config, prepared, pathlib.Path(folder), first_folder=first_folder, histograms=False)
        result = summary(config, prepared, fitted)
    keras.backend.clear_session(free_memory=True)
    return result
