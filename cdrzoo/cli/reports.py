"""What runs are worth, and pages of them: transfer and report."""

from __future__ import annotations

import argparse
import functools
import json
from typing import Any

from cdrzoo.cli.common import (
    add_json,
    add_settings,
    add_slices,
    add_strict,
    changes,
    check_config,
    command,
    count,
    new_folder,
    number,
    path,
    start_tensorflow,
    whole,
)


def add(commands: Any) -> None:
    """Adds the commands of this file."""
    _add_transfer(commands)
    _add_backtest(commands)
    _add_drift(commands)
    _add_report(commands)


def _add_transfer(commands: Any) -> None:
    transfer = command(
        commands,
        "transfer",
        _transfer,
        "Measure what the sources gave a run, against its twin, the same training on the target alone.\n\n"
        "It trains the twin, and further seeds of both. It gives the lift in total and by group, and a verdict:\n"
        "helps, no difference, harms.\n\n"
        "  cdrzoo transfer runs/cctl --out runs/cctl_transfer\n\n"
        "The folder holds report.html, transfer.json, scores.parquet (test rows and scores) and runs/. A stopped\n"
        "report goes on where it stopped.",
    )
    transfer.add_argument("folder", type=path, help="The folder of a run that saw a source.")
    transfer.add_argument("--twin", type=path, help="A run of the target alone. Default: one is trained.")
    transfer.add_argument("--out", type=path, required=True, help="The folder of the report.")
    transfer.add_argument(
        "--seeds",
        type=count("seeds"),
        default=3,
        help="Trainings of each model. With 1 the verdict is on these two only.",
    )
    transfer.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="As --slices. May be repeated."
    )
    add_slices(transfer)
    add_strict(transfer)
    add_json(transfer)


def _transfer(arguments: argparse.Namespace) -> None:
    from cdrzoo.report.pages import check_matplotlib
    from cdrzoo.training.finished import check_finished

    check_matplotlib()  # before the trainings, not after
    for folder in filter(None, (arguments.folder, arguments.twin)):
        check_finished(folder)
    start_tensorflow()
    from cdrzoo.evaluation.transfer import transfer

    found = transfer(
        arguments.folder,
        arguments.out,
        twin=arguments.twin,
        seeds=arguments.seeds,
        by=[*arguments.by, *arguments.slices],
        strict=arguments.strict,
        verbose=0 if arguments.json else "lines",
    )
    from cdrzoo.report import pages

    page = pages.report(arguments.out)
    print(json.dumps(found.result) if arguments.json else f"{found}\nReport: {page}")


def _add_backtest(commands: Any) -> None:
    backtest = command(
        commands,
        "backtest",
        _backtest,
        "Predict each of the last days of the logs, then train on it: what a warm start is worth, and a source.\n\n"
        "Each arm is the model and its twin on the target alone. warm goes on from day to day, cold is trained anew\n"
        "every day, ctnet is CTNet that goes on. The page has AUC, log loss, calibration and cost by day.\n\n"
        "  cdrzoo backtest demo/run.yaml --days 7 --refit warm --refit cold --out runs/backtest\n\n"
        "A stopped backtest goes on where it stopped.",
    )
    backtest.add_argument(
        "config", type=path, help="The run configuration (YAML). Its split is not looked at."
    )
    backtest.add_argument("--out", type=path, required=True, help="The folder of the backtest.")
    backtest.add_argument("--days", type=whole(1, 1000), default=14, help="How many days, the last ones.")
    backtest.add_argument(
        "--refit",
        action="append",
        choices=("warm", "cold", "ctnet"),
        help="How days are trained on. May be repeated. Default: warm and cold.",
    )
    backtest.add_argument(
        "--day", type=number(above=0), default=86400, help="The length of a day in the unit of the times."
    )
    add_settings(backtest)
    add_strict(backtest)
    add_json(backtest)


def _backtest(arguments: argparse.Namespace) -> None:
    from cdrzoo.report import pages as report

    report.check_matplotlib()  # before the trainings, not after
    config = check_config(arguments.config, changes(arguments))
    start_tensorflow()
    from cdrzoo.experiments.backtest import backtest

    found = backtest(
        config,
        arguments.out,
        days=arguments.days,
        refit=arguments.refit or ("warm", "cold"),
        day=arguments.day,
        strict=arguments.strict,
        tell=(lambda text: None) if arguments.json else functools.partial(print, flush=True),
    )
    page = report.report(arguments.out)
    print(json.dumps(found.result) if arguments.json else f"{found}\nReport: {page}")


def _add_drift(commands: Any) -> None:
    drift = command(
        commands,
        "drift",
        _drift,
        "Show how far newer rows have moved from a run's training rows, and whether its model still fits them.\n\n"
        "It ends with 1 where something lies beyond a threshold of the configuration's `drift`, so that nothing is\n"
        "pushed:\n\n"
        "  cdrzoo drift runs/day1 day2.yaml && cdrzoo export runs/day1 --to saved_models/films\n"
        "  cdrzoo drift runs/day1 day2.yaml --out drift/day2                and a page of it",
    )
    drift.add_argument("folder", type=path, help="The run folder.")
    drift.add_argument("config", type=path, help="The run configuration (YAML) that names the newer rows.")
    drift.add_argument("--out", type=path, help="The folder for a page and its numbers. Default: print only.")
    add_settings(drift)
    add_json(drift)


def _drift(arguments: argparse.Namespace) -> int:
    from cdrzoo.report import pages as report
    from cdrzoo.training.finished import check_finished

    check_finished(arguments.folder)
    if arguments.out:
        report.check_matplotlib()
        new_folder(arguments.out)
    config = check_config(arguments.config, changes(arguments))
    start_tensorflow()
    from cdrzoo.evaluation.drift import drift

    found = drift(arguments.folder, config)
    print(json.dumps({"ok": found.ok, **found.result}) if arguments.json else found)
    if arguments.out:
        found.save(arguments.out)
        page = report.report(arguments.out)
        if not arguments.json:
            print(f"Report: {page}")
    return int(not found.ok)


def _add_report(commands: Any) -> None:
    report = command(
        commands,
        "report",
        _report,
        "Write one HTML page of a run, a search, a transfer report, a backtest, a drift, or of comparisons.\n\n"
        "  cdrzoo report runs/cctl\n"
        "  cdrzoo report results                      all that `cdrzoo reproduce` left there\n\n"
        "It shows curves, tables, calibration, and what the model attends to. Figures are inline, so it is read\n"
        "without a network. It needs the extra report.",
    )
    report.add_argument(
        "folder",
        type=path,
        help="The folder of cdrzoo train, compare, tune, transfer, backtest, drift or reproduce.",
    )
    report.add_argument("--out", type=path, help="The file to write. Default: report.html in the folder.")


def _report(arguments: argparse.Namespace) -> None:
    of_numbers = ("results.jsonl", "backtest.json", "drift.json")
    if not any(
        (arguments.folder / name).exists() for name in of_numbers
    ):  # a comparison's figures are of numbers alone
        start_tensorflow()
    from cdrzoo.report import pages as report

    print(f"Report: {report.report(arguments.folder, arguments.out)}")
