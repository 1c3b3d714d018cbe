"""The transfer report: what the sources were worth, against the same training on the target alone."""

from __future__ import annotations

import dataclasses
import inspect
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo import files, metrics, models
from cdrzoo.errors import InputError
from cdrzoo.evaluation.statistics import RESAMPLES, Difference, bootstrap, holm
from cdrzoo.training.config import RunConfig

SEEDS = 3
"""Trainings of each of the two models unless told otherwise."""

PRIMARY = {"click": "auc", "rating": "rmse"}
"""The one metric that the verdict rests on, over all test rows."""

LEVELS = {"0": (0, 0), "1-10": (1, 10), "11-30": (11, 30), "above 30": (31, np.inf)}
"""Groups by a number of training rows: name, least and most."""

VALUES = 6
"""Groups that a column makes at most; rarer values are one group, numbers are cut at their quartiles."""

WRITTEN = {"runs", "scores.parquet", "transfer.json", "report.html"}
"""What the folder of a report holds."""

SHARED_ARGUMENTS = ("units", "dropout")
"""Arguments that a twin of another kind takes over, where both models have them."""


def twin_of(config: RunConfig) -> tuple[RunConfig, str]:
    """The target-only twin of a cross-domain run, and in words which one it is.

    A model that can do without a source (`dnn:domains=all`, STAR, ...) is its own twin, on the target alone. A model
    that cannot has DIN for a twin if it attends to histories, else DNN, as wide and with the same dropout. Seed,
    optimizer, batch, epochs, patience and width of tables are the run's.

    Raises:
        InputError: the run has no source.
    """
    card = models.card(config.model)
    if config.domains == "target" or len(config.schema.domains) < 2:
        raise InputError(
            f"The run of {card.title} saw the target alone: there is no transfer to measure. Give a run with "
            "`domains: all`."
        )
    if card.family != "cross-domain":
        return config.with_changes({"domains": "target"}), "the same model, trained on the target alone"
    own = _arguments(config)
    first = config.first_stage()
    own = {**(_arguments(first) if first else {}), **own}
    name = {"attention": "din", "mean": "dnn"}.get(str(own.get("pooling")), card.twin)
    known = inspect.signature(models.card(name).load()).parameters
    arguments = {key: own[key] for key in SHARED_ARGUMENTS if key in own and key in known}
    arguments = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}
    why = (
        f"{card.title} needs a source; {models.card(name).title} reads histories as it does"
        + (", as wide" if "units" in arguments else "")
        + ", on the target alone"
    )
    return config.with_changes({"model": name, **arguments}), why


def _arguments(config: RunConfig) -> dict[str, Any]:
    """The model's arguments, those that were left at their defaults included."""
    parameters = inspect.signature(models.card(config.model).load()).parameters
    defaults = {k: p.default for k, p in parameters.items() if p.default is not inspect.Parameter.empty}
    return {**defaults, **config.arguments}


def groups_of(rows: pd.DataFrame, by: Sequence[str] = ()) -> dict[str, dict[str, np.ndarray]]:
    """`{what groups are by: {group: [n] booleans}}`; a division that leaves all rows in one group is left out.

    Args:
        rows: a test row a line: `target_rows`, `source_rows` (training rows of the user there) and `item_rows` (of the
            item in the target), as far as they are known, and the columns of `by`.
        by: further columns to group by.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for column, title in (
        ("target_rows", "user's rows in the target"),
        ("item_rows", "item's rows in the target"),
    ):
        if column in rows:
            counts = rows[column].to_numpy()
            found[title] = {name: (counts >= low) & (counts <= high) for name, (low, high) in LEVELS.items()}
    if "source_rows" in rows:
        known = rows["source_rows"].to_numpy() > 0
        found["user in a source"] = {"shared": known, "new to it": ~known}
    for column in by:
        values = rows[column]
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > VALUES:
            values = pd.qcut(values, 4, duplicates="drop")
            found[column] = {str(cut): (values == cut).to_numpy() for cut in values.cat.categories}
        else:
            values = values.astype(str)
            common = list(values.value_counts().index[:VALUES])
            found[column] = {value: (values == value).to_numpy() for value in common}
            found[column]["others"] = ~values.isin(common).to_numpy()
    kept = {
        title: {name: mask for name, mask in masks.items() if mask.any()} for title, masks in found.items()
    }
    return {title: masks for title, masks in kept.items() if len(masks) > 1}


def verdict(primary: Difference, metric: str) -> str:
    """`helps`, `harms` or `no difference`: the side of 0 on which the 95 % interval of the primary metric lies."""
    if not primary.p < 0.05:
        return "no difference"
    return "helps" if (primary.difference > 0) == metrics.HIGHER_IS_BETTER[metric] else "harms"


def measure(
    rows: pd.DataFrame,
    model: Any,
    twin: Any,
    task: str = "click",
    by: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Lift of every metric in total and by group, and the verdict.

    The verdict rests on one test: the primary metric over all rows. Groups are many looks at the same rows: their
    p-values are corrected by Holm, and they do not enter it.

    Args:
        rows: a test row a line: `label`, `weight`, if there are users `user`, and what `groups_of` takes.
        model: `[seeds, n]` scores of the cross-domain model.
        twin: `[seeds, n]` of its twin.
        task: `click` or `rating`.
        by: further columns to group by.
        resamples: of the bootstrap.

    Returns:
        `verdict`, `metric` (the primary one), `rows`, `users`, `lift` (`{metric: Difference as a mapping}`), `groups`
        (a mapping a group: `by`, `group`, `rows`, `users`, `lift`, `p_holm` of the primary metric), `lower` (how many
        groups are worse off) and `harmed` (how many of them beyond chance, after Holm).
    """
    users = rows["user"].to_numpy() if "user" in rows else None
    divisions = groups_of(rows, by)
    named = {
        f"{title}: {name}": (title, name, mask)
        for title, masks in divisions.items()
        for name, mask in masks.items()
    }
    found = bootstrap(
        rows["label"],
        model,
        twin,
        task,
        users,
        {key: mask for key, (_, _, mask) in named.items()},
        rows["weight"],
        resamples,
    )
    metric = PRIMARY[task]
    names = [name for name in found if "@" not in name]

    def lift(suffix: str) -> dict[str, dict[str, float]]:
        return {name: dataclasses.asdict(found[f"{name}{suffix}"]) for name in names}

    def count(mask: np.ndarray) -> int | None:
        return None if users is None else int(pd.Series(users[mask]).nunique())

    corrected = holm([found[f"{metric}@{key}"].p for key in named])
    groups: list[dict[str, Any]] = [
        {
            "by": title,
            "group": name,
            "rows": int(mask.sum()),
            "users": count(mask),
            "lift": lift(f"@{key}"),
            "p_holm": p,
        }
        for (key, (title, name, mask)), p in zip(named.items(), corrected)
    ]
    sign = 1 if metrics.HIGHER_IS_BETTER[metric] else -1
    worse = [g for g in groups if sign * g["lift"][metric]["difference"] < 0]
    return {
        "verdict": verdict(found[metric], metric),
        "metric": metric,
        "rows": len(rows),
        "users": count(np.ones(len(rows), bool)),
        "lift": lift(""),
        "groups": groups,
        "lower": len(worse),
        "harmed": sum(g["p_holm"] < 0.05 for g in worse),
    }


def calibration(labels: Any, scores: Any, weights: Any, bins: int = 10) -> list[dict[str, float]]:
    """Mean score and share of clicks of ten bins of equally many rows: what a calibration curve is drawn of."""
    order = np.argsort(np.asarray(scores), kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    labels, scores, weights = (np.asarray(each, np.float64) for each in (labels, scores, weights))
    return [
        {
            "score": float(np.average(scores[part], weights=weights[part])),
            "label": float(np.average(labels[part], weights=weights[part])),
            "rows": len(part),
        }
        for part in parts
        if weights[part].sum() > 0
    ]


def transfer(
    folder: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    twin: str | pathlib.Path | None = None,
    seeds: int = SEEDS,
    by: Sequence[str] = (),
    verbose: int | str = 0,
) -> dict[str, Any]:
    """Measures what the sources gave a finished cross-domain run.

    What is missing is trained: the twin with the run's seed, and both models with the seeds that follow it. Everything
    goes to `out`: the trained runs in `runs/`, `scores.parquet` (the test rows with every score) and `transfer.json`.
    A stopped report is continued when it is started again, and nothing that is trained is trained again.

    Args:
        folder: a finished run that saw a source.
        out: folder of the report; new, empty, or that of a report of the same run.
        twin: a finished run of the target alone to compare with; default: the one `twin_of` names, trained.
        seeds: trainings of each model. With 1 the interval says nothing of the chance of training.
        by: columns of the target's rows to group by, beside the built-in groups.
        verbose: of the trainings.

    Returns:
        What `transfer.json` holds: what `measure` gives, and what it was measured on and with.

    Raises:
        InputError: the run has no source, the twin has one or was tested on other rows, a column is unknown, or `out`
            holds something else.
    """
    from cdrzoo.training import fitting, folders, measuring, run

    folder, out = pathlib.Path(folder), pathlib.Path(out)
    if seeds < 1:
        raise InputError(f"`seeds` must be at least 1. Received: {seeds}.")
    folders.check_finished(folder)
    config = RunConfig.load(folder / "config.yaml")
    other, why = twin_of(config)
    if twin is not None:
        twin = pathlib.Path(twin)
        folders.check_finished(twin)
        other, why = RunConfig.load(twin / "config.yaml"), "as given"
        if other.domains != "target":
            raise InputError(f"The twin {twin} saw sources, too. Give a run with `domains: target`.")
        hashes = [json.loads((each / "split.json").read_text())["hash"] for each in (folder, twin)]
        if hashes[0] != hashes[1] or config.schema.target != other.schema.target:
            raise InputError(
                f"{folder} and its twin {twin} were not tested on the same rows (splits {hashes[0][:12]} and "
                f"{hashes[1][:12]}). Train the twin with the same data and split, or leave --twin out."
            )
    target = config.schema.target_domain
    columns = [str(feature.column) for feature in target.features if feature.kind != "ids"]
    unknown = sorted(set(by) - set(columns))
    if unknown:
        raise InputError(
            f"There is no column {unknown[0]!r} to group by. Columns of {target.name}: {', '.join(columns)}."
        )
    there, runs = ({path.name for path in each.glob("*")} for each in (out, out / "runs"))
    if not all("-seed-" in name for name in runs) or not (runs or there <= WRITTEN):
        raise InputError(f"{out} holds files that are no transfer report. Choose a new folder.")
    _, trained, prepared = run.reload(folder)
    if twin is None and config.training.epoch == "longest":  # without a source that is the target
        steps = int(fitting.training_rows(config, prepared, trained).cardinality())
        other, why = other.with_changes({"epoch": steps}), f"{why}, as many steps an epoch ({steps})"
    (out / "runs").mkdir(parents=True, exist_ok=True)
    given = {"model": (config, folder), "twin": (other, twin)}
    trainings: dict[str, list[pathlib.Path]] = {"model": [], "twin": []}
    for i in range(seeds):
        for role, (settings, done) in given.items():
            if i == 0 and done is not None:
                trainings[role].append(pathlib.Path(done))
                continue
            seed = settings.seed + i
            trainings[role].append(out / "runs" / f"{role}-seed-{seed}")
            _train(settings.with_changes({"seed": seed}), trainings[role][-1], verbose)
    rows = test_rows(prepared, by)
    scores = {
        "model": np.stack([_score(each, prepared) for each in trainings["model"]]),
        "twin": np.stack([_score(each, run.reload(trainings["twin"][0])[2]) for each in trainings["twin"]]),
    }
    for role, each in scores.items():
        for path, values in zip(trainings[role], each):
            rows[f"{role} {RunConfig.load(path / 'config.yaml').seed}"] = values
    rows.to_parquet(out / "scores.parquet")
    result = measure(rows, scores["model"], scores["twin"], target.task, by)
    described = {role: _described(settings) for role, (settings, _) in given.items()}
    result |= {
        "target": target.name,
        "sources": [domain.name for domain in config.schema.sources],
        "task": target.task,
        **described,
        "why": why,
        "seeds": seeds,
        "resamples": RESAMPLES,
        "runs": {role: [str(path) for path in paths] for role, paths in trainings.items()},
        "calibration": {
            role: calibration(rows["label"], each.mean(axis=0), rows["weight"])
            for role, each in scores.items()
        },
        "split": {"name": prepared.split.name, "hash": prepared.split.hash},
        "versions": measuring.versions(),
    }
    files.write(out / "transfer.json", json.dumps(result, indent=2) + "\n")
    return result


def _train(config: RunConfig, folder: pathlib.Path, verbose: int | str) -> None:
    """Trains a run, goes on with it, or leaves it as it is if it is done."""
    from cdrzoo.training import run

    begun = (folder / "config.yaml").exists()
    if begun and _plain(RunConfig.load(folder / "config.yaml")) != _plain(config):
        raise InputError(f"{folder} holds a run with other settings. Choose another folder for the report.")
    if not begun:  # what a run writes before its configuration stands alone if it was stopped there
        shutil.rmtree(folder / "encoder", ignore_errors=True)
        for name in ("schema.yaml", "split.json", "config.yaml"):
            for path in (folder / name, files.unfinished(folder / name)):
                path.unlink(missing_ok=True)
    if not (folder / "metrics.json").exists():
        run.train(config, folder, resume=begun, verbose=verbose)


def _plain(config: RunConfig) -> str:
    return json.dumps(config.to_dict(), sort_keys=True, default=str)


def _described(config: RunConfig) -> dict[str, Any]:
    return {
        "model": config.model,
        "title": models.card(config.model).title,
        "domains": config.domains,
        "arguments": config.arguments,
        "width": config.width,
        "training": dataclasses.asdict(config.training),
        "seed": config.seed,
    }


def test_rows(prepared: Any, by: Sequence[str] = ()) -> pd.DataFrame:
    """The target's test rows: user, label, weight, and what they are grouped by, as `measure` takes them."""
    part = prepared.parts[prepared.schema.target]["test"]
    rows = prepared.groups("test") if part.user is not None else pd.DataFrame(index=range(len(part.y)))
    rows["label"] = part.y[:, 0].astype(np.float64)
    rows["weight"] = 1.0 if part.weight is None else part.weight
    if by:
        raw = prepared.frame(prepared.schema.target, "test")
        for column in by:
            rows[column] = raw[column].to_numpy()
    return rows


def _score(folder: pathlib.Path, prepared: Any) -> np.ndarray:
    """Scores of the test rows, `[n]`."""
    import keras

    from cdrzoo.training import callbacks, folders, measuring

    model = folders.load(folder)[1]
    _, scores, _ = callbacks.target_scores(model, prepared.test(measuring.EVALUATION_ROWS))
    keras.backend.clear_session(free_memory=True)
    return scores


def label(described: Mapping[str, Any]) -> str:
    """What a model of a report is called: its class, and its domains where that alone does not say."""
    card = models.card(described["model"])
    where = {"target": ", target alone", "all": "" if card.domains == "all" else ", all domains"}
    return card.cls + where[described["domains"]]


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
    drawn = "users, each with all his rows" if result["users"] else "rows"
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
