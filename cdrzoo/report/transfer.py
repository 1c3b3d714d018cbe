"""The page of a transfer report: the verdict, and where the lift comes from."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from cdrzoo.evaluation import transfer
from cdrzoo.experiments.tables import TITLES, p_text
from cdrzoo.report import cells, figures, run
from cdrzoo.report.rendering import render

ROLES = ("model", "twin")


def page(folder: pathlib.Path) -> str:
    """The page of a finished transfer report."""
    from cdrzoo.training import folders as kept

    result = transfer.Transfer.load(folder).result
    metric, labels = result["metric"], [transfer.label(result[role]) for role in ROLES]
    folders = {role: [pathlib.Path(path) for path in result["runs"][role]] for role in ROLES}
    own = folders["model"][0]
    config = kept.read_config(own)
    curves = {label: run.learning_curves(folders[role][0]) for label, role in zip(labels, ROLES)}
    model, prepared = run.trained(own)
    return render(
        "transfer.html",
        title=f"Transfer report: {labels[0]}, {', '.join(result['sources'])} to {result['target']}",
        labels=labels,
        config=config,
        result=result,
        metric=TITLES[metric],
        sentence=transfer.sentence(result),
        scope=transfer.scope(result),
        lifts=lift_rows(result, labels),
        forest=_forest(result),
        groups=group_rows(result),
        trainings=training_rows(folders, labels, metric),
        calibration=_calibration(result, labels),
        curves=curves,
        selector=run.selector(own),
        looks=run.attention(config, model, prepared),
        data=run.data(config, own),
        commands=[
            ["train", own / "config.yaml", "--out", "RUN"],
            ["transfer", "RUN", "--seeds", result["seeds"], "--out", "REPORT"],
        ],
    )


def lift_rows(result: Mapping[str, Any], labels: Sequence[str]) -> list[cells.Row]:
    """A line a metric, over all rows."""
    return [
        {
            "metric": TITLES[name],
            labels[0]: f"{found['first']:.4f}",
            labels[1]: f"{found['second']:.4f}",
            "lift": cells.lift(name, found),
            "95 % interval": cells.interval(found),
            "p": p_text(found["p"]),
        }
        for name, found in result["lift"].items()
    ]


def group_rows(result: Mapping[str, Any]) -> list[cells.Row]:
    """A line a group: the primary metric first, then the others."""
    metric = result["metric"]
    return [
        {
            "group": _name(group),
            "users": cells.count(group["users"]),
            "rows": cells.count(group["rows"]),
            **({"clicks": cells.count(group["clicks"])} if "clicks" in group else {}),
            TITLES[metric]: cells.lift(metric, group["lift"][metric]),
            "95 % interval": cells.interval(group["lift"][metric]),
            "p, Holm": p_text(group["p_holm"]),
            **{
                TITLES[name]: cells.lift(name, found)
                for name, found in group["lift"].items()
                if name != metric
            },
        }
        for group in result["groups"]
    ]


def training_rows(
    folders: Mapping[str, Sequence[pathlib.Path]], labels: Sequence[str], metric: str
) -> list[cells.Row]:
    """A line a pair of trainings."""
    from cdrzoo.training import folders as kept

    rows: list[cells.Row] = []
    for pair in zip(*(folders[role] for role in ROLES)):
        one, two = (kept.read_json(path, "metrics.json") for path in pair)
        values = [each["test"][metric] for each in (one, two)]
        seeds = dict.fromkeys(str(each["seed"]) for each in (one, two))
        rows.append(
            {
                "seed": " and ".join(seeds),
                **{label: f"{value:.4f}" for label, value in zip(labels, values)},
                "difference": f"{values[0] - values[1]:+.4f}",
            }
        )
    return rows


def _forest(result: Mapping[str, Any]) -> figures.Figure:
    metric = result["metric"]
    lifts = {"all rows": result["lift"][metric]}
    lifts |= {_name(group): group["lift"][metric] for group in result["groups"]}
    caption = f"Lift in {TITLES[metric]} and its 95 % interval; groups are by training rows"
    return figures.forest(lifts, f"lift in {TITLES[metric]}", metric, caption)


def _calibration(result: Mapping[str, Any], labels: Sequence[str]) -> figures.Figure | None:
    if result["task"] != "click":
        return None
    curves = {label: result["calibration"][role] for label, role in zip(labels, ROLES)}
    return figures.calibration(curves, "Mean of the trainings' scores, in ten bins of equally many test rows")


def _name(group: Mapping[str, Any]) -> str:
    return f"{group['by']}: {group['group']}"
