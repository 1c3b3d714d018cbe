"""A pipeline that goes on day after day: which model its run goes on with, and the vocabularies of that, extended.

Both are settled before the nodes run, because they stand in what the nodes are made of. They are the ones of `cdrzoo
train --from`; what is the pipeline's own is that TFX finds the model, and that Beam counts the ids, in the examples.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
from typing import Any

from cdrzoo import files
from cdrzoo.data import Encoder, growth
from cdrzoo.data.rows import executors, state
from cdrzoo.data.statistics import Statistics
from cdrzoo.errors import InputError
from cdrzoo.schema import Schema
from tfx_pipeline.code import code_hash
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.rows import ENCODER, SPLIT, raw


@dataclasses.dataclass(frozen=True)
class Examples:
    """Raw examples that a run starts from.

    Args:
        folder: of them, `DOMAIN_PART/*`.
        span: the number of a span, of a pattern such as `examples/{SPAN}`.
        record: what `split.json` says of them.
    """

    folder: str
    span: int | None = None
    record: dict[str, Any] = dataclasses.field(default_factory=dict)


def given(config: PipelineConfig) -> Examples:
    """The examples that a configuration names: a folder, or of a pattern such as `examples/{SPAN}` the newest one.

    Raises:
        InputError: no span has all splits.
    """
    path = config.path(config.examples)
    if not config.warm_start and "{" not in path:
        return Examples(path)
    from tfx_pipeline import _tfx

    try:
        folder, span, fingerprint = _tfx.newest_span(path, config.splits)
    except ValueError as error:
        raise InputError(
            f"`examples` must hold all of {', '.join(config.splits)}, of a pattern in its newest span: {path}. {error}"
        ) from None
    record = {"name": f"span {span}", "arguments": {}, "hash": _digest(fingerprint), "parts": {}, "data": {}}
    return Examples(folder, span if "{" in path else None, record)


def going_on(config: PipelineConfig, identity: Any, echo: Any = print) -> PipelineConfig:
    """The configuration, which goes on with the model that was blessed last, as TFX's own strategy finds it, if any.

    A run of the same rows and settings goes on with the same model each time: so one that was stopped, or is done
    already, finds again what it has done.

    Args:
        config: of the pipeline.
        identity: of the rows, where they are not what the configuration names.
        echo: is told what it goes on with.
    """
    if not config.warm_start:
        return config
    kept = pathlib.Path(config.path(config.root), "warm_starts.json")
    known = json.loads(kept.read_text()) if kept.exists() else {}
    key = _digest([config.run.identity(), identity])
    if key not in known:
        known[key] = latest_run(config)
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write(kept, json.dumps(known, indent=2) + "\n")
    folder = known[key]
    if folder is None:
        echo(f"{config.name}: no model to go on with is blessed yet; this one is trained from the start")
        return config
    from cdrzoo.training import descent, fitting

    echo(f"{config.name}: goes on with {folder}")
    try:
        run = descent.settled(config.run.with_changes({"warm_start_from": folder}))
        fitting.check_model(run)
    except InputError as error:
        raise InputError(
            f"{error} A pipeline says so by `warm_start`: without it, or with another `root`, it is trained from the "
            "start."
        ) from None
    return dataclasses.replace(config, run=run)


def latest_run(config: PipelineConfig) -> str | None:
    """The folder of the run that trained the model that was blessed last; `None`: there is none to go on with."""
    database = pathlib.Path(config.path(config.root), "metadata.sqlite")
    if not database.exists():
        return None
    from tfx_pipeline import _tfx

    folder = _tfx.latest_blessed_run(str(database))
    return folder if folder and (pathlib.Path(folder) / "config.yaml").exists() else None


def vocabularies(config: PipelineConfig, examples: Examples, echo: Any = print) -> str:
    """The folder of the encoder of a run, and of the record of its rows; empty for a pipeline without warm starts.

    Ids of the training rows are counted in Beam, a task a file. The encoder of the model before grows by them; that of
    a first run is learnt from them.
    """
    if not config.warm_start:
        return ""
    run, parts = config.run, [(name.rpartition("_")[0], name) for name in config.train_splits]
    found = [
        (domain, str(file))
        for domain, split in parts
        for file in sorted(pathlib.Path(examples.folder, split).glob("*"))
    ]
    key = {
        "schema": config.schema.to_dict(),
        "before": [run.identity().get("warm_start_from"), run.forget_after],
        "files": [[*task, *files.stamp(task[1])] for task in found],
        "record": examples.record,
        "code": code_hash("tfx_pipeline.rows", "cdrzoo.data"),
    }
    folder = pathlib.Path(config.path(config.root), "vocabularies", _digest(key))
    from cdrzoo.training import descent, folders

    if not folder.exists():
        made = folder.with_name(f".unfinished-{folder.name}")
        (made / "counts").mkdir(parents=True, exist_ok=True)
        tasks = [(*task, str(made / "counts" / f"{at:05d}.pkl")) for at, task in enumerate(found)]
        counted = {domain.name: Statistics() for domain in config.schema.domains}
        with executors.beam(config.beam) as do:
            for (domain, *_), statistics in zip(tasks, do(functools.partial(count, config.schema), tasks)):
                counted[domain].merge(statistics)
        if run.warm_start_from:
            known = folders.read_encoder(descent.root(run))
            encoder = growth.grown_by(known, counted, run.forget_after)
        else:
            encoder = Encoder(config.schema).learn(counted)
        encoder.save(made / ENCODER)
        record = {**examples.record, "descent": descent.line(run)}
        files.write(made / SPLIT, json.dumps(record, indent=2) + "\n")
        shutil.rmtree(made / "counts")
        made.rename(folder)
    if run.warm_start_from:
        echo(growth.describe(Encoder.load(folder / ENCODER).growth))
    return str(folder)


def count(schema: Schema, task: tuple[str, str, str]) -> Statistics:
    """What the raw examples of a file teach an encoder; it is written to a file, and not counted again.

    Args:
        schema: of the examples.
        task: the domain, the file and where the statistics are written.
    """
    name, path, to = task
    if not (kept := pathlib.Path(to)).exists():
        learning, found = Encoder(schema), Statistics()
        for columns in raw(schema, schema.domain(name), path):
            found.merge(learning.statistics(name, columns))
        state.save(kept, found)
    return state.load(kept)


def _digest(key: Any) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
