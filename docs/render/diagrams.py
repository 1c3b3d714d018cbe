"""The pictures of models and families: boxes on a grid, rows from top to bottom, and arrows between them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLUMN, ROW, HEIGHT, GAP = 150, 62, 36, 14

STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.box { fill: #f6f8fa; stroke: #8c959f } .target { fill: #ddf4ff; stroke: #0969da }
.source { fill: #fff8c5; stroke: #9a6700 } .loss { fill: #ffebe9; stroke: #cf222e }
.arrow { stroke: #57606a; fill: none; marker-end: url(#head) } .note { font-size: 11px; fill: #57606a }
#head path { fill: #57606a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 } .arrow { stroke: #9198a1 } #head path { fill: #9198a1 }
  .box { fill: #21262d; stroke: #6e7681 } .target { fill: #0d2d4d; stroke: #4493f8 }
  .source { fill: #3b2e0b; stroke: #d29922 } .loss { fill: #4c1519; stroke: #f85149 }
}
</style>"""


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        title: what it shows, for those who do not see it.
        boxes: by name: row and column on the grid, columns wide, kind, text.
        arrows: pairs of names.
        note: a line below it.
    """

    title: str
    boxes: dict[str, tuple[float, float, float, str, str]]
    arrows: tuple[tuple[str, str], ...]
    note: str = ""

    def svg(self) -> str:
        rows = max(row for row, *_ in self.boxes.values()) + 1
        columns = max(column + wide for _, column, wide, *_ in self.boxes.values())
        width = columns * COLUMN + GAP
        notes = textwrap.wrap(self.note, int(width / 6.5))
        height = rows * ROW + GAP + 15 * len(notes)
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="'
            f'{self.title}">',
            STYLE,
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>',
        ]
        for start, end in self.arrows:
            (x1, y1), (x2, y2) = self._out(start, end), self._in(start, end)
            lines.append(f'<path class="arrow" d="M{x1:g} {y1:g} L{x2:g} {y2:g}"/>')
        for name in self.boxes:
            x, y, wide, kind, text = self._place(name)
            lines.append(
                f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{wide:g}" height="{HEIGHT}" rx="6"/>'
            )
            lines.append(
                f'<text x="{x + wide / 2:g}" y="{y + HEIGHT / 2 + 4:g}" text-anchor="middle">{text}</text>'
            )
        for place, note in enumerate(notes):
            lines.append(
                f'<text class="note" x="{GAP}" y="{rows * ROW + GAP + 15 * place:g}">{escape(note)}</text>'
            )
        return "\n".join([*lines, "</svg>"]) + "\n"

    def _place(self, name: str) -> tuple[float, float, float, str, str]:
        row, column, wide, kind, text = self.boxes[name]
        return column * COLUMN + GAP, row * ROW + GAP, wide * COLUMN - GAP, kind, text

    def _middle(self, name: str) -> tuple[float, float, float]:
        x, y, wide, *_ = self._place(name)
        return x + wide / 2, y + HEIGHT / 2, wide / 2

    def _level(self, start: str, end: str) -> bool:
        return self.boxes[start][0] == self.boxes[end][0]

    def _out(self, start: str, end: str) -> tuple[float, float]:
        (x, y, half), (other, below, _) = self._middle(start), self._middle(end)
        if self._level(start, end):
            return (x + half if other > x else x - half), y
        return min(max(other, x - half + 10), x + half - 10), y + (HEIGHT / 2 if below > y else -HEIGHT / 2)

    def _in(self, start: str, end: str) -> tuple[float, float]:
        (other, above, _), (x, y, half) = self._middle(start), self._middle(end)
        if self._level(start, end):
            return (x - half if other < x else x + half), y
        return min(max(other, x - half + 10), x + half - 10), y + (-HEIGHT / 2 if above < y else HEIGHT / 2)


PICTURES = {
    "cctl": Picture(
        "CCTL: source rows go through SAN and the selector into the mixed tower, target rows into both towers",
        {
            "source": (0, 0, 1, "source", "source rows"),
            "target": (0, 2, 1.5, "target", "target rows"),
            "san": (1, 0, 1, "source", "SAN: align"),
            "selector": (2, 0, 1, "source", "selector: weight p"),
            "mixed": (2, 1.25, 1, "box", "mixed tower"),
            "pure": (2, 2.75, 1, "target", "pure tower"),
            "ren": (3, 0, 1, "loss", "REN"),
            "lmixed": (3, 1.25, 1, "loss", "L mixed, L tgt"),
            "lpure": (3, 2.75, 1, "loss", "L pure"),
            "reward": (4, 1.25, 2.5, "box", "reward r = L pure - L tgt"),
        },
        (
            ("source", "san"),
            ("san", "selector"),
            ("san", "mixed"),
            ("selector", "mixed"),
            ("target", "mixed"),
            ("target", "pure"),
            ("mixed", "lmixed"),
            ("pure", "lpure"),
            ("mixed", "pure"),
            ("ren", "lmixed"),
            ("lmixed", "reward"),
            ("lpure", "reward"),
        ),
        "From tower to tower: a copy every sync_every steps. The reward trains the selector. Served: the pure tower.",
    ),
    "mkt": Picture(
        "MKT: a multi-entity model is trained on all domains, the target's model takes four vectors through gates",
        {
            "all": (0, 0, 2, "source", "rows of all entities"),
            "target": (0, 2.5, 1.5, "target", "target rows"),
            "hfa": (1, 0, 2, "box", "HFA: weigh and align own features"),
            "com": (2, 1, 1, "box", "common knowledge"),
            "ind": (2, 0, 1, "box", "independent, each"),
            "towers": (3, 0, 2, "box", "towers, loss + PDL"),
            "gates": (2, 2.5, 1.5, "target", "four gates (GLU)"),
            "tem": (3, 2.5, 1.5, "target", "target entity model"),
            "out": (4, 2.5, 1.5, "loss", "target loss"),
        },
        (
            ("all", "hfa"),
            ("hfa", "com"),
            ("hfa", "ind"),
            ("com", "towers"),
            ("ind", "towers"),
            ("com", "gates"),
            ("hfa", "gates"),
            ("target", "gates"),
            ("gates", "tem"),
            ("tem", "out"),
        ),
        "Left: first stage (MEM), frozen when the right side, the second stage, is trained.",
    ),
    "dacdr": Picture(
        "DACDR: the domain, then the candidate, attends to the behaviours in the source",
        {
            "seq": (0, 0, 1.5, "source", "behaviours in the source"),
            "domain": (0, 1.75, 1, "target", "domain, context"),
            "item": (0, 3, 1, "target", "candidate"),
            "da": (1, 0, 2.75, "box", "domain-level attention"),
            "ia": (2, 0, 4, "box", "item-level attention"),
            "enc": (3, 0, 2.5, "box", "domain encoder: u"),
            "head": (4, 0, 4, "target", "head: score"),
        },
        (
            ("seq", "da"),
            ("domain", "da"),
            ("da", "ia"),
            ("item", "ia"),
            ("ia", "enc"),
            ("enc", "head"),
            ("ia", "head"),
        ),
        "No user id is read. A new domain trains its own attention and vector, and nothing else.",
    ),
    "dadin": Picture(
        "DADIN: the candidate attends to the histories in every domain, classifiers must not tell the domains apart",
        {
            "hs": (0, 0, 1, "source", "history, source"),
            "ht": (0, 1, 1, "target", "history, target"),
            "item": (0, 2, 1, "box", "candidate"),
            "user": (0, 3, 1, "box", "user, context"),
            "attend": (1, 0, 3, "box", "item attention, a history each"),
            "weigh": (2, 0, 4, "box", "interest attention: weights v"),
            "cross": (3, 0, 4, "box", "bi-interaction, MLP: h_spec"),
            "da": (4, 0, 2, "box", "domain agnostic layer: h_DA"),
            "class": (5, 0, 2, "loss", "three classifiers, reversed"),
            "pred": (5, 2.5, 1.5, "target", "predictor"),
        },
        (
            ("hs", "attend"),
            ("ht", "attend"),
            ("item", "attend"),
            ("attend", "weigh"),
            ("user", "weigh"),
            ("weigh", "cross"),
            ("cross", "da"),
            ("da", "class"),
            ("da", "pred"),
            ("cross", "pred"),
        ),
        "One network for the rows of all domains. Served: without the classifiers.",
    ),
    "single_domain": Picture(
        "Models of one domain: fields become vectors, which a linear part, products of pairs and an MLP read",
        {
            "row": (0, 0, 4.5, "target", "a row: user, item, context, histories"),
            "tables": (1, 0, 3, "box", "embeddings of its fields"),
            "pool": (1, 3, 1.5, "box", "pooled histories"),
            "linear": (2, 0, 1, "box", "linear"),
            "pairs": (2, 1, 2, "box", "products, crosses"),
            "mlp": (2, 3, 1.5, "box", "MLP"),
            "score": (3, 1, 2, "target", "z, sigmoid(z)"),
        },
        (
            ("row", "tables"),
            ("row", "pool"),
            ("tables", "linear"),
            ("tables", "pairs"),
            ("tables", "mlp"),
            ("pool", "mlp"),
            ("linear", "score"),
            ("pairs", "score"),
            ("mlp", "score"),
        ),
        "Linear: LR. Linear and pairs: FM, AFM. MLP: DNN, YouTube DNN, and DIN, whose histories the candidate pools. "
        "Linear and MLP: Wide & Deep. Products into an MLP: NFM, FiBiNET. Two or three beside each other: DeepFM, "
        "xDeepFM, DCN.",
    ),
    "multi_domain": Picture(
        "Models of several domains: rows of all domains pass a shared part and a part of their own domain",
        {
            "source": (0, 0, 1.75, "source", "rows of the source"),
            "target": (0, 2, 1.75, "target", "rows of the target"),
            "tables": (1, 0, 3.75, "box", "embeddings, by slot"),
            "own_s": (2, 0, 1.1, "source", "own part"),
            "shared": (2, 1.1, 1.55, "box", "shared part"),
            "own_t": (2, 2.65, 1.1, "target", "own part"),
            "tower_s": (3, 0, 1.75, "source", "tower, score"),
            "tower_t": (3, 2, 1.75, "target", "tower, score"),
        },
        (
            ("source", "tables"),
            ("target", "tables"),
            ("tables", "own_s"),
            ("tables", "shared"),
            ("tables", "own_t"),
            ("own_s", "tower_s"),
            ("shared", "tower_s"),
            ("shared", "tower_t"),
            ("own_t", "tower_t"),
        ),
        "Shared-Bottom: one shared network. MMoE: shared experts, own gates. PLE: own experts, too. STAR: the weights "
        "of a layer are shared ones times own ones. Served: the target's path.",
    ),
    "cross_domain": Picture(
        "Models that transfer: what the source taught reaches the target by weights, by layers or by what they share",
        {
            "source": (0, 0, 1.5, "source", "rows of the source"),
            "target": (0, 2.5, 1.5, "target", "rows of the target"),
            "source_net": (1, 0, 1.5, "source", "network"),
            "target_net": (1, 2.5, 1.5, "target", "network"),
            "source_score": (2, 0, 1.5, "loss", "loss"),
            "target_score": (2, 2.5, 1.5, "target", "score"),
        },
        (
            ("source", "source_net"),
            ("target", "target_net"),
            ("source_net", "target_net"),
            ("source_net", "source_score"),
            ("target_net", "target_score"),
        ),
        "The arrow between the networks: a start (Finetune), gated adapters (CTNet), one layer that no classifier "
        "may read (DANN), the users' part (MV-DNN), their table alone (MLP++), connections of layers (CSN, CoNet). "
        "MiNet shares tables, and reads the history of the source.",
    ),
    "ratings": Picture(
        "Models of ratings: vectors of users and items in each domain, and a way from the source's users to the target",
        {
            "source": (0, 0, 1.5, "source", "ratings of the source"),
            "target": (0, 2.5, 1.5, "target", "ratings of the target"),
            "item_s": (1, 0, 0.75, "source", "items"),
            "user_s": (1, 0.75, 0.75, "source", "users"),
            "map": (1, 1.6, 0.8, "box", "mapping"),
            "user_t": (1, 2.5, 0.75, "target", "users"),
            "item_t": (1, 3.25, 0.75, "target", "items"),
            "score": (2, 2.5, 1.5, "target", "rating"),
        },
        (
            ("source", "item_s"),
            ("source", "user_s"),
            ("target", "user_t"),
            ("target", "item_t"),
            ("user_s", "map"),
            ("map", "user_t"),
            ("user_t", "score"),
            ("item_t", "score"),
        ),
        "MF: no mapping. CMF: one vector in both domains. EMCDR: one function for all. PTUPCDR: a matrix of each user. "
        "SSCDR: points near each other, and a function that also learns from items.",
    ),
}
