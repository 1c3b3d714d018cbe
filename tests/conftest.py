"""What every test gets: quiet and seeded libraries, memory given back, and the way to the public datasets."""

from __future__ import annotations

import gc
import os
import pathlib
import random
import sys
from collections.abc import Callable

import numpy as np
import pytest

# Read by TensorFlow when it is imported, which is after this file.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# One thread adds numbers in one order, so that two trainings can be compared to the bit; and test processes side by
# side would otherwise start a thread a core each and wait for one another.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

PROJECT = pathlib.Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)
    # One long chain: first, so that a test process beside it can take what comes behind.
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")


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


@pytest.fixture(autouse=True, scope="module")
def _memory():
    """Models and traced functions of a module are given back before the next one starts."""
    yield
    if keras := sys.modules.get("keras"):
        keras.backend.clear_session()
        gc.collect()
