"""Before a run: check a schema, make logs, write the configuration of a public dataset."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from typing import Any

from cdrzoo.cli.common import (
    add_json,
    add_slices,
    add_strict,
    anywhere,
    changes,
    check_config,
    command,
    count,
    delimiter,
    new_folder,
    number,
    pairs,
    path,
    whole,
)
from cdrzoo.errors import InputError


def add(commands: Any) -> None:
    """Adds the commands of this file."""
    _add_schema_check(commands)
    _add_synthesize(commands)
    _add_dataset(commands)
    _add_prepare(commands)


def _add_schema_check(commands: Any) -> None:
    schema = commands.add_parser(
        "schema",
        help="Check a schema, and the data against it, or print its JSON Schema: schema check, schema json.",
    ).add_subparsers(metavar="COMMAND", required=True)
    _add_schema_json(schema)
    check = command(
        schema,
        "check",
        _schema_check,
        "Check a schema, and the data against it.\n\n"
        "The domains are shown side by side: shared and specific features, tables, and with data the overlap of ids,\n"
        "the share of missing values, and warnings.\n\n"
        "  cdrzoo schema check demo/schema.yaml --data books=demo/books.csv --data films=demo/films.csv\n"
        "  cdrzoo schema check demo/run.yaml          with joins, negatives and the split\n\n"
        "The same warnings stand at the start of train, compare, tune, transfer and reproduce.",
    )
    check.add_argument("schema", type=path, help="The schema, or a run configuration (YAML or JSON).")
    check.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="DOMAIN=FILE",
        help="The rows of a domain. May be repeated. A run configuration names its own.",
    )
    check.add_argument(
        "--delimiter",
        type=delimiter,
        help="What stands between the cells of the CSV files of --data, such as ';'. Default: a comma.",
    )
    check.add_argument(
        "--separator", help="What joins the ids of a sequence in a cell of --data. Default: |."
    )
    add_strict(check)
    add_json(check)


def _add_schema_json(commands: Any) -> None:
    listed = command(
        commands,
        "json",
        _schema_json,
        "Print the JSON Schema of run.yaml or schema.yaml, by which an editor completes and checks what you type.\n\n"
        "  cdrzoo schema json run > run.schema.json\n\n"
        "Editors with the YAML language server then take this first line of run.yaml:\n\n"
        "  # yaml-language-server: $schema=run.schema.json",
    )
    listed.add_argument("of", choices=("run", "schema"), help="Which file is meant.")


def _schema_json(arguments: argparse.Namespace) -> None:
    from cdrzoo.training.reference import json_schema

    print(json.dumps(json_schema(arguments.of), indent=2))


def _schema_check(arguments: argparse.Namespace) -> None:
    from cdrzoo.data import quality
    from cdrzoo.documents import load_mapping
    from cdrzoo.schema import Schema
    from cdrzoo.schema.overview import as_text

    given, sources = load_mapping(arguments.schema), pairs(arguments.data, "--data")
    how = {
        name: value for name in ("delimiter", "separator") if (value := getattr(arguments, name)) is not None
    }
    if how and not sources:
        raise InputError(
            "--delimiter and --separator say how the files of --data are read: give --data, too."
        )
    if not {"schema", "data"} & given.keys():  # a run on prepared rows has the schema of these
        rows = {name: {"path": path, **how} for name, path in sources.items()}
        blocks, found = quality.examine(Schema.from_dict(given), rows or None)
    elif sources:
        raise InputError(
            "A run configuration says itself where the rows are: leave --data out, or give the schema."
        )
    else:
        from cdrzoo.training.config import RunConfig

        given.pop("pipeline", None)
        config = RunConfig.from_dict(given, arguments.schema.resolve().parent)
        blocks, found = quality.examine_prepared(config.prepare())
    if arguments.json:
        tables = [dataclasses.asdict(block) for block in blocks]
        print(json.dumps({"ok": not found, "tables": tables, "warnings": found}))
    else:
        print(as_text(blocks))
    if arguments.strict:
        quality.refuse(found)
    if arguments.json:
        return
    for each in found:
        print(f"\nwarning: {each}")


def _add_synthesize(commands: Any) -> None:
    make = command(
        commands,
        "synthesize",
        _synthesize,
        "Write the logs of two made-up domains, their schema, a run configuration and some requests to predict.\n\n"
        "  cdrzoo synthesize demo\n"
        "  cdrzoo synthesize nothing --transfer 0\n\n"
        "How much the one domain says about the other is known.",
    )
    make.add_argument("folder", type=path, help="The folder to write to. It must be new or empty.")
    make.add_argument(
        "--transfer",
        type=number(-1, 1),
        default=0.8,
        help="How tastes carry over: 1 fully, 0 not at all, -1 they are opposite.",
    )
    make.add_argument(
        "--drift",
        type=number(0, 1),
        default=0,
        help="How far tastes move over the time of the logs: 0 not at all, 1 to others.",
    )
    make.add_argument("--seed", type=whole(0, 2**32 - 1), default=0, help="Another seed gives other logs.")


def _synthesize(arguments: argparse.Namespace) -> None:
    from cdrzoo.data import prepare, readers, synthetic

    new_folder(arguments.folder)
    made = synthetic.synthesize(arguments.transfer, drift=arguments.drift, seed=arguments.seed)
    made.write(arguments.folder)
    _write_run(
        arguments.folder,
        {domain: f"{domain}.csv" for domain in made.frames},
        "time",
        # Few rows an epoch: the towers meet often, and each step shows the rich source four times the rows.
        arguments={"sync_every": 20, "pooling": "mean"},  # attention takes three times as long
        training={"batch_size": 128, "source_ratio": 4.0, "patience": 3},
    )
    requests = readers.joined(prepare(made.schema, made.sources).frame(made.schema.target, "test", 5))
    requests.to_csv(arguments.folder / "requests.csv", index=False)
    print(
        f"Wrote {', '.join(sorted(path.name for path in arguments.folder.iterdir()))} to {arguments.folder}"
    )


def _add_dataset(commands: Any) -> None:
    dataset = command(
        commands,
        "dataset",
        _dataset,
        "Write the schema and the run configuration of a public dataset that lies in a folder.\n\n"
        "  cdrzoo dataset ciao data/ciao --source 01 --target 02 --out runs/ciao\n"
        "  cdrzoo dataset amazon data/amazon --source Books --target Movies_and_TV --out runs/am\n\n"
        "Large files are turned into Parquet once, a piece at a time, in the folder rows/.",
    )
    dataset.add_argument(
        "name", help="The dataset: ali_ccp, amazon, ciao, douban, ... docs/datasets.md lists them."
    )
    dataset.add_argument("data", type=path, help="The folder with the dataset's files.")
    dataset.add_argument("--source", help="The source domain, where the dataset has several.")
    dataset.add_argument("--target", help="The target domain, where the dataset has several.")
    dataset.add_argument(
        "--task", choices=("click", "rating"), help="What is predicted, where there are ratings."
    )
    dataset.add_argument(
        "--cold-start",
        type=number(above=0, most=1),
        metavar="BETA",
        help="Hide this share of the shared users in the target. They are the test.",
    )
    dataset.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="Another argument of the dataset. May be repeated.",
    )
    dataset.add_argument("--out", type=path, required=True, help="The folder to write to.")


def _dataset(arguments: argparse.Namespace) -> None:
    from cdrzoo.data import datasets

    chosen = {name: value for name in ("source", "target", "task") if (value := getattr(arguments, name))}
    given = changes(arguments)
    if twice := sorted(given.keys() & {*chosen, "beta"}):
        option = "cold-start" if twice[0] == "beta" else twice[0]
        raise InputError(f"`--set {twice[0]}=...` says what `--{option}` says. Give the option alone.")
    if arguments.out.exists() and {path.name for path in arguments.out.iterdir()} - {"rows"}:
        raise InputError(f"{arguments.out} is not empty. Choose a new folder; nothing is overwritten.")
    found = datasets.load(
        arguments.name,
        arguments.data.resolve(),
        arguments.out.resolve() / "rows",
        beta=arguments.cold_start,
        **chosen,
        **given,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    found["schema"].save(arguments.out / "schema.yaml")
    preparation = {"preparation": {"history": found["history"]}} if "history" in found else {}
    _write_run(arguments.out, found["sources"], found["split"], **preparation)
    print(f"Wrote schema.yaml and run.yaml to {arguments.out}")


def _write_run(folder: pathlib.Path, sources: dict[str, Any], split: Any, **settings: Any) -> None:
    from cdrzoo.documents import dump_yaml

    config = {"schema": "schema.yaml", "data": sources, "split": split, "model": "cctl", **settings}
    (folder / "run.yaml").write_text(dump_yaml(config), encoding="utf-8")


def _add_prepare(commands: Any) -> None:
    prepare = command(
        commands,
        "prepare",
        _prepare,
        "Prepare the rows of a run configuration to a folder, once and in bounded memory.\n\n"
        "  cdrzoo prepare demo/run.yaml --out rows --memory 4 --jobs 8\n"
        "  cdrzoo prepare demo/run.yaml --out rows --executor beam --beam runner=FlinkRunner\n"
        "  cdrzoo prepare demo/run.yaml --out rows --executor spark --address spark://HOST:7077\n\n"
        "They are, to the bit, the rows that `train` prepares in memory, whoever does the work. A preparation that\n"
        "was stopped goes on where it was when it is started again; one whose data has changed starts anew.\n"
        "On a cluster every machine must see the data and the folder under these paths.",
    )
    prepare.add_argument("config", type=path, help="The run configuration (YAML).")
    prepare.add_argument(
        "--out", type=anywhere, required=True, help="The folder to write to; s3:// and the like, too."
    )
    prepare.add_argument(
        "--memory", type=number(above=0, most=1e6), default=4.0, help="Gigabytes for all processes together."
    )
    prepare.add_argument(
        "--jobs", type=count("jobs"), help="Processes. Default: one per core, if the memory is enough."
    )
    prepare.add_argument(
        "--executor",
        choices=("processes", "beam", "dask", "spark"),
        default="processes",
        help="Who does the work: processes of this machine, or Beam, Dask or Spark.",
    )
    prepare.add_argument(
        "--beam",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A flag of Beam, such as runner=FlinkRunner. May be repeated. Default: processes of this machine.",
    )
    prepare.add_argument(
        "--address",
        help="The address of Dask's scheduler or Spark's master. Default: one on this machine, with --jobs workers.",
    )
    add_slices(prepare)
    add_strict(prepare)
    add_json(prepare)


_PROCESS = 0.5
"""Gigabytes that a process takes, however small its partitions are."""


def _jobs(arguments: argparse.Namespace) -> int:
    """So many processes as there are cores, and as the memory allows.

    Raises:
        InputError: there is not so much memory, or it is too little.
    """
    import os

    from cdrzoo.memory import most

    there = most() / 2**30
    if arguments.executor == "processes" and arguments.memory > there:
        raise InputError(
            f"--memory {arguments.memory:g}: gigabytes of this machine, which has {there:.1f}, wanted. Give less."
        )
    room = int(arguments.memory / _PROCESS)
    if room < (arguments.jobs or 1):
        raise InputError(
            f"--memory {arguments.memory:g} is too little for {arguments.jobs or 1} process(es), each of which takes "
            f"{_PROCESS} GB at least. Give more, or fewer --jobs."
        )
    return arguments.jobs or min(os.cpu_count() or 1, room)


def _prepare(arguments: argparse.Namespace) -> None:
    import sys

    from cdrzoo.data import quality
    from cdrzoo.data.rows.executors import executor

    changed = {"slices": arguments.slices} if arguments.slices else {}
    config, jobs = check_config(arguments.config, changed), _jobs(arguments)
    extends = None
    if config.finetune:
        from cdrzoo.training.folders import finetuned, read_encoder

        extends = read_encoder(finetuned(config))
    who = executor(arguments.executor, jobs, arguments.address, arguments.beam)
    rows = config.prepare_to(
        arguments.out,
        memory=int(arguments.memory * 2**30),
        jobs=jobs,
        executor=None if arguments.executor == "processes" else who,
        say=lambda text: print(text, file=sys.stderr, flush=True),
        extends=extends,
    )
    quality.heed(rows.warnings, arguments.strict)
    if arguments.json:
        domains = {
            name: {part: {"rows": held.rows, "labels": held.labels} for part, held in domain.parts.items()}
            for name, domain in rows.domains.items()
        }
        split = {name: rows.split[name] for name in ("name", "hash")}
        print(json.dumps({"folder": str(arguments.out), "domains": domains, "split": split}))
        return
    total = sum(part.rows for domain in rows.domains.values() for part in domain.parts.values())
    print(f"{arguments.out} holds {total:,} rows; split {rows.split['name']} {rows.split['hash'][:16]}.")
