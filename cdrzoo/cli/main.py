"""The command line: its frame. A group of commands a file; what a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import textwrap
from collections.abc import Mapping, Sequence

import cdrzoo
from cdrzoo import files, memory
from cdrzoo.cli import data, experiments, export, models, reports, serving, training
from cdrzoo.cli.common import Help, Parser
from cdrzoo.errors import InputError, printed, shown

GROUPS = {
    "data": ("synthesize", "schema", "dataset", "prepare"),
    "train": ("models", "train", "evaluate", "pack", "unpack"),
    "measure": ("compare", "tune", "transfer", "backtest", "drift", "reproduce", "report"),
    "serve": ("export", "verify", "rows", "predict", "serve", "label"),
}
"""Every command, in the order of a session."""

DESCRIPTION = """\
cdrzoo trains click and rating models of a target domain with the help of other domains, and exports them for serving.

A first session, on logs that it makes itself:

  cdrzoo synthesize demo                          two domains' logs, a schema, a run configuration
  cdrzoo schema check demo/run.yaml
  cdrzoo train demo/run.yaml --model cctl --out runs/cctl
  cdrzoo compare demo/run.yaml --models dnn,cctl --seeds 3 --out runs/compare
  cdrzoo transfer runs/cctl --out runs/transfer   did the source help?
  cdrzoo export runs/cctl --to saved_models/films
  cdrzoo verify saved_models/films/1 --run runs/cctl
  cdrzoo predict saved_models/films/1 --input demo/requests.csv
  cdrzoo serve saved_models                       gRPC and REST, for development; then, elsewhere:
  cdrzoo predict films --server 127.0.0.1:8500 --input demo/requests.csv

`cdrzoo COMMAND --help` says more of each, with an example.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 1 `drift` found too much, 2 the input is at fault."""
    _open_streams()
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who reads the output has read enough, as `head` does
        _pass_output_over()
        return 128 + signal.SIGPIPE
    except OSError as error:  # nor is there room for the output
        _pass_output_over()
        return _failed(files.said(error))


def _run(argv: Sequence[str]) -> int:
    try:
        _check_arguments(argv)
        arguments = _parser().parse_args(argv)
        if argv[0] in (*GROUPS["train"], *GROUPS["measure"]):
            memory.keep()  # before anything starts threads
        with printed():
            return arguments.run(arguments) or 0
    except BrokenPipeError:
        raise
    except InputError as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(files.said(error))
    except UnicodeEncodeError as error:
        return _failed(f"A name or a path is not UTF-8 text: {shown(error.object)}. Rename it.")
    except MemoryError as error:
        return _failed(
            f"There is not enough memory. {error} Make the model, its batches or the rows smaller."
        )
    except KeyboardInterrupt:
        return _failed("stopped", 130)


def _failed(text: str, code: int = 2) -> int:
    print(text if code == 130 else f"error: {text}", file=sys.stderr)
    return code


def _check_arguments(argv: Sequence[str]) -> None:
    """What is wrong in any place: an empty argument, of a variable that is not set; bytes that are no text."""
    for before, each in zip(["cdrzoo", *argv], argv, strict=False):
        if not each.strip() or (each.startswith("--") and each.endswith("=")):
            after = each or before
            raise InputError(
                f"An argument is empty, at {shown(after)}. Give a value, or leave it out. Is a variable not set?"
            )
        try:
            each.encode()
        except UnicodeEncodeError:
            raise InputError(f"The argument {shown(each)} is not UTF-8 text. Rename the file.") from None


def _open_streams() -> None:
    """Streams that whoever started the process has closed go nowhere."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of a terminal that has not every letter


def _pass_output_over() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="cdrzoo", description=DESCRIPTION, formatter_class=Help, usage="cdrzoo COMMAND ...")
    parser.add_argument("--version", action="version", version=f"cdrzoo {cdrzoo.__version__}")
    commands = parser.add_subparsers(prog="cdrzoo", metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    for group in (models, data, training, experiments, reports, export, serving):
        group.add(commands)
    parser.epilog = _listed({action.dest: action.help or "" for action in commands._choices_actions})
    commands._choices_actions.clear()  # they stand below, in groups
    return parser


def _listed(commands: Mapping[str, str]) -> str:
    """The commands in their groups, each with what it does."""
    lines = []
    for group, names in GROUPS.items():
        lines.append(f"{group}:")
        for name in names:
            lines += textwrap.wrap(
                f"{name:<12}{commands[name]}", 100, initial_indent="  ", subsequent_indent=" " * 14
            )
    return "\n".join(lines)
