"""What a schema says, domain beside domain, and tables of cells as text and as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from cdrzoo.schema import transforms
from cdrzoo.schema.domains import Domain, Label
from cdrzoo.schema.features import Feature, Table


@dataclass(frozen=True)
class Block:
    """A table of cells.

    Args:
        title: what it is of; may be empty.
        heading: the names of its columns.
        rows: its rows, each with as many cells.
    """

    title: str
    heading: list[str]
    rows: list[list[str]]


def as_text(blocks: Iterable[Block]) -> str:
    """Plain text; a heading that stands above already is not said again."""
    texts, above = [], None
    for block in blocks:
        rows = block.rows if block.heading == above else [block.heading, *block.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        texts.append("\n".join([*([block.title] if block.title else []), *("  " + line for line in lines)]))
        above = block.heading
    return "\n\n".join(texts)


def as_html(blocks: Iterable[Block]) -> str:
    """HTML, for notebooks; every text in it is escaped."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "\n".join(
        "<table>"
        + (f"<caption>{escape(block.title)}</caption>" if block.title else "")
        + f"<thead>{row(block.heading, 'th')}</thead>"
        + f"<tbody>{''.join(row(cells, 'td') for cells in block.rows)}</tbody></table>"
        for block in blocks
    )


def describe(
    domains: Sequence[Domain],
    target: str,
    tables: Sequence[Table],
    *,
    facts: Sequence[list[str]] = (),
    missing: Callable[[Domain, Feature], str] | None = None,
    ids: Callable[[Table], list[str]] | None = None,
) -> list[Block]:
    """The domains side by side: tasks, then features by how many domains list them, then tables.

    Args:
        domains: the domains.
        target: the target's name.
        tables: the tables.
        facts: further rows under the task, a cell a domain after the first.
        missing: of a feature, the share of rows without a value; default: not said.
        ids: of a table, how many ids it has and how many of them several domains; default: not said.
    """
    heading = ["", *(d.name + (" (target)" if d.name == target else "") for d in domains)]
    blocks = [Block("", heading, [["task", *map(_task, domains)], *facts])]
    listed: dict[str, dict[str, Feature]] = {}
    for domain in domains:
        for feature in domain.features:
            listed.setdefault(feature.name, {})[domain.name] = feature

    def cell(domain: Domain, feature: Feature | None) -> str:
        if feature is None:
            return "-"
        return _feature(feature) + (f" {missing(domain, feature)}".rstrip() if missing else "")

    for title, fits in (
        ("shared features", lambda n: n == len(domains) > 1),
        ("features of some domains", lambda n: 1 < n < len(domains)),
        ("specific features", lambda n: n == 1),
    ):
        # What more domains list comes first.
        chosen = sorted(
            (name for name in listed if fits(len(listed[name]))), key=lambda name: -len(listed[name])
        )
        rows = [[name, *(cell(d, listed[name].get(d.name)) for d in domains)] for name in chosen]
        if rows:
            blocks.append(
                Block(title + (" (share of rows without a value)" if missing else ""), heading, rows)
            )
    columns = ["table", "width", "used by", *(["ids", "ids in several domains"] if ids else [])]
    rows = [[t.name, str(t.width), _users(t, domains), *(ids(t) if ids else [])] for t in tables]
    return [*blocks, *([Block("tables", columns, rows)] if rows else [])]


def _task(domain: Domain) -> str:
    return "; ".join(map(_label, domain.outputs.values()))


def _label(label: Label) -> str:
    text = f"{label.task} {label.column}" + ("" if label.threshold is None else f" >= {label.threshold:g}")
    return text + (f" given {label.given}" if label.given else "")


def _feature(feature: Feature) -> str:
    kind = feature.kind + (f"[{feature.length or feature.size}]" if feature.length or feature.size else "")
    done = [transforms.told(feature.transform)] if feature.transform else []
    done += [" x ".join(feature.cross)] if feature.cross else []
    done += [feature.derive] if feature.derive else []
    done += ["flag"] if feature.flag else []
    done += [f"weights: {feature.weights}"] if feature.weights else []
    return " ".join([feature.role, kind, str(feature.dtype), *([f"({', '.join(done)})"] if done else [])])


def _users(table: Table, domains: Iterable[Domain]) -> str:
    return ", ".join(d.name for d in domains if any(f.table == table.name for f in d.features))
