"""Experiments of the catalogue: run, resumed, and rendered with the papers' numbers beside ours."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cdrzoo import files
from cdrzoo.data import datasets
from cdrzoo.errors import InputError, check_choice, shown
from cdrzoo.experiments import compare, mechanisms, results, search, tables
from cdrzoo.experiments.catalogue import BUILT_IN, Experiment, Part, find, pair_of
from cdrzoo.experiments.compare import Progress, silent
from cdrzoo.experiments.comparison import Comparison
from cdrzoo.experiments.entries import RUN_SETTINGS, check_names
from cdrzoo.training.config import RunConfig


def configuration(
    part: Part,
    data: str | pathlib.Path | None,
    rows: str | pathlib.Path,
    settings: Mapping[str, Any] | None = None,
) -> RunConfig:
    """What the runs of a part share.

    Args:
        part: of an experiment.
        data: the folder of all data, with a folder for each dataset; `None` will do where no files are wanted.
        rows: where files that are made or converted go.
        settings: in place of the part's.

    Raises:
        InputError: the data is not there, or `settings` has an argument of a model: those are the experiment's.
    """
    for setting in settings or {}:
        if setting not in RUN_SETTINGS:
            raise InputError(
                f"What models are compared with is the experiment's own: of the settings only width and those of "
                f"training can be changed ({', '.join(sorted(RUN_SETTINGS))}). Received: {shown(setting)}. "
                "Leave it out."
            )
    changes = {**part.settings, **(settings or {})}
    if part.run is not None:
        return RunConfig.load(part.run).with_changes(changes)
    dataset = str(part.dataset)
    if dataset in BUILT_IN:
        found = pair_of(dataset)(rows, **part.pair)
    else:
        folder = pathlib.Path(data or "DATA", part.folder or dataset)
        if data is None or not folder.is_dir():
            raise InputError(
                f"{'Give `data` (--data DATA).' if data is None else f'{folder} does not exist.'} The files of "
                f"{dataset} are wanted in {folder}; docs/datasets.md says which, and where they are "
                "published."
            )
        found = datasets.load(dataset, folder, rows, beta=part.beta, **part.pair)
    config = RunConfig(
        schema=found["schema"],
        data=found["sources"],
        split=part.split or found["split"],
        preparation={"history": found["history"]} if "history" in found else {},
    )
    return config.with_changes(changes)


def reproduce(
    name: str,
    data: str | pathlib.Path | None,
    out: str | pathlib.Path,
    *,
    models: Sequence[str] = (),
    catalogue: str | pathlib.Path | None = None,
    jobs: int = 1,
    seeds: int | None = None,
    search: int | None = None,
    settings: Mapping[str, Any] | None = None,
    strict: bool = False,
    progress: Progress = silent,
    finished: Callable[[pathlib.Path], Any] = lambda folder: None,
) -> pathlib.Path:
    """Runs an experiment; what has been run is not run again, wherever its results come from.

    Args:
        name: of the experiment, or `NAME/PART`.
        data: the folder of all data, with a folder for each dataset; `None` will do where no files are wanted.
        out: `NAME/PART/results.jsonl` (a line a run, appended as they end) and `NAME/README.md`, the page, go here;
            files that are made or converted go to `rows`. Lines of another machine that were put there are taken as
            they are.
        models: rows of the table, by their labels, if not all are wanted. A variant brings the model whose search it
            shares.
        catalogue: a file of experiments of one's own, in place of the catalogue.
        jobs: processes.
        seeds: runs of each model, in place of the experiment's.
        search: trials of each model, in place of the experiment's.
        settings: of training or the run, in place of the experiment's; the page says so.
        strict, progress: as of `compare.compare`.
        finished: called with the folder of each part that is done; the command line writes its page.

    Returns:
        The page.
    """
    file, out = None if catalogue is None else pathlib.Path(catalogue), pathlib.Path(out)
    experiment = find(name, file)
    given = {"seeds": seeds, "search": search}
    how: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    parts = {part: dataclasses.replace(one, **how) for part, one in experiment.parts.items()}
    configs = _checked(parts, data, out / "rows", settings)
    if models:
        parts, how = _only(parts, configs, models), {**how, "models": ", ".join(models)}
    command = ["reproduce", name, *(["--catalogue", file.name] if file else [])]
    command += [*(["--data", "DATA"] if any(part.files for part in parts.values()) else []), "--out", "OUT"]
    home, _, alone = name.partition("/")
    page = out / home / alone / "README.md"
    changed = {name: value for name, value in (settings or {}).items() if name != "callbacks"}
    head = _introduction(experiment, command, {**how, **changed})
    text, made = "", {}
    for part, one in parts.items():
        found = made[part] = _trained(one, configs[part], out / home / part, command, jobs, progress, strict)
        text += (f"## {part}\n\n" if part else "") + _section(found, one)
        page.parent.mkdir(parents=True, exist_ok=True)
        files.write(page, head + ("" if models else _bench(parts, made)) + text)
        finished(found.folder)
    return page


def _only(
    parts: Mapping[str, Part], configs: Mapping[str, RunConfig], models: Sequence[str]
) -> dict[str, Part]:
    """The parts with these models alone, as far as they have them."""
    for label in models:
        check_choice(
            "A model of the experiment", label, {label: 0 for part in parts.values() for label in part.models}
        )
    made = {}
    for name, part in parts.items():
        leaders = search.leaders(configs[name], part.entries) if part.search else {}
        wanted = {label for label in models if label in part.models}
        wanted |= {leaders[label].label for label in wanted if label in leaders}
        if wanted:
            kept = {label: changes for label, changes in part.models.items() if label in wanted}
            made[name] = dataclasses.replace(
                part, models=kept, against=part.against if part.against in kept else None
            )
    return made


def _bench(parts: Mapping[str, Part], made: Mapping[str, Comparison]) -> str:
    rows = mechanisms.rows(parts, made)
    return tables.markdown(rows) + "\n" if rows else ""


def _trained(
    part: Part,
    config: RunConfig,
    folder: pathlib.Path,
    command: list[str],
    jobs: int,
    progress: Progress,
    strict: bool,
) -> Comparison:
    described = config.plain(lambda path: path.name)  # no place of this machine
    about = {"command": command, "config": described, **({"against": part.against} if part.against else {})}
    how: dict[str, Any] = {"seeds": part.seeds, "search": part.search, "jobs": jobs, "progress": progress}
    found = compare.compared(config, part.entries, folder, about, **how, strict=strict)
    if part.against is None and (best := compare.best_alone(found.results)):
        found = dataclasses.replace(found, about={**found.about, "against": best})
        found.write()
    return found


def _checked(
    parts: Mapping[str, Part],
    data: str | pathlib.Path | None,
    rows: pathlib.Path,
    settings: Mapping[str, Any] | None,
) -> dict[str, RunConfig]:
    """The configurations of all parts; what is wrong with any is said before the first one is trained."""
    for part in parts.values():
        for entry in part.entries:
            check_names(entry)  # files may have to be converted for the rest, which takes its time
    configs = {name: configuration(part, data, rows, settings) for name, part in parts.items()}
    for name, part in parts.items():
        compare.check(configs[name], part.entries, part.seeds, part.search)
    return configs


def _introduction(experiment: Experiment, command: Sequence[str], changed: Mapping[str, Any]) -> str:
    text = f"# {experiment.title}\n\n"
    if experiment.note:
        text += f"{textwrap.fill(experiment.note, 120)}\n\n"
    text += f"```\ncdrzoo {' '.join(command)}\n```\n\n"
    if changed:
        text += f"**Not as the catalogue says:** {', '.join(f'{k} = {v}' for k, v in changed.items())}.\n\n"
    return text


def _section(found: Comparison, part: Part) -> str:
    """Of a part the table, the tables by group, and what the numbers were measured on and with."""
    rows = tables.with_best(found.rows())
    text = tables.markdown(beside(rows, part.published)) + found.markdown_of_groups()
    return text + "\n" + provenance(found, part)


def beside(
    rows: Sequence[Mapping[str, str]], published: Mapping[str, Mapping[str, float]]
) -> list[dict[str, str]]:
    """Rows of a table with the published numbers, each behind ours."""
    titles = {title: metric for metric, title in tables.TITLES.items()}
    told = {metric for found in published.values() for metric in found}
    made = []
    for row in rows:
        cells: dict[str, str] = {}
        for title, cell in row.items():
            cells[title] = cell
            if titles.get(title) in told:
                value = published.get(row["model"], {}).get(titles[title])
                cells[f"{title} (paper)"] = "" if value is None else f"{value:.4f}"
        made.append(cells)
    return made


def provenance(found: Comparison, part: Part) -> str:
    """What every number of a table was measured on and with, as a list."""
    of = [line["result"] for line in found.results]
    lines = results.kept(found.folder / results.LINES)  # those of a search too
    seconds = sum(line["result"]["seconds"] for line in lines)
    used = collections.defaultdict(set)
    for result in of:
        for library, version in result["versions"].items():
            used[library].add(version)
    seeds = sorted({line["changes"]["seed"] for line in found.results})
    chosen: dict[str, dict[str, Any]] = {}
    for line in found.results:
        written = ("seed", *part.models[line["label"]])
        if drawn := {name: value for name, value in line["changes"].items() if name not in written}:
            chosen[line["label"]] = drawn
    searched = (
        f"; settings by the best validation metric of a search: `{json.dumps(chosen)}`" if chosen else ""
    )
    best = "" if part.against else ", which of the models of the target alone is the best on validation rows,"
    tested = (
        f"; *difference* and *p*: paired t-test over seeds against {found.against}{best} and p after Holm's correction "
        "for all tests of the table"
    )
    said = [
        *(f"Split {name}, sha256 {sha}" for name, sha in sorted({tuple(r["split"].values()) for r in of})),
        f"Seeds {', '.join(map(str, seeds))}; mean ± standard deviation{tested if found.against else ''}",
        f"Selected by: {', '.join(sorted({result['selection'] for result in of}))}{searched}; test rows were scored "
        "once a run",
        f"{len(lines)} runs, {seconds / 3600:.1f} hours of training; a first stage counts in every run that uses it",
        "Versions: " + ", ".join(f"{library} {' / '.join(sorted(v))}" for library, v in used.items()),
    ]
    return "".join(f"- {line}.\n" for line in said) + "\n"
