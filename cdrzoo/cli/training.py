"""One run: train, evaluate, pack and unpack."""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any

from cdrzoo import files
from cdrzoo.cli.common import (
    add_json,
    add_settings,
    add_slices,
    add_strict,
    changes,
    check_config,
    command,
    path,
    print_next,
    start_tensorflow,
)
from cdrzoo.errors import InputError


def add(commands: Any) -> None:
    """Adds the commands of this file."""
    _add_train(commands)
    _add_evaluate(commands)
    _add_pack(commands)
    _add_unpack(commands)


def _add_train(commands: Any) -> None:
    train = command(
        commands,
        "train",
        _train,
        "Train a model and evaluate it; everything about it goes to a run folder.\n\n"
        "  cdrzoo train demo/run.yaml --model cctl --set learning_rate=0.003 --set dropout=0.1 --out runs/c\n\n"
        "The folder holds config.yaml, schema.yaml, encoder/ (vocabularies), model.keras, metrics.json, history.csv\n"
        "and logs/ (TensorBoard). A stopped run is continued with --resume and ends as if it had not been stopped.\n\n"
        "A model of two stages trains both, the first in the folder first/; --set first.NAME=VALUE sets the first.\n"
        "A configuration with `finetune: RUN` adds its target, a new domain, to the model of that run.\n\n"
        "With --from RUN the model of that run goes on, on the rows that came since; new ids get rows of their own:\n\n"
        "  cdrzoo train day2.yaml --from runs/day1 --out runs/day2",
    )
    train.add_argument(
        "config", type=path, nargs="?", help="The run configuration (YAML). Not with --resume."
    )
    train.add_argument("--out", type=path, required=True, help="The run folder.")
    train.add_argument(
        "--from",
        dest="warm_start_from",
        type=path,
        metavar="RUN",
        help="The folder of the run to go on with.",
    )
    train.add_argument("--resume", action="store_true", help="Continue the stopped run in the folder.")
    train.add_argument("--overwrite", action="store_true", help="Discard the run in the folder.")
    add_settings(train)
    add_strict(train)
    add_json(train)


def _train(arguments: argparse.Namespace) -> None:
    config, changed = None, changes(arguments)
    if arguments.warm_start_from:
        changed["warm_start_from"] = str(arguments.warm_start_from.resolve())
    if arguments.resume:
        if arguments.config or changed:
            raise InputError("A resumed run keeps its configuration: give --out and --resume alone.")
    elif arguments.config is None:
        raise InputError(
            "Give the run configuration, for example: cdrzoo train demo/run.yaml --out runs/first."
        )
    else:
        config = check_config(arguments.config, changed)
        if config.warm_start_from:
            from cdrzoo.training.finished import check_finished

            check_finished(pathlib.Path(config.folder, files.home(config.warm_start_from)))
    start_tensorflow()
    from cdrzoo.training.run import train

    run = train(
        config,
        arguments.out,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        strict=arguments.strict,
        verbose=0 if arguments.json else "lines",
    )
    if arguments.json:
        print(json.dumps({"folder": str(run.folder), **run.metrics}))
        return
    from cdrzoo.cli.measured import table

    _print_training(run.metrics)
    print(f"test rows of {run.config.schema.target}, epoch {run.metrics['best_epoch']}:\n")
    print(table(run, "test", run.metrics["test"], run.metrics["intervals"]))
    print(f"\nRun: {run.folder}")
    steps = {
        "a SavedModel for serving": ["export", run.folder, "--to", f"saved_models/{run.config.schema.target}"]
    }
    if len(run.schema.domains) > 1:
        steps = {"did the source help?": ["transfer", run.folder, "--out", f"{run.folder}_transfer"], **steps}
    print_next(steps)


def _print_training(result: dict[str, Any]) -> None:
    """A line for each stage, the first one first."""
    seconds = result["seconds"]
    if "first" in result:
        _print_training(result["first"])
        seconds -= result["first"]["seconds"]
    print(
        f"{result['model']}: {result['epochs']} epochs, {seconds:.1f} s, {result['trained_parameters']:,} of "
        f"{result['parameters']:,} parameters trained"
    )


def _add_evaluate(commands: Any) -> None:
    evaluate = command(
        commands,
        "evaluate",
        _evaluate,
        "Measure a trained model on the test rows of its run, in total and by group.\n\n"
        "  cdrzoo evaluate runs/cctl --slices device",
    )
    evaluate.add_argument("folder", type=path, help="The run folder.")
    evaluate.add_argument(
        "--part", choices=("test", "valid"), default="test", help="Which rows of the target."
    )
    add_slices(evaluate)
    add_json(evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    from cdrzoo.training.finished import check_finished

    check_finished(arguments.folder)
    start_tensorflow()
    from cdrzoo.training.run import load_run

    run = load_run(arguments.folder, arguments.slices)
    metrics, intervals = run.measured(arguments.part)
    if arguments.json:
        print(json.dumps(metrics))
        return
    from cdrzoo.cli.measured import table

    print(f"{arguments.part} rows of {run.config.schema.target}:\n")
    print(table(run, arguments.part, metrics, intervals))


def _add_pack(commands: Any) -> None:
    pack = command(
        commands,
        "pack",
        _pack,
        "Pack a finished run into one file, to load it on another machine.\n\n"
        "  cdrzoo pack runs/cctl --out cctl.tar.zst\n"
        "  cdrzoo unpack cctl.tar.zst --out runs/cctl\n\n"
        "The file holds the model, the encoder's vocabularies, the configuration, the metrics, and 64 raw rows of the\n"
        "target for exports. It holds no paths of this machine, and no pickle. The rows stay here.",
    )
    pack.add_argument("folder", type=path, help="The run folder.")
    pack.add_argument("--out", type=path, required=True, help="The file to write; its name ends in .tar.zst.")


def _pack(arguments: argparse.Namespace) -> None:
    from cdrzoo.training.packing import pack

    places = pack(arguments.folder, arguments.out)
    print(f"Packed {arguments.folder}: {arguments.out}, {arguments.out.stat().st_size / 1e6:.1f} MB.")
    print(
        "Not packed: TensorBoard's logs, and the rows. Where the run is unpacked, `evaluate` looks for them as"
    )
    print("\n".join(f"  {place}" for place in places))


def _add_unpack(commands: Any) -> None:
    unpack = command(
        commands,
        "unpack",
        _unpack,
        "Unpack a run that `cdrzoo pack` wrote into a new folder.\n\n"
        "  cdrzoo unpack cctl.tar.zst --out runs/cctl\n"
        "  cdrzoo export runs/cctl --to saved_models/films\n\n"
        "An archive with links, paths that lead elsewhere, code, or files that no run has is refused.",
    )
    unpack.add_argument("archive", type=path, help="The file that `cdrzoo pack` wrote.")
    unpack.add_argument("--out", type=path, required=True, help="The run folder; new or empty.")


def _unpack(arguments: argparse.Namespace) -> None:
    from cdrzoo.training.packing import unpack

    print(
        f"Run: {unpack(arguments.archive, arguments.out)}. Next: cdrzoo export. Its rows belong in data/ there."
    )
