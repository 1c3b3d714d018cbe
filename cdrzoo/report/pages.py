"""One self-contained HTML page of a run, a comparison or a transfer report: figures inline, no script, no network."""

from __future__ import annotations

import html
import io
import json
import pathlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cdrzoo import files, metrics, models
from cdrzoo.errors import InputError
from cdrzoo.evaluation import transfer
from cdrzoo.experiments import tables
from cdrzoo.experiments.catalogue import experiments
from cdrzoo.experiments.results import kept
from cdrzoo.schema import Schema
from cdrzoo.training.config import RunConfig
from cdrzoo.training.looks import LOOKS, by_column, flat, looks

ROWS = 1024
"""Test rows that a model is asked about."""

BLUE, ORANGE, GREEN, RED, GREY = "#1f5fa8", "#c2571a", "#1a7f4b", "#b3261e", "#8a8f98"

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; color: #1d2127;
  background: #fff; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; } section + h1 { margin-top: 4rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; padding-bottom: .2rem; border-bottom: 2px solid #e3e6ea; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .4rem 0; max-width: 46rem; }
.quiet { color: #5a616b; font-size: .9rem; }
.verdict { border-left: .4rem solid #8a8f98; background: #f4f5f7; padding: .6rem .9rem; margin: 1rem 0; }
.verdict strong { font-size: 1.3rem; }
.helps { border-color: #1a7f4b; background: #eef7f2; } .harms { border-color: #b3261e; background: #fcf0ef; }
.better { color: #1a7f4b; font-weight: 600; } .worse { color: #b3261e; font-style: italic; }
.wide { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: separate; border-spacing: 0; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e6ea; }
th { font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
td.text { text-align: left; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .8rem .6rem; }
.panels figure { display: flex; flex-direction: column; } .panels figcaption { order: -1; }
figure { margin: 0; break-inside: avoid; } figure.large { max-width: 38rem; }
figcaption { color: #5a616b; font-size: .85rem; }
figure svg { display: block; width: 100%; height: auto; }
pre { background: #f4f5f7; padding: .6rem .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.4; }
@media (max-width: 40rem) {
  th:first-child, td:first-child { white-space: normal; overflow-wrap: break-word; min-width: 6.5rem; max-width: 9rem; }
}
@media print {
  @page { margin: 14mm; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; }
  h1, h2, h3 { break-after: avoid; } section + h1 { break-before: page; } tr, .verdict { break-inside: avoid; }
  .wide { overflow: visible; } table { font-size: 7.5pt; } th, td { padding: .15rem .35rem; }
  td.text, td:first-child { white-space: normal; }
  .panels { grid-template-columns: repeat(4, 1fr); }
  figure.large { max-width: 12cm; }
  pre { white-space: pre-wrap; font-size: 7pt; }
}
"""


def report(folder: str | pathlib.Path, out: str | pathlib.Path | None = None) -> pathlib.Path:
    """Writes the page of a folder that `cdrzoo train`, `compare` or `transfer` made, or of several comparisons in one.

    Args:
        folder: of the run, the comparison or the transfer report, or one that holds folders of comparisons, as
            `cdrzoo reproduce` makes them.
        out: the file to write; default: `report.html` in the folder, in place of an earlier one.

    Returns:
        The file.

    Raises:
        InputError: the folder is none of these, matplotlib is missing, or the data of a run has changed.
    """
    folder = pathlib.Path(folder)
    check_matplotlib()
    pages: dict[str, Callable[[pathlib.Path], str]] = {
        "transfer.json": _transfer_page,
        "results.jsonl": _comparison_page,
        "metrics.json": _run_page,
        "*/**/results.jsonl": _collection_page,
    }
    for name, page in pages.items():
        if any(folder.glob(name)):
            path = pathlib.Path(out) if out else folder / "report.html"
            if path.exists() and not files.is_page(path):
                raise InputError(
                    f"{path} is there and no page of `cdrzoo report`. Name another file with --out."
                )
            text = page(folder)
            path.write_text(text, encoding="utf-8")
            return path
    raise InputError(
        f"{folder} holds nothing to report on. Give the folder of a finished `cdrzoo train`, `compare` or `transfer`."
    )


def check_matplotlib() -> None:
    """Raises an `InputError` if what draws the figures is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "A report draws with matplotlib. Install it: pip install 'cdrzoo[report]'."
        ) from error


# The pages --------------------------------------------------------------------------------------------------------


def _run_page(folder: pathlib.Path) -> str:
    result = json.loads((folder / "metrics.json").read_text())
    config = RunConfig.load(folder / "config.yaml")
    title = f"{models.card(config.model).title} on {config.schema.target}"
    parts = [
        _lead(
            f"Trained on {'all domains' if config.domains == 'all' else 'the target alone'}, seed {config.seed}: "
            f"epoch {result['best_epoch']} of {result['epochs']} was chosen on validation rows; test rows were scored "
            f"once. {result['seconds']:.0f} seconds, {result['parameters']:,} parameters."
        ),
        _section("Metrics", _metrics_table(result)),
        _section("Learning curves", _curves(folder)),
        *_looks(folder),
        _data(config, folder),
        _section(
            "Commands",
            _commands([["train", folder / "config.yaml", "--out", "NEW_FOLDER"]]),
            _settings(config.to_dict()),
        ),
        _foot(result),
    ]
    return _page(title, parts)


@dataclass(frozen=True)
class _Comparison:
    """What a folder of a comparison holds, and the tests of its results."""

    searched: int
    results: list[dict[str, Any]]
    about: dict[str, Any]

    @classmethod
    def load(cls, folder: pathlib.Path) -> _Comparison:
        """The runs that `comparison.json` lists; while there are none, of every model those of its newest settings."""
        lines, path = kept(folder / "results.jsonl"), folder / "comparison.json"
        about = json.loads(path.read_text()) if path.exists() else {}
        if "runs" in about:
            by_key = {line["key"]: line for line in lines}
            results = [{**by_key[key], "label": label} for label, key in about["runs"]]
        else:
            seeds = {(s["label"], s["changes"]["seed"]): s for s in lines if s["stage"] == "seed"}
            newest = {s["label"]: {**s["changes"], "seed": None} for s in lines if s["stage"] == "seed"}
            results = [s for s in seeds.values() if {**s["changes"], "seed": None} == newest[s["label"]]]
        if not results:
            raise InputError(
                f"No run of the comparison in {folder} is done yet. Start `cdrzoo compare` again."
            )
        return cls(sum(line["stage"] == "search" for line in lines), results, about)

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(line["label"] for line in self.results))

    @property
    def against(self) -> str:
        return self.about.get("against", "dnn" if "dnn" in self.labels else self.labels[0])

    @property
    def columns(self) -> dict[str, str]:
        return tables.COLUMNS["click" if "auc" in self.results[0]["result"]["test"] else "rating"]


def _comparison_page(folder: pathlib.Path) -> str:
    found = _Comparison.load(folder)
    of = found.about["config"]["schema"]["target"] if found.about else folder.name
    return _page(f"Comparison on {of}", _comparison(found))


def _collection_page(folder: pathlib.Path) -> str:
    """Several comparisons: those of the same models beside each other, then each in full."""
    found, waiting = {}, []
    for path in sorted(folder.glob("*/**/results.jsonl")):
        name = str(path.parent.relative_to(folder))
        try:
            found[name] = _Comparison.load(path.parent)
        except InputError:  # still searching
            waiting.append(name)
    if not found:
        raise InputError(
            f"No comparison in {folder} has a finished run yet: {', '.join(waiting)}. Go on with them."
        )
    several = "comparisons" if len(found) > 1 else "comparison"
    parts = [_lead(f"{len(found)} {several}, {sum(len(one.results) for one in found.values())} runs.")]
    if waiting:
        parts.append(_lead(f"Not here, for no run of theirs is done yet: {', '.join(waiting)}."))
    kinds = dict.fromkeys(frozenset(one.labels) for one in found.values())
    for labels in sorted(kinds, key=len, reverse=True):  # the largest comparison first
        alike = {name: one for name, one in found.items() if frozenset(one.labels) == labels}
        for columns in tables.COLUMNS.values():
            of_task = {name: one for name, one in alike.items() if one.columns is columns}
            if len(of_task) > 1:
                parts.append(_overview(of_task, *next(iter(columns.items()))))
    for name, one in found.items():
        experiment, _, part = name.partition("/")
        title = experiments()[experiment].title if experiment in experiments() else experiment
        parts += [f"<h1>{_escape(f'{title}, {part}' if part else title)}</h1>", *_comparison(one)]
    return _page("Comparisons", parts)


def _overview(found: Mapping[str, _Comparison], metric: str, title: str) -> str:
    """A row a model, a column a comparison; marked where the interval of the difference leaves 0 out."""
    rows: dict[str, dict[str, str]] = {}
    for name, one in found.items():
        tests = tables.tests(one.results, one.against)
        for label in one.labels:
            values = [r["result"]["test"][metric] for r in one.results if r["label"] == label]
            cell, test = f"{np.mean(values):.4f}", tests.get(label)
            row = rows.setdefault(
                label, {"model": label, **dict.fromkeys(found, ""), "better": "0", "worse": "0"}
            )
            if test:  # not for the one it is tested against
                kind = _kind(metric, test.difference, test.low, test.high)
                cell = _marked(cell, kind)
                if kind:
                    row[kind] = str(int(row[kind]) + 1)
            row[name] = cell
    against = ", ".join(dict.fromkeys(one.against for one in found.values()))
    return _section(
        f"{title}: {', '.join(dict.fromkeys(name.partition('/')[0] for name in found))}",
        _table(list(rows.values())),
        _quiet(
            "Means over seeds, on test rows. Bold green is better, italic red worse: the 95 % interval of the paired "
            f"t-test over seeds against {against} leaves 0 out, without a correction for the number of tests (the "
            "comparisons below have it)."
        ),
    )


def _comparison(found: _Comparison) -> list[str]:
    results, about, against = found.results, found.about, found.against
    labels, columns = found.labels, found.columns
    rows = tables.table(results, against, about.get("floors"))
    tests = tables.tests(results, against)
    metric = next(iter(columns))
    for row in rows:
        if row["model"] in tests:
            test = tests[row["model"]]
            row["difference"] = _interval(test.difference, test.low, test.high)
    seeds = {label: [r["result"]["test"][metric] for r in results if r["label"] == label] for label in labels}
    chosen = [
        {"model": label, **{k: v for k, v in line["changes"].items() if k not in ("seed", "model")}}
        for label in labels
        for line in [next(r for r in results if r["label"] == label)]
    ]
    names = dict.fromkeys(name for row in chosen for name in row)
    settings = [{name: str(row.get(name, "")) for name in names} for row in chosen]
    ranks = ", then Wilcoxon's signed-rank test, uncorrected" if "p, Wilcoxon" in rows[-1] else ""
    parts = [
        _lead(
            f"{len(labels)} models, {len(results)} runs on test rows that chose nothing"
            + (
                f"; settings chosen on validation rows in {found.searched} further runs."
                if found.searched
                else "."
            )
        ),
        _section(
            f"{columns[metric]} of every seed",
            _figure(
                lambda axes: _dots(axes, seeds, columns[metric]),
                _height(len(labels)),
                "A dot a seed, a bar the mean",
            ),
        ),
    ]
    shown = {label: (t.difference, t.low, t.high) for label, t in tests.items()}
    if shown:
        parts.append(
            _section(
                f"Against {against}",
                _figure(
                    lambda axes: _forest(axes, shown, f"difference of {columns[metric]}", metric),
                    _height(len(shown)),
                    f"Mean difference to {against} and its 95 % interval over seeds (paired t)",
                ),
            )
        )
    parts += [
        _section(
            "Table",
            _table(rows),
            _quiet(
                "Mean and standard deviation over seeds. Difference: to "
                f"{against}, with the 95 % interval of a paired t-test over seeds; p is that test's, and beside it "
                f"Holm's correction for {len(tests)} tests{ranks}. ECE: expected calibration error."
            ),
        ),
        *[
            _section(f"{title} by group", _quiet(tables.GROUPS), _table(by_group))
            for title, by_group in tables.group_tables(results, about.get("groups", {})).items()
        ],
        _section("Settings", _table(settings, text=True)),
    ]
    if about:
        schema = RunConfig.from_dict(about["config"]).schema
        parts.append(_section("Data and schema", _schema(schema)))
        parts.append(_section("Commands", _commands([about["command"]]), _settings(about["config"])))
    parts.append(_foot(results[0]["result"]))
    return parts


def _transfer_page(folder: pathlib.Path) -> str:
    result = json.loads((folder / "transfer.json").read_text())
    run = pathlib.Path(result["runs"]["model"][0])
    config = RunConfig.load(run / "config.yaml")
    metric, task = result["metric"], result["task"]
    total = {"all rows": result["lift"], **{f"{g['by']}: {g['group']}": g["lift"] for g in result["groups"]}}
    forest = {
        name: tuple(lift[metric][k] for k in ("difference", "low", "high")) for name, lift in total.items()
    }
    labels = [transfer.label(result[role]) for role in ("model", "twin")]
    lift = [
        {
            "metric": tables.TITLES[name],
            labels[0]: f"{d['first']:.4f}",
            labels[1]: f"{d['second']:.4f}",
            "lift": _lift(name, d),
            "95 % interval": f"{d['low']:+.4f} to {d['high']:+.4f}",
            "p": tables.p_text(d["p"]),
        }
        for name, d in result["lift"].items()
    ]
    groups = [
        {
            "group": f"{g['by']}: {g['group']}",
            "users": "" if g["users"] is None else f"{g['users']:,}",
            "rows": f"{g['rows']:,}",
            tables.TITLES[metric]: _lift(metric, g["lift"][metric]),
            "95 % interval": f"{g['lift'][metric]['low']:+.4f} to {g['lift'][metric]['high']:+.4f}",
            "p, Holm": tables.p_text(g["p_holm"]),
            **{tables.TITLES[n]: _lift(n, d) for n, d in g["lift"].items() if n != metric},
        }
        for g in result["groups"]
    ]
    folders = {role: [pathlib.Path(path) for path in result["runs"][role]] for role in ("model", "twin")}
    seeds = []
    for pair in zip(folders["model"], folders["twin"]):
        one, two = (json.loads((path / "metrics.json").read_text()) for path in pair)
        difference = one["test"][metric] - two["test"][metric]
        seeds.append(
            {
                "seed": str(one["seed"])
                if one["seed"] == two["seed"]
                else f"{one['seed']} and {two['seed']}",
                labels[0]: f"{one['test'][metric]:.4f}",
                labels[1]: f"{two['test'][metric]:.4f}",
                "difference": f"{difference:+.4f}",
            }
        )
    kind = result["verdict"].split()[0]
    parts = [
        f'<div class="verdict {kind}"><strong>{_escape(result["verdict"].capitalize())}</strong>'
        f"<p>{_escape(transfer.sentence(result))}</p></div>",
        _lead(transfer.scope(result)),
        _lead(
            f"The twin: {labels[1]}, {result['why']}. The verdict rests on one test, {tables.TITLES[metric]} over all "
            "test rows; everything below says where the lift comes from and decides nothing."
        ),
        _section(
            "Lift",
            _table(lift),
            _quiet(
                f"Lift: {' minus '.join(labels)}. Of LogLoss, ECE, MAE and RMSE less is better. Bold green (better) "
                "and italic red (worse): the interval leaves 0 out."
            ),
        ),
        _section(
            "Lift by group",
            f"<p>{result['lower']} of {len(result['groups'])} groups are worse off, {result['harmed']} of them "
            "beyond chance (p below 0.05 after Holm's correction for the number of groups).</p>",
            _figure(
                lambda axes: _forest(axes, forest, f"lift in {tables.TITLES[metric]}", metric),
                _height(len(forest)),
                f"Lift in {tables.TITLES[metric]} and its 95 % interval; groups are by training rows",
            ),
            _table(groups) if groups else "",
            _quiet(f"Lifts, with the interval and the corrected p of {tables.TITLES[metric]}."),
        ),
        _section("Every training", _table(seeds), _quiet(f"{tables.TITLES[metric]} on the test rows.")),
    ]
    if task == "click":
        curves = {label: result["calibration"][role] for label, role in zip(labels, ("model", "twin"))}
        parts.append(
            _calibration(curves, "Mean of the trainings' scores, in ten bins of equally many test rows")
        )
    parts += [
        _section(
            "Learning curves",
            f"<h3>{_escape(labels[0])}</h3>",
            _curves(folders["model"][0]),
            f"<h3>{_escape(labels[1])}</h3>",
            _curves(folders["twin"][0]),
        ),
        *_looks(run, calibration=False),
        _data(config, run),
        _section(
            "Commands",
            _commands(
                [
                    ["train", run / "config.yaml", "--out", "RUN"],
                    ["transfer", "RUN", "--seeds", result["seeds"], "--out", "REPORT"],
                ]
            ),
            _settings(config.to_dict()),
        ),
        _foot(result),
    ]
    return _page(f"Transfer report: {labels[0]}, {', '.join(result['sources'])} to {result['target']}", parts)


# What stands on them ----------------------------------------------------------------------------------------------


def _metrics_table(result: Mapping[str, Any]) -> str:
    """A line a part and group, a column a metric."""
    lines = []
    for part in ("validation", "test"):
        found: dict[str, dict[str, str]] = {}
        for name, value in result[part].items():
            metric, _, group = name.partition("@")
            found.setdefault(group or "all", {})[tables.TITLES[metric]] = (
                "" if not np.isfinite(value) else f"{value:.4f}"
            )
        lines += [{"rows": f"{part}, {group}", **cells} for group, cells in found.items()]
    return _table(lines) + _quiet("Cold: users without a training row in the target; warm: the others.")


def _curves(folder: pathlib.Path) -> str:
    """Every term that was logged, of both stages where there are two; a line marks the chosen epoch."""
    panels = []
    for stage in ("first", "."):
        if not (folder / stage / "history.csv").exists():
            continue
        history = pd.read_csv(folder / stage / "history.csv")
        best = json.loads((folder / stage / "metrics.json").read_text())["best_epoch"]
        for term in [name for name in history.columns if name != "epoch"]:

            def draw(axes, term=term, history=history, best=best):
                color = ORANGE if term.startswith("val_") else BLUE
                axes.axvline(best, color=GREY, linewidth=0.8, linestyle=":")
                axes.plot(
                    history["epoch"], history[term], color=color, marker=".", markersize=3, linewidth=1.2
                )
                axes.set_xlabel("epoch")
                axes.xaxis.get_major_locator().set_params(integer=True)

            name = term if stage == "." else f"first stage: {term}"
            panels.append(_figure(draw, 1.5, name, small=True))
    return f'<div class="panels">{"".join(panels)}</div>' + _quiet(
        "Blue: logged while training; orange: on validation rows. The dotted line is the epoch that was kept."
    )


def _calibration(curves: Mapping[str, Sequence[Mapping[str, float]]], caption: str) -> str:
    def draw(axes):
        for (label, points), color in zip(curves.items(), (BLUE, ORANGE)):
            axes.plot(
                [p["score"] for p in points],
                [p["label"] for p in points],
                marker="o",
                markersize=3,
                color=color,
                label=label,
            )
        ends = [0, 1.05 * max(max(p["score"], p["label"]) for points in curves.values() for p in points)]
        axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--")
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_xlabel("mean score")
        axes.set_ylabel("share of clicks")
        axes.legend(frameon=False)

    return _section("Calibration", _figure(draw, 3.4, caption))


def _looks(folder: pathlib.Path, calibration: bool = True) -> list[str]:
    """What only the model and its rows can tell: calibration, selector, interests, attention, gates."""
    from cdrzoo.training import callbacks, measuring, run

    config, model, prepared = run.reload(folder)
    target = config.schema.target
    parts = []
    if calibration and config.schema.target_domain.task == "click":
        labels, scores, weights = callbacks.target_scores(model, prepared.test(measuring.EVALUATION_ROWS))
        points = transfer.calibration(labels, scores, np.ones(len(labels)) if weights is None else weights)
        parts.append(
            _calibration({models.card(config.model).cls: points}, "Ten bins of equally many test rows")
        )
    if (folder / "logs" / "selector_weights.csv").exists():
        parts.append(_selector(pd.read_csv(folder / "logs" / "selector_weights.csv")))
    part = prepared.parts[target]["test"]
    x = {target: {name: values[:ROWS] for name, values in part.x.items()}}
    clicked = part.y[:ROWS, 0] > 0.5 if config.schema.target_domain.task == "click" else None
    for name in looks(model):
        title, caption = LOOKS[name]
        values = dict(flat(getattr(model, name)(x)))
        parts.append(_section(title, _look(values, name, clicked), _quiet(caption)))
    return parts


def _look(values: Mapping[str, np.ndarray], quantity: str, clicked: np.ndarray | None) -> str:
    if quantity == "attention_weights":

        def draw(axes):
            for name, weights in values.items():
                steps = _by_recency(weights)
                axes.plot(range(1, len(steps) + 1), steps, marker=".", label=name)
            axes.set_xlabel("events ago")
            axes.set_ylabel("mean weight")
            axes.legend(frameon=False)

        return _figure(draw, 3.0, "Mean over the rows that have such a step")
    if quantity == "gate_activity":

        def draw(axes):
            for name, open_ in values.items():
                share, edges = np.histogram(open_, np.linspace(0, 1, 41))
                axes.stairs(share / max(share.sum(), 1), edges, label=f"{name} (mean {open_.mean():.2f})")
            axes.set_xlabel("how far open")
            axes.set_ylabel("share")
            axes.legend(frameon=False)

        return _figure(draw, 2.8, "All gates of all rows")
    columns = by_column(values)
    split: dict[str, Any] = (
        {"with a click": clicked, "without": ~clicked}
        if clicked is not None and quantity == "interest_weights"
        else {"": slice(None)}
    )

    def bars(axes):
        for place, ((what, rows), color) in enumerate(zip(split.items(), (BLUE, ORANGE))):
            for i, v in enumerate(columns.values()):
                low, high = np.quantile(v[rows], [0.05, 0.95])
                y = i + 0.22 * (place - (len(split) - 1) / 2)
                axes.plot([low, high], [y, y], color=color, linewidth=1, solid_capstyle="round")
                axes.plot(
                    [v[rows].mean()], [y], "o", color=color, markersize=4, label=what if not i else None
                )
        axes.set_yticks(range(len(columns)), list(columns))
        axes.invert_yaxis()
        axes.set_xlabel("weight")
        if len(split) > 1:
            axes.legend(frameon=False)

    return _figure(bars, _height(len(columns)), "Mean, and where nine of ten rows lie")


def _by_recency(weights: np.ndarray) -> np.ndarray:
    """Mean weight of the last step, of the one before it, ...: `[B, n]`, 0 on padded steps, to `[n]`."""
    real = weights != 0
    age = np.cumsum(real[:, ::-1], axis=1)[:, ::-1]
    longest = int(age.max(initial=0))
    return np.array([weights[real & (age == back)].mean() for back in range(1, longest + 1)])


def _selector(rows: pd.DataFrame) -> str:
    """CCTL's Figure 5: how the weights of source rows are distributed, epoch by epoch."""
    panels = []
    for name, of_source in rows.groupby("name"):
        grid = of_source.pivot(index="low", columns="epoch", values="count")
        share = grid / grid.sum()

        def draw(axes, share=share):
            step = 1 / len(share)
            epochs = share.columns.to_numpy()
            edges = [*(epochs - 0.5), epochs[-1] + 0.5]
            mesh = axes.pcolormesh(
                edges, [*share.index, share.index[-1] + step], share.to_numpy(), cmap="Blues", vmin=0
            )
            middle = (share.index.to_numpy()[:, None] + step / 2) * share.to_numpy()
            axes.plot(epochs, middle.sum(axis=0), color=ORANGE, marker=".", label="mean")
            axes.set_xlabel("epoch")
            axes.set_ylabel("weight p")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(frameon=False)
            axes.figure.colorbar(mesh, ax=axes, label="share of rows")

        panels.append(_figure(draw, 2.8, f"Rows of {name}"))
    return _section(
        "Selector weights over time",
        *panels,
        _quiet("How the weights of the first 1,024 source rows are distributed."),
    )


def _data(config: RunConfig, folder: pathlib.Path) -> str:
    split = json.loads((folder / "split.json").read_text())
    lines = [
        {
            "part": f"{domain}, {part}",
            "rows": f"{found['rows']:,}",
            "users": "" if found["users"] is None else f"{found['users']:,}",
            "mean label": "" if found["label"] is None else f"{found['label']:.4f}",
        }
        for domain, parts in split["parts"].items()
        for part, found in parts.items()
        if found["rows"]
    ]
    return _section(
        "Data and schema",
        _table(lines),
        _quiet(f"Split: {split['name']}, hash {split['hash'][:16]}."),
        _schema(config.schema),
    )


def _schema(schema: Schema) -> str:
    from cdrzoo.data import check

    return f"<pre>{_escape(check(schema))}</pre>"


def _commands(commands: Sequence[Sequence[Any]]) -> str:
    return f"<pre>{_escape(chr(10).join(shlex.join(['cdrzoo', *map(str, command)]) for command in commands))}</pre>"


def _settings(config: Mapping[str, Any]) -> str:
    """The configuration but for the schema, which stands above."""
    plain = {key: value for key, value in config.items() if key != "schema"}
    text = yaml.safe_dump(json.loads(json.dumps(plain, default=str)), sort_keys=False)
    return f"<h3>Configuration</h3><pre>{_escape(text)}</pre>"


def _foot(result: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return _section(
        "Made with",
        _quiet(f"{versions}. Split {result['split']['name']}, hash {result['split']['hash'][:16]}."),
    )


# Figures ----------------------------------------------------------------------------------------------------------


def _height(lines: int) -> float:
    return 0.9 + 0.26 * lines


def _figure(draw: Callable[[Any], None], height: float, caption: str, small: bool = False) -> str:
    """What `draw` puts on axes, as inline SVG with selectable text."""
    import matplotlib
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "cdrzoo",  # the same figure is the same text
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "legend.fontsize": 8,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(2.2 if small else 4.8, height), layout="constrained")
        draw(figure.subplots())
        stream = io.StringIO()
        figure.savefig(
            stream,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    text = stream.getvalue()
    svg = text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{_escape(caption)}" ', 1)
    kind = "" if small else ' class="large"'
    return f"<figure{kind}>{svg}<figcaption>{_escape(caption)}</figcaption></figure>"


def _short(name: str, most: int = 32) -> str:
    """A name that leaves a figure some room: arguments of a model may be many. The tables have it in full."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _dots(axes: Any, values: Mapping[str, Sequence[float]], title: str) -> None:
    for y, found in enumerate(values.values()):
        axes.plot(found, [y] * len(found), "o", color=BLUE, markersize=3.5, alpha=0.6, markeredgewidth=0)
        axes.plot([np.mean(found)], [y], "|", color=ORANGE, markersize=11, markeredgewidth=2)
    axes.set_yticks(range(len(values)), [_short(name) for name in values])
    axes.invert_yaxis()
    axes.set_xlabel(title)
    axes.grid(axis="y", color="#eceef1", linewidth=0.8)
    axes.set_axisbelow(True)


def _forest(axes: Any, values: Mapping[str, tuple[float, float, float]], title: str, metric: str) -> None:
    """Differences with their intervals; green and red where the interval leaves 0 out."""
    sign = 1 if metrics.HIGHER_IS_BETTER[metric] else -1
    for y, (difference, low, high) in enumerate(values.values()):
        color = (
            GREEN if min(sign * low, sign * high) > 0 else RED if max(sign * low, sign * high) < 0 else GREY
        )
        if np.isfinite(low):
            axes.plot([low, high], [y, y], color=color, linewidth=1.4, solid_capstyle="round")
        axes.plot([difference], [y], "o", color=color, markersize=4.5)
    axes.axvline(0, color="#1d2127", linewidth=0.8)
    axes.set_yticks(range(len(values)), [_short(name) for name in values])
    axes.invert_yaxis()
    axes.set_xlabel(title + (" (right is better)" if sign > 0 else " (left is better)"))


# Text -------------------------------------------------------------------------------------------------------------


def _escape(text: Any) -> str:
    return html.escape(str(text))


def _page(title: str, parts: Sequence[str]) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{_escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{_escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def _lead(text: str) -> str:
    return f"<p>{_escape(text)}</p>"


def _quiet(text: str) -> str:
    return f'<p class="quiet">{_escape(text)}</p>'


class _Marked(str):
    """A cell that is HTML already."""


def _kind(metric: str, difference: float, low: float, high: float) -> str:
    """Whether a difference is one to the better or the worse; empty if its interval has 0 in it, or there is none."""
    if not low * high > 0:
        return ""
    return "better" if (difference > 0) == metrics.HIGHER_IS_BETTER[metric] else "worse"


def _marked(text: str, kind: str) -> str:
    return _Marked(f'<span class="{kind}">{text}</span>') if kind else text


def _lift(metric: str, lift: Mapping[str, float]) -> str:
    difference, low, high = (lift[name] for name in ("difference", "low", "high"))
    text = f"{difference:+.4f}" if np.isfinite(difference) else ""
    return _marked(text, _kind(metric, difference, low, high))


def _interval(difference: float, low: float, high: float) -> str:
    return f"{difference:+.4f}" + (f" ({low:.4f}, {high:.4f})" if np.isfinite(low) else "")


def _table(rows: Sequence[Mapping[str, str]], text: bool = False) -> str:
    titles = list(rows[0])
    # A long name may be cut after these.
    head = "".join(f"<th>{name}</th>" for name in (re.sub("([_/.])", r"\1<wbr>", _escape(t)) for t in titles))
    kind = ' class="text"' if text else ""

    def cell(value: str) -> str:
        return f"<td{kind}>{value if isinstance(value, _Marked) else _escape(value)}</td>"

    body = "".join("<tr>" + "".join(cell(row[title]) for title in titles) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
