"""`python -m docs.render` makes again what pages have from the results and the code; `--check` says what is old.

A page marks such a part with `<!-- made: NAME ARGUMENT -->` and `<!-- /made -->`.
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Callable

from docs.render import (
    backtests,
    chart,
    choosing,
    diagrams,
    measured,
    reference,
    results,
    scale,
    sentences,
    speed,
)

DOCS = pathlib.Path(__file__).resolve().parents[1]
PART = re.compile(r"^<!-- made: (\w+)(?: ([^>\n]+))? -->\n.*?^<!-- /made -->$", re.S | re.M)

MADE: dict[str, Callable[..., str]] = {
    "headline": results.headline,
    "ranking": results.ranking_table,
    "shortlist": results.shortlist,
    "zoo": lambda: results.whole(results.PAIRS, results.order()),
    "planted": lambda: results.whole(results.PLANTED, results.load("planted_transfer/0").labels),
    "mechanisms": results.mechanisms,
    "shift": lambda: results.whole(
        {"shift": "mechanisms/shift"}, results.load("mechanisms/shift").labels, floors=False
    ),
    "schemas": lambda: results.whole(
        {"Amazon 1 to 2, schemas that differ": "schemas_amazon_1_2"},
        list(results.load("schemas_amazon_1_2").ranked()),
        floors=False,
    ),
    "by_users": results.by_users,
    "ablations": results.ablations,
    "cold": results.cold,
    "of_model": results.of_model,
    "trials": results.trials,
    "planted_of": results.planted_of,
    "verdict": results.verdict,
    "nothing": results.nothing,
    "family": results.family,
    "gauc": results.gauc,
    "chosen": results.chosen,
    "sentences": sentences.sentences,
    "moonshot": sentences.moonshot,
    "cost": results.cost,
    "gains": results.gains,
    "transfers": results.transfers,
    "backtest": backtests.arms,
    "periods": backtests.periods,
    "decision": choosing.decision,
    "by_rows": choosing.by_rows,
    "ratings": choosing.ratings,
    "measured": measured.table,
    "seeds": measured.seeds,
    "models": reference.models,
    "cost_of": reference.cost_of,
    "entries": reference.table,
    "api": reference.api,
    "scale_growth": scale.growth,
    "scale_training": scale.training,
    "scale_executors": scale.executors,
    "scale_billion": scale.billion,
    "speed": speed.table,
    "speed_processor": speed.processor,
    "speed_memory": speed.memory,
    "speed_goals": speed.goals,
    "speed_days": speed.days,
    "speed_growth": speed.growth,
    "speed_environment": speed.environment,
}
FIGURES = {DOCS / "results" / "ranking.svg": chart.ranking, DOCS / "results" / "speed.svg": speed.chart} | {
    DOCS / "models" / f"{name}.svg": picture.svg for name, picture in diagrams.PICTURES.items()
}


def pages() -> list[pathlib.Path]:
    return [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]


def made(text: str) -> str:
    """The text of a page with its made parts as they are now."""

    def part(found: re.Match) -> str:
        name, argument = found[1], found[2]
        body = MADE[name](*([argument] if argument else []))
        return f"{found[0].splitlines()[0]}\n\n{body}\n\n<!-- /made -->"

    return PART.sub(part, text)


def old() -> dict[pathlib.Path, str]:
    """The files that are not as they would be made, and what they would be."""
    now = {page: made(page.read_text(encoding="utf-8")) for page in pages()}
    now |= {path: draw() for path, draw in FIGURES.items()}
    return {path: text for path, text in now.items() if not path.exists() or path.read_text("utf-8") != text}


def main() -> int:
    changed = old()
    for path, text in changed.items():
        print(f"{'old' if '--check' in sys.argv else 'made'}: {path.relative_to(DOCS.parent)}")
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    return int(bool(changed) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
