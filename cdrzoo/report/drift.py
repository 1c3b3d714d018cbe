"""The page of newer rows beside those that a run was trained on: what has moved, and whether the model still fits."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from cdrzoo import files
from cdrzoo.evaluation.drift import RESULT, Drift
from cdrzoo.experiments.tables import TITLES
from cdrzoo.report.cells import Axis, Cell, Mark, Plot, Row, Table, count, number, signed
from cdrzoo.report.rendering import render


def page(folder: pathlib.Path) -> str:
    """The page of a folder that `cdrzoo drift --out` wrote."""
    mend = "Start `cdrzoo drift` again with the same arguments."
    found = Drift(files.read_json(folder / RESULT, mend, ("run", "domains", "scores", "over")))
    with files.reading(folder / RESULT, mend, whole=True):
        result = found.result
        return render(
            "drift.html",
            title=f"Drift since {pathlib.Path(result['run']).name}",
            headline=headline(result),
            result=result,
            over=beyond(result["over"]),
            scores=scores(result["scores"]),
            domains={
                name: features(name, of, result["thresholds"].get("divergence"))
                for name, of in result["domains"].items()
            },
            next=what_next(result),
        )


def headline(result: Mapping[str, Any]) -> str:
    """The answer: what lies beyond its threshold, else what has moved most."""
    if result["over"]:
        first, *others = (each["what"] for each in result["over"])
        return f"Beyond its threshold: {first}" + (f", and {len(others)} more." if others else ".")
    moved = {
        f"{name} of {domain}": of["divergence"]
        for domain, found in result["domains"].items()
        for name, of in found["features"].items()
    }
    said = "Everything lies within its threshold." if result["thresholds"] else "No threshold is set."
    most = max(moved, key=lambda name: moved[name])
    return f"{said} {most} has moved most: divergence {moved[most]:.4f}."


def beyond(found: Sequence[Mapping[str, Any]]) -> Table | None:
    """What lies beyond its threshold."""
    rows: list[Row] = [
        {"what": each["what"], "is": number(each["value"]), "threshold": f"{each['threshold']:g}"}
        for each in found
    ]
    return Table("Beyond a threshold of the configuration", rows) if rows else None


def scores(found: Mapping[str, Sequence[float | None]]) -> Table:
    """A line a metric of the target: then, now, and what has changed."""
    rows: list[Row] = []
    for name, pair in found.items():
        then, now = (float("nan") if value is None else value for value in pair)
        row = {"metric": TITLES.get(name, name), "the training's test": number(then), "now": number(now)}
        rows.append({**row, "change": signed(now - then)})
    return Table("The model on the target's rows", rows)


def features(domain: str, found: Mapping[str, Any], threshold: float | None) -> Table:
    """A line a feature, the one that has moved most first."""
    of = dict(sorted(found["features"].items(), key=lambda item: -item[1]["divergence"]))
    axis = Axis.of(
        [0.0, *(one["divergence"] for one in of.values())], {"against": threshold} if threshold else {}
    )
    rows: list[Row] = []
    for name, one in of.items():
        value = one["divergence"]
        beyond = "worse" if threshold is not None and not value <= threshold else ""
        mark = Mark(f"bar {beyond}", number(value), low=0.0, high=value)
        rows.append(
            {
                "feature": name,
                "how far": Plot(axis, [mark, Mark(f"dot {beyond}", number(value), at=value)]),
                "divergence": Cell(number(value), beyond),
                **{
                    f"{what}, {when}": number(value)
                    for what in ("unknown", "missing", "mean")
                    for when, value in zip(("then", "now"), one.get(what, [float("nan")] * 2))
                },
                "new ids": count(one.get("new")),
            }
        )
    then, now = (number(float("nan") if each is None else each) or "-" for each in found["label"])
    caption = f"{domain}: {found['rows']:,} new rows; mean label {then} then, {now} now"
    return Table(caption, rows, {"how far": axis})


def what_next(result: Mapping[str, Any]) -> list[tuple[str, Sequence[Any]]]:
    """What to do with the answer: a sentence and a command each."""
    run = result["run"]
    train = ("Train on with the newer rows.", ["train", "NEWER.yaml", "--from", run, "--out", "RUN"])
    if result["over"]:
        return [
            train,
            (
                "Or find out whether a training from the start is better.",
                ["backtest", "NEWER.yaml", "--out", "BACKTEST"],
            ),
        ]
    return [("Export the model as it is.", ["export", run, "--to", "saved_models/NAME"]), train]
