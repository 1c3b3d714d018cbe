"""What examples/vectors.py shows holds on every seed."""

from __future__ import annotations

import importlib.util
import pathlib

import numpy as np
import pytest

PATH = pathlib.Path(__file__).resolve().parent.parent / "examples" / "vectors.py"


@pytest.mark.exhaustive
@pytest.mark.once
def test_vectors_carry_over_what_ids_do_not():
    spec = importlib.util.spec_from_file_location("vectors", PATH)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found = {
        name: np.array([example.auc_of(seed, *way) for seed in range(3)])
        for name, way in example.WAYS.items()
    }
    both = found.pop("both domains, vectors")
    for name, others in found.items():
        lift = both - others
        assert lift.min() > 0 and lift.mean() > 2 * lift.std(ddof=1), (name, lift)
