"""The chart of the README and of the results, as SVG: written by hand, so that it is the same text everywhere."""

from __future__ import annotations

from docs.render import results

MARGIN, LEFT, RIGHT, ROW, TOP, WIDTH = 8, 125, 12, 17, 62, 480
"""Pixels: as wide as can be read on a phone without scrolling."""

STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.small { font-size: 11px; fill: #57606a }
.grid { stroke: #d0d7de } .zero { stroke: #57606a }
.source { fill: #0969da; stroke: #0969da } .target { fill: #9a6700; stroke: #9a6700 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #3d444d } .zero { stroke: #9198a1 }
  .source { fill: #4493f8; stroke: #4493f8 } .target { fill: #d29922; stroke: #d29922 }
}
</style>"""


def ranking() -> str:
    """A row a model: the mean difference to the DNN of the target over the pairs, and its 95 % interval."""
    rows, pairs = results.ranking(), results.COUNT[len(results.PAIRS)]
    low = min(row["lift"] - row["reach"] for row in rows) - 0.002
    high = max(row["lift"] + row["reach"] for row in rows) + 0.002
    height = TOP + ROW * len(rows) + 34

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * 5 // 4}" viewBox="0 0 {WIDTH} {height}" '
        'role="img" aria-labelledby="t d">',
        f'<title id="t">Mean difference in AUC to the DNN of the target, over {pairs} pairs of domains</title>',
        f'<desc id="d">{rows[0]["model"]} is first with {rows[0]["lift"]:+.4f}, {rows[-1]["model"]} last with '
        f"{rows[-1]['lift']:+.4f}.</desc>",
        STYLE,
        f'<text x="{MARGIN}" y="16">AUC, difference to the DNN of the target alone, mean of {pairs} pairs</text>',
        f'<text x="{MARGIN}" y="33" class="small">Bars: 95 % interval over five trainings. They say nothing of other '
        "pairs.</text>",
        f'<circle cx="{MARGIN + 5}" cy="47" r="4" class="source"/><text x="{MARGIN + 14}" y="51" class="small">'
        "reads the source</text>",
        f'<circle cx="{MARGIN + 125}" cy="47" r="4" class="target"/><text x="{MARGIN + 134}" y="51" class="small">'
        "target alone</text>",
    ]
    bottom = TOP + ROW * len(rows)
    for step in range(-10, 6):
        value = step / 100
        if low < value < high:
            kind = "zero" if not step else "grid"
            lines.append(f'<line x1="{x(value)}" x2="{x(value)}" y1="{TOP}" y2="{bottom}" class="{kind}"/>')
            lines.append(
                f'<text x="{x(value)}" y="{bottom + 16}" text-anchor="middle" class="small">{value:+.2f}</text>'
            )
    for place, row in enumerate(rows):
        y = TOP + ROW * place + ROW / 2
        kind = "source" if row["source"] else "target"
        ends = x(row["lift"] - row["reach"]), x(row["lift"] + row["reach"])
        lines += [
            f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{str(row["model"]).replace("&", "&amp;")}</text>',
            f'<line x1="{ends[0]}" x2="{ends[1]}" y1="{y}" y2="{y}" class="{kind}" stroke-width="2"/>',
            f'<circle cx="{x(row["lift"])}" cy="{y}" r="4" class="{kind}"><title>{row["lift"]:+.4f} ± '
            f"{row['reach']:.4f}</title></circle>",
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
