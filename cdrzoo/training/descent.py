"""Runs that go on with one another: which run comes before, whether it can, and the line that they stand in."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from cdrzoo import files, models
from cdrzoo.errors import InputError, shown
from cdrzoo.training.config import RunConfig
from cdrzoo.training.contents import contents
from cdrzoo.training.finished import check_finished
from cdrzoo.training.folders import read_config, read_json


def former(config: RunConfig) -> pathlib.Path:
    """The folder of the run, or of its first stage, that a configuration goes on with."""
    folder = files.home(str(config.warm_start_from), config.folder)
    if not any((each / "config.yaml").exists() for each in (folder, folder.parent)):
        raise InputError(
            f"`warm_start_from` must be the folder of a finished run: {folder} holds no finished run."
        )
    return folder


def root(config: RunConfig) -> pathlib.Path:
    """The folder of that run, be the configuration of the first stage or not."""
    folder = former(config)
    return folder if (folder / "config.yaml").exists() else folder.parent


def settled(config: RunConfig) -> RunConfig:
    """The configuration, if it goes on with a run with `since`: training rows are those after the former run's.

    Raises:
        InputError: there is no finished run, or it is of another model or of other rows.
    """
    if not config.warm_start_from:
        return config
    folder = former(config)
    check_finished(folder)
    _check_same(folder, read_config(folder), config)
    since = trained_until(folder)
    since |= config.preparation.get("since") or {}
    return dataclasses.replace(
        config, preparation={**config.preparation, **({"since": since} if since else {})}
    )


def trained_until(folder: pathlib.Path) -> dict[str, float]:
    """The time of the last row that a run, or one that it goes on with, was trained on, by domain."""
    since = dict(read_config(folder).preparation.get("since") or {})
    for domain, parts in read_json(folder, "split.json")["parts"].items():
        if parts["train"]["last"] is not None:
            since[domain] = parts["train"]["last"]
    return since


def _check_same(folder: pathlib.Path, before: RunConfig, config: RunConfig) -> None:
    if before.model != config.model:
        raise InputError(
            f"The run {folder} is of the model {before.model!r}, the configuration is of {config.model!r}. A warm "
            f"start goes on with the same model: set `model: {before.model}`, or leave `warm_start_from` out."
        )
    if before.finetune:
        raise InputError(
            f"The model of {folder} was fine-tuned to a new domain, and all but that domain's part is frozen, the "
            "tables of others too. It cannot go on by itself: go on with the run that it was fine-tuned from, "
            f"{before.finetune}, and fine-tune that one anew."
        )
    if before.domains != config.domains:
        raise InputError(
            f"The run {folder} saw {_seen(before)}, the configuration says {_seen(config)}. Set `domains: "
            f"{before.domains}`."
        )
    check_schema(folder, before, config)


def check_schema(folder: pathlib.Path, before: RunConfig, config: RunConfig) -> None:
    """Raises an `InputError` unless a configuration has the schema of the run in a folder."""
    for path, there, here in _differences(_columns(before), _columns(config)):
        raise InputError(
            f"The schema is not that of the run {folder}: {path} is {shown(there)} there and {shown(here)} here. Its "
            "model reads its own columns and tables: give its schema, or train anew."
        )


def _seen(config: RunConfig) -> str:
    return "the target alone" if config.domains == "target" else "all domains"


def _columns(config: RunConfig) -> dict[str, Any]:
    """The schema in full, without what was counted of its rows."""
    schema = config.schema.with_width(config.width) if config.width else config.schema
    plain = json.loads(json.dumps(dataclasses.asdict(schema)))
    for domain in plain["domains"]:
        for counted in (domain, *domain["labels"]):
            del counted["mean"]
    for table in plain["tables"]:
        del table["rows"], table["first_rows"]
    return plain


def _differences(one: Any, two: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two plain values differ: the path, and what stands there in each."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in dict.fromkeys([*one, *two]):
            yield from _differences(one.get(key), two.get(key), f"{path}.{key}".lstrip("."))
    elif all(isinstance(each, list) and each and isinstance(each[0], Mapping) for each in (one, two)):
        there, here = ({entry["name"]: entry for entry in each} for each in (one, two))
        yield from _differences(there, here, path)
    elif one != two:
        yield path, one, two


def check_shapes(config: RunConfig, one: Any, two: Any) -> None:
    """Raises an `InputError` unless the former model and the new one, both of the smallest tables, have one form."""
    if [tuple(v.shape) for v in one.weights] == [tuple(v.shape) for v in two.weights]:
        return
    found = [
        f"`{path}` is {shown(there)} there and {shown(here)} here"
        for path, there, here in _differences(_arguments(one), _arguments(two))
    ]
    if found:
        raise InputError(
            f"The model of the run {former(config)} has other weights: {'; '.join(found)}. A warm start goes on with "
            "the weights as they are: give the same, or train anew without `warm_start_from`."
        )
    raise InputError(
        f"The model of the run {former(config)} has other weights than {models.card(config.model).cls} has now. Train "
        "anew, without `warm_start_from`."
    )


def _arguments(model: Any) -> dict[str, Any]:
    """What a model was made with, and its first stage, if it has one."""
    config = model.get_config()
    first = (config.pop("pretrained", None) or {}).get("config", {})
    names = {"name", "trainable", "dtype", "schema"}
    plain = [{name: v for name, v in each.items() if name not in names} for each in (config, first)]
    return dict(zip(("arguments", "first"), plain))


def line(config: RunConfig) -> list[dict[str, str]]:
    """The runs that a run descends from, the oldest first: name, hashes of its model and of its split."""
    if not config.warm_start_from:
        return []
    folder = former(config).resolve()
    record = read_json(folder, "split.json")
    own = {"run": folder.name, "model": contents(folder)[0][1], "split": record["hash"]}
    return [*record.get("descent", []), own]


def check_line(config: RunConfig, folder: pathlib.Path) -> None:
    """Raises an `InputError` if the run that one in `folder` goes on with is not what it was when this was begun."""
    if read_json(folder, "split.json").get("descent") != line(config):
        raise InputError(
            f"The run {former(config)}, which {folder} goes on with, was trained anew since. Start anew: give the "
            "configuration and `--overwrite`."
        )
