"""The command line: its frame. A group of commands a file; what a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import cdrzoo
from cdrzoo.cli import data, experiments, export, models, reports, serving, training
from cdrzoo.errors import InputError, printed

DESCRIPTION = """\
cdrzoo trains click and rating models of a target domain with the help of other domains, and exports them for serving.

A first session, on logs that it makes itself:

  cdrzoo synthesize demo                          two domains' logs, a schema, a run configuration
  cdrzoo schema check demo/schema.yaml --data books=demo/books.csv --data films=demo/films.csv
  cdrzoo train demo/run.yaml --model cctl --out runs/cctl
  cdrzoo compare demo/run.yaml --models dnn,cctl --seeds 3 --out runs/compare
  cdrzoo transfer runs/cctl --out runs/transfer   did the source help?
  cdrzoo export runs/cctl --to saved_models/films
  cdrzoo verify saved_models/films/1 --run runs/cctl
  cdrzoo predict saved_models/films/1 --input demo/requests.csv
  cdrzoo serve saved_models                       gRPC and REST, for development; in another terminal:
  cdrzoo predict films --server 127.0.0.1:8500 --input demo/requests.csv
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 2 the input is at fault."""
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who reads the output has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        with printed():
            return arguments.run(arguments) or 0
    except BrokenPipeError:
        raise
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cdrzoo", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"cdrzoo {cdrzoo.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (models, data, training, experiments, reports, export, serving):
        group.add(commands)
    return parser
