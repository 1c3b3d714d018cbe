"""Many runs: compare, tune, reproduce."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
from typing import Any

from cdrzoo.cli.common import (
    add_json,
    add_settings,
    add_strict,
    changes,
    check_config,
    command,
    count,
    path,
    print_metrics,
    print_next,
    progress,
    start_tensorflow,
)
from cdrzoo.errors import InputError, check_choice


def add(commands: Any) -> None:
    """Adds the commands of this file."""
    _add_compare(commands)
    _add_tune(commands)
    _add_reproduce(commands)


def _add_compare(commands: Any) -> None:
    compare = command(
        commands,
        "compare",
        _compare,
        "Train several models on one split over several seeds, and test them against one of them.\n\n"
        "The table has mean and standard deviation on the test rows, and a paired t-test. Epochs and settings are\n"
        "chosen on validation rows only.\n\n"
        "  cdrzoo compare demo/run.yaml --models lr,dnn,dnn:domains=all,cctl,cctl:ren_weight=0 --out runs/c\n\n"
        "A model is written name[:setting=value...]. Started again, it goes on where it stopped.",
    )
    compare.add_argument("config", type=path, help="The run configuration (YAML).")
    compare.add_argument(
        "--models", required=True, help="Models with commas between, each name[:setting=value...]."
    )
    compare.add_argument("--out", type=path, required=True, help="The folder for results.jsonl and table.md.")
    compare.add_argument("--seeds", type=count("seeds"), default=5, help="Trainings of each model.")
    compare.add_argument(
        "--search",
        type=count("search"),
        default=0,
        metavar="N",
        help="First try N settings of each model.",
    )
    compare.add_argument("--jobs", type=count("jobs"), default=1, help="Runs side by side.")
    compare.add_argument(
        "--against",
        help="The model to test the others against. Default: dnn, else the first of the target alone.",
    )
    add_settings(compare, model=False)
    add_strict(compare)
    add_json(compare)


def _compare(arguments: argparse.Namespace) -> None:
    from cdrzoo.experiments.entries import check_settings, read_entries

    check_config(arguments.config)
    settings = changes(arguments)
    check_settings(settings)
    read_entries(arguments.models)  # before TensorFlow starts
    start_tensorflow()
    from cdrzoo.experiments.compare import compare, silent

    found = compare(
        arguments.config,
        arguments.models,
        arguments.out,
        seeds=arguments.seeds,
        search=arguments.search,
        against=arguments.against,
        settings=settings,
        strict=arguments.strict,
        jobs=arguments.jobs,
        progress=silent if arguments.json else progress,
        tell=(lambda text: None) if arguments.json else print,
    )
    if arguments.json:
        print(json.dumps(_rows(found)))
    else:
        print((found.folder / "table.md").read_text(encoding="utf-8"))
        print_next({"a page of it": ["report", found.folder]})


def _add_tune(commands: Any) -> None:
    tune = command(
        commands,
        "tune",
        _tune,
        "Search for the settings of models with keras-tuner, and write the best run configurations.\n\n"
        "Each model has the same number of trials, and validation rows choose. Started again, it goes on where it\n"
        "stopped.\n\n"
        "  cdrzoo tune demo/run.yaml --models dnn,cctl --trials 20 --how bayesian --out runs/tuned\n"
        "  cdrzoo train runs/tuned/cctl.yaml --out runs/cctl",
    )
    tune.add_argument("config", type=path, help="The run configuration (YAML).")
    tune.add_argument(
        "--models",
        help="Models with commas between, each name[:setting=value...]. Default: the configuration's.",
    )
    tune.add_argument(
        "--space",
        type=path,
        help="The space (YAML): name: [values] or name: {min:, max:, step:, sampling: log}. Default: that of compare.",
    )
    tune.add_argument("--trials", type=count("trials"), default=20, help="Trials of each model.")
    tune.add_argument(
        "--how", choices=("random", "bayesian", "hyperband"), default="random", help="How settings are drawn."
    )
    tune.add_argument("--out", type=path, required=True, help="The folder for trials and configurations.")
    add_settings(tune, model=False)
    add_strict(tune)
    add_json(tune)


def _tune(arguments: argparse.Namespace) -> None:
    from cdrzoo.experiments.entries import check_settings, read_entries
    from cdrzoo.experiments.tune import load_space

    check_config(arguments.config)
    settings = changes(arguments)
    check_settings(settings)
    if arguments.models:
        read_entries(arguments.models)
    space = arguments.space and load_space(arguments.space)  # before TensorFlow starts
    start_tensorflow()
    from cdrzoo.experiments.tune import tune

    found = tune(
        arguments.config,
        arguments.models,
        out=arguments.out,
        space=space,
        trials=arguments.trials,
        how=arguments.how,
        settings=settings,
        strict=arguments.strict,
        progress=(lambda text: None) if arguments.json else functools.partial(print, flush=True),
    )
    if arguments.json:
        print(
            json.dumps(
                {label: {"run": str(found.configs[label]), **line} for label, line in found.best.items()}
            )
        )
        return
    for label, line in found.best.items():
        print_metrics(
            line["result"]["validation"], f"{label}: validation rows, best of {arguments.trials} trials"
        )
    print(f"Configurations: {', '.join(map(str, found.configs.values()))}")
    print_next(
        {
            f"train {label} with what was found": ["train", file, "--out", file.with_suffix("")]
            for label, file in found.configs.items()
        }
    )


def _add_reproduce(commands: Any) -> None:
    reproduce = command(
        commands,
        "reproduce",
        _reproduce,
        "Run a named experiment of the catalogue.\n\n"
        "The catalogue has its dataset, split, models, settings and seeds. The page shows the paper's numbers next to\n"
        "ours. Started again, it goes on where it stopped, on another machine, too.\n\n"
        "  cdrzoo reproduce --list\n"
        "  cdrzoo reproduce planted_transfer --out results\n"
        "  cdrzoo reproduce ctr_ciao_01_02 --data data --out results --jobs 2\n"
        "  cdrzoo reproduce ctr_ciao_01_02 --data data --out results --model LR --model MV-DNN\n"
        "  cdrzoo reproduce dacdr_table3/books_to_cds_beta20 --data data --out results\n"
        "  cdrzoo reproduce mine --catalogue experiments.yaml --out results",
    )
    reproduce.add_argument("name", nargs="?", help="The experiment, or experiment/part.")
    reproduce.add_argument(
        "--list", action="store_true", help="List the experiments, their datasets and parts."
    )
    reproduce.add_argument(
        "--catalogue",
        type=path,
        help="A file of experiments of your own (YAML), in place of the catalogue.",
    )
    reproduce.add_argument(
        "--data",
        type=path,
        help="The folder of all data, with a folder for each dataset. Built-in logs want none.",
    )
    reproduce.add_argument("--out", type=path, help="The folder for results and pages.")
    reproduce.add_argument(
        "--model",
        dest="rows",
        action="append",
        default=[],
        metavar="LABEL",
        help="A row of the table, as it is called there. May be repeated. Default: all.",
    )
    reproduce.add_argument("--jobs", type=count("jobs"), default=1, help="Runs side by side.")
    reproduce.add_argument(
        "--seeds", type=count("seeds"), help="Trainings of each model. Default: the experiment's."
    )
    reproduce.add_argument(
        "--search", type=count("search"), metavar="N", help="Trials of each model. Default: the experiment's."
    )
    add_settings(reproduce, model=False)
    add_strict(reproduce)
    add_json(reproduce)


def _reproduce(arguments: argparse.Namespace) -> None:
    from cdrzoo.experiments.catalogue import experiments, find

    if arguments.list:
        for name, experiment in experiments(arguments.catalogue).items():
            first = next(iter(experiment.parts.values()))
            print(f"{name:<24} {experiment.title} ({first.place}, {len(first.models)} models)")
            print("".join(f"{'':<24}   {part}\n" for part in experiment.parts if part), end="")
        return
    if not (arguments.name and arguments.out):
        raise InputError("Give the experiment and --out; `cdrzoo reproduce --list` names the experiments.")
    parts = find(arguments.name, arguments.catalogue).parts.values()
    for label in arguments.rows:
        check_choice("`--model`", label, {label: 0 for part in parts for label in part.models})
    settings = changes(arguments)
    start_tensorflow()
    from cdrzoo.experiments.compare import silent
    from cdrzoo.experiments.comparison import Comparison
    from cdrzoo.experiments.reproduce import reproduce
    from cdrzoo.report import pages

    done: list[Any] = []

    def finished(folder: Any) -> None:
        done.append(folder)
        if importlib.util.find_spec("matplotlib"):
            pages.report(folder)

    page = reproduce(
        arguments.name,
        arguments.data,
        arguments.out,
        models=arguments.rows,
        catalogue=arguments.catalogue,
        jobs=arguments.jobs,
        seeds=arguments.seeds,
        search=arguments.search,
        settings=settings,
        strict=arguments.strict,
        progress=silent if arguments.json else progress,
        finished=finished,
    )
    if arguments.json:
        print(json.dumps({folder.name: _rows(Comparison.load(folder)) for folder in done}))
        return
    print(page.read_text(encoding="utf-8"))
    print(f"Page: {page}")


def _rows(found: Any) -> list[dict[str, Any]]:
    """The table of a comparison, a row a model."""
    return json.loads(found.table.reset_index().to_json(orient="records"))
