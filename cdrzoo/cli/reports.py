"""What runs are worth, and pages of them: transfer and report."""

from __future__ import annotations

import argparse
import json
from typing import Any

from cdrzoo.cli.common import add_json, add_slices, add_strict, command, count, path, start_tensorflow


def add(commands: Any) -> None:
    """Adds the commands of this file."""
    _add_transfer(commands)
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


def _add_report(commands: Any) -> None:
    report = command(
        commands,
        "report",
        _report,
        "Write one HTML page of a run, a search, a transfer report, a comparison, or of a folder of several.\n\n"
        "  cdrzoo report runs/cctl\n"
        "  cdrzoo report results                      all that `cdrzoo reproduce` left there\n\n"
        "It shows curves, tables, calibration, and what the model attends to. Figures are inline, so it is read\n"
        "without a network. It needs the extra report.",
    )
    report.add_argument(
        "folder", type=path, help="The folder of cdrzoo train, compare, tune, transfer or reproduce."
    )
    report.add_argument("--out", type=path, help="The file to write. Default: report.html in the folder.")


def _report(arguments: argparse.Namespace) -> None:
    if not (arguments.folder / "results.jsonl").exists():  # a comparison's figures are of numbers alone
        start_tensorflow()
    from cdrzoo.report import pages as report

    print(f"Report: {report.report(arguments.folder, arguments.out)}")
