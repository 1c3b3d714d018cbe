"""Tables and sentences of the pages, made of the runs in docs/results: pages cannot contradict each other."""

from __future__ import annotations

import functools
import json
import math
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from cdrzoo.evaluation.statistics import LEVEL, Paired, holm, paired
from cdrzoo.experiments import mechanisms as bench
from cdrzoo.experiments.catalogue import experiments
from cdrzoo.experiments.comparison import Comparison, mean_ranks
from cdrzoo.experiments.search import space
from cdrzoo.experiments.tables import SIGNS, best_in_bold, group_tables, p_text, spread
from cdrzoo.metrics import best_first
from cdrzoo.models import card

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "results"
PAIRS = {
    "Ciao 01 to 02": "ctr_ciao_01_02",
    "Ciao 10 to 05": "ctr_ciao_10_05",
    "Amazon 1 to 2": "ctr_amazon_1_2",
    "Amazon 2 to 1": "ctr_amazon_2_1",
    "Food to kitchen": "ctr_food_kitchen",
}
PLANTED = {f"transfer {part}": f"planted_transfer/{part}" for part in ("0.9", "0", "-0.9")}
ABLATIONS = {"Ciao 01 to 02": "ablations_ciao_01_02", "Amazon 1 to 2": "ablations_amazon_1_2"}
COLD = {
    "amazon": {"1 to 2": "cold_amazon_1_2", "2 to 1": "cold_amazon_2_1"},
    "douban": {"book to music": "cold_douban_book_music", "music to book": "cold_douban_music_book"},
}
COUNT = ("none", "one", "two", "three", "four", "five")
REFERENCE, ALL = "DNN, target alone", "DNN, all domains"
REPORTS = FOLDER / "transfer_pairs"


@functools.cache
def load(name: str) -> Comparison:
    return Comparison.load(FOLDER / name)


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    assert {len(row) for row in rows} <= {len(heading)}, heading
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def mean(one: Comparison, label: str, metric: str = "auc") -> float:
    return float(np.mean(one.scores(label, metric)))


def cell(one: Comparison, label: str, metric: str = "auc") -> str:
    """Mean and standard deviation over seeds."""
    return spread(one.scores(label, metric))


def mark(one: Comparison, label: str) -> str:
    return SIGNS[one.marks[label]]


def whole(names: dict[str, str], order: Sequence[str], floors: bool = True) -> str:
    """A row a model, a column a pair: AUC, marks, the best of all models in bold; floors first."""
    found = {title: load(name) for title, name in names.items()}
    simple = list(next(iter(found.values())).floors) if floors else []
    rows = [[f"*{f}*", *(f"{one.floors[f]['auc']:.4f}" for one in found.values())] for f in simple]
    best = {title: next(iter(one.ranked("auc"))) for title, one in found.items()}
    for label in order:
        row = [label]
        for title, one in found.items():
            text = cell(one, label) + mark(one, label)
            row.append(f"**{text}**" if best[title] == label else text)
        rows.append(row)
    return markdown(["model", *names], rows)


def reads_source(label: str) -> bool:
    """Whether a model trains on more than the target."""
    lines = [line for name in PAIRS.values() for line in load(name).results]
    changes = next(line["changes"] for line in lines if line["label"] == label)
    return changes.get("domains", card(changes["model"]).domains) == "all"


@functools.cache
def ranking() -> tuple[dict[str, object], ...]:
    """The models, best first: mean rank, and mean lift over the DNN of the target alone, with their intervals.

    The intervals are Student's, over seeds; the pairs are fixed.
    """
    found = [load(name) for name in PAIRS.values()]
    ranks, by_seed, rows = mean_ranks(found), _ranks_by_seed(found), []
    for label in found[0].labels:
        lifts = np.mean(
            [np.subtract(one.scores(label, "auc"), one.scores(REFERENCE, "auc")) for one in found], axis=0
        )
        marks = [mark(one, label).strip() for one in found]
        rows.append(
            {
                "model": label,
                "rank": ranks[label],
                "rank_reach": _reach(by_seed[label]),
                "lift": float(lifts.mean()),
                "reach": _reach(lifts),
                "source": reads_source(label),
                "better": marks.count("+"),
                "worse": marks.count("-"),
            }
        )
    return tuple(sorted(rows, key=lambda row: -row["lift"]))


def _reach(values: np.ndarray) -> float:
    """Half of the 95 % interval of a mean."""
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def _ranks_by_seed(found: Sequence[Comparison]) -> dict[str, np.ndarray]:
    """Of each model its place among the models of the same seed, the mean over pairs, a number a seed."""
    labels = found[0].labels
    scores = np.array([[one.scores(label, "auc") for label in labels] for one in found])
    places = 1 + (scores[:, None] > scores[:, :, None]).sum(axis=2)  # pair, model, seed
    return dict(zip(labels, places.mean(axis=0)))


def ranking_table() -> str:
    rows = []
    for place, row in enumerate(ranking()):
        name = f"**{row['model']}**" if not place else str(row["model"])
        lift = "" if row["model"] == REFERENCE else f"{row['lift']:+.4f} ± {row['reach']:.4f}"
        reads = "source and target" if row["source"] else "target"
        rank = f"{row['rank']:.1f} ± {row['rank_reach']:.1f}"
        rows.append([name, reads, rank, lift, str(row["better"]), str(row["worse"])])
    return markdown(
        ["model", "trains on", "mean rank", "AUC, mean difference", "pairs better", "pairs worse"], rows
    )


def headline() -> str:
    """What to use when, in two sentences."""
    rows, pairs = ranking(), COUNT[len(PAIRS)]
    best, single = rows[0], next(row for row in rows if not row["source"])
    said = (
        f"**Where the source is rich, use {best['model']}. It is first of {len(rows)}: {best['lift']:+.3f} AUC above "
        f"the DNN of the target, averaged over {pairs} pairs.**\nWhere the target is rich, use {single['model']} of "
        f"the target alone. It is the best of these ({single['lift']:+.3f})."
    )
    return "\n".join(textwrap.fill(line, 120) for line in said.splitlines())


def order() -> list[str]:
    return list(mean_ranks([load(name) for name in PAIRS.values()]))


def shortlist(title: str) -> str:
    """Of a pair the first three models, those of the target alone to compare with, and the best simple mean."""
    one = load(PAIRS[title])
    models = list(one.ranked("auc"))
    alone = next(label for label in models if not reads_source(label))
    rows = {}
    for label in sorted({*models[:3], alone, str(one.against), REFERENCE}, key=models.index):
        text = cell(one, label) + mark(one, label)
        reads = "source and target" if reads_source(label) else "target"
        rows[label] = [label, reads, f"**{text}**" if label == models[0] else text]
    floor = max(one.floors, key=lambda name: one.floors[name]["auc"])
    reads = "source and target" if "source" in floor else "target"
    simple = [f"*{floor}*", reads, f"{one.floors[floor]['auc']:.4f}"]
    return markdown([title, "trains on", "AUC"], [*rows.values(), simple])


SHOWN = (
    "LR; FiBiNET; DNN, target alone; DIN; DNN, all domains; Finetune; CCTL; CCTL, source rows off; DADIN; "
    "DADIN, marked; MKT; DACDR; DACDR, own history; DACDR, own history, both targets"
).split("; ")
PAPER = {
    "FiBiNET": (0.7316, 0.7322, 0.7283),
    "Finetune": (0.7352, 0.7328, 0.7278),
    "MKT": (0.7379, 0.7354, 0.7310),
}
"""MKT's Table 3."""


def by_users() -> str:
    """AUC by the training rows that the target has of a user; groups of few rows are left out."""
    names = ("0-9", "10-29", "30+")
    rows = [
        [("the paper (Xianyu)" if not i else ""), label, *(f"{v:.4f}" for v in values)]
        for i, (label, values) in enumerate(PAPER.items())
    ]
    for title, name in PAIRS.items():
        one = load(name)
        sizes = one.about["groups"]
        table = {row["model"]: row for row in group_tables(one.results, sizes)["AUC"]}
        rows.append([title, "*test rows*", *(f"{sizes[n]:,}" for n in names)])
        found = [
            best_in_bold([table[label][n] if sizes[n] > 3 else "" for label in SHOWN], "auc") for n in names
        ]
        rows += [["", label, *cells] for label, *cells in zip(SHOWN, *found, strict=True)]
    return markdown(["", "model", *names], rows)


IN_A_SOURCE = {"shared": "a training row in the source", "new to it": "none in the source"}


def report(name: str) -> dict[str, Any]:
    """The transfer report of the DNN of all domains on a pair."""
    return reports(name)[ALL]


def gains() -> str:
    """What the DNN of all domains gains on two pairs, by groups of users; too small ones have no interval, and none."""
    found = {title: report(PAIRS[title].removeprefix("ctr_")) for title in ("Ciao 01 to 02", "Amazon 1 to 2")}
    rows: dict[str, dict[str, str]] = {}
    for title, one in found.items():
        users = (group for group in one["groups"] if group["by"].startswith("user"))
        for group in ({"group": "all rows", "lift": one["lift"]}, *users):
            lift, name = group["lift"][one["metric"]], group["group"]
            if math.isfinite(lift["low"]):
                said = f"{lift['difference']:+.3f} ({lift['low']:+.3f} to {lift['high']:+.3f})"
                rows.setdefault(IN_A_SOURCE.get(name, name), {})[title] = said
    cells = [[name, *(row.get(title, "") for title in found)] for name, row in rows.items()]
    return markdown(["lift in AUC and its interval", *found], cells)


@functools.cache
def reports(name: str) -> dict[str, dict[str, Any]]:
    """The transfer reports of a pair, by model."""
    folders = sorted((REPORTS / name).iterdir())
    return {each.name: json.loads((each / "transfer.json").read_text(encoding="utf-8")) for each in folders}


def transfers(name: str) -> str:
    """The transfer reports of a pair, the best model first, and what they are of."""
    found = reports(name)
    one = next(iter(found.values()))
    metric, rows = one["metric"], []
    twin = one["lift"][metric]["second"]
    for label in best_first({label: of["lift"][metric]["first"] for label, of in found.items()}, metric):
        report, lift = found[label], found[label]["lift"][metric]
        verdict, value = report["verdict"], f"{lift['first']:.4f}"
        rows.append(
            [
                label,
                value if rows else f"**{value}**",
                f"{lift['difference']:+.4f}",
                f"{lift['low']:+.4f} to {lift['high']:+.4f}",
                f"{lift['rows_error']:.4f}",
                f"{lift['seeds_error']:.4f}",
                f"{report['lower']} of {len(report['groups'])}, {report['harmed']}",
                verdict if verdict == "no difference" else f"**{verdict}**",
            ]
        )
    columns = [
        "lift",
        "95 % interval",
        "error over rows",
        "over seeds",
        "groups worse off, significantly",
        "verdict",
    ]
    of = (
        f"{one['rows']:,} test rows of {one['users']:,} users, {one['seeds']} seeds. The twin has {twin:.4f}."
    )
    return f"{of}\n\n{markdown(['model', metric.upper(), *columns], rows)}"


VARIANTS = {
    "cctl": {"CCTL w/o IFN": "IFN", "CCTL w/o REN": "REN", "CCTL, source rows off": "all source rows"},
    "cctl_alpha": {},
    "dadin": {
        "DADIN_1": "item attention (DADIN_1)",
        "DADIN_2": "interest attention (DADIN_2)",
        "DADIN_3": "bi-interaction (DADIN_3)",
        "DADIN_4": "DNN (DADIN_4)",
        "DADIN_5": "bi-interaction, DNN (DADIN_5)",
        "DADIN_6": "domain agnostic layer (DADIN_6)",
        "DADIN_7": "global loss (DADIN_7)",
        "DADIN_8": "losses within classes (DADIN_8)",
        "DADIN_9": "all adversarial losses (DADIN_9)",
    },
    "dadin_lambdas": {},
    "mkt": {"MKT w/o TEM": "TEM", "MKT w/o PDL": "PDL", "MKT w/o HFA": "HFA"},
    "dacdr": {"DACDR w/o DA": "DA", "DACDR w/o IA": "IA", "DACDR w/o both": "both"},
}


GRIDS = {"cctl_alpha": "CCTL, alpha = 1", "dadin_lambdas": "DADIN, lambda_2 = lambda_3 = 1"}
"""Parts of an experiment that try values, and what stands for the full model."""


def ablations() -> str:
    """What each paper leaves out: the difference to the full model, with the half width of its interval."""
    rows = []
    for part, names in VARIANTS.items():
        found = [load(f"{name}/{part}") for name in ABLATIONS.values()]
        published = experiments()[ABLATIONS["Ciao 01 to 02"]].parts[part].published or {}
        full = found[0].against
        said = {label: published[label]["auc"] for label in published}
        title = GRIDS.get(part, str(full).removesuffix("++"))
        paper = f"**{said[full]:.4f}**" if full in said else ""
        rows.append([f"**{title}**", paper, *(f"**{cell(one, full)}**" for one in found)])
        for label in found[0].labels:
            if label == full:
                continue
            row = [names.get(label, label), f"{said[label] - said[full]:+.4f}" if label in said else ""]
            for one in found:
                test = one.tests[label]
                reach = 0.0 if math.isnan(test.low) else (test.high - test.low) / 2
                star = " *" if one.marks[label] else ""
                row.append(f"{test.difference:+.4f} ± {reach:.4f}{star}")
            rows.append(row)
    return markdown(["without", "the paper", *ABLATIONS], rows)


def mechanisms() -> str:
    """What a part of a model does where it has something to do; in bold what is significant."""
    parts = experiments()["mechanisms"].parts
    rows = bench.rows(parts, {name: load(f"mechanisms/{name}") for name in parts})
    for row in rows:
        if row["p, Holm"].startswith("<") or float(row["p, Holm"]) < LEVEL:
            row |= {name: f"**{row[name]}**" for name in ("difference", "p, Holm")}
    return markdown(list(rows[0]), [list(row.values()) for row in rows])


def cold(data: str) -> str:
    """MAE / RMSE under cold start; floors first, the lowest RMSE of a column in bold."""
    columns = {
        f"{way}, {share}": load(f"{name}/beta{share[2:]}0")
        for way, name in COLD[data].items()
        for share in ("0.2", "0.5", "0.8")
    }
    first = next(iter(columns.values()))
    rows = [
        [f"*{f}*", *(f"{one.floors[f]['mae']:.4f} / {one.floors[f]['rmse']:.4f}" for one in columns.values())]
        for f in first.floors
    ]
    best = [next(iter(one.ranked("rmse"))) for one in columns.values()]
    for label in first.labels:
        row = [label]
        for one, lowest in zip(columns.values(), best):
            text = f"{mean(one, label, 'mae'):.4f} / {mean(one, label, 'rmse'):.4f}"
            row.append(f"**{text}**" if label == lowest else text)
        rows.append(row)
    return markdown(["model", *columns], rows)


def variants(label: str, name: str = PAIRS["Ciao 01 to 02"]) -> list[str]:
    """A paper's model, and what an experiment has of it with other settings."""
    return [label, *(each for each in load(name).labels if each.startswith(f"{label}, "))]


def of_model(label: str) -> str:
    """The AUC of one model and its variants on every pair, beside the DNN of the target and the best of the pair."""
    rows = []
    for title, name in PAIRS.items():
        one = load(name)
        best, highest = next(iter(one.ranked("auc").items()))
        shown = [cell(one, each) + mark(one, each) for each in variants(label)]
        rows.append([title, *best_in_bold([*shown, cell(one, REFERENCE)], "auc"), f"{best}, {highest:.4f}"])
    places = [f"{each}: {order().index(each) + 1}" for each in variants(label)]
    table = markdown(["pair", *variants(label), REFERENCE, "best of the pair"], rows)
    of = f"Places by mean rank of {len(order())} ([all models](../results/index.md))"
    return f"{table}\n\n{of}:\n{', '.join(places)}."


def trials(label: str) -> str:
    """The validation AUC of a model's trials, one seed: the best with Adam, and with Adagrad."""
    rows = []
    for title, name in PAIRS.items():
        lines = (FOLDER / name / "results.jsonl").read_text(encoding="utf-8").splitlines()
        settings = _fixed(next(line for line in load(name).results if line["label"] == label))
        found = [
            line
            for line in map(json.loads, lines)
            if (line["stage"], line["label"]) == ("search", label) and _fixed(line) == settings
        ]
        best = {"adam": 0.0, "adagrad": 0.0}
        for line in found:
            optimizer = line["result"]["training"]["optimizer"]
            best[optimizer] = max(best[optimizer], line["result"]["validation"]["auc"])
        rows.append([title, str(len(found)), *(f"{value:.4f}" for value in best.values())])
    return markdown(["validation AUC of a search", "trials", "best with Adam", "with Adagrad"], rows)


def _fixed(line: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a run's model that no search changes: a label may have had others before."""
    return {name: value for name, value in line["result"]["arguments"].items() if name not in space()}


def planted_of(label: str) -> str:
    """The AUC of one model on logs with planted transfer, of users who are new to the target and of the others."""
    rows, shown = [], [*variants(label, "planted_transfer/0"), REFERENCE, ALL]
    for group, users in {"": "all", "@cold": "new to the target", "@warm": "known to it"}.items():
        for title, name in PLANTED.items():
            scores = (cell(load(name), each, f"auc{group}") for each in shown)
            rows.append([users, title.removeprefix("transfer "), *best_in_bold([*scores], "auc")])
    return markdown(["users", "transfer", *shown], rows)


def verdict(label: str) -> str:
    """What a model and its variants are beside the best of the target alone, and where nothing is to transfer."""
    nothing, rows = nothing_to_transfer(), []
    of_pairs = variants(label)
    for each in dict.fromkeys([*of_pairs, *variants(label, "nothing_to_transfer/0")]):
        found = {title: load(name) for title, name in PAIRS.items() if each in of_pairs}
        marks = {title: one.marks[each] for title, one in found.items()}
        titles = [", ".join(t for t in marks if marks[t] == which) or "none" for which in ("better", "worse")]
        below = ""
        if each in nothing:
            test, p = nothing[each]
            below = f"{test.difference:+.3f}, {'significantly' if p < LEVEL else 'within noise'}"
        rows.append([each, *(titles if marks else ["not run", "not run"]), below])
    columns = ["significantly better on", "significantly worse on", "AUC beside the DNN, nothing to transfer"]
    return markdown(["against the best of the target alone", *columns], rows)


@functools.cache
def nothing_to_transfer() -> dict[str, tuple[Paired, float]]:
    """Every model against the DNN of the target on logs without transfer, a pair a log; with p after correction."""
    found = [load(f"nothing_to_transfer/{part}") for part in experiments()["nothing_to_transfer"].parts]
    means = {label: [mean(one, label) for one in found] for label in found[0].labels}
    tests = {label: paired(own, means[REFERENCE]) for label, own in means.items() if label != REFERENCE}
    return dict(zip(tests, zip(tests.values(), holm([test.p for test in tests.values()]))))


def nothing() -> str:
    """The same as a table."""
    rows = [
        [label, f"{test.difference:+.4f} ± {(test.high - test.low) / 2:.4f}", p_text(p)]
        for label, (test, p) in sorted(nothing_to_transfer().items(), key=lambda each: -each[1][0].difference)
    ]
    return markdown(["beside the DNN of the target", "AUC, mean of ten logs", "p, Holm"], rows)


FAMILIES = {
    "single_domain": "LR; FM; Wide & Deep; DeepFM; NFM; AFM; xDeepFM; FiBiNET; DCN-v2; YouTube DNN; DIN; "
    "DNN, target alone",
    "multi_domain": "DNN, target alone; DNN, all domains; Shared-Bottom; MMoE; PLE; STAR",
    "cross_domain": "DNN, target alone; DNN, all domains; Finetune; CTNet; DANN; MiNet; MV-DNN; MLP++; CSN; CoNet",
}
"""The models of a page, in its order."""


def family(page: str) -> str:
    """The AUC of a page's models on every pair."""
    return whole(PAIRS, FAMILIES[page].split("; "), floors=False)


def gauc() -> str:
    """Of each pair the GAUC of the item means, of the DNN and of the highest model."""
    rows = []
    for title, name in PAIRS.items():
        one = load(name)
        floor = one.floors["item mean"]["gauc"]
        found = one.ranked("gauc")
        best, highest = next(iter(found.items()))
        above = sum(value > floor for value in found.values())
        shown = [f"{value:.3f}" for value in (floor, found[REFERENCE])]
        rows.append([title, *shown, f"{highest:.3f}, {best}", f"{above} of {len(found)}"])
    return markdown(
        ["GAUC", "item means", REFERENCE, "the highest model", "models above the item means"], rows
    )


def cost(of: str) -> str:
    """What the runs of a page took: of `clicks`, or of `cold`, which has three columns a pair."""
    factors = {f"{data.title()} {way}": name for data, ways in COLD.items() for way, name in ways.items()}
    rows = []
    for title, name in {"clicks": PAIRS, "cold": factors}[of].items():
        files = (FOLDER / name).rglob("results.jsonl")
        runs = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
        hours = sum(run["result"]["seconds"] for run in runs) / 3600
        rows.append([title, f"[results]({name}/README.md)", str(len(runs)), f"{hours:.1f}"])
    return markdown(["pair", "page", "runs", "training, hours"], rows)


def chosen() -> str:
    """How often a search took Adagrad, or the strong decay, on each pair."""
    rows = []
    for title, name in PAIRS.items():
        one = load(name)
        settings = {line["label"]: line["changes"] for line in one.results}
        adagrad = sum(found.get("optimizer") == "adagrad" for found in settings.values())
        decay = sum(found.get("weight_decay", 0) >= 10 for found in settings.values())
        rows.append([title, str(adagrad), str(decay), str(len(settings))])
    return markdown(["validation rows chose", "Adagrad", "the strong decay", "of models"], rows)
