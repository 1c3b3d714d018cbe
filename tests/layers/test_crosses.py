"""Explicit crosses: pairs written out, and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cdrzoo.layers import BiInteraction

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("fields", [2, 4, 5])
@pytest.mark.parametrize("weighted", [True, False])
def test_bi_interaction_is_the_sum_over_all_pairs(fields, weighted):
    m = RNG.normal(size=(3, fields, 4)).astype("float32")
    layer = BiInteraction(weighted)
    layer.build(m.shape)
    c = np.ones((fields, 1))
    if weighted:
        np.testing.assert_array_equal(layer.c, c)
        c = RNG.normal(size=(fields, 1))
        layer.c.assign(c)
    v = c * m.astype("float64")
    expected = sum(v[:, i] * v[:, j] for i, j in itertools.combinations(range(fields), 2))
    got = layer(m)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert (np.asarray(got) < 0).any()  # the printed bars are brackets


def test_one_field_has_no_pair():
    np.testing.assert_allclose(BiInteraction()(RNG.normal(size=(3, 1, 4)).astype("float32")), 0, atol=1e-6)


def test_bi_interaction_configuration():
    assert BiInteraction.from_config(BiInteraction(False).get_config()).weighted is False
