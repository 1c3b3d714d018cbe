"""The paired test against hand-worked numbers and SciPy, and its rules where nothing can be tested."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from cdrzoo import metrics
from cdrzoo.errors import InputError
from cdrzoo.evaluation import statistics as stats
from tests.evaluation.alarms import alarms, scored


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


# Wilcoxon ---------------------------------------------------------------------------------------------------------


def test_wilcoxon_by_hand():
    # Five differences of one sign: of the 2^5 equally likely sign patterns two are as extreme, 2 / 32.
    assert stats.wilcoxon([2, 4, 6, 8, 10], [1, 2, 3, 4, 5]) == pytest.approx(0.0625)
    # Signed ranks 1, -2, 3, 4: W- = 2. Subsets of {1, 2, 3, 4} that sum to at most 2: {}, {1}, {2}; twice 3 / 16.
    assert stats.wilcoxon([1, 0, 3, 4], [0, 2, 0, 0]) == pytest.approx(0.375)
    # A zero is left out: as the five above, whatever SciPy there is (1.11 would say 0.0431).
    assert stats.wilcoxon([2, 4, 6, 8, 10, 7], [1, 2, 3, 4, 5, 7]) == pytest.approx(0.0625)
    # d = 2, 2, -2, 5: ranks 2, 2, 2, 4, W- = 2. Subsets that sum to at most 2: {} and each of three; twice 4 / 16.
    assert stats.wilcoxon([2, 2, 0, 5], [0, 0, 2, 0]) == pytest.approx(0.5)
    # The same but for rounding.
    assert stats.wilcoxon([0.3, 0.8, 0.6, 0.9], [0.2, 0.7, 0.7, 0.4]) == pytest.approx(0.5)
    # d = 1, 1, 2, 0: ranks 1.5, 1.5, 3, all positive.
    assert stats.wilcoxon([1, 1, 2, 3], [0, 0, 0, 3]) == pytest.approx(0.25)
    # d = 1, -1: W+ = W- = 1.5, and three of four sums are at most that.
    assert stats.wilcoxon([1, 0], [0, 1]) == 1.0
    assert stats.wilcoxon([1, 2], [1, 2]) == 1.0
    assert math.isnan(stats.wilcoxon([math.nan], [1.0]))


@pytest.mark.parametrize("seeds", [3, 7, 12])
def test_wilcoxon_equals_scipys_exact_test(seeds):
    one, two = np.random.default_rng(seeds).normal(size=(2, seeds))
    expected = scipy_stats.wilcoxon(one, two, method="exact").pvalue
    assert stats.wilcoxon(one, two) == pytest.approx(expected)


# DeLong -----------------------------------------------------------------------------------------------------------


def plain_delong(labels, one, two):
    """DeLong et al. (1988), equations 3 to 6, pair by pair."""

    def psi(x, y):
        return 1.0 if y < x else 0.5 if y == x else 0.0

    areas, v10, v01 = [], [], []
    for scores in (one, two):
        x, y = scores[labels == 1], scores[labels == 0]
        pairs = np.array([[psi(a, b) for b in y] for a in x])
        areas.append(pairs.mean())
        v10.append(pairs.mean(axis=1))
        v01.append(pairs.mean(axis=0))
    s10 = np.cov(v10) / len(v10[0])
    s01 = np.cov(v01) / len(v01[0])
    both = s10 + s01
    return areas[0] - areas[1], math.sqrt(both[0, 0] + both[1, 1] - 2 * both[0, 1])


@pytest.mark.parametrize("decimals", [1, 6])  # with ties and without
def test_delong_is_the_definition(decimals):
    labels, _, one, two = scored(0, rows=60)
    one, two = one.round(decimals), two.round(decimals)
    difference, error = plain_delong(labels, one, two)
    found = stats.delong(labels, one, two)
    assert found.difference == pytest.approx(difference) and found.rows_error == pytest.approx(error)
    assert found.first == pytest.approx(
        scipy_stats.mannwhitneyu(one[labels == 1], one[labels == 0])[0]
        / ((labels == 1).sum() * (labels == 0).sum())
    )
    assert found.p == pytest.approx(2 * scipy_stats.norm.sf(abs(difference / error)))
    assert found.high - found.low == pytest.approx(2 * scipy_stats.norm.ppf(0.975) * error)


def test_delong_by_hand():
    # Positives placed at (1, 1, 1/2) and (1/2, 1, 1), negatives at (2/3, 1) and (1, 2/3): AUC 5/6 both.
    labels, one, two = [1, 1, 1, 0, 0], [5, 4, 2, 3, 1], [2, 5, 4, 1, 3]
    found = stats.delong(labels, one, two)
    assert found.first == pytest.approx(5 / 6) and found.second == pytest.approx(5 / 6)
    # Differences of placements: (1/2, 0, -1/2), variance 1/4, over 3; (-1/3, 1/3), variance 2/9, over 2.
    assert found.rows_error == pytest.approx(math.sqrt(1 / 12 + 1 / 9)) and found.p == pytest.approx(1.0)
    with pytest.raises(InputError, match="1 positive, 2 negative"):
        stats.delong([1, 0, 0], [1, 2, 3], [1, 2, 3])


# Bootstrap --------------------------------------------------------------------------------------------------------


def test_bootstrap_metrics_are_those_of_the_metrics_module():
    labels, users, one, two = scored(1, users=40)
    one = one.round(1)  # ties
    weights = np.random.default_rng(0).choice([0.0, 1.0, 2.5], len(labels))
    groups = {"few": users < 5, "none": users < 0}
    found = stats.bootstrap(labels, one, two, "click", users, groups, weights, resamples=3)
    for which, scores in (("first", one), ("second", two)):
        expected = metrics.evaluate(labels, scores, "click", users, groups, weights)
        assert set(found) == {name for name in expected if not name.endswith("@none")}
        for name, difference in found.items():
            assert getattr(difference, which) == pytest.approx(expected[name]), name
    found = stats.bootstrap(labels * 3.0, one * 3, two * 3, "rating", resamples=3)
    expected = metrics.evaluate(labels * 3.0, one * 3, "rating")
    assert {name: d.first for name, d in found.items()} == pytest.approx(expected)


def test_resamples_are_what_they_say():
    """The AUC of counted rows is the AUC of the rows written out as often."""
    labels, users, one, _ = scored(2, rows=80, users=9)
    sample = stats._Sample("click", labels, np.ones(80), users, 9, one.round(1), True)
    counts = np.random.default_rng(0).integers(0, 3, (4, 9))
    got = sample.metrics(counts.astype(float))
    for i, times in enumerate(counts):
        rows = np.repeat(np.arange(80), times[users])
        copies = np.concatenate([np.arange(n) for n in times[users]])  # a user drawn twice is two users
        expected = metrics.evaluate(
            labels[rows], one.round(1)[rows], "click", [f"{u}-{c}" for u, c in zip(users[rows], copies)]
        )
        assert {name: values[i] for name, values in got.items()} == pytest.approx(expected)


def test_errors_over_rows_are_scipys_and_delongs():
    labels, _, one, two = scored(3, rows=400)
    found = stats.bootstrap(labels, one, two, resamples=2000)
    assert found["auc"].rows_error == pytest.approx(stats.delong(labels, one, two).rows_error, rel=0.06)
    loss = [-np.where(labels == 1, np.log(s), np.log1p(-s)) for s in (one, two)]
    scipys = scipy_stats.bootstrap((loss[0] - loss[1],), np.mean, n_resamples=2000)
    assert found["log_loss"].rows_error == pytest.approx(scipys.standard_error, rel=0.1)


def test_errors_over_users_are_scipys():
    labels, users, one, two = scored(4, rows=300, users=40, user_effect=1.0)
    rows_of = [np.flatnonzero(users == user) for user in range(40)]

    def lift(drawn):
        rows = np.concatenate([rows_of[user] for user in drawn.astype(int)])
        return metrics.auc(labels[rows], one[rows]) - metrics.auc(labels[rows], two[rows])

    scipys = scipy_stats.bootstrap((np.arange(40),), lift, n_resamples=150, vectorized=False)
    found = stats.bootstrap(labels, one, two, users=users, resamples=2000)["auc"]
    assert found.rows_error == pytest.approx(scipys.standard_error * math.sqrt(40 / 39), rel=0.25)


def test_trainings_widen_the_interval_by_their_own_spread():
    labels, users, one, two = scored(5, users=60)
    single = stats.bootstrap(labels, one, two, users=users)["auc"]
    same = stats.bootstrap(labels, [one] * 3, [two] * 3, users=users)["auc"]
    assert (same.seeds_error, same.low, same.high) == (
        0.0,
        pytest.approx(single.low),
        pytest.approx(single.high),
    )
    assert math.isnan(single.seeds_error)
    others = [scored(5, users=60, noise=noise)[2] for noise in (0.7, 1.0, 1.4)]
    mixed = stats.bootstrap(labels, others, [two] * 3, users=users)["auc"]
    lifts = [metrics.auc(labels, scores) - metrics.auc(labels, two) for scores in others]
    assert mixed.difference == pytest.approx(np.mean(lifts))
    error = np.std(lifts, ddof=1) / math.sqrt(3)
    assert mixed.seeds_error == pytest.approx(error)
    # Each error with its own t: of the users with a click or those without one, the fewer; 2 of trainings.
    having = [np.unique(users[labels == label]).size for label in (0, 1)]
    t = scipy_stats.t.ppf(0.975, [min(having) - 1, 2])
    reach = math.hypot(t[0] * mixed.rows_error, t[1] * error)
    assert mixed.high - mixed.difference == pytest.approx(reach)


def test_the_p_value_belongs_to_the_interval():
    """The interval's end is 0 where p is 0.05, and with one error p is Student's."""
    end = math.hypot(0.01 * scipy_stats.t.ppf(0.975, 59), 0.02 * scipy_stats.t.ppf(0.975, 2))
    found = stats._difference(0.5 + end, 0.5, (0.01, 59), (0.02, 2))
    assert found.low == pytest.approx(0.0, abs=1e-12) and found.p == pytest.approx(0.05)
    single = stats._difference(0.53, 0.5, (0.01, 59))
    assert single.p == pytest.approx(2 * scipy_stats.t.sf(3, 59)) and math.isnan(single.seeds_error)
    assert stats._difference(9.0, 0.5, (0.01, 59)).p == stats._TINY


def test_where_there_is_nothing_to_say():
    labels, users, one, two = scored(6, users=30)
    same = stats.bootstrap(labels, one, one, users=users)["auc"]
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    alone = stats.bootstrap(labels, one, two, users=np.zeros(len(labels)))["auc"]
    assert math.isnan(alone.low) and math.isnan(alone.p) and np.isfinite(alone.difference)
    with pytest.raises(InputError, match="each of the 300 rows"):
        stats.bootstrap(labels, one, two[:5])


@pytest.mark.exhaustive
@pytest.mark.once
def test_false_alarms_keep_their_level():
    """Equal true AUCs, 250 logs: as many alarms as chance allows at 5 %. Rows taken as independent give more."""
    repeats = 250
    low, high = scipy_stats.binom.ppf([0.001, 0.999], repeats, 0.05)
    by_user, by_row = alarms(repeats, rows=400, users=50, user_effect=1.0)
    assert low <= by_user <= high, by_user
    assert by_row > high, by_row


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.parametrize("trainings", [1, 3])
def test_false_alarms_keep_their_level_where_clicks_are_rare(trainings):
    """Three clicks in 300 rows: what is not known is the three, not the 300."""
    repeats, alarms = 200, 0
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        labels = (np.arange(300) < 3).astype(float)
        noise = 0.7 * rng.normal(size=(2, 1, 300)) + 0.05 * rng.normal(size=(2, trainings, 300))
        one, two = 1 / (1 + np.exp(-(labels + 0.5 * rng.normal(size=300) + noise)))
        alarms += stats.bootstrap(labels, one, two, resamples=150)["auc"].p < 0.05
    assert alarms <= scipy_stats.binom.ppf(0.999, repeats, 0.05)


def test_the_freedom_is_that_of_what_a_metric_rests_on():
    labels, users, one, two = scored(7, rows=400, users=60)
    found = stats.bootstrap(labels, one, two, users=users)
    clicks = pd.Series(labels).groupby(users).agg(["min", "max"])
    sizes = {"auc": min((clicks["max"] == 1).sum(), (clicks["min"] == 0).sum()), "log_loss": 60}
    sizes["gauc"] = (clicks["min"] < clicks["max"]).sum()
    assert sizes["gauc"] < 60
    for metric, size in sizes.items():
        each = found[metric]
        reach = scipy_stats.t.ppf(0.975, size - 1) * each.rows_error
        assert each.high - each.difference == pytest.approx(reach)


def test_one_user_with_a_click_is_no_sample():
    labels, scores = np.array([0.0, 0, 0, 0, 1, 1]), np.linspace(0.1, 0.6, 6)
    found = stats.bootstrap(labels, scores, scores[::-1], users=[1, 2, 3, 4, 5, 5])
    assert math.isnan(found["auc"].p) and math.isnan(found["auc"].low) and found["auc"].difference == 1.0
    assert np.isfinite(found["log_loss"].p)
