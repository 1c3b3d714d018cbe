"""The page of a transfer report: the verdict, and where the lift comes from."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from cdrzoo.evaluation import transfer
from cdrzoo.evaluation.statistics import holm, mark
from cdrzoo.experiments.tables import SIGNS, TITLES, p_text
from cdrzoo.report import figures, run
from cdrzoo.report.cells import (
    Cell,
    Row,
    Table,
    axis_of_intervals,
    count,
    direction,
    interval,
    number,
    plot_interval,
    signed,
)
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
    curves = {
        label: run.learning_curves(folders[role][0], result["target"]) for label, role in zip(labels, ROLES)
    }
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
        lifts=lifts(result, labels),
        groups=groups(result),
        trainings=trainings(folders, labels, metric),
        calibration=_calibration(result, labels),
        curves=curves,
        selector=run.selector(own),
        looks=run.attention(config, model, prepared),
        data=run.data(config, own),
        next=what_next(result, own),
        commands=[
            ["train", own / "config.yaml", "--out", "RUN"],
            ["transfer", "RUN", "--seeds", result["seeds"], "--out", "REPORT"],
        ],
    )


def lifts(result: Mapping[str, Any], labels: Sequence[str]) -> Table:
    """A line a metric, over all rows. The first alone was asked for; of the others p is corrected for their number."""
    first, *others = result["lift"]
    p = {first: result["lift"][first]["p"]}
    p |= dict(zip(others, holm([result["lift"][name]["p"] for name in others])))
    rows: list[Row] = [
        {
            "metric": TITLES[name],
            labels[0]: number(found["first"]),
            labels[1]: number(found["second"]),
            "lift": _lift(name, found, p[name]),
            "95 % interval": interval(found),
            "p": p_text(p[name]),
        }
        for name, found in result["lift"].items()
    ]
    return Table("Lift of every metric, over all test rows", rows)


def groups(result: Mapping[str, Any]) -> Table:
    """A line for all rows and one a group: the primary metric with its interval, then the others."""
    metric, found = result["metric"], result["groups"]
    others = [name for name in result["lift"] if name != metric]
    p = {name: holm([group["lift"][name]["p"] for group in found]) for name in others}
    p[metric] = [group["p_holm"] for group in found]
    axis = axis_of_intervals(each["lift"][metric] for each in (result, *found))
    plot = f"lift in {TITLES[metric]}, {direction(metric)}"

    def row(name: str, each: Mapping[str, Any], p: Mapping[str, float]) -> Row:
        lift = each["lift"][metric]
        return {
            "group": name,
            "users": count(each["users"]),
            "rows": count(each["rows"]),
            **({"clicks": count(each["clicks"])} if "clicks" in each else {}),
            plot: plot_interval(axis, lift, mark(metric, lift["difference"], p[metric])),
            TITLES[metric]: _lift(metric, lift, p[metric]),
            "95 % interval": interval(lift),
            "p, Holm": p_text(p[metric]) if each is not result else "",
            **{TITLES[name]: _lift(name, each["lift"][name], p.get(name, math.nan)) for name in others},
        }

    rows = [row("all rows", result, {metric: result["lift"][metric]["p"]})]
    for i, group in enumerate(found):
        rows.append(
            row(f"{group['by']}: {group['group']}", group, {name: each[i] for name, each in p.items()})
        )
    return Table("Lifts by group", rows, {plot: axis})


def trainings(folders: Mapping[str, Sequence[pathlib.Path]], labels: Sequence[str], metric: str) -> Table:
    """A line a pair of trainings."""
    from cdrzoo.training import folders as kept

    rows: list[Row] = []
    for pair in zip(*(folders[role] for role in ROLES)):
        one, two = (kept.read_json(path, "metrics.json") for path in pair)
        values = [each["test"][metric] for each in (one, two)]
        seeds = dict.fromkeys(str(each["seed"]) for each in (one, two))
        rows.append(
            {
                "seed": " and ".join(seeds),
                **{label: number(value) for label, value in zip(labels, values)},
                "difference": signed(values[0] - values[1]),
            }
        )
    return Table(f"{TITLES[metric]} on the test rows, of every training", rows)


def what_next(result: Mapping[str, Any], own: pathlib.Path) -> list[tuple[str, Sequence[Any]]]:
    """What to do with the verdict: a sentence and a command each."""
    twin, to = pathlib.Path(result["runs"]["twin"][0]), ["--to", "saved_models/NAME"]
    surer = ["transfer", own, "--seeds", max(5, 2 * result["seeds"]), "--out", "REPORT"]
    models = ["--models", "dnn,dnn:domains=all,mv_dnn", "--search", 6]
    steps: dict[str, list[tuple[str, Sequence[Any]]]] = {
        "helps": [("Export the model. It is served without the sources.", ["export", own, *to])],
        "no difference": [("Train more seeds: the interval may be too wide to tell.", surer)],
        "harms": [("Export the twin: it is trained, and better.", ["export", twin, *to])],
    }
    search = ["compare", own / "config.yaml", *models, "--out", "COMPARISON"]
    return [*steps[result["verdict"]], ("See what other models make of the sources.", search)]


def _lift(metric: str, values: Mapping[str, float], p: float) -> Cell:
    kind = mark(metric, values["difference"], p)
    return Cell(signed(values["difference"]) + SIGNS[kind], kind)


def _calibration(result: Mapping[str, Any], labels: Sequence[str]) -> figures.Figure | None:
    if result["task"] != "click":
        return None
    curves = {label: result["calibration"][role] for label, role in zip(labels, ROLES)}
    return figures.calibration(curves, "Mean of the trainings' scores, in ten bins of equally many test rows")
