"""What the pictures of examples/dadin_moons.py show, by numbers."""

from __future__ import annotations

import importlib.util
import pathlib

import numpy as np
import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def moons():
    return example("dadin_moons")


def test_the_target_is_the_source_turned_by_35_degrees(moons):
    source, _ = moons.moons(50, 0, 0.1, 3)
    target, _ = moons.moons(50, 35, 0.1, 3)
    cosine = np.sum(source * target, 1) / np.linalg.norm(source, axis=1) / np.linalg.norm(target, axis=1)
    np.testing.assert_allclose(cosine, np.cos(np.deg2rad(35)), atol=1e-4)


@pytest.mark.exhaustive
@pytest.mark.once
def test_alignment_confuses_the_domains_and_helps_the_target(moons):
    """By the mean of 20 draws of points and weights: of single ones, and of few, it helps some and harms others."""
    every = [moons.run(seed) for seed in range(20)]

    def of(what, name):
        return np.array([found[what][name] for found in every])

    assert of("accuracy", "DADIN").mean() > of("accuracy", "plain").mean()  # Figure 4
    assert np.all(abs(of("domain", "DADIN h_da, its own classifier") - 0.5) < 0.15)  # Figure 5 (a)
    assert of("domain", "DNN for the domains").mean() > 0.7  # Figure 5 (b)
    new = "h_da, new classifier"
    assert np.all(of("domain", f"plain {new}") > 0.65)  # there are two domains to be told apart
    assert of("domain", f"DADIN {new}").mean() < of("domain", f"plain {new}").mean()  # Figure 6
