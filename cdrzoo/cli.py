"""The command line. Only what a command needs is imported, when it runs."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import cdrzoo
from cdrzoo import files
from cdrzoo.errors import InputError

DESCRIPTION = """\
cdrzoo trains click and rating models of a target domain with the help of other domains, and exports them for serving.

A first session, on logs that it makes itself:

  cdrzoo synthesize demo                          two domains' logs, a schema, a run configuration
  cdrzoo schema check demo/schema.yaml --data books=demo/books.csv --data films=demo/films.csv
  cdrzoo train demo/run.yaml --model cctl --out runs/cctl
  cdrzoo compare demo/run.yaml --models dnn,cctl --seeds 3 --out runs/compare
  cdrzoo transfer runs/cctl --out runs/transfer   did the source help?
  cdrzoo export runs/cctl --to saved_models/films
  cdrzoo verify saved_models/films/1 --run runs/cctl
  cdrzoo predict saved_models/films/1 --input demo/requests.csv
  cdrzoo serve saved_models                       gRPC and REST, for development; in another terminal:
  cdrzoo predict films --server 127.0.0.1:8500 --input demo/requests.csv
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 2 the input is at fault."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="cdrzoo", description=DESCRIPTION, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"cdrzoo {cdrzoo.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Any, text: str, to: Any = commands) -> argparse.ArgumentParser:
        added = to.add_parser(name, help=text.splitlines()[0], description=text, formatter_class=raw)
        added.set_defaults(run=run)
        return added

    listed = command(
        "models",
        _models,
        "List the models: name, family, what each needs, its cost and its paper.\n"
        "Parameters and the time of a training step are in units of dnn's, on the target alone.",
    )
    listed.add_argument("--markdown", action="store_true", help="as a table of Markdown")

    schema = commands.add_parser("schema", help="Look at a schema.").add_subparsers(
        metavar="COMMAND", required=True
    )
    check = command(
        "check",
        _schema_check,
        "Check a schema, and the data against it; show the domains side by side: shared and specific features,\n"
        "tables, and with --data the overlap of ids and the share of missing values.",
        schema,
    )
    check.add_argument("schema", type=pathlib.Path, help="schema file (YAML or JSON)")
    check.add_argument(
        "--data", action="append", default=[], metavar="DOMAIN=FILE", help="a domain's rows (repeat)"
    )

    make = command(
        "synthesize",
        _synthesize,
        "Write the logs of two made-up domains whose transferable signal is known, a schema, a run configuration\n"
        "and a few requests to predict.",
    )
    make.add_argument("folder", type=pathlib.Path, help="folder to write to; it must be new or empty")
    make.add_argument(
        "--transfer", type=float, default=0.8, help="1: tastes carry over, 0: not, -1: they are opposite"
    )
    make.add_argument("--seed", type=int, default=0)

    dataset = command(
        "dataset",
        _dataset,
        "Write the schema and the run configuration of a public dataset that lies in a folder.\n\n"
        "  cdrzoo dataset ciao data/ciao --source 01 --target 02 --out runs/ciao\n"
        "  cdrzoo dataset amazon data/amazon --source Books --target Digital_Music --set edition=2018 --out runs/am\n\n"
        "Large files are turned into Parquet once, a piece at a time, in the folder rows/.",
    )
    dataset.add_argument("name", help="ali_ccp, amazon, ciao, douban, ...: docs/datasets.md lists them")
    dataset.add_argument("data", type=pathlib.Path, help="folder with the dataset's files")
    dataset.add_argument("--source", help="source domain, where the dataset has several")
    dataset.add_argument("--target", help="target domain, where the dataset has several")
    dataset.add_argument(
        "--task", choices=("click", "rating"), help="what is predicted, where there are ratings"
    )
    dataset.add_argument(
        "--cold-start",
        type=float,
        metavar="BETA",
        help="hide this share of the shared users in the target; they are the test (see cdrzoo.data.cold_start)",
    )
    dataset.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another argument of the dataset (repeat)",
    )
    dataset.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")

    train = command(
        "train",
        _train,
        "Train a model and evaluate it; everything about it goes to a run folder.\n\n"
        "  cdrzoo train demo/run.yaml --model cctl --set learning_rate=0.003 --set sync_every=100 --out runs/cctl\n\n"
        "The folder holds config.yaml, schema.yaml, encoder/ (vocabularies), model.keras, metrics.json, history.csv\n"
        "logs/ (TensorBoard). A stopped run is continued with --resume and ends as if it had not been stopped.\n\n"
        "A model of two stages trains both, the first in the folder first/; --set first.NAME=VALUE sets the first.\n"
        "A configuration with `finetune: RUN` adds its target, a new domain, to the model of that run.",
    )
    train.add_argument(
        "config", type=pathlib.Path, nargs="?", help="run configuration (YAML); not with --resume"
    )
    train.add_argument("--out", type=pathlib.Path, required=True, help="run folder")
    train.add_argument("--resume", action="store_true", help="continue the stopped run in the folder")
    train.add_argument("--overwrite", action="store_true", help="discard the run in the folder")
    _settings(train)

    evaluate = command(
        "evaluate", _evaluate, "Measure a trained model on the test rows of its run, in total and by group."
    )
    evaluate.add_argument("folder", type=pathlib.Path, help="run folder")
    evaluate.add_argument("--part", choices=("test", "valid"), default="test")

    compare = command(
        "compare",
        _compare,
        "Train several models on one split over several seeds; print mean and standard deviation on the test rows,\n"
        "and a paired t-test against one of them. Epochs and settings are chosen on validation rows only.\n\n"
        "  cdrzoo compare demo/run.yaml --models lr,dnn,dnn:domains=all,cctl,cctl:ren_weight=0 --out runs/c\n\n"
        "A model is written name[:setting=value...]. Started again, it goes on where it stopped.",
    )
    compare.add_argument("config", type=pathlib.Path, help="run configuration (YAML)")
    compare.add_argument(
        "--models", required=True, help="comma-separated models, each name[:setting=value...]"
    )
    compare.add_argument(
        "--out", type=pathlib.Path, required=True, help="folder for results.jsonl and table.md"
    )
    compare.add_argument("--seeds", type=int, default=5)
    compare.add_argument(
        "--search", type=int, default=0, metavar="N", help="first N trials of settings for each model"
    )
    compare.add_argument("--jobs", type=int, default=1, help="processes")
    compare.add_argument(
        "--against", help="model of the paired test (default: dnn, else the first on the target alone)"
    )
    _settings(compare, model=False)

    transfer = command(
        "transfer",
        _transfer,
        "Measure what the sources gave a run, against its twin trained on the target alone; lift in total and by\n"
        "group, and a verdict: helps, no difference, harms. Trains the twin, and further seeds of both.\n\n"
        "  cdrzoo transfer runs/cctl --out runs/cctl_transfer\n\n"
        "The folder holds report.html, transfer.json, scores.parquet (test rows and scores) and runs/. A stopped\n"
        "report goes on where it stopped.",
    )
    transfer.add_argument("folder", type=pathlib.Path, help="folder of a run that saw a source")
    transfer.add_argument("--twin", type=pathlib.Path, help="run of the target alone; default: trained")
    transfer.add_argument("--out", type=pathlib.Path, required=True, help="folder of the report")
    transfer.add_argument(
        "--seeds", type=int, default=3, help="trainings of each model; 1: a verdict on these two alone"
    )
    transfer.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="group by a column, too (repeat)"
    )

    report = command(
        "report",
        _report,
        "Write one HTML page of a run, a transfer report, a comparison, or several of these in one folder, as\n"
        "`cdrzoo reproduce` makes them: curves, tables, calibration, what the model attends to. Figures are inline;\n"
        "it is read without a network (needs: pip install 'cdrzoo[report]').",
    )
    report.add_argument(
        "folder", type=pathlib.Path, help="folder of cdrzoo train, compare, transfer or reproduce"
    )
    report.add_argument("--out", type=pathlib.Path, help="file to write; default: report.html in the folder")

    tune = command(
        "tune",
        _tune,
        "Search for the settings of models with keras-tuner, the same number of trials for each, chosen on validation\n"
        "rows; write the best run configurations. Started again, it goes on where it stopped.\n\n"
        "  cdrzoo tune demo/run.yaml --models dnn,cctl --trials 20 --how bayesian --out runs/tuned\n"
        "  cdrzoo train runs/tuned/cctl.yaml --out runs/cctl",
    )
    tune.add_argument("config", type=pathlib.Path, help="run configuration (YAML)")
    tune.add_argument(
        "--models", help="comma-separated models, each name[:setting=value...]; default: the configuration's"
    )
    tune.add_argument(
        "--space",
        type=pathlib.Path,
        help="YAML: name: [values] or name: {min:, max:, step:, sampling: log}; default: the catalogue's",
    )
    tune.add_argument("--trials", type=int, default=20, help="of each model")
    tune.add_argument("--how", choices=("random", "bayesian", "hyperband"), default="random")
    tune.add_argument("--out", type=pathlib.Path, required=True, help="folder for trials and configurations")
    _settings(tune, model=False)

    reproduce = command(
        "reproduce",
        _reproduce,
        "Run a named experiment: its dataset, split, models, settings and seeds are in the catalogue. The page shows\n"
        "the paper's numbers beside ours. Started again, it goes on where it stopped, on another machine, too.\n\n"
        "  cdrzoo reproduce --list\n"
        "  cdrzoo reproduce planted_transfer --out results\n"
        "  cdrzoo reproduce ctr_ciao_01_02 --data data --out results --jobs 2\n"
        "  cdrzoo reproduce dacdr_table3/books_to_cds_beta20 --data data --out results",
    )
    reproduce.add_argument("name", nargs="?", help="experiment, or experiment/part")
    reproduce.add_argument("--list", action="store_true", help="the experiments, their datasets and parts")
    reproduce.add_argument(
        "--data",
        type=pathlib.Path,
        help="folder of all data, a folder for each dataset in it; built-in logs want none",
    )
    reproduce.add_argument("--out", type=pathlib.Path, help="folder for results and pages")
    reproduce.add_argument("--jobs", type=int, default=1, help="processes")
    reproduce.add_argument("--seeds", type=int, help="in place of the experiment's")
    reproduce.add_argument("--search", type=int, metavar="N", help="in place of the experiment's")
    _settings(reproduce, model=False)

    export = command(
        "export", _export, "Export the model of a run as a SavedModel that takes the target's raw features."
    )
    export.add_argument("folder", type=pathlib.Path, help="run folder")
    export.add_argument(
        "--to", type=pathlib.Path, required=True, help="model folder; the export is a version in it"
    )
    export.add_argument("--version", type=int, help="number of the version; default: the next")

    verify = command(
        "verify",
        _verify,
        "Prove that an exported model scores as the trained one, row by row, and holds only what the target needs.",
    )
    verify.add_argument("path", type=pathlib.Path, help="version folder, for example saved_models/films/1")
    verify.add_argument(
        "--run", dest="folder", type=pathlib.Path, help="run folder to compare with, beside the recorded rows"
    )

    predict = command(
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
    predict.add_argument(
        "--input", type=pathlib.Path, required=True, help="rows with the target's raw features"
    )
    predict.add_argument("--output", type=pathlib.Path, help="CSV to write; default: print the first rows")

    serve = command(
        "serve",
        _serve,
        "Serve the models of a folder on this machine, for development. Production is TensorFlow Serving.\n\n"
        "  cdrzoo serve saved_models\n"
        "  curl http://127.0.0.1:8501/v1/models/films\n"
        "  curl http://127.0.0.1:8501/v1/models/films/metadata\n"
        '  curl -d \'{"inputs": {"examples": [{"b64": ""}]}, "signature_name": "serve_examples"}\' \\\n'
        "      http://127.0.0.1:8501/v1/models/films:predict\n\n"
        "It speaks TensorFlow Serving's gRPC (PredictionService: Predict, GetModelMetadata; ModelService:\n"
        "GetModelStatus) and REST paths, so a client need not know which of the two answers; see docs/serving.md.\n"
        "It listens on 127.0.0.1 alone. A version that appears in a model's folder is loaded and warmed up, then\n"
        "takes over; no request is dropped. models.config in the folder (see `cdrzoo label`) chooses versions and\n"
        "gives them labels. Ctrl-C ends it once the requests that it has taken are answered.",
    )
    serve.add_argument("folder", type=pathlib.Path, help="folder of models, each a folder of versions")
    serve.add_argument("--port", type=int, default=8500, help="of gRPC; default 8500; 0: any free one")
    serve.add_argument("--rest-port", type=int, default=8501, help="of REST; default 8501; 0: any free one")
    serve.add_argument(
        "--seconds", type=float, default=1.0, help="between two looks for new versions; default 1"
    )

    label = command(
        "label",
        _label,
        "Write the configuration of TensorFlow Serving for a folder of models, and label versions.\n\n"
        "  cdrzoo label saved_models films stable=3 canary=4\n\n"
        "models.config lists every model. A model with labels serves the labelled versions and no others; the labels\n"
        "given replace those it had. batching.config and compose.yaml are written where they are not there yet.",
    )
    label.add_argument("folder", type=pathlib.Path, help="folder of models, each a folder of versions")
    label.add_argument(
        "model", nargs="?", help="model to label; default: none, all keep the labels they have"
    )
    label.add_argument("labels", nargs="*", metavar="LABEL=VERSION", help="its labels; none: it loses them")
    return parser


def _settings(parser: argparse.ArgumentParser, model: bool = True) -> None:
    if model:
        parser.add_argument("--model", help="name of the model; default: as the configuration says")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of training (learning_rate, epochs, ...), of the run (width, seed) or of the model; "
        "first.NAME sets the first of two stages (repeat)",
    )


@contextlib.contextmanager
def _quiet():
    """Keeps what TensorFlow writes to the error stream while it starts; it is shown only if it fails to."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stream = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stream, kept.read())
            raise
        finally:
            os.dup2(stream, 2)
            os.close(stream)


def _start_tensorflow() -> None:
    with _quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.get_logger().setLevel("ERROR")


def _pairs(given: Sequence[str], what: str) -> dict[str, str]:
    pairs = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise InputError(f"{what} must read NAME=VALUE. Received: {each!r}.")
        pairs[name] = value
    return pairs


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    from cdrzoo.schema import load_yaml

    given = _pairs(arguments.set, "--set")
    changes = {name: load_yaml(value, f"--set {name}={value}") for name, value in given.items()}
    if getattr(arguments, "model", None):
        changes["model"] = arguments.model
    return changes


def _new_folder(folder: pathlib.Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty. Choose a new folder; nothing is overwritten.")
    folder.mkdir(parents=True, exist_ok=True)


def _models(arguments: argparse.Namespace) -> None:
    from cdrzoo.models import table

    rows = table()
    if arguments.markdown:
        rows = [(f"`{name}`", *cells) if i else (name, *cells) for i, (name, *cells) in enumerate(rows)]
        rows.insert(1, ("---",) * len(rows[0]))
        print("\n".join(f"| {' | '.join(row)} |" for row in rows))
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _schema_check(arguments: argparse.Namespace) -> None:
    from cdrzoo.data import check
    from cdrzoo.schema import Schema

    sources = _pairs(arguments.data, "--data")
    print(check(Schema.load(arguments.schema), sources or None))


def _synthesize(arguments: argparse.Namespace) -> None:
    from cdrzoo.data import prepare, readers, synthetic

    _new_folder(arguments.folder)
    made = synthetic.synthesize(arguments.transfer, seed=arguments.seed)
    made.write(arguments.folder)
    _write_run(
        arguments.folder,
        {domain: f"{domain}.csv" for domain in made.frames},
        "time",
        # Few rows an epoch: the towers meet often, and each step shows the rich source four times the rows.
        arguments={"sync_every": 20},
        training={"batch_size": 128, "source_ratio": 4.0, "patience": 3},
    )
    requests = readers.joined(prepare(made.schema, made.sources).frame(made.schema.target, "test", 5))
    requests.to_csv(arguments.folder / "requests.csv", index=False)
    print(
        f"Wrote {', '.join(sorted(path.name for path in arguments.folder.iterdir()))} to {arguments.folder}"
    )


def _write_run(folder: pathlib.Path, sources: dict[str, Any], split: Any, **settings: Any) -> None:
    from cdrzoo.schema import dump_yaml

    config = {"schema": "schema.yaml", "data": sources, "split": split, "model": "cctl", **settings}
    (folder / "run.yaml").write_text(dump_yaml(config), encoding="utf-8")


def _dataset(arguments: argparse.Namespace) -> None:
    from cdrzoo.data import datasets

    chosen = {name: value for name in ("source", "target", "task") if (value := getattr(arguments, name))}
    if arguments.out.exists() and {path.name for path in arguments.out.iterdir()} - {"rows"}:
        raise InputError(f"{arguments.out} is not empty. Choose a new folder; nothing is overwritten.")
    found = datasets.load(
        arguments.name,
        arguments.data.resolve(),
        arguments.out.resolve() / "rows",
        beta=arguments.cold_start,
        **chosen,
        **_changes(arguments),
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    found["schema"].save(arguments.out / "schema.yaml")
    preparation = {"preparation": {"history": found["history"]}} if "history" in found else {}
    _write_run(arguments.out, found["sources"], found["split"], **preparation)
    print(f"Wrote schema.yaml and run.yaml to {arguments.out}")


def _train(arguments: argparse.Namespace) -> None:
    from cdrzoo.experiments.config import RunConfig

    changes = _changes(arguments)
    if arguments.resume:
        if arguments.config or changes:
            raise InputError("A resumed run keeps its configuration: give --out and --resume alone.")
        if not (arguments.out / "config.yaml").exists():
            raise InputError(
                f"There is no run to resume in {arguments.out}. Leave --resume out to start one."
            )
        config = RunConfig.load(arguments.out / "config.yaml")
    elif arguments.config is None:
        raise InputError(
            "Give the run configuration, for example: cdrzoo train demo/run.yaml --out runs/first."
        )
    else:
        config = RunConfig.load(arguments.config).with_changes(changes)
    _start_tensorflow()
    from cdrzoo.experiments import run

    verbose = 1 if sys.stdout.isatty() else 2
    result = run.train(
        config, arguments.out, resume=arguments.resume, overwrite=arguments.overwrite, verbose=verbose
    )
    _print_training(result)
    _print_metrics(result["test"], f"test rows of {config.schema.target}, epoch {result['best_epoch']}")
    print(f"Run: {arguments.out}")


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


def _print_metrics(metrics: dict[str, float], title: str) -> None:
    print(title)
    for name, value in metrics.items():
        print(f"  {name:<20} {value:.6f}")


def _evaluate(arguments: argparse.Namespace) -> None:
    _start_tensorflow()
    from cdrzoo.experiments import run

    config, model, prepared = run.reload(arguments.folder)
    _print_metrics(
        run.evaluate(model, prepared, arguments.part), f"{arguments.part} rows of {config.schema.target}"
    )


def _compare(arguments: argparse.Namespace) -> None:
    _start_tensorflow()
    from cdrzoo.experiments import compare
    from cdrzoo.experiments.config import RunConfig, check_results

    config, entries = compare.with_settings(
        RunConfig.load(arguments.config), _entries(arguments.models), _changes(arguments)
    )
    labels = [entry.label for entry in entries]
    if arguments.against and arguments.against not in labels:
        raise InputError(f"--against {arguments.against!r} is not among --models. Add it there.")
    check_results(arguments.out)
    alone = [e.label for e in entries if config.with_changes(e.changes).domains == "target"]
    against = arguments.against or ("dnn" if "dnn" in labels else next(iter(alone), None))
    tested = f"Paired t-test over seeds against {against}."
    if against is None:
        tested = (
            "No paired test: no model sees the target alone. Add dnn to --models, or name one with --against."
        )
    elif len(entries) < 2 or arguments.seeds < 2:
        tested = "No paired test: it takes two models, and two seeds."
    print(tested)
    results = compare.compare(
        config,
        entries,
        arguments.out,
        seeds=arguments.seeds,
        search=arguments.search,
        jobs=arguments.jobs,
        progress=_progress,
    )
    from cdrzoo.experiments import floors, run

    prepared = run.prepare(config)
    simple = floors.floors(prepared)
    text = f"{compare.markdown(compare.table(results, against or '', simple))}\n{tested}\n"
    (arguments.out / "table.md").write_text(text)
    settings = [
        part for name in ("models", "seeds", "search") for part in (f"--{name}", getattr(arguments, name))
    ]
    changed = [part for change in arguments.set for part in ("--set", change)]
    about = {
        "command": list(map(str, ["compare", arguments.config, *settings, *changed, "--out", arguments.out])),
        "config": config.to_dict(),
        **({"against": against} if against else {}),
        "floors": simple,
        "groups": run.group_sizes(prepared),
        "runs": compare.runs(results),
    }
    files.write(arguments.out / "comparison.json", json.dumps(about, indent=2, default=str) + "\n")
    print(text)


def _tune(arguments: argparse.Namespace) -> None:
    from cdrzoo.experiments.config import RunConfig
    from cdrzoo.experiments.tune import load_space, tune, written

    config = RunConfig.load(arguments.config)
    space = load_space(arguments.space)
    _start_tensorflow()
    from cdrzoo.experiments import compare

    entries = [compare.Entry(config.model)] if arguments.models is None else _entries(arguments.models)
    config, entries = compare.with_settings(config, entries, _changes(arguments))
    best = tune(
        config,
        entries,
        arguments.out,
        space=space,
        trials=arguments.trials,
        how=arguments.how,
        progress=lambda text: print(text, flush=True),
    )
    for label, line in best.items():
        _print_metrics(
            line["result"]["validation"], f"{label}: validation rows, best of {arguments.trials} trials"
        )
    print(f"Configurations: {', '.join(str(written(arguments.out, label)) for label in best)}")


def _entries(models: str) -> list[Any]:
    from cdrzoo.experiments import compare

    # a comma within brackets belongs to a list
    return [compare.Entry.parse(text.strip()) for text in re.split(r",(?![^\[{]*[\]}])", models)]


def _reproduce(arguments: argparse.Namespace) -> None:
    from cdrzoo.experiments.catalogue import EXPERIMENTS

    if arguments.list:
        for name, experiment in EXPERIMENTS.items():
            first = next(iter(experiment.parts.values()))
            print(f"{name:<24} {experiment.title} ({first.dataset}, {len(first.models)} models)")
            print("".join(f"{'':<24}   {part}\n" for part in experiment.parts if part), end="")
        return
    if not (arguments.name and arguments.out):
        raise InputError("Give the experiment and --out; `cdrzoo reproduce --list` names the experiments.")
    from cdrzoo.experiments import reproduce

    reproduce.find(arguments.name)
    _start_tensorflow()
    page = reproduce.reproduce(
        arguments.name,
        arguments.data,
        arguments.out,
        jobs=arguments.jobs,
        seeds=arguments.seeds,
        search=arguments.search,
        settings=_changes(arguments),
        progress=_progress,
    )
    print(page.read_text(encoding="utf-8"))
    print(f"Page: {page}")


def _progress(items: Any, total: int, title: str) -> Any:
    from rich.progress import track

    return track(items, description=title, total=total)


def _transfer(arguments: argparse.Namespace) -> None:
    from cdrzoo.experiments.report import check_matplotlib

    check_matplotlib()  # before the trainings, not after
    _start_tensorflow()
    from cdrzoo.experiments import transfer

    result = transfer.transfer(
        arguments.folder,
        arguments.out,
        twin=arguments.twin,
        seeds=arguments.seeds,
        by=arguments.by,
        verbose=1 if sys.stdout.isatty() else 0,
    )
    print(transfer.sentence(result))
    print(transfer.scope(result))
    print(
        f"Groups: {result['lower']} of {len(result['groups'])} are worse off, {result['harmed']} beyond chance "
        "(after Holm's correction)."
    )
    _report(argparse.Namespace(folder=arguments.out, out=None))


def _report(arguments: argparse.Namespace) -> None:
    if not (arguments.folder / "results.jsonl").exists():  # a comparison's figures are of numbers alone
        _start_tensorflow()
    from cdrzoo.experiments import report

    print(f"Report: {report.report(arguments.folder, arguments.out)}")


def _export(arguments: argparse.Namespace) -> None:
    _start_tensorflow()
    from cdrzoo.experiments import run

    path = run.export_run(arguments.folder, arguments.to, arguments.version)
    print(f"SavedModel: {path}")


def _verify(arguments: argparse.Namespace) -> None:
    _start_tensorflow()
    from cdrzoo.verify import verify

    model = encoder = None
    if arguments.folder:
        from cdrzoo.experiments import run

        _, model, encoder = run.load(arguments.folder)
    print(verify(arguments.path, model=model, encoder=encoder))


def _predict(arguments: argparse.Namespace) -> None:
    if arguments.output and arguments.output.exists():
        raise InputError(f"{arguments.output} exists. Choose another name; nothing is overwritten.")
    if arguments.output and not arguments.output.parent.is_dir():
        raise InputError(
            f"There is no folder {arguments.output.parent} to write to. Make it, or name another."
        )
    _start_tensorflow()
    from cdrzoo.data import readers
    from cdrzoo.experiments.predict import predict

    scored = predict(arguments.model, arguments.input, server=arguments.server)
    if arguments.output:
        readers.joined(scored).to_csv(arguments.output, index=False)
        print(f"Wrote {len(scored)} scores to {arguments.output}")
    else:
        score, *rows = reversed(scored.columns)
        print(scored[[score, *reversed(rows)]].head(20).to_string(index=False, max_colwidth=24))


def _serve(arguments: argparse.Namespace) -> None:
    import logging
    import signal

    _start_tensorflow()
    from cdrzoo.serving import Server

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, which a script's `&` has it ignore
    with Server(
        arguments.folder, port=arguments.port, rest_port=arguments.rest_port, seconds=arguments.seconds
    ) as server:
        print(f"gRPC {server.address}, REST {server.rest_address}; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    print("stopped")


def _label(arguments: argparse.Namespace) -> None:
    pairs = _pairs(arguments.labels, "A label")
    wrong = [f"{name}={version}" for name, version in pairs.items() if not version.isdigit()]
    if wrong:
        raise InputError(f"A label names the number of a version. Received: {wrong[0]!r}.")
    with _quiet():
        from cdrzoo.serving import write_config
    labels = {name: int(version) for name, version in pairs.items()}
    print(f"Wrote {write_config(arguments.folder, {arguments.model: labels} if arguments.model else None)}")


if __name__ == "__main__":
    sys.exit(main())
