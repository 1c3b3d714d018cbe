"""An input, what came of it, and whether that is right."""

from __future__ import annotations

import contextlib
import io
import math
import os
import pathlib
import re
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cdrzoo.errors import DataWarning, InputError

OUTCOMES = ("right", "silent", "traceback", "unclear")
NO_VALUE = object()
"""No value is right: the input must be refused."""

MENDS = re.compile(
    r"\b(add|ask|begin|change|check|choose|convert|copy|correct|did you mean|download|drop|export|give|install|it has|it is"
    r"|keep|knows?|known|leave|lists|make|mend|merge|must|names?|needs?|needed|put|remove|rename|say|send|set|split|start"
    r"|store|take|takes|the most|there are|required|expected one|train|unrecognized|wanted|write)\b|\b(inputs|models|loaded|domains|has): ",
    re.IGNORECASE,
)
"""Words of a message that says what is wanted or what to do."""
RAW = re.compile(
    r"Traceback|object at 0x|<class|\b(Arrow\w+|Key|Attribute|Type|Index|Unicode\w+)Error\b|\[Errno"
)
"""What is written for programmers alone."""
LONGEST, LINES = 1200, 4


@dataclass(frozen=True)
class Case:
    """An input.

    Args:
        name: what it is.
        run: hands it to cdrzoo; a value, or an `InputError`.
        value: what is right; a function of what came that says so; `NO_VALUE`: none is.
        words: what the message has to name if it is refused, one of each tuple; `None`: it must not be.
        warned: words of the warning without which no value is right; of a tuple one.
    """

    name: str
    run: Callable[[], Any]
    value: Any = NO_VALUE
    words: tuple[Any, ...] | None = ()
    warned: tuple[Any, ...] = ()


@dataclass
class Result:
    """What came of an input."""

    case: Case
    outcome: str
    said: str


@dataclass
class Tally:
    """The results of a kind."""

    kind: str
    results: list[Result] = field(default_factory=list)

    def row(self) -> list[str]:
        found = Counter(result.outcome for result in self.results)
        return [self.kind, f"{len(self.results):,}", *(f"{found[name]:,}" for name in OUTCOMES)]


class Ended(Exception):
    """A command ended with a code that no user's mistake has."""


class Accepted(Exception):
    """A command got as far as the work that it was to refuse."""


def judged(case: Case) -> Result:
    """Runs a case. Nothing that it prints is seen."""
    value, text = NO_VALUE, ""
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        try:
            value = case.run()
        except InputError as error:
            text = str(error)
        except Accepted as accepted:
            return Result(case, "silent", str(accepted))
        except RecursionError:
            return Result(case, "traceback", "RecursionError")
        except Exception:
            return Result(case, "traceback", traceback.format_exc())
    if value is NO_VALUE:
        if case.words is None:
            return Result(case, "unclear", f"refused, though it is right: {text}")
        faults = unclear(text, case.words)
        return Result(case, "unclear" if faults else "right", f"{text}{''.join(f'  [{f}]' for f in faults)}")
    said = "\n".join(str(one.message) for one in caught if issubclass(one.category, DataWarning))
    if isinstance(value, Output):
        said += value.warnings
    right = fits(case.value, value) and not missed(said, case.warned)
    return Result(case, "right" if right else "silent", said if right else f"{value!r:.300} {said}")


def unclear(text: str, words: Iterable[Any]) -> list[str]:
    """What is wrong with a message."""
    faults = [f"does not name {word!r}" for word in missed(text, words)]
    faults += [] if MENDS.search(text) else ["says neither what is wanted nor how to mend it"]
    faults += [f"raw: {found[0]!r}"] if (found := RAW.search(text)) else []
    faults += ["too long"] if len(text) > LONGEST or len(text.splitlines()) > LINES else []
    return faults


def missed(text: str, words: Iterable[Any]) -> list[Any]:
    """Which of the words do not stand there; of a tuple one must."""
    lower = text.lower()
    alternatives = ((word, word if isinstance(word, tuple) else (word,)) for word in words)
    return [word for word, several in alternatives if not any(one.lower() in lower for one in several)]


def fits(right: Any, value: Any) -> bool:
    """Whether a value is the right one, to the bit."""
    if right is NO_VALUE:
        return False
    if callable(right):
        return bool(right(value))
    if isinstance(right, (list, tuple, np.ndarray)):
        same = isinstance(value, (list, tuple, np.ndarray)) and len(right) == len(value)
        return same and all(fits(one, two) for one, two in zip(right, value, strict=True))
    if isinstance(right, float) and math.isnan(right):
        return isinstance(value, (float, np.floating)) and bool(np.isnan(value))
    if isinstance(right, str) or isinstance(value, str):
        return type(right) is type(value) and right == value
    return bool(right == value)


@dataclass(frozen=True)
class Output:
    """What a command printed that ended well."""

    text: str
    warnings: str


def command(*arguments: str) -> Output:
    """Runs a command in this process.

    Raises:
        InputError: it ended with 2; the message is what it printed.
        Ended: it ended in any other way than well.
    """
    from cdrzoo import cli

    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code: Any = cli.main(arguments)
        except SystemExit as ended:  # of argparse
            code = ended.code
    said = error.getvalue()
    if code not in (0, None) and (code != 2 or "Traceback" in said):
        raise Ended(f"{code}: {said}")
    if code == 2:
        raise InputError(said[said.find("error: ") :].strip())
    lines = (out.getvalue() + said).splitlines()
    return Output(out.getvalue(), "\n".join(line for line in lines if line.startswith("warning: ")))


@contextlib.contextmanager
def workplace() -> Iterator[pathlib.Path]:
    """A folder that is the working directory, and goes."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield pathlib.Path(folder)
        finally:
            os.chdir(before)


def table(tallies: Iterable[Tally]) -> str:
    """A line a kind, of Markdown, and their sum."""
    rows = [tally.row() for tally in tallies]
    numbers = [[int(cell.replace(",", "")) for cell in row[1:]] for row in rows]
    total = ["all", *(f"{sum(column):,}" for column in zip(*numbers, strict=True))]
    heading = ["kind", "tried", *OUTCOMES]
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows, total]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
