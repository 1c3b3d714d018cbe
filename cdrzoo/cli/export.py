"""From a run to scores: export, verify, predict."""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any

from cdrzoo import files
from cdrzoo.cli.common import add_json, command, delimiter, path, print_next, start_tensorflow, whole
from cdrzoo.errors import MAX_VERSION, InputError, VerifyError
from cdrzoo.schema.reading import AS_TEXT


def add(commands: Any) -> None:
    """Adds the commands of this file."""
    _add_export(commands)
    _add_verify(commands)
    _add_rows(commands)
    _add_predict(commands)


def _add_export(commands: Any) -> None:
    export = command(
        commands,
        "export",
        _export,
        "Export the model of a run as a SavedModel that takes the target's raw features.\n\n"
        "  cdrzoo export runs/cctl --to saved_models/films",
    )
    export.add_argument("folder", type=path, help="The run folder.")
    export.add_argument(
        "--to", type=path, required=True, help="The folder of the model: the export is a version in it."
    )
    export.add_argument(
        "--version", type=whole(0, MAX_VERSION), help="The number of the version. Default: the next."
    )
    add_json(export)


def _export(arguments: argparse.Namespace) -> None:
    from cdrzoo.training.finished import check_finished

    check_finished(arguments.folder)
    start_tensorflow()
    from cdrzoo.training.run import load_run

    version = load_run(arguments.folder).export(arguments.to, arguments.version)
    if arguments.json:
        print(json.dumps({"path": str(version)}))
        return
    print(f"SavedModel: {version}")
    run = arguments.folder
    print_next(
        {
            "does it score as the model does?": ["verify", version, "--run", run],
            "scores of a few rows": ["predict", version, "--input", run / "examples.parquet"],
        }
    )


def _add_verify(commands: Any) -> None:
    verify = command(
        commands,
        "verify",
        _verify,
        "Prove that an exported model scores as the trained one, row by row, and holds only what the target needs.\n\n"
        "  cdrzoo verify saved_models/films/1 --run runs/cctl",
    )
    verify.add_argument("path", type=path, help="The version folder, for example saved_models/films/1.")
    verify.add_argument(
        "--run", dest="folder", type=path, help="The run folder to compare with, besides the recorded rows."
    )
    add_json(verify)


def _verify(arguments: argparse.Namespace) -> None:
    from cdrzoo.training.finished import check_finished

    if arguments.folder:
        check_finished(arguments.folder)
    start_tensorflow()
    from cdrzoo.export import verify
    from cdrzoo.training.run import load_run

    try:
        found = (load_run(arguments.folder).verify if arguments.folder else verify)(arguments.path)
    except VerifyError as error:
        if arguments.json:
            print(json.dumps(error.report.to_dict()))
        raise
    print(json.dumps(found.to_dict()) if arguments.json else found)


def _add_rows(commands: Any) -> None:
    rows = command(
        commands,
        "rows",
        _rows,
        "Build rows to score from logs, with histories as the training of a run built them.\n\n"
        "  cdrzoo rows runs/cctl --logs films=new.csv --users u.csv --candidates i.csv --out rows.csv\n"
        "  cdrzoo predict saved_models/films/1 --input rows.csv\n\n"
        "A history lists the user's events strictly before the row's time, the last ones, oldest first. Columns that\n"
        "the run's logs get by a `join` are joined.",
    )
    rows.add_argument("folder", type=path, help="The run folder.")
    rows.add_argument(
        "--logs",
        action="append",
        default=[],
        metavar="DOMAIN=FILE",
        help="Logs of a domain in the place of the run's own. May be repeated.",
    )
    rows.add_argument(
        "--users", type=path, required=True, help="A file with the columns of users and of the context."
    )
    rows.add_argument("--candidates", type=path, required=True, help="A file with the columns of items.")
    rows.add_argument(
        "--time",
        help="The time of all rows: a number, or a date. Default: the column of users, else the logs' end. Hours and "
        "weekdays of requests want one.",
    )
    rows.add_argument(
        "--names",
        action="store_true",
        help="Call columns as a server does, by the features' names, and not as they are called in the logs.",
    )
    rows.add_argument("--out", type=path, required=True, help="The file to write, .parquet or .csv.")


def _rows(arguments: argparse.Namespace) -> None:
    from cdrzoo.cli.common import pairs
    from cdrzoo.training.finished import check_finished

    check_finished(arguments.folder)
    if arguments.out.exists():
        raise InputError(f"{arguments.out} exists. Choose another name; nothing is overwritten.")
    if arguments.out.suffix not in (".parquet", ".csv"):
        raise InputError(f"--out must end in .parquet or .csv. Received: {arguments.out}.")
    from cdrzoo.data import readers
    from cdrzoo.training.config import RunConfig
    from cdrzoo.training.requests import build_requests

    config = RunConfig.load(arguments.folder / "config.yaml")
    found = build_requests(
        config,
        users=arguments.users,
        candidates=arguments.candidates,
        logs=pairs(arguments.logs, "--logs"),
        time=arguments.time,
    )
    if arguments.names:
        found = found.rename(columns={f.column: f.name for f in config.schema.target_domain.features})
    with files.whole(arguments.out) as part:
        if arguments.out.suffix == ".parquet":
            found.to_parquet(part)
        else:
            readers.joined(found).to_csv(part, index=False)
    print(f"Wrote {len(found):,} rows to {arguments.out}")


def _add_predict(commands: Any) -> None:
    predict = command(
        commands,
        "predict",
        _predict,
        "Score the rows of a file with an exported model, or with one that is served.\n\n"
        "All columns of the file stay. The score is a column behind them, click or rating. If the file has a column\n"
        "of that name, it is click_score or rating_score.\n\n"
        "  cdrzoo predict saved_models/films/1 --input demo/requests.csv\n"
        "  cdrzoo predict films --server http://127.0.0.1:8501 --input demo/requests.csv",
    )
    predict.add_argument("model", help="The version folder, or with --server the name of the model.")
    predict.add_argument(
        "--server",
        metavar="ADDRESS",
        help="The server: HOST:PORT for gRPC, http://HOST:PORT for REST. It needs the extra serving.",
    )
    predict.add_argument(
        "--input", type=path, required=True, help="The rows, with the target's raw features."
    )
    predict.add_argument(
        "--separator", help="What joins the ids of a sequence in a cell. Default: as in the training."
    )
    predict.add_argument(
        "--delimiter",
        type=delimiter,
        help="What stands between the cells of the input, such as ';'. Default: as in the training.",
    )
    predict.add_argument(
        "--output",
        type=path,
        help="The CSV file to write, with the input's separator and delimiter. Default: print the first rows.",
    )


def _predict(arguments: argparse.Namespace) -> None:
    if arguments.output and arguments.output.exists():
        raise InputError(f"{arguments.output} exists. Choose another name; nothing is overwritten.")
    if arguments.output and not arguments.output.parent.is_dir():
        raise InputError(
            f"There is no folder {arguments.output.parent} to write to. Make it, or name another."
        )
    from cdrzoo.data import readers

    readers.files(arguments.input)
    if not arguments.server and not pathlib.Path(arguments.model).is_dir():
        raise InputError(
            f"{arguments.model} is no folder. Give a version folder, for example saved_models/films/1, or --server."
        )
    start_tensorflow()
    from cdrzoo.training.predict import predict, reading_of

    how = {"separator": arguments.separator, "delimiter": arguments.delimiter, "server": arguments.server}
    scored = predict(arguments.model, arguments.input, **how)
    if arguments.output:
        reading = reading_of(arguments.model, **how)  # what is written is read by it, too
        usual = "\t" if arguments.output.name.endswith(".tsv") else ","
        with files.whole(arguments.output) as part:
            readers.joined(scored, reading.separator).to_csv(
                part, index=False, sep=reading.delimiter or usual
            )
        print(f"Wrote {len(scored)} scores to {arguments.output}")
    else:
        score, *rows = (name for name in reversed(scored.columns) if not name.startswith(AS_TEXT))
        print(scored[[score, *reversed(rows)]].head(20).to_string(index=False, max_colwidth=24))
