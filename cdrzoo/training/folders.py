"""The folder of a run: what it holds, who may write to it, and what is read back from it."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import zipfile
from typing import Any

import keras

from cdrzoo import data, files, models
from cdrzoo.errors import InputError
from cdrzoo.training.config import RunConfig
from cdrzoo.training.measuring import Fitted

BEST = "best.weights.h5"
"""The weights of the best epoch so far, while a run trains."""

RUN = (
    "config.yaml",
    "schema.yaml",
    "encoder",
    "split.json",
    "first",
    "state",
    "logs",
    BEST,
    "model.keras",
    "history.csv",
    "examples.parquet",
    "metrics.json",
    "report.html",
    *(files.unfinished(pathlib.Path(name)).name for name in ("config.yaml", "split.json", "metrics.json")),
)
"""What a run's folder holds, or holds when it was killed at the wrong moment."""


def read_model(path: str | pathlib.Path) -> Any:
    """The model of a `.keras` file that a run wrote, of this version or an earlier one."""
    with zipfile.ZipFile(path) as archive:
        named = set(re.findall(r'"cdrzoo>(\w+)"', archive.read("config.json").decode()))
    for card in models.CARDS:
        if card.cls in named:
            card.load()  # Keras knows a class once it is imported
    return keras.models.load_model(path)


def claim(folder: pathlib.Path, config: RunConfig, resume: bool, overwrite: bool) -> None:
    """Makes sure that training into `folder` destroys nothing but, with `overwrite`, a run.

    Raises:
        InputError: it holds something, and neither `resume` nor `overwrite` says what to do about it; or to overwrite
            it would take more than a run, or what the new run is made from.
    """
    if config.finetune:
        old, new = finetuned(config).resolve(), folder.resolve()
        if old == new or old in new.parents or new in old.parents:
            raise InputError(
                f"{folder} and the run that is fine-tuned, {old}, lie in one another. Choose another folder."
            )
    if resume and overwrite:
        raise InputError("`--resume` continues a run and `--overwrite` discards it: give one of the two.")
    finished = (folder / "metrics.json").exists()
    begun = all((folder / name).exists() for name in ("config.yaml", "split.json", "encoder/encoder.json"))
    if resume:
        if finished:
            raise InputError(
                f"The run {folder} is finished; there is nothing to resume. Its metrics: {folder}/metrics.json."
            )
        if not begun:
            raise InputError(f"There is no run to resume in {folder}. Leave `--resume` out to start one.")
        return
    if not folder.exists() or not any(path.name != files.LOCK for path in folder.iterdir()):
        return
    if not begun:
        raise InputError(f"{folder} holds files that are no run of cdrzoo. Choose a new folder.")
    if not overwrite:
        state = "a finished run" if finished else "an interrupted run: continue it with `--resume`"
        raise InputError(f"{folder} holds {state}. Choose a new folder, or discard it with `--overwrite`.")
    others = sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in (*RUN, files.LOCK) or (path.name == "report.html" and not files.is_page(path))
    )
    if others:
        raise InputError(
            f"{folder} holds more than a run: {', '.join(others)}. Move that away, or choose a new folder."
        )
    for path in config.paths():
        if folder.resolve() in (path, *path.parents):
            raise InputError(
                f"The new run reads {path}, which lies in the run that `--overwrite` would discard. Copy it to "
                "another place and name that one, or choose a new folder."
            )


def discard(folder: pathlib.Path) -> None:
    """Removes what a run wrote to its folder."""
    for path in (folder / name for name in RUN):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def keep(fitted: Fitted, result: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes a trained model, its history and what it reports, in place of the state of its training."""
    import pandas as pd

    fitted.model.save(folder / "model.keras")
    history = pd.DataFrame(fitted.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    history.to_csv(folder / "history.csv", index=False)
    shutil.rmtree(folder / "state", ignore_errors=True)
    (folder / BEST).unlink(missing_ok=True)
    # Last: its presence says "finished".
    files.write(folder / "metrics.json", json.dumps(result, indent=2) + "\n")


def finetuned(config: RunConfig) -> pathlib.Path:
    """The folder of the finished run whose model a configuration fine-tunes."""
    folder = pathlib.Path(config.folder, config.finetune or "")
    check_finished(folder)
    trained = RunConfig.load(folder / "config.yaml").model
    if trained != config.model:
        raise InputError(
            f"`finetune` names a run of {trained}, the configuration's model is {config.model}. Set `model: {trained}`."
        )
    return folder


def check_finished(folder: pathlib.Path) -> None:
    """Raises an `InputError` if a folder does not hold a finished run."""
    if not (folder / "metrics.json").exists():
        begun = (folder / "config.yaml").exists()
        hint = (
            "It was stopped: continue it with `cdrzoo train --resume`."
            if begun
            else "Give the folder of `cdrzoo train`."
        )
        raise InputError(f"{folder} holds no finished run. {hint}")


def begin(folder: pathlib.Path, config: RunConfig, described: str, prepared: data.Prepared) -> None:
    """Writes what a run is made from; its configuration, as text, comes last: with it the run can be resumed."""
    prepared.schema.save(folder / "schema.yaml")
    prepared.encoder.save(folder / "encoder")
    files.write(folder / "split.json", json.dumps(trained_on(config, prepared), indent=2) + "\n")
    files.write(folder / "config.yaml", described)


def trained_on(config: RunConfig, prepared: data.Prepared) -> dict[str, Any]:
    """What `split.json` says: the split, and name and content hash of every file."""
    return {**prepared.split.to_dict(), "data": json.loads(json.dumps(config.identity()["data"]))}


def check_data(config: RunConfig, prepared: data.Prepared, folder: pathlib.Path, instead: str = "") -> None:
    """Raises an `InputError` if the rows of a run are not what they were when it was begun."""
    before, now = json.loads((folder / "split.json").read_text()), trained_on(config, prepared)
    changed = [domain for domain, files in now["data"].items() if files != before["data"].get(domain)]
    if changed or before["hash"] != now["hash"]:
        what = f" of {', '.join(changed)}" if changed else ""
        raise InputError(
            f"The data{what} has changed since the run in {folder} was begun: its split was {before['hash'][:12]}, "
            f"now it is {now['hash'][:12]}. Bring the old files back{instead}."
        )
