"""The transfer report: what the sources were worth, against the same training on the target alone."""

from __future__ import annotations

import dataclasses
import html
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo import files, models
from cdrzoo.data import quality
from cdrzoo.data.preparation import splits
from cdrzoo.errors import COUNTS, InputError, check_whole
from cdrzoo.evaluation.groups import rows_of
from cdrzoo.evaluation.lift import calibration, measure
from cdrzoo.evaluation.statistics import RESAMPLES
from cdrzoo.evaluation.twin import twin_of
from cdrzoo.schema import Schema
from cdrzoo.training.config import RunConfig

SEEDS = 3
"""Trainings of each of the two models unless told otherwise."""

WRITTEN = {"runs", "scores.parquet", "transfer.json", "report.html"}
"""What the folder of a report holds."""
ENTRIES = (
    "metric",
    "model",
    "twin",
    "runs",
    "sources",
    "target",
    "lift",
    "groups",
    "verdict",
    "task",
    "seeds",
)
"""What `transfer.json` must say."""


@dataclasses.dataclass(frozen=True, repr=False)
class Transfer:
    """What the sources were worth to a run: a transfer report. `print` it for the verdict in words.

    Args:
        folder: where it stands.
        result: what `transfer.json` holds.
    """

    folder: pathlib.Path
    result: dict[str, Any]

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> Transfer:
        """A report that was made before."""
        folder = pathlib.Path(folder)
        if not (folder / "transfer.json").exists():
            raise InputError(f"{folder} holds no transfer report. Give the folder of `cdrzoo transfer`.")
        mend = "Start `cdrzoo transfer` again with the same arguments; what is trained is not trained again."
        found = cls(folder, files.read_json(folder / "transfer.json", mend, ENTRIES))
        with files.reading(folder / "transfer.json", mend, whole=True):  # what it says is what it should be
            str(found), found.lift, found.groups, found._repr_html_()
        return found

    @property
    def verdict(self) -> str:
        """`helps`, `no difference` or `harms`."""
        return self.result["verdict"]

    @property
    def lift(self) -> pd.DataFrame:
        """A row a metric: the model's mean over seeds (`first`), the twin's (`second`), and see `Difference`."""
        return pd.DataFrame.from_dict(self.result["lift"], orient="index")

    @property
    def groups(self) -> pd.DataFrame:
        """A row a group: `by`, `group`, `rows`, `users`, the lift of the metric of the verdict, and its `p_holm`."""
        flat = [{**group, **group["lift"][self.result["metric"]]} for group in self.result["groups"]]
        return pd.DataFrame(flat).drop(columns="lift", errors="ignore")

    @property
    def rows(self) -> pd.DataFrame:
        """A test row a line: label, weight, what it is grouped by, and the score of every training."""
        with files.reading(self.folder / "scores.parquet", "Start `cdrzoo transfer` again."):
            return pd.read_parquet(self.folder / "scores.parquet")

    def __str__(self) -> str:
        groups = (
            f"Groups: {self.result['lower']} of {len(self.result['groups'])} are worse off, "
            f"{self.result['harmed']} significantly (after Holm's correction)."
        )
        return "\n".join([sentence(self.result), scope(self.result), groups])

    def __repr__(self) -> str:
        return f"Transfer({str(self.folder)!r}: {self.verdict})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(sentence(self.result))}</p>{self.lift.to_html(float_format='{:.4f}'.format)}"


def transfer(
    folder: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    twin: str | pathlib.Path | None = None,
    seeds: int = SEEDS,
    by: Sequence[str] = (),
    strict: bool = False,
    verbose: int | str = 0,
) -> Transfer:
    """Measures what the sources gave a finished cross-domain run.

    What is missing is trained: the twin with the run's seed, and both models with the seeds that follow it. Everything
    goes to `out`: the trained runs in `runs/`, `scores.parquet` (the test rows with every score) and `transfer.json`.
    A stopped report is continued when it is started again, and nothing that is trained is trained again.

    Args:
        folder: a finished run that saw a source.
        out: folder of the report; new, empty, or that of a report of the same run.
        twin: a finished run of the target alone to compare with; default: the one `twin_of` names, trained.
        seeds: trainings of each model. With 1 the interval says nothing of the chance of training.
        by: columns of the target's rows to group by, beside the built-in groups and the run's own `slices`.
        strict: whether a warning about the rows is an error (see `cdrzoo.data.quality.warnings_of`).
        verbose: of the trainings.

    Raises:
        InputError: the run has no source, the twin has one or was tested on other rows, a column is unknown, or `out`
            holds something else.
    """
    from cdrzoo.training import fitting, folders, measuring, run

    folder, out = pathlib.Path(folder), pathlib.Path(out)
    twin = None if twin is None else pathlib.Path(twin)
    check_whole("`seeds`", seeds, *COUNTS["seeds"])
    folders.check_finished(folder)
    config = folders.read_config(folder)
    other, why = twin_of(config) if twin is None else (_given(twin, folder, config), "as given")
    _check_out(out)
    done = run.load_run(folder, by)
    by = done.config.slices
    trained, prepared = done.model, done.rows
    quality.heed(prepared, strict)
    if twin is None and config.training.epoch == "longest":  # without a source that is the target
        steps = int(fitting.training_rows(config, prepared, trained).cardinality())
        other, why = other.with_changes({"epoch": steps}), f"{why}, as many steps an epoch ({steps})"
    alone = (other, _itself) if twin else (config, lambda one: other if one is config else twin_of(one)[0])
    given = {"model": (config, _itself, folder), "twin": (*alone, twin)}
    trainings = _trainings(given, out / "runs", seeds, verbose)
    result = _measured(config.schema, prepared, trainings, by, out / "scores.parquet") | {
        "model": _described(config),
        "twin": _described(other),
        "why": why,
        "seeds": seeds,
        "resamples": RESAMPLES,
        "runs": {role: [str(path) for path in paths] for role, paths in trainings.items()},
        "versions": measuring.versions(),
    }
    files.write(out / "transfer.json", json.dumps(result, indent=2) + "\n")
    return Transfer(out, result)


def _given(twin: pathlib.Path, folder: pathlib.Path, config: RunConfig) -> RunConfig:
    """The configuration of a twin that was trained already, if it can be one of the run in `folder`."""
    from cdrzoo.training import folders

    folders.check_finished(twin)
    other = folders.read_config(twin)
    if other.domains != "target":
        raise InputError(f"The twin {twin} saw sources, too. Give a run with `domains: target`.")
    records = [folders.read_json(each, "split.json") for each in (folder, twin)]
    if not splits.same(*records) or config.schema.target != other.schema.target:
        raise InputError(
            f"{folder} and its twin {twin} were not tested on the same rows (splits "
            f"{records[0]['hash'][:12]} and {records[1]['hash'][:12]}). Train the twin with the same data and split, "
            "or leave --twin out."
        )
    return other


def _check_out(out: pathlib.Path) -> None:
    """Raises an `InputError` unless a folder is new, empty, or that of a report."""
    there, runs = ({path.name for path in each.glob("*")} for each in (out, out / "runs"))
    if not all("-seed-" in name for name in runs) or not (runs or there <= WRITTEN):
        raise InputError(f"{out} holds files that are no transfer report. Choose a new folder.")


def _trainings(
    given: Mapping[str, tuple[RunConfig, Callable[[RunConfig], RunConfig], pathlib.Path | None]],
    home: pathlib.Path,
    seeds: int,
    verbose: int | str,
) -> dict[str, list[pathlib.Path]]:
    """The folders of a finished run a seed, by role; what is not there is trained, one seed of both after the other.

    Args:
        given: by role a configuration, what makes the role's of it, and the folder of its first run where it is done.
        home: where runs are trained.
        seeds: how many of each.
        verbose: of the trainings.
    """
    home.mkdir(parents=True, exist_ok=True)
    trainings: dict[str, list[pathlib.Path]] = {role: [] for role in given}
    for i in range(seeds):
        for role, (config, make, done) in given.items():
            if i == 0 and done is not None:
                trainings[role].append(done)
                continue
            seed = config.seed + i
            trainings[role].append(home / f"{role}-seed-{seed}")
            _train_line(config, make, seed, trainings[role][-1], verbose)
    return trainings


def _measured(
    schema: Schema,
    prepared: Any,
    trainings: Mapping[str, Sequence[pathlib.Path]],
    by: Sequence[str],
    path: pathlib.Path,
) -> dict[str, Any]:
    """What `measure` gives, and what it was measured on; the rows and their scores are written to `path`."""
    from cdrzoo.training import run

    rows, target = rows_of(prepared, by), schema.target_domain
    encoded = {"model": prepared, "twin": run.load_run(trainings["twin"][0]).rows}
    scores = {
        role: np.stack([_score(folder, encoded[role]) for folder in folders])
        for role, folders in trainings.items()
    }
    for role, each in scores.items():
        for folder, values in zip(trainings[role], each):
            rows[f"{role} {RunConfig.load(folder / 'config.yaml').seed}"] = values
    rows.to_parquet(path)
    return measure(rows, scores["model"], scores["twin"], target.task, by) | {
        "target": target.name,
        "sources": [domain.name for domain in schema.sources],
        "task": target.task,
        "calibration": {
            role: calibration(rows["label"], each.mean(axis=0), rows["weight"])
            for role, each in scores.items()
        },
        "split": {"name": prepared.split.name, "hash": prepared.split.hash},
    }


def _itself(config: RunConfig) -> RunConfig:
    return config


def _train_line(
    config: RunConfig,
    make: Callable[[RunConfig], RunConfig],
    seed: int,
    folder: pathlib.Path,
    verbose: int | str,
) -> None:
    """Trains a run with another seed, or as its twin; of one that goes on with another, that one first, as it is."""
    from cdrzoo.training import descent, folders

    given = make(config).with_changes({"seed": seed})
    if config.warm_start_from:
        before = folder.with_name(f"{folder.name}-before")
        _train_line(folders.read_config(descent.former(config)), make, seed, before, verbose)
        given = given.with_changes({"warm_start_from": str(before.resolve())})
    train_once(given, folder, verbose)


def train_once(config: RunConfig, folder: pathlib.Path, verbose: int | str = 0, strict: bool = False) -> None:
    """Trains a run, goes on with it if it was stopped, or leaves it as it is if it is done."""
    from cdrzoo.training import descent, run

    config = descent.settled(config)
    begun = (folder / "config.yaml").exists()
    if begun and _plain(RunConfig.load(folder / "config.yaml")) != _plain(config):
        raise InputError(f"{folder} holds a run with other settings. Choose another folder.")
    if not begun:  # what a run writes before its configuration stands alone if it was stopped there
        shutil.rmtree(folder / "encoder", ignore_errors=True)
        for name in ("schema.yaml", "split.json", "config.yaml"):
            for path in (folder / name, files.unfinished(folder / name)):
                path.unlink(missing_ok=True)
    if not (folder / "metrics.json").exists():
        if verbose:
            print(f"{config.model}, {folder.name.replace('-', ' ')}:", flush=True)
        run.train(config, folder, resume=begun, strict=strict, verbose=verbose)


def _plain(config: RunConfig) -> str:
    return json.dumps(config.to_dict(), sort_keys=True, default=str)


def _described(config: RunConfig) -> dict[str, Any]:
    return {
        "model": config.model,
        "title": models.card(config.model).title,
        "domains": config.domains,
        "arguments": config.arguments,
        "width": config.width,
        "training": dataclasses.replace(config.training, callbacks=None).to_dict(),
        "seed": config.seed,
    }


def _score(folder: pathlib.Path, prepared: Any) -> np.ndarray:
    """Scores of the test rows, `[n]`."""
    import keras

    from cdrzoo.training import callbacks, folders, measuring

    model = folders.read_model(folder / "model.keras")
    _, scores, _ = callbacks.target_scores(model, prepared.test(measuring.EVALUATION_ROWS))
    keras.backend.clear_session(free_memory=True)
    return scores


def label(described: Mapping[str, Any]) -> str:
    """What a model of a report is called, with its domains where that alone does not say."""
    return models.card(described["model"]).called(described["domains"])


def sentence(result: Mapping[str, Any]) -> str:
    """The verdict in words, with the figures it rests on."""
    lift = result["lift"][result["metric"]]
    says = {
        "helps": "helps",
        "harms": "harms",
        "no difference": "makes no difference that the test rows show",
    }
    return (
        f"{label(result['model'])}: transfer from {', '.join(result['sources'])} to {result['target']} "
        f"{says[result['verdict']]}. {result['metric'].upper()} {lift['first']:.4f} against {lift['second']:.4f} of "
        f"{label(result['twin'])}: {lift['difference']:+.4f}, 95 % interval "
        f"{lift['low']:+.4f} to {lift['high']:+.4f}."
    )


def scope(result: Mapping[str, Any]) -> str:
    """What the interval covers, and what it does not."""
    drawn = "users, each with all their rows" if result["users"] else "rows"
    rows = f"{result['resamples']} resamples of the test's {drawn}"
    if result["seeds"] == 1:
        return (
            f"One training of each model: the interval covers the choice of test rows ({rows}) and NOT the chance of "
            "training. The verdict is on these two trained models; with another seed it may be another one. Use three "
            "seeds or more for a verdict on the method."
        )
    return (
        f"{result['seeds']} trainings of each model: the interval covers the choice of test rows ({rows}) and the "
        "chance of training (their spread over seeds). It covers no other split or time, and no search: both models "
        "have the settings of the run."
    )
