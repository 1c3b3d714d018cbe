"""Experiments of the catalogue: run, resumed, and rendered with the papers' numbers beside ours."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cdrzoo import files
from cdrzoo.data import datasets, synthetic
from cdrzoo.errors import InputError
from cdrzoo.experiments import compare
from cdrzoo.experiments.catalogue import EXPERIMENTS, SYNTHETIC, Comparison, Experiment
from cdrzoo.training.config import RunConfig


def find(name: str) -> Experiment:
    """The experiment `NAME`, or of `NAME/PART` that part alone."""
    experiment, _, part = name.partition("/")
    for what, wanted, known in (
        ("experiment", experiment, EXPERIMENTS),
        ("part", part, EXPERIMENTS[experiment].parts if part and experiment in EXPERIMENTS else {"": None}),
    ):
        if wanted not in known:
            near = difflib.get_close_matches(wanted, list(known), n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}."
            raise InputError(f"There is no {what} {wanted!r}. {hint}")
    found = EXPERIMENTS[experiment]
    return dataclasses.replace(found, parts={part: found.parts[part]}) if part else found


def configuration(
    comparison: Comparison,
    data: str | pathlib.Path | None,
    rows: str | pathlib.Path,
    settings: Mapping[str, Any] | None = None,
) -> RunConfig:
    """What the runs of a comparison share.

    Args:
        comparison: the comparison.
        data: the folder of all data, with a folder for each dataset; `None` will do where no files are wanted.
        rows: where files that are made or converted go.
        settings: in place of the comparison's.

    Raises:
        InputError: the data is not there, or `settings` has an argument of a model: those are the experiment's.
    """
    for setting in settings or {}:
        if setting not in compare.RUN_SETTINGS:
            raise InputError(
                f"What models are compared with is the experiment's own: of the settings only width and those of "
                f"training can be changed ({', '.join(sorted(compare.RUN_SETTINGS))}). Received: {setting!r}."
            )
    if comparison.dataset == SYNTHETIC:
        found = synthetic.pair(rows, **comparison.pair)
    else:
        folder = pathlib.Path(data or "DATA", comparison.folder or comparison.dataset)
        if data is None or not folder.is_dir():
            raise InputError(
                f"{'Give `data` (--data DATA).' if data is None else f'{folder} does not exist.'} The files of "
                f"{comparison.dataset} are wanted in {folder}; docs/datasets.md says which, and where they are "
                "published."
            )
        found = datasets.load(comparison.dataset, folder, rows, beta=comparison.beta, **comparison.pair)
    config = RunConfig(
        schema=found["schema"],
        data=found["sources"],
        split=comparison.split or found["split"],
        preparation={"history": found["history"]} if "history" in found else {},
    )
    return config.with_changes({**comparison.settings, **(settings or {})})


def reproduce(
    name: str,
    data: str | pathlib.Path | None,
    out: str | pathlib.Path,
    *,
    jobs: int = 1,
    seeds: int | None = None,
    search: int | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[Iterator[Any], int, str], Iterator[Any]] = lambda items, total, title: items,
    finished: Callable[[pathlib.Path], Any] | None = None,
) -> pathlib.Path:
    """Runs an experiment; what has been run is not run again, wherever its results come from.

    Args:
        name: of the experiment, or `NAME/PART`.
        data: the folder of all data, with a folder for each dataset; `None` will do where no files are wanted.
        out: `NAME/PART/results.jsonl` (a line a run, appended as they end) and `NAME/README.md`, the page, go here;
            files that are made or converted go to `rows`. Lines of another machine that were put there are taken as
            they are.
        jobs: processes.
        seeds: runs of each model, in place of the experiment's.
        search: trials of each model, in place of the experiment's.
        settings: of training or the run, in place of the experiment's; the page says so.
        progress: as of `compare.compare`.
        finished: called with the folder of each part that is done; the command line writes its page.

    Returns:
        The page.
    """
    experiment, out = find(name), pathlib.Path(out)
    home = out / name.partition("/")[0]
    page = home / ("README.md" if "/" not in name else f"{name.partition('/')[2]}/README.md")
    configs = {
        part: configuration(comparison, data, out / "rows", settings)
        for part, comparison in experiment.parts.items()
    }
    changed = {
        key: value
        for key, value in {"seeds": seeds, "search": search, **(settings or {})}.items()
        if value is not None
    }
    text = f"# {experiment.title}\n\n{_wrapped(experiment.note)}"
    given = [] if all(c.dataset == SYNTHETIC for c in experiment.parts.values()) else ["--data", "DATA"]
    command = ["reproduce", name, *given, "--out", "OUT"]
    text += f"```\ncdrzoo {' '.join(command)}\n```\n\n"
    if changed:
        text += f"**Not as the catalogue says:** {', '.join(f'{k} = {v}' for k, v in changed.items())}.\n\n"
    for part, comparison in experiment.parts.items():
        entries = [
            dataclasses.replace(compare.Entry.parse(model), label=label)
            for label, model in comparison.models.items()
        ]
        results = compare.compare(
            configs[part],
            entries,
            home / part,
            seeds=comparison.seeds if seeds is None else seeds,
            search=comparison.search if search is None else search,
            jobs=jobs,
            progress=progress,
        )
        from cdrzoo.evaluation import floors
        from cdrzoo.training import fitting, measuring

        prepared = fitting.prepare(configs[part])
        simple, sizes = floors.floors(prepared), measuring.group_sizes(prepared)
        against = comparison.against or compare.best_alone(results)
        rows = compare.table(results, against, simple)
        text += (f"## {part}\n\n" if part else "") + compare.markdown(beside(rows, comparison.published))
        for title, by_group in compare.group_tables(results, sizes).items():
            text += f"\n{title}. {compare.GROUPS}\n\n" + compare.markdown(by_group)
        kept = compare.kept(home / part / "results.jsonl")
        text += "\n" + provenance(results, comparison, against, kept)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
        about = {
            "command": command,
            "config": configs[part].plain(lambda path: path.name),  # no place of this machine
            "against": against,
            "floors": simple,
            "groups": sizes,
            "runs": compare.runs(results),
        }
        files.write(home / part / "comparison.json", json.dumps(about, indent=2) + "\n")
        if finished:
            finished(home / part)
    return page


def _wrapped(note: str) -> str:
    import textwrap

    return f"{textwrap.fill(note, 120)}\n\n" if note else ""


def beside(
    rows: Sequence[Mapping[str, str]], published: Mapping[str, Mapping[str, float]]
) -> list[dict[str, str]]:
    """Rows of a table with the published numbers, each behind ours."""
    titles = {title: metric for metric, title in compare.TITLES.items()}
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


def provenance(
    results: Sequence[Mapping[str, Any]],
    comparison: Comparison,
    against: str,
    kept: Sequence[Mapping[str, Any]],
) -> str:
    """What every number of a table was measured on and with, as a list; `kept` are all lines, those of a search too."""
    of = [line["result"] for line in results]
    seconds = sum(line["result"]["seconds"] for line in kept)
    split = {(result["split"]["name"], result["split"]["hash"]) for result in of}
    used = collections.defaultdict(set)
    for result in of:
        for library, version in result["versions"].items():
            used[library].add(version)
    seeds = sorted({line["changes"]["seed"] for line in results})
    chosen: dict[str, dict[str, Any]] = {}
    for line in results:
        written = compare.Entry.parse(comparison.models[line["label"]]).changes
        drawn = {k: v for k, v in line["changes"].items() if k != "seed" and k not in written}
        if drawn:
            chosen[line["label"]] = drawn
    searched = (
        f"; settings by the best validation metric of a search: `{json.dumps(chosen)}`" if chosen else ""
    )
    lines = [f"Split {name}, sha256 {digest}" for name, digest in sorted(split)] + [
        f"Seeds {', '.join(map(str, seeds))}; mean ± standard deviation; *difference* and *p*: paired t-test over "
        f"seeds against {against}"
        + (
            ""
            if comparison.against
            else ", which of the models of the target alone is the best on validation rows,"
        )
        + " and p after Holm's correction for all tests of the table",
        f"Selected by: {', '.join(sorted({result['selection'] for result in of}))}{searched}; test rows were scored "
        "once a run",
        f"{len(kept)} runs, {seconds / 3600:.1f} hours of training; a first stage counts in every run that uses it",
        "Versions: " + ", ".join(f"{library} {' / '.join(sorted(v))}" for library, v in used.items()),
    ]
    return "".join(f"- {line}.\n" for line in lines) + "\n"
