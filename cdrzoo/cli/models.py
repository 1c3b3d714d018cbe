"""What there is: the list of models."""

from __future__ import annotations

import argparse
from typing import Any

from cdrzoo.cli.common import command


def add(commands: Any) -> None:
    """Adds the commands of this file."""
    _add_models(commands)


def _add_models(commands: Any) -> None:
    listed = command(
        commands,
        "models",
        _models,
        "List the models: name, family, what each needs, its cost and its paper.\n\n"
        "  cdrzoo models\n\n"
        "Parameters and the time of a training step are in units of dnn's, on the target alone.",
    )
    listed.add_argument("--markdown", action="store_true", help="Print a table of Markdown.")


def _models(arguments: argparse.Namespace) -> None:
    from cdrzoo.models import table

    rows = table()
    if arguments.markdown:
        rows = [(f"`{name}`", *cells) if i else (name, *cells) for i, (name, *cells) in enumerate(rows)]
        rows.insert(1, ("---",) * len(rows[0]))
        print("\n".join(f"| {' | '.join(row)} |" for row in rows))
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
