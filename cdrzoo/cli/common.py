"""What commands share: a parser's frame, `--set`, TensorFlow's start, and how numbers are printed."""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import os
import pathlib
import re
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from cdrzoo.errors import COUNTS, InputError, check_number, check_whole, shown
from cdrzoo.files import home, is_remote

if TYPE_CHECKING:
    from cdrzoo.training.config import RunConfig


class Parser(argparse.ArgumentParser):
    """Options are written out, and stand once: `--seed 7` is not taken for `--seeds 7`, and no value is passed over."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "allow_abbrev": False})
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def error(self, message: str) -> NoReturn:
        """Ends with 2; of an option that takes no value argparse says that it is ignored, and it is not."""
        super().error(message.replace("ignored explicit argument", "it takes no value. Received:"))


class _Once(argparse.Action):
    """Stores a value; a second one is an error."""

    def __call__(self, parser, namespace, values, option_string=None):
        seen = parser.__dict__.setdefault("seen", set())
        if option_string and self.dest in seen:
            raise argparse.ArgumentError(self, "it is given twice; keep one")
        seen.add(self.dest)
        setattr(namespace, self.dest, values)


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number within these bounds."""

    def read(text: str) -> int:
        value = int(text) if re.fullmatch(r"[-+]?[0-9]{1,30}", text) else text
        return _checked(check_whole, value, least, most)

    return read


def count(name: str) -> Callable[[str], int]:
    """The type of `--seeds`, `--search`, `--trials` or `--jobs`."""
    return whole(*COUNTS[name])


def number(least: float | None = None, most: float | None = None, above: float | None = None) -> Any:
    """The type of an argument that is a finite number within these bounds."""

    def read(text: str) -> float:
        try:
            value: Any = float(text)
        except ValueError:
            value = text
        return _checked(functools.partial(check_number, above=above), value, least, most)

    return read


def _checked(check: Callable[..., None], value: Any, *bounds: Any) -> Any:
    try:
        check("it", value, *bounds)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return value


def path(text: str) -> pathlib.Path:
    """The type of an argument that is a path of this machine: `~` is the home folder."""
    if is_remote(text):
        raise argparse.ArgumentTypeError(f"a path of this machine wanted. Received: {text}. Copy it here.")
    return home(text)


def anywhere(text: str) -> pathlib.Path:
    """The type of an argument that is a path, of another file system, too (`s3://bucket/rows`)."""
    try:
        return home(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class Help(argparse.HelpFormatter):
    """Paragraphs that fit the screen, lines that are indented as they stand, and of every option its default."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = []
        for kept, lines in itertools.groupby(text.splitlines(), lambda line: line[:1] in ("", " ")):
            found = list(lines)
            parts += found if kept else textwrap.wrap(" ".join(found), width)
        return "\n".join(parts)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        said = action.help or ""
        if (
            not action.option_strings
            or action.default is False  # not 0, which equals it
            or action.default in (None, [], argparse.SUPPRESS)
            or "efault" in said
        ):
            return said
        return f"{said} Default: %(default)s."


def delimiter(text: str) -> str:
    r"""The type of `--delimiter`: `\t` is a tab."""
    return "\t" if text == r"\t" else text


def command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    """Adds the command `name`: `run` does it, the first sentence of `text` stands in the list of all commands."""
    first = " ".join(text.split("\n\n")[0].split()).partition(". ")[0].rstrip(".") + "."
    added = commands.add_parser(name, help=first, description=text, formatter_class=Help)
    added.set_defaults(run=run)
    return added


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    parser.add_argument("--json", action="store_true", help="Print the result as JSON, and nothing else.")


def add_settings(parser: argparse.ArgumentParser, model: bool = True) -> None:
    """Adds `--set` and, of a command for one model, `--model`."""
    if model:
        parser.add_argument("--model", help="The name of the model. Default: as the configuration says.")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A setting of the training (learning_rate, epochs, ...), of the run (width, seed) or of the model. "
        "first.NAME sets the first of two stages. May be repeated.",
    )
    add_slices(parser)


def _columns(text: str) -> list[str]:
    names = text.split(",")
    if not all(name.strip() for name in names):
        raise argparse.ArgumentTypeError(
            f"it must be names of columns, such as hour,site. Received: {shown(text)}."
        )
    return names


def add_slices(parser: argparse.ArgumentParser) -> None:
    """Adds `--slices`."""
    parser.add_argument(
        "--slices",
        type=_columns,
        default=[],
        metavar="COLUMN,...",
        help="Columns of the target by whose values metrics are given as well, such as hour,site.",
    )


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Adds `--strict`."""
    parser.add_argument("--strict", action="store_true", help="Treat a warning about the data as an error.")


def changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `--set`, `--model` and `--slices` change, as `RunConfig.with_changes` takes it."""
    from cdrzoo.documents import load_yaml

    given = pairs(arguments.set, "--set")
    found = {name: load_yaml(value, f"--set {name}={shown(value)}") for name, value in given.items()}
    if getattr(arguments, "model", None):
        if found.get("model", arguments.model) != arguments.model:
            raise InputError("`--model` and `--set model=...` name two models. Keep `--model`.")
        found["model"] = arguments.model
    if getattr(arguments, "slices", None):
        found["slices"] = arguments.slices
    return found


def pairs(given: Sequence[str], what: str) -> dict[str, str]:
    """`{NAME: VALUE}` of texts `NAME=VALUE`; `what` they are."""
    found: dict[str, str] = {}
    for each in given:
        name, _, value = each.partition("=")
        if not name.strip() or not value.strip():
            raise InputError(f"{what} must read NAME=VALUE. Received: {shown(each)}.")
        if name in found:
            raise InputError(
                f"{what} says {name!r} twice: {shown(found[name])}, then {shown(value)}. Keep one."
            )
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


def print_next(steps: Mapping[str, Sequence[Any]]) -> None:
    """What can come next: `{why: the words of a command}`."""
    typed = {why: shlex.join(["cdrzoo", *map(str, words)]) for why, words in steps.items()}
    print("\nNext:")
    for why, line in typed.items():
        print(f"  {line:<{max(map(len, typed.values()))}}    {why}")


def print_metrics(metrics: dict[str, float], title: str) -> None:
    """Prints a line for each metric."""
    print(title)
    for name, value in metrics.items():
        print(f"  {name:<20} {value:.6f}")


def check_config(file: pathlib.Path, changed: Mapping[str, Any] | None = None) -> RunConfig:
    """A run configuration, and what can be found wrong of it before TensorFlow starts."""
    from cdrzoo.data.preparation import splits
    from cdrzoo.training.config import RunConfig

    config = RunConfig.load(file).with_changes(changed or {})
    if not isinstance(config.data, str):  # prepared rows are split already
        splits.check(config.schema, config.data, config.split, config.folder)
    return config


def progress(items: Iterable[Any], total: int, title: str) -> Iterator[Any]:
    """The lines of runs as they end, each told: model, seed, what its epoch reached, the best so far, the time left.

    Of a run that takes longer it is told where it is. Plain lines, so a log file holds the same as a screen.
    """
    from cdrzoo.experiments.running import Runs
    from cdrzoo.experiments.told import Told

    print(f"{title}: {total} runs", flush=True)
    told = Told(title, total, functools.partial(print, flush=True))
    if isinstance(items, Runs):
        items.hear = told.hear
    for line in items:
        print(told.line(line), flush=True)
        yield line
