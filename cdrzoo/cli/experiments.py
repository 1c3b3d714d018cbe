"""Many runs: compare, tune, reproduce."""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import re
from typing import Any

from cdrzoo import files
from cdrzoo.cli.common import add_settings, changes, command, print_metrics, progress, start_tensorflow
from cdrzoo.errors import InputError


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
    add_settings(compare, model=False)


def _compare(arguments: argparse.Namespace) -> None:
    start_tensorflow()
    from cdrzoo.experiments import compare
    from cdrzoo.training.config import RunConfig, check_results

    config, entries = compare.with_settings(
        RunConfig.load(arguments.config), _entries(arguments.models), changes(arguments)
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
        progress=progress,
    )
    from cdrzoo.evaluation import floors
    from cdrzoo.training import fitting, measuring

    prepared = fitting.prepare(config)
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
        "groups": measuring.group_sizes(prepared),
        "runs": compare.runs(results),
    }
    files.write(arguments.out / "comparison.json", json.dumps(about, indent=2, default=str) + "\n")
    print(text)


def _add_tune(commands: Any) -> None:
    tune = command(
        commands,
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
    add_settings(tune, model=False)


def _tune(arguments: argparse.Namespace) -> None:
    from cdrzoo.experiments.tune import load_space, tune, written
    from cdrzoo.training.config import RunConfig

    config = RunConfig.load(arguments.config)
    space = load_space(arguments.space)
    start_tensorflow()
    from cdrzoo.experiments import compare

    entries = [compare.Entry(config.model)] if arguments.models is None else _entries(arguments.models)
    config, entries = compare.with_settings(config, entries, changes(arguments))
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
        print_metrics(
            line["result"]["validation"], f"{label}: validation rows, best of {arguments.trials} trials"
        )
    print(f"Configurations: {', '.join(str(written(arguments.out, label)) for label in best)}")


def _entries(models: str) -> list[Any]:
    from cdrzoo.experiments import compare

    # a comma within brackets belongs to a list
    return [compare.Entry.parse(text.strip()) for text in re.split(r",(?![^\[{]*[\]}])", models)]


def _add_reproduce(commands: Any) -> None:
    reproduce = command(
        commands,
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
    add_settings(reproduce, model=False)


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
    from cdrzoo.report import pages

    reproduce.find(arguments.name)
    start_tensorflow()
    page = reproduce.reproduce(
        arguments.name,
        arguments.data,
        arguments.out,
        jobs=arguments.jobs,
        seeds=arguments.seeds,
        search=arguments.search,
        settings=changes(arguments),
        progress=progress,
        finished=pages.report if importlib.util.find_spec("matplotlib") else None,
    )
    print(page.read_text(encoding="utf-8"))
    print(f"Page: {page}")
