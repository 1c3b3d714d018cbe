"""What a run reports: exact metrics in total and by group of users, and what they were measured on and with."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import platform
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import cdrzoo
from cdrzoo import data, intervals, metrics
from cdrzoo.training import groups, scoring
from cdrzoo.training.config import RunConfig


@dataclass
class Fitted:
    """What training gave: the model with the weights of its best epoch, and how it came to them.

    `first` is what the first stage reported (see `summary`), if there was one.
    """

    model: Any
    history: dict[str, list[float]]
    best_epoch: int
    seconds: float
    first: dict[str, Any] | None = None


EVALUATION_ROWS = 4096
"""Rows of a validation or test batch."""


ECE_BINS = "equal mass"
"""How the ECE of what is reported was cut; results without it are of bins of equal width."""


def evaluate(model: Any, prepared: data.Prepared, part: str = "test") -> dict[str, float]:
    """Exact metrics of the target's rows of a part, in total and for `groups.of_rows`."""
    return _by_label(model, prepared, part, outcomes_of(model, prepared, part), metrics.evaluate)[0]


def outcomes_of(model: Any, prepared: data.Prepared, part: str) -> dict[str, scoring.Outcome]:
    """What a model says of the target's rows of a part, by output."""
    batches = prepared.test(EVALUATION_ROWS) if part == "test" else prepared.valid(EVALUATION_ROWS)
    return scoring.target_outputs(model, batches)


def measured(
    model: Any,
    prepared: data.Prepared,
    part: str = "test",
    outcomes: dict[str, scoring.Outcome] | None = None,
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Of the target's rows of a part the exact metrics, in total and for `groups.of_rows`, and their `intervals`.

    `outcomes`: what the model says of them, if that is known.
    """
    outcomes = outcomes or outcomes_of(model, prepared, part)
    values, reach = _by_label(model, prepared, part, outcomes, metrics.evaluate, intervals.evaluate)
    return values, reach


def _by_label(
    model: Any, prepared: data.Prepared, part: str, outcomes: dict[str, scoring.Outcome], *measures: Any
) -> Any:
    how = {"users": groups.users(prepared, part), "groups": groups.of_rows(prepared, part)}
    return scoring.by_label(model.schema, outcomes, *measures, **how)


def calibration(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """The mean score by the mean label, 1 at best; `None` where the labels are 0."""
    mean = float(np.average(labels, weights=weights))
    return float(np.average(scores, weights=weights)) / mean if mean else None


def summary(config: RunConfig, prepared: data.Prepared, fitted: Fitted) -> dict[str, Any]:
    """What a run reports: metrics of its chosen epoch, and what they were measured on and with.

    Of a model of two stages `first` is the same of its first stage, `seconds` and `parameters` are those of both, and
    the rest is the second's. `groups` are rows and clicks of the test's groups, `intervals` those of its metrics.
    """
    found = outcomes_of(fitted.model, prepared, "test")
    test, reach = measured(fitted.model, prepared, "test", found)
    first = {"first": fitted.first} if fitted.first else {}
    return {
        "model": config.model,
        "domains": config.domains,
        "arguments": config.arguments,
        "width": config.width,
        "training": dataclasses.replace(config.training, callbacks=None).to_dict(),  # they only look on
        "seed": config.seed,
        "validation": evaluate(fitted.model, prepared, "valid"),
        "test": test,
        "intervals": reach,
        "calibration": calibration(*found[prepared.schema.target]),
        "groups": groups.sizes(prepared),
        **({"ece_bins": ECE_BINS} if "ece" in test else {}),
        "best_epoch": fitted.best_epoch + 1,
        "epochs": len(fitted.history["loss"]),
        "seconds": round(fitted.seconds + (fitted.first["seconds"] if fitted.first else 0), 2),
        "parameters": fitted.model.count_params(),
        "trained_parameters": sum(math.prod(v.shape) for v in fitted.model.trainable_variables),
        **first,
        "split": {"name": prepared.split.name, "hash": prepared.split.hash},
        "selection": "best epoch on validation rows",
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what a number depends on; of cdrzoo itself the commit, too, where it runs from a checkout."""
    return {
        "cdrzoo": _OWN_VERSION,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _own_version() -> str:
    git = [
        "git",
        "-C",
        str(pathlib.Path(__file__).parents[2]),
        "describe",
        "--always",
        "--dirty",
        "--exclude=*",
    ]
    if not (pathlib.Path(__file__).parents[2] / ".git").exists() or shutil.which("git") is None:
        return cdrzoo.__version__
    found = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return f"{cdrzoo.__version__}+{found}" if found else cdrzoo.__version__


_OWN_VERSION = _own_version()  # now: the files may change while the process works
