"""What there is: the list of models."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from cdrzoo.cli.common import add_json, command


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
    form: Any = listed.add_mutually_exclusive_group()
    add_json(form)
    form.add_argument("--markdown", action="store_true", help="Print a table of Markdown.")


def _models(arguments: argparse.Namespace) -> None:
    from cdrzoo.models import CARDS, table
    from cdrzoo.models.cards import costs

    if arguments.json:
        print(json.dumps([{**dataclasses.asdict(one), **costs()[one.name]} for one in CARDS]))
        return
    rows = table()
    if arguments.markdown:
        rows = [(f"`{name}`", *cells) if i else (name, *cells) for i, (name, *cells) in enumerate(rows)]
        rows.insert(1, ("---",) * len(rows[0]))
        print("\n".join(f"| {' | '.join(row)} |" for row in rows))
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
