"""What commands share: a parser's frame, `--set`, TensorFlow's start, and how numbers are printed."""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from cdrzoo.errors import InputError, shown


def command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    """Adds the command `name`: `run` does it, the first line of `text` stands in the list of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    added = commands.add_parser(name, help=text.splitlines()[0], description=text, formatter_class=raw)
    added.set_defaults(run=run)
    return added


def add_settings(parser: argparse.ArgumentParser, model: bool = True) -> None:
    """Adds `--set` and, of a command for one model, `--model`."""
    if model:
        parser.add_argument("--model", help="name of the model; default: as the configuration says")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of training (learning_rate, epochs, ...), of the run (width, seed) or of the model; "
        "first.NAME sets the first of two stages (repeat)",
    )
    add_slices(parser)


def add_slices(parser: argparse.ArgumentParser) -> None:
    """Adds `--slices`."""
    parser.add_argument(
        "--slices",
        type=lambda text: [name for name in text.split(",") if name],
        default=[],
        metavar="COLUMN,...",
        help="columns of the target by whose values metrics are given, too, such as hour,site",
    )


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Adds `--strict`."""
    parser.add_argument("--strict", action="store_true", help="a warning about the data is an error")


def changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `--set`, `--model` and `--slices` change, as `RunConfig.with_changes` takes it."""
    from cdrzoo.documents import load_yaml

    given = pairs(arguments.set, "--set")
    found = {name: load_yaml(value, f"--set {name}={value}") for name, value in given.items()}
    if getattr(arguments, "model", None):
        found["model"] = arguments.model
    if getattr(arguments, "slices", None):
        found["slices"] = arguments.slices
    return found


def pairs(given: Sequence[str], what: str) -> dict[str, str]:
    """`{NAME: VALUE}` of texts `NAME=VALUE`; `what` they are."""
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise InputError(f"{what} must read NAME=VALUE. Received: {shown(each)}.")
        found[name] = value
    return found


def new_folder(folder: pathlib.Path) -> None:
    """Makes a folder, or raises an `InputError` if it holds anything."""
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty. Choose a new folder; nothing is overwritten.")
    folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def quiet():
    """Keeps what TensorFlow writes to the error stream while it starts; it is shown only if it fails to."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stream = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stream, kept.read())
            raise
        finally:
            os.dup2(stream, 2)
            os.close(stream)


def start_tensorflow() -> None:
    """Imports TensorFlow, and looks for its devices, without the lines that it prints then."""
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.get_logger().setLevel("ERROR")


def print_metrics(metrics: dict[str, float], title: str) -> None:
    """Prints a line for each metric."""
    print(title)
    for name, value in metrics.items():
        print(f"  {name:<20} {value:.6f}")


def progress(items: Any, total: int, title: str) -> Any:
    """The items, with a bar that shows how many of them are done."""
    from rich.progress import track

    return track(items, description=title, total=total)
