"""The peer: deepctr 0.9.4, in this process, on Keras 2 (`tf-keras`) beside our Keras 3.

`make parity` makes the environment and runs the group; elsewhere importing this skips. Nothing of the peer's code is in
this project.
"""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

if importlib.util.find_spec("deepctr") is None:
    pytest.skip("deepctr is not installed: `make parity` runs these", allow_module_level=True)
if os.environ.get("TF_USE_LEGACY_KERAS") != "1":  # TensorFlow reads it when it is imported
    pytest.skip("deepctr wants TF_USE_LEGACY_KERAS=1: `make parity` runs these", allow_module_level=True)


def draw(*shape, seed=0, scale=0.7):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype("float32")


def same(ours, theirs):
    """Equal to 1e-5."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.ptp(theirs) > 1e-3  # one number everywhere would agree by chance
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def different(ours, theirs):
    assert np.abs(np.asarray(ours) - np.asarray(theirs)).max() > 1e-2


def give(pairs):
    """Each variable of the pairs the value beside it; shapes may differ in ones alone."""
    for variable, value in pairs:
        value = np.asarray(value)
        assert [n for n in value.shape if n > 1] == [n for n in variable.shape if n > 1]
        variable.assign(value.reshape(variable.shape))
