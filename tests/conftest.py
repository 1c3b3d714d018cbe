"""What every test gets: quiet and seeded libraries, memory given back, and the way to the public datasets.

Which tests are run (the marks are explained in setup.cfg): `make check` those without a mark for long ones, or one
model's (`--model`); `make test` those marked `slow` as well; `make test-all` those that are left.
"""

from __future__ import annotations

import collections
import gc
import os
import pathlib
import random
import re
import sys
import time
from collections.abc import Callable

import pytest

# Read by TensorFlow and by the BLAS of NumPy and SciPy when they are imported, which is after these lines.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# One thread adds numbers in one order, so that two trainings can be compared to the bit; and test processes side by
# side would otherwise start a thread a core each and wait for one another.
for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402 it reads them

PROJECT = pathlib.Path(__file__).resolve().parent.parent
LONGEST = (
    "test_pipeline.py",
    "test_notebooks.py",
    "test_attack.py",
    "test_replicas.py",
    "test_examples_dadin.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--model", metavar="NAME", help="only a model's tests: its conformance, whole, and its own file"
    )


def pytest_configure(config: pytest.Config) -> None:
    if name := config.getoption("model"):
        _files(name)  # an unknown name is said at once


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)
        if "tfx_pipeline" in item.path.parts:
            item.add_marker(pytest.mark.pipeline)
    # What is long comes first, so that a test process beside it can take what comes behind.
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if name := config.getoption("model"):
        files = _files(name)
        kept, left = [], []
        for item in items:
            own = item.path in files and item.get_closest_marker("exhaustive") is None
            (kept if own or _case(item) == name else left).append(item)
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def _case(item: pytest.Item) -> str | None:
    """The model of a conformance test."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return getattr(parameters.get("case"), "name", None)


def _files(model: str) -> list[pathlib.Path]:
    """The file of a model's tests; of a model without one those that know its class."""
    from cdrzoo.errors import InputError
    from cdrzoo.models import card

    folder = PROJECT / "tests" / "models"
    try:
        cls = card(model).cls
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    own = folder / f"test_{model}.py"
    named = (path for path in folder.glob("test_*.py") if re.search(rf"\b{cls}\b", path.read_text("utf-8")))
    return [own] if own.exists() else list(named)


# A contributor waits for the tests without a mark for long ones: no file may grow to a minute unseen. Processors differ
# and are shared, so seconds are those of the process, by the pace at which it does a fixed piece of work.

LONG = {"slow", "exhaustive"}
LIMIT = 60.0
"""Seconds of a processor that the tests of one file may take whose marks are not among `LONG`."""
PACE = 0.02
"""Seconds of a processor that `_work` takes where `LIMIT` was set."""
STARTED, PACE_NOW = pytest.StashKey[float](), pytest.StashKey[float]()
SPENT: collections.Counter[str] = collections.Counter()
"""Seconds of each file, in the process that reports."""


def _seconds() -> float:
    """What this process and those that it has waited for have taken of a processor."""
    return sum(os.times()[:4])


def _work() -> float:
    start = time.process_time()
    sum(len(str(number)) for number in range(250_000))
    return time.process_time() - start


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item):
    """The time that a test takes, with the fixtures made for it, is a property of its report."""
    item.stash[STARTED] = _seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item):
    try:
        return (yield)
    finally:
        module = item.getparent(pytest.Module).stash
        if PACE_NOW not in module:
            module[PACE_NOW] = max(1.0, _work() / PACE)
        item.user_properties.append(("seconds", (_seconds() - item.stash[STARTED]) / module[PACE_NOW]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_logreport(report: pytest.TestReport):
    if report.when == "teardown" and not LONG & set(report.keywords):
        SPENT[report.nodeid.split("::")[0]] += dict(report.user_properties)["seconds"]
    return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reports = not hasattr(session.config, "workerinput")
    if reports and session.exitstatus == pytest.ExitCode.OK and _too_long():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _too_long() -> dict[str, float]:
    return {file: seconds for file, seconds in SPENT.items() if seconds > LIMIT}


def pytest_terminal_summary(terminalreporter) -> None:
    for file, seconds in _too_long().items():
        terminalreporter.write_line(
            f"FAILED {file}: its tests without a mark for long ones take {seconds:.0f} s of a processor, and a file "
            f"has {LIMIT:g}. Make them quicker, or mark the longest `slow` (see --durations).",
            red=True,
        )


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], pathlib.Path]:
    """`real_data("ciao")` is the folder of that public dataset; the test skips where it is absent.

    Looked for in the folder that the environment variable CDRZOO_DATA names, else in `shared/data` beside the
    project folder.
    """
    root = pathlib.Path(os.environ.get("CDRZOO_DATA") or PROJECT.parent / "shared" / "data")

    def find(name: str) -> pathlib.Path:
        if not (root / name).exists():
            pytest.skip(f"no dataset {name!r} under {root}; CDRZOO_DATA may name another folder")
        return root / name

    return find


@pytest.fixture(autouse=True)
def _seeded():
    """The same random numbers for a test whether it runs alone or after others."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 pandas draws from it
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(0)
    yield
    if keras := sys.modules.get("keras"):
        keras.config.set_dtype_policy("float32")


def pytest_collection_finish() -> None:
    """What is imported by now stays: looking through all of it for what can go takes longer than a quick test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _memory():
    """Models and traced functions of a module are given back before the next one starts."""
    yield
    if keras := sys.modules.get("keras"):
        keras.backend.clear_session()
        gc.collect()
