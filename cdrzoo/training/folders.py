"""The folder of a run: what it holds, who may write to it, and what is read back from it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import shutil
import zipfile
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import pandas as pd

from cdrzoo import data, files, models
from cdrzoo.data.preparation import splits
from cdrzoo.errors import InputError
from cdrzoo.models.base import CrossDomainModel
from cdrzoo.schema import Schema
from cdrzoo.training.config import RunConfig
from cdrzoo.training.finished import check_finished
from cdrzoo.training.measuring import Fitted
from cdrzoo.training.profiles import PROFILE

BEST = "best.npz"
"""The weights of the best epoch so far, while a run trains."""
FORMER_BEST = "best.weights.h5"
"""The same in a run that an earlier version began."""
MEND = "Bring the file back from a copy, or train the run anew, with `--overwrite`."
"""What to do about a damaged file of a run."""
ENTRIES = {
    "metrics.json": ("model", "seed", "validation", "test", "best_epoch", "epochs", "seconds", "versions"),
    "split.json": ("name", "hash", "parts", "data"),
}
"""What each JSON file of a run must say."""

RUN = (
    "config.yaml",
    "schema.yaml",
    "encoder",
    "split.json",
    PROFILE,
    "first",
    "state",
    "logs",
    BEST,
    FORMER_BEST,
    "model.keras",
    "history.csv",
    "examples.parquet",
    "metrics.json",
    "report.html",
    *(
        files.unfinished(pathlib.Path(name)).name
        for name in ("config.yaml", "schema.yaml", "split.json", "metrics.json", BEST)
    ),
)
"""What a run's folder holds, or holds when it was killed at the wrong moment."""
MARKS = (files.LOCK, "encoder/encoder.json", "split.json")
"""What only cdrzoo writes: one of them tells the folder of a run from somebody else's."""


def read_model(path: str | pathlib.Path) -> Any:
    """The model of a `.keras` file that a run wrote, of this version or an earlier one."""
    with files.reading(path, MEND, whole=True):
        _described(path)
        model = keras.models.load_model(path)
        if not isinstance(model, CrossDomainModel):
            raise ValueError(f"it holds a {type(model).__name__}, no model of cdrzoo")
    return model


def read_untrained(path: str | pathlib.Path, schema: Schema) -> Any:
    """The model of such a file as it was made, for another schema: with every argument that it had, and no weights."""

    def with_schema(config: Mapping[str, Any]) -> dict[str, Any]:
        parts = {
            name: {**part, "config": with_schema(part["config"])}
            for name, part in config.items()
            if isinstance(part, Mapping) and "schema" in part.get("config", ())
        }
        return {**config, **parts, "schema": schema.to_dict()}

    with files.reading(path, MEND, whole=True):
        told = _described(path)
        made = {name: told[name] for name in ("module", "class_name", "registered_name")}
        return keras.saving.deserialize_keras_object({**made, "config": with_schema(told["config"])})


def _described(path: str | pathlib.Path) -> dict[str, Any]:
    """What a `.keras` file says of its model, whose classes Keras knows from here on."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read("config.json").decode()
        if archive.testzip():
            raise ValueError("its checksums do not agree")
    named = set(re.findall(r'"cdrzoo>(\w+)"', text))
    for card in models.CARDS:
        if card.cls in named:
            card.load()  # Keras knows a class once it is imported
    return json.loads(text)


def read_json(folder: pathlib.Path, name: str, without: Collection[str] = ()) -> dict[str, Any]:
    """`metrics.json` or `split.json` of a run."""
    entries = [entry for entry in ENTRIES[name] if entry not in without]
    found = files.read_json(folder / name, MEND, entries)
    for entry in {"validation", "test", "parts", "data"} & set(entries):
        if not isinstance(found[entry], dict):
            raise InputError(f"{folder / name} is damaged ({entry!r} is no mapping). {MEND}")
    for entry in {"validation", "test"} & set(entries):
        if not all(isinstance(value, (int, float)) for value in found[entry].values()):
            raise InputError(f"{folder / name} is damaged ({entry!r} holds what is no number). {MEND}")
    return found


def read_config(folder: pathlib.Path) -> RunConfig:
    """The configuration that a run was made from, be a default another one then."""
    with files.reading(folder / "config.yaml", MEND, whole=True):
        config = RunConfig.load(folder / "config.yaml")
    return dataclasses.replace(config, arguments={**models.card(config.model).before, **config.arguments})


def read_encoder(folder: pathlib.Path) -> data.Encoder:
    """The encoder of a run."""
    with files.reading(folder / "encoder", MEND, whole=True):
        return data.Encoder.load(folder / "encoder")


def read_history(folder: pathlib.Path) -> pd.DataFrame:
    """A line an epoch of a run, or of one of its stages."""
    with files.reading(folder / "history.csv", MEND):
        history = pd.read_csv(folder / "history.csv")
        if "epoch" not in history or not all(map(pd.api.types.is_numeric_dtype, history.dtypes)):
            raise ValueError("a column `epoch` and numbers are wanted")
    return history


def claim(folder: pathlib.Path, config: RunConfig, resume: bool, overwrite: bool) -> None:
    """Makes sure that training into `folder` destroys nothing but, with `overwrite`, a run.

    Raises:
        InputError: it holds something, and neither `resume` nor `overwrite` says what to do about it; or to overwrite
            it would take more than a run, or what the new run is made from.
    """
    for other, what in ((config.finetune, "is fine-tuned"), (config.warm_start_from, "goes on")):
        if not other:
            continue
        old, new = files.home(other, config.folder).resolve(), folder.resolve()
        if old == new or old in new.parents or new in old.parents:
            raise InputError(
                f"{folder} and the run that {what}, {old}, lie in one another. Choose another folder."
            )
    if resume and overwrite:
        raise InputError("`--resume` continues a run and `--overwrite` discards it: give one of the two.")
    finished = (folder / "metrics.json").exists()
    begun = all((folder / name).exists() for name in ("config.yaml", "split.json", "encoder/encoder.json"))
    ours = any((folder / name).exists() for name in MARKS)
    if resume:
        if finished:
            raise InputError(
                f"The run {folder} is finished; there is nothing to resume. Its metrics: {folder}/metrics.json."
            )
        check_begun(folder)
        return
    if not folder.exists() or not any(path.name != files.LOCK for path in folder.iterdir()):
        return
    if not ours:
        raise InputError(f"{folder} holds files that are no run of cdrzoo. Choose a new folder.")
    if not overwrite:
        state = (
            "an interrupted run: continue it with `--resume`" if begun else "a run that stopped as it began"
        )
        state = "a finished run" if finished else state
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


def check_begun(folder: pathlib.Path) -> None:
    """Raises an `InputError` unless a training began in a folder, so that it can be resumed."""
    if all((folder / name).exists() for name in ("config.yaml", "split.json", "encoder/encoder.json")):
        return
    if any((folder / name).exists() for name in MARKS):
        raise InputError(
            f"The run in {folder} stopped before its training began. Start it anew: give its configuration and "
            "`--overwrite`."
        )
    raise InputError(f"There is no run to resume in {folder}. Leave `--resume` out to start one.")


def discard(folder: pathlib.Path) -> None:
    """Removes what a run wrote to its folder."""
    for path in (folder / name for name in RUN):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def keep(fitted: Fitted, result: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes a trained model, its history and what it reports, in place of the state of its training."""
    fitted.model.save(folder / "model.keras")
    history = pd.DataFrame(fitted.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    history.to_csv(folder / "history.csv", index=False)
    files.write(folder / "metrics.json", json.dumps(result, indent=2) + "\n")  # it says "finished"
    shutil.rmtree(folder / "state", ignore_errors=True)
    for name in (BEST, FORMER_BEST):
        (folder / name).unlink(missing_ok=True)


def finetuned(config: RunConfig) -> pathlib.Path:
    """The folder of the finished run whose model a configuration fine-tunes."""
    folder = files.home(config.finetune or "", config.folder)
    check_finished(folder)
    trained = read_config(folder).model
    if trained != config.model:
        raise InputError(
            f"`finetune` names a run of {trained}, the configuration's model is {config.model}. Set `model: {trained}`."
        )
    return folder


def begin(
    folder: pathlib.Path,
    config: RunConfig,
    described: str,
    prepared: data.Prepared,
    descent: Sequence[Mapping[str, str]] = (),
) -> None:
    """Writes what a run is made from; its configuration, as text, comes last: with it the run can be resumed.

    `descent`: the runs that it goes on with, the oldest first.
    """
    prepared.schema.save(folder / "schema.yaml")
    prepared.encoder.save(folder / "encoder")
    record = trained_on(config, prepared) | ({"descent": list(descent)} if descent else {})
    files.write(folder / "split.json", json.dumps(record, indent=2) + "\n")
    files.write(folder / "config.yaml", described)


def trained_on(config: RunConfig, prepared: data.Prepared) -> dict[str, Any]:
    """What `split.json` says: the split, and name and content hash of every file."""
    found = json.loads(json.dumps(config.identity()["data"]))
    return {**prepared.split.to_dict(), "data": found if isinstance(found, dict) else {"rows": found}}


def check_data(config: RunConfig, prepared: data.Prepared, folder: pathlib.Path, instead: str = "") -> None:
    """Raises an `InputError` if the rows of a run are not what they were when it was begun."""
    before, now = read_json(folder, "split.json"), trained_on(config, prepared)
    changed = [domain for domain, files in now["data"].items() if files != before["data"].get(domain)]
    if changed or not splits.same(before, now):
        what = f" of {', '.join(changed)}" if changed else ""
        raise InputError(
            f"The data{what} has changed since the run in {folder} was begun: its split was {before['hash'][:12]}, "
            f"now it is {now['hash'][:12]}. Bring the old files back{instead}."
        )
