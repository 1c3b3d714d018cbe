"""From a run to scores: export, verify, predict."""

from __future__ import annotations

import argparse
from typing import Any

from cdrzoo import files
from cdrzoo.cli.common import command, path, start_tensorflow, whole
from cdrzoo.errors import MAX_VERSION, InputError


def add(commands: Any) -> None:
    """Adds the commands of this file."""
    _add_export(commands)
    _add_verify(commands)
    _add_predict(commands)


def _add_export(commands: Any) -> None:
    export = command(
        commands,
        "export",
        _export,
        "Export the model of a run as a SavedModel that takes the target's raw features.",
    )
    export.add_argument("folder", type=path, help="run folder")
    export.add_argument("--to", type=path, required=True, help="model folder; the export is a version in it")
    export.add_argument(
        "--version", type=whole(0, MAX_VERSION), help="number of the version; default: the next"
    )


def _export(arguments: argparse.Namespace) -> None:
    start_tensorflow()
    from cdrzoo.training.run import load_run

    print(f"SavedModel: {load_run(arguments.folder).export(arguments.to, arguments.version)}")


def _add_verify(commands: Any) -> None:
    verify = command(
        commands,
        "verify",
        _verify,
        "Prove that an exported model scores as the trained one, row by row, and holds only what the target needs.",
    )
    verify.add_argument("path", type=path, help="version folder, for example saved_models/films/1")
    verify.add_argument(
        "--run", dest="folder", type=path, help="run folder to compare with, beside the recorded rows"
    )


def _verify(arguments: argparse.Namespace) -> None:
    start_tensorflow()
    if arguments.folder:
        from cdrzoo.training.run import load_run

        print(load_run(arguments.folder).verify(arguments.path))
    else:
        from cdrzoo.export import verify

        print(verify(arguments.path))


def _add_predict(commands: Any) -> None:
    predict = command(
        commands,
        "predict",
        _predict,
        "Score the rows of a file with an exported model, or with one that is served. All columns of the file stay;\n"
        "the score comes behind them, click or rating (click_score, rating_score beside a column of that name).\n\n"
        "  cdrzoo predict saved_models/films/1 --input demo/requests.csv\n"
        "  cdrzoo predict films --server http://127.0.0.1:8501 --input demo/requests.csv",
    )
    predict.add_argument("model", help="version folder; with --server the name of the model")
    predict.add_argument(
        "--server",
        metavar="ADDRESS",
        help="HOST:PORT for gRPC, http://HOST:PORT for REST (needs the extra serving)",
    )
    predict.add_argument("--input", type=path, required=True, help="rows with the target's raw features")
    predict.add_argument(
        "--separator", help="what joins the ids of a sequence in a cell; default: as in the training"
    )
    predict.add_argument(
        "--delimiter",
        help="what stands between the cells of the input, such as ';'; default: as in the training",
    )
    predict.add_argument("--output", type=path, help="CSV to write; default: print the first rows")


def _predict(arguments: argparse.Namespace) -> None:
    if arguments.output and arguments.output.exists():
        raise InputError(f"{arguments.output} exists. Choose another name; nothing is overwritten.")
    if arguments.output and not arguments.output.parent.is_dir():
        raise InputError(
            f"There is no folder {arguments.output.parent} to write to. Make it, or name another."
        )
    start_tensorflow()
    from cdrzoo.data import readers
    from cdrzoo.training.predict import predict

    scored = predict(
        arguments.model,
        arguments.input,
        arguments.separator,
        delimiter=arguments.delimiter,
        server=arguments.server,
    )
    if arguments.output:
        with files.whole(arguments.output) as part:
            readers.joined(scored).to_csv(part, index=False)
        print(f"Wrote {len(scored)} scores to {arguments.output}")
    else:
        score, *rows = reversed(scored.columns)
        print(scored[[score, *reversed(rows)]].head(20).to_string(index=False, max_colwidth=24))
