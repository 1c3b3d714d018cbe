"""One sentence a model: when to use it, by the runs in docs/results; and what the four papers' models reach there."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from cdrzoo.experiments.comparison import Comparison
from docs.render.results import COLD, COUNT, PAIRS, load, markdown, mean, reads_source, variants

HEADLINE = ("CCTL", "MKT", "DACDR", "DADIN")


def listed(words: Sequence[str]) -> str:
    """`a, b and c`; `none` of nothing."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) or "none"


def marked(label: str, sign: str) -> list[str]:
    """The pairs on which a model is significantly better or worse than the best of the target alone."""
    found = {title: load(name) for title, name in PAIRS.items()}
    return [title for title, one in found.items() if label in one.labels and one.marks[label] == sign]


def place(label: str) -> dict[str, int]:
    """Of each pair the model's place by AUC."""
    found = {title: list(load(name).ranked("auc")) for title, name in PAIRS.items()}
    return {title: ranked.index(label) + 1 for title, ranked in found.items() if label in ranked}


def lift(label: str, title: str) -> str:
    """AUC above the best model of the target alone."""
    return f"{load(PAIRS[title]).tests[label].difference:+.3f}"


def labels() -> list[str]:
    """The models of the pairs, without what lacks a part."""
    every = load(PAIRS["Ciao 01 to 02"]).labels
    return [label for label in every if not any(part in label for part in (" w/o ", " off"))]


def sentences() -> str:
    """When to use each model."""
    rows = [[label, _of_clicks(label)] for label in labels()]
    factors = columns()["cold_amazon_1_2/20"].labels
    rows += [[f"{label}, ratings" * (label in labels()) or label, _of_ratings(label)] for label in factors]
    return markdown(["model", "when to use it, by these numbers"], rows)


def _of_clicks(label: str) -> str:
    places, better, worse = place(label), marked(label, "better"), marked(label, "worse")
    first = [title for title in places if places[title] == 1 and title not in better]
    said = []
    if better:
        said.append(f"like {listed([f'{title} ({lift(label, title)})' for title in better])}")
    if first:
        said.append(f"like {listed(first)}, where it is the highest of all")
    if said:
        return f"On logs {', or '.join(said)}" + (f"; not on logs like {listed(worse)}." if worse else ".")
    title = min(places, key=lambda title: places[title])
    best = f"at best it is number {places[title]} of {len(load(PAIRS[title]).labels)}, on {title}"
    return f"{'No pair speaks for it' if reads_source(label) else 'As a baseline'}: {best}."


@functools.cache
def columns() -> dict[str, Comparison]:
    """The twelve columns of ratings under cold start."""
    names = [name for ways in COLD.values() for name in ways.values()]
    return {f"{name}/{share}": load(f"{name}/beta{share}") for name in names for share in (20, 50, 80)}


def _of_ratings(label: str) -> str:
    found = list(columns().values())
    lowest = sum(next(iter(one.ranked("rmse"))) == label for one in found)
    floors = [min(floor["rmse"] for floor in one.floors.values()) for one in found]
    below = sum(mean(one, label, "rmse") < floor for one, floor in zip(found, floors))
    use = "For ratings of users who are new to the target" if below else "No column of ratings speaks for it"
    return f"{use}: of {len(found)} columns it has the lowest RMSE in {lowest}, and is below every mean in {below}."


def moonshot() -> str:
    """The four papers' models against the best model of the target alone, pair by pair; how many of all reach that."""
    rows = []
    for label in (each for name in HEADLINE for each in variants(name)):
        better = marked(label, "better")
        rows.append(
            [
                label,
                *(_against(label, title) for title in PAIRS),
                f"{COUNT[len(better)]} of {COUNT[len(PAIRS)]}",
            ]
        )
    all_of_them = [str([*load(name).marks.values()].count("better")) for name in PAIRS.values()]
    rows.append(["*of all models significantly better*", *all_of_them, ""])
    return markdown(["AUC above the best of the target alone", *PAIRS, "significantly better on"], rows)


def _against(label: str, title: str) -> str:
    return lift(label, title) + {"better": " +", "worse": " -"}.get(load(PAIRS[title]).marks[label], "")
