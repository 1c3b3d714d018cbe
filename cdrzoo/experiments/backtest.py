"""The backtest: every day is predicted by models that have not seen it, and is then trained on, in several ways."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo import files
from cdrzoo.data.preparation.reading import read_logs
from cdrzoo.errors import InputError, check_choice, check_number, check_whole
from cdrzoo.evaluation.lift import PRIMARY
from cdrzoo.evaluation.statistics import paired
from cdrzoo.evaluation.transfer import train_once
from cdrzoo.evaluation.twin import twin_of
from cdrzoo.training.config import RunConfig

REFITS = ("warm", "cold", "ctnet")
"""Ways to train on: with the run before, anew on all rows, or CTNet with the run before."""
MOST_DAYS = 1000
ENTRIES = ("arms", "days", "target", "sources", "task", "day", "versions")
"""What `backtest.json` must say."""


@dataclasses.dataclass(frozen=True, repr=False)
class Backtest:
    """A finished backtest.

    Args:
        folder: where it stands.
        result: what `backtest.json` holds.
    """

    folder: pathlib.Path
    result: dict[str, Any]

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> Backtest:
        """A backtest that was made before."""
        folder = pathlib.Path(folder)
        if not (folder / "backtest.json").exists():
            raise InputError(f"{folder} holds no backtest. Give the folder of `cdrzoo backtest`.")
        mend = "Start `cdrzoo backtest` again with the same arguments; what is trained is not trained again."
        found = cls(folder, files.read_json(folder / "backtest.json", mend, ENTRIES))
        with files.reading(folder / "backtest.json", mend, whole=True):  # what it says is what it should be
            str(found), found.days
        return found

    @property
    def days(self) -> pd.DataFrame:
        """A row a day and arm: metrics of the day's rows, `calibration`, `seconds`, `trained` rows."""
        return pd.DataFrame(
            {"day": day["start"], "arm": arm, **found}
            for day in self.result["days"]
            for arm, found in day["arms"].items()
        )

    @property
    def table(self) -> pd.DataFrame:
        """A row an arm: means over days, seconds in all, and the first metric's difference to the first arm's."""
        metric = PRIMARY[self.result["task"]]
        by = {arm: of.reset_index(drop=True) for arm, of in self.days.groupby("arm", sort=False)}
        rows = {}
        for arm, of in by.items():
            found = paired(of[metric], by[self.result["arms"][0]][metric])
            rows[arm] = {
                **{name: float(of[name].mean()) for name in measures(self.result)},
                "seconds": float(of["seconds"].sum()),
                "difference": found.difference,
                "p": found.p,
            }
        return pd.DataFrame.from_dict(rows, orient="index")

    def last(self, arm: str) -> pathlib.Path:
        """The run of an arm's last day."""
        role = arm.split()[0].rstrip(",")
        return _home(self.folder / "runs", role, not arm.endswith("cold"), len(self.result["days"]) - 1)

    def __str__(self) -> str:
        return self.table.to_string(float_format="{:.4f}".format)


def measures(result: Mapping[str, Any]) -> tuple[str, ...]:
    """What is measured of every day."""
    return ("auc", "log_loss", "calibration") if result["task"] == "click" else ("rmse", "mae", "calibration")


def backtest(
    config: RunConfig | Mapping[str, Any] | str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    days: int = 14,
    refit: str | Sequence[str] = ("warm", "cold"),
    day: float = 86_400,
    settings: Mapping[str, Any] | None = None,
    strict: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Backtest:
    """Goes through the last days of the logs: each is predicted, then trained on.

    For a day the models are trained on what came before the day before it, which chooses the epoch; the day is the
    test. Every arm is the configuration's model on all domains, and its twin on the target alone. `warm` goes on from
    day to day with the rows since; `cold` is trained anew on all rows every day; `ctnet` is CTNet that goes on. The
    first day's training is the same for warm and cold, and is done once.

    The folder has a run an arm and day in `runs/`, and `backtest.json`. A stopped backtest is continued when it is
    started again.

    Args:
        config: the configuration; its split is not looked at.
        out: the folder.
        days: how many days, the last of the target's log.
        refit: one of `REFITS`, or several.
        day: the length of a day in the unit of the times. Default 86400, a day in seconds.
        settings: changes of the configuration by plain names.
        strict: whether a warning about the rows is an error.
        tell: is told a line an arm and day.

    Raises:
        InputError: the logs have no times, or not so many days.
    """
    config, out = RunConfig.of(config).with_changes(settings or {}), pathlib.Path(out)
    refits = _refits(refit)
    check_whole("`days`", days, 1, MOST_DAYS)
    check_number("`day`", day, above=0)
    edges = _edges(config, days, day, warm=set(refits) != {"cold"})
    if out.exists() and any(
        each.name not in ("runs", "backtest.json", "report.html") for each in out.iterdir()
    ):
        raise InputError(f"{out} holds files that are no backtest. Choose a new folder.")
    arms = _arms(config, refits)
    record, metric = _record(config, list(arms), day), PRIMARY[config.schema.target_domain.task]
    for number, (start, end) in enumerate(zip(edges, edges[1:])):
        split = {"by": "time", "cuts": [start - day, start, end]}
        found = {}
        for name, arm in arms.items():
            folder = _train(arm, dataclasses.replace(arm.config, split=split), out / "runs", number, strict)
            found[name] = _measured(folder)
            value, seconds = found[name][metric], found[name]["seconds"]
            tell(f"day {number + 1}/{days}  {name}  {metric} {value:.4f}  {seconds:.0f} s")
        record["days"].append({"start": start, "end": end, "arms": found})
        files.write(out / "backtest.json", json.dumps(record, indent=2) + "\n")
    return Backtest(out, record)


def _record(config: RunConfig, arms: list[str], day: float) -> dict[str, Any]:
    """What `backtest.json` says before a day is over."""
    from cdrzoo.training import measuring

    return {
        "arms": arms,
        "target": config.schema.target,
        "sources": [source.name for source in config.schema.sources],
        "task": config.schema.target_domain.task,
        "day": day,
        "days": [],
        "versions": measuring.versions(),
    }


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way through the days.

    Args:
        config: what is trained.
        role: the folder of its first day.
        warm: whether it goes on with the run before.
    """

    config: RunConfig
    role: str
    warm: bool


def _refits(given: str | Sequence[str]) -> list[str]:
    named = [given] if isinstance(given, str) else list(given)
    for each in named:
        check_choice("`refit`", each, REFITS)
    if not named:
        raise InputError(f"`refit` must name at least one of {', '.join(REFITS)}.")
    return list(dict.fromkeys(named))


def _arms(config: RunConfig, refits: Sequence[str]) -> dict[str, Arm]:
    both = {"transfer": config}
    if config.domains == "target" or len(config.schema.domains) < 2:
        both = {"target alone": config}
    else:
        both["target alone"] = twin_of(config)[0]
    arms = {
        f"{role}, {refit}": Arm(one, role.split()[0], refit == "warm")
        for refit in refits
        if refit != "ctnet"
        for role, one in both.items()
    }
    if "ctnet" in refits:
        same = config.model == "ctnet"
        arms["ctnet"] = Arm(config if same else config.with_changes({"model": "ctnet"}), "ctnet", True)
    return arms


def _edges(config: RunConfig, days: int, day: float, warm: bool) -> list[float]:
    """The begins of the last days of the target's log, and the end of the last.

    `warm`: whether a training reads the rows of one day alone.
    """
    target = config.schema.target_domain
    if isinstance(config.data, str) or config.warm_start_from or config.finetune:
        raise InputError(
            "A backtest begins with a training on the logs. Give the logs as `data`, and leave `warm_start_from` and "
            "`finetune` out."
        )
    if config.training.epoch == "longest":
        raise InputError(
            "With `epoch: longest` the target alone would train fewer steps than with its sources. Set `epoch` to "
            "`target` or a number of steps."
        )
    alone = config.schema.only(target.name)
    log = read_logs(alone, {target.name: config.data[target.name]}, config.folder)[target.name]
    if (times := log.time) is None:
        raise InputError(
            f"A backtest needs times, but domain {target.name!r} has none. Set `time: COLUMN` in the schema."
        )
    last = float(times.max() // day)
    edges = [(last + 1 - days + i) * day for i in range(days + 1)]
    per_day = np.histogram(times, [-np.inf, edges[0] - day, *edges])[0]
    if not per_day.all():
        lacking = int(np.argmin(per_day > 0))
        what = f"on one of the {days + 1} last days" if lacking else f"before the {days + 1} last days"
        raise InputError(
            f"{target.name!r} has no rows {what}; the first of them chooses an epoch. Its times are "
            f"{times.min():.10g} to {times.max():.10g}, a day is {day:g}. Give fewer days, or a longer `day`."
        )
    fewest, wanted = per_day[1:-2].min(initial=per_day[0]), config.training.batch_size
    if warm and log.source.negatives is None and fewest < wanted:
        raise InputError(
            f"A warm training reads the rows of one day, the first one all before. The smallest has {fewest:,} rows of "
            f"{target.name!r}, less than a batch of {wanted:,}. Lower `batch_size`, or give a longer `day`."
        )
    return edges


def _home(home: pathlib.Path, role: str, warm: bool, number: int) -> pathlib.Path:
    """The folder of a day's run; the first day is the same for warm and cold."""
    ways = f"{role}-{'warm' if warm else 'cold'}" if number else role
    return home / ways / f"day-{number + 1:03d}"


def _train(arm: Arm, config: RunConfig, home: pathlib.Path, number: int, strict: bool) -> pathlib.Path:
    """The run of a day, trained unless it is there."""
    folder = _home(home, arm.role, arm.warm, number)
    if arm.warm and number:
        before = _home(home, arm.role, arm.warm, number - 1)
        config = config.with_changes({"warm_start_from": str(before.resolve())})
    folder.parent.mkdir(parents=True, exist_ok=True)
    train_once(config, folder, strict=strict)
    return folder


def _measured(folder: pathlib.Path) -> dict[str, float]:
    """What a day's test says; `calibration` is the mean score by the mean label."""
    from cdrzoo.training import folders

    result = folders.read_json(folder, "metrics.json")
    parts = folders.read_json(folder, "split.json")["parts"]
    test = parts[folders.read_config(folder).schema.target]["test"]
    return {
        **{name: value for name, value in result["test"].items() if "@" not in name},
        "calibration": float("nan") if result["calibration"] is None else result["calibration"],
        "rows": test["rows"],
        "mean label": test["label"],
        "seconds": result["seconds"],
        "trained": sum(part["train"]["rows"] for part in parts.values()),
    }
