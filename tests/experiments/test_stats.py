"""The paired test against hand-worked numbers and SciPy, and its rules where nothing can be tested."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from cdrzoo.errors import InputError
from cdrzoo.experiments import stats


def test_by_hand():
    # d = 1, 2, 3: mean 2, std 1, t = 2 / (1 / sqrt 3) = 3.4641, 2 degrees of freedom: p = .0742; t(.975, 2) = 4.3027.
    result = stats.paired([2, 4, 6], [1, 2, 3])
    assert (result.seeds, result.difference, result.std) == (3, 2.0, 1.0)
    assert result.t == pytest.approx(2 * math.sqrt(3))
    assert result.p == pytest.approx(0.07418, abs=1e-5)
    assert result.low == pytest.approx(2 - 4.30265 / math.sqrt(3), abs=1e-5)
    assert result.high == pytest.approx(2 + 4.30265 / math.sqrt(3), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_equals_scipy(seed):
    rng = np.random.default_rng(seed)
    one, two = rng.normal(0.7, 0.01, 5), rng.normal(0.69, 0.01, 5)
    expected = scipy_stats.ttest_rel(one, two)
    assert stats.paired(one, two).t == pytest.approx(expected.statistic)
    assert stats.paired(one, two).p == pytest.approx(expected.pvalue)
    assert stats.paired(two, one).difference == -stats.paired(one, two).difference


def test_fewer_than_two_seeds_say_nothing():
    one = stats.paired([0.7], [0.6])
    assert one.difference == pytest.approx(0.1) and math.isnan(one.p) and math.isnan(one.std) and one.note
    none = stats.paired([], [])
    assert none.seeds == 0 and math.isnan(none.difference) and math.isnan(none.p)
    # A seed that failed leaves its pair out.
    assert stats.paired([0.7, math.nan, 0.8], [0.6, 0.6, 0.6]).seeds == 2


def test_differences_that_do_not_vary():
    same = stats.paired([0.7, 0.8, 0.9], [0.7, 0.8, 0.9])
    assert same.p == 1.0 and same.t == 0.0
    shifted = stats.paired([0.7, 0.8, 0.9], [0.6, 0.7, 0.8])  # equal but for rounding
    assert math.isnan(shifted.p) and shifted.difference == pytest.approx(0.1) and "vary" in shifted.note


def test_unequal_lengths():
    with pytest.raises(InputError, match="3 and 2"):
        stats.paired([1, 2, 3], [1, 2])


def test_holm_by_hand():
    # Sorted .01 .02 .04: times 3, 2, 1, never decreasing.
    assert stats.holm([0.02, 0.01, 0.04]) == pytest.approx([0.04, 0.03, 0.04])
    assert stats.holm([0.03, 0.02]) == pytest.approx([0.04, 0.04])
    assert stats.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    corrected = stats.holm([0.02, math.nan])
    assert corrected[0] == pytest.approx(0.02) and math.isnan(corrected[1])
    assert stats.holm([]) == []
