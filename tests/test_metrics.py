"""Metrics against hand-worked numbers, brute force over pairs, and scikit-learn."""

import itertools
import math

import numpy as np
import pytest
from sklearn import metrics as sk

from cdrzoo import metrics
from cdrzoo.errors import InputError


def brute_auc(labels, scores, weights):
    won = total = 0.0
    for i, j in itertools.product(range(len(labels)), repeat=2):
        if labels[i] == 1 and labels[j] == 0:
            pair = weights[i] * weights[j]
            total += pair
            won += pair * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
    return won / total if total else math.nan


def test_auc_by_hand():
    # Positives .8 .4, negatives .6 .4 .1: pairs (.8: 3 won), (.4: 0, 1/2, 1) = 4.5 of 6.
    assert metrics.auc([1, 0, 1, 0, 0], [0.8, 0.6, 0.4, 0.4, 0.1]) == 0.75
    assert metrics.auc([0, 1], [0.1, 0.2]) == 1.0
    assert metrics.auc([0, 1], [0.2, 0.1]) == 0.0
    assert metrics.auc([0, 1, 1], [0.3, 0.3, 0.3]) == 0.5
    # A negative that counts twice: (.4 against .6 twice) lost, (.8 against .6 twice) won.
    assert metrics.auc([1, 1, 0], [0.8, 0.4, 0.6], [3, 1, 2]) == 0.75


@pytest.mark.parametrize("labels", [[], [1], [0, 0, 0], [1, 1]])
def test_auc_of_one_class_is_nan(labels):
    assert math.isnan(metrics.auc(labels, np.linspace(0, 1, len(labels))))
    assert math.isnan(metrics.gauc(labels, np.linspace(0, 1, len(labels)), np.zeros(len(labels))))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [2, 7, 10**6])
def test_auc_equals_brute_force_and_scikit_learn(seed, levels):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, 60), rng.integers(0, levels, 60) / levels
    weights = rng.random(60)
    assert metrics.auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-14)
    assert metrics.auc(labels, scores, weights) == pytest.approx(
        brute_auc(labels, scores, weights), abs=1e-12
    )
    assert metrics.auc(labels, scores, weights) == pytest.approx(
        sk.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
    )


def test_auc_of_many_rows_is_exact():
    # float32 sums would go wrong from 2**24 pairs on.
    n = 200_000
    labels = np.arange(n) % 2
    scores = np.arange(n, dtype=np.float64)
    positives = n // 2
    assert metrics.auc(labels, scores) == (positives * (positives + 1) / 2) / positives**2


def test_gauc_by_hand():
    labels = [1, 0, 0, 1, 1, 1, 0]
    scores = [0.9, 0.1, 0.5, 0.2, 0.3, 0.8, 0.7]
    users = ["a", "a", "a", "b", "b", "c", "c"]
    # a: AUC 1 over 3 rows; b: one class, left out; c: AUC 1 over 2 rows.
    assert metrics.gauc(labels, scores, users) == 1.0
    labels[5], labels[6] = 0, 1  # now c: 0
    assert metrics.gauc(labels, scores, users) == 3 / 5
    assert metrics.gauc(labels, scores, users, [1, 1, 1, 9, 9, 3, 3]) == 3 / 9


@pytest.mark.parametrize("nobody", ["", None, math.nan])
def test_rows_of_a_missing_user_are_not_those_of_one_user(nobody):
    users = np.array(["a", "a", nobody, nobody, nobody, nobody], object)
    labels, scores = [0, 1, 0, 1, 0, 1], [0.1, 0.9, 0.9, 0.1, 0.8, 0.2]
    assert metrics.gauc(labels, scores, users) == 1.0
    assert metrics.gauc(labels, scores, np.array([7, 7, -1, -1, -1, -1])) == 1.0
    assert metrics.codes_of(users)[1] == 5


@pytest.mark.parametrize("seed", range(5))
def test_gauc_equals_a_loop_over_users(seed):
    rng = np.random.default_rng(seed)
    n = 400
    labels, scores = rng.integers(0, 2, n), np.round(rng.random(n), 2)
    users = rng.integers(0, 120, n).astype(str).astype(object)
    top = bottom = 0.0
    for user in set(users):
        rows = users == user
        if 0 < labels[rows].sum() < rows.sum():
            top += rows.sum() * sk.roc_auc_score(labels[rows], scores[rows])
            bottom += rows.sum()
    assert metrics.gauc(labels, scores, users) == pytest.approx(top / bottom, abs=1e-13)
    shuffled = rng.permutation(n)
    assert metrics.gauc(labels[shuffled], scores[shuffled], users[shuffled]) == pytest.approx(
        top / bottom, abs=1e-13
    )


def test_log_loss():
    assert metrics.log_loss([1, 0], [0.8, 0.4]) == pytest.approx(
        -(math.log(0.8) + math.log(0.6)) / 2, abs=1e-15
    )
    assert metrics.log_loss([1, 0], [0.8, 0.4], [3, 1]) == pytest.approx(
        -(3 * math.log(0.8) + math.log(0.6)) / 4
    )
    # Certain and wrong is bad, not infinite.
    assert metrics.log_loss([1], [0.0]) == pytest.approx(-math.log(1e-7))
    assert metrics.log_loss([0], [1.0]) == pytest.approx(-math.log(1e-7), rel=1e-6)
    assert math.isnan(metrics.log_loss([], []))
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 50), rng.random(50)
    assert metrics.log_loss(labels, scores) == pytest.approx(sk.log_loss(labels, scores), abs=1e-14)


def test_ece_by_hand():
    # Bin [.2, .3): 2 rows, mean label .5, mean score .25: gap .25. Bin [.9, 1]: 2 rows, 1 against .95: gap .05.
    labels, scores = [0, 1, 1, 1], [0.2, 0.3 - 1e-12, 0.9, 1.0]
    assert metrics.ece(labels, scores, equal_mass=False) == pytest.approx((2 * 0.25 + 2 * 0.05) / 4, abs=1e-9)
    assert metrics.ece(labels, scores, [1, 1, 0, 0], equal_mass=False) == pytest.approx(0.25, abs=1e-9)
    assert metrics.ece(labels, scores, bins=2) == pytest.approx(
        0.15, abs=1e-9
    )  # equal mass: the same two bins
    assert metrics.ece([*labels, 0], [*scores, 0.5], [1, 1, 1, 1, 0], bins=2) == pytest.approx(0.15, abs=1e-9)
    assert metrics.ece(labels, scores, bins=1) == pytest.approx(abs(0.75 - np.mean(scores)))
    assert math.isnan(metrics.ece([], []))
    assert math.isnan(metrics.ece([1], [0.5], [0]))


def test_ece_of_equal_mass_splits_where_the_scores_are():
    # All scores are below .1: one bin of equal width hides that the two halves are wrong in opposite directions.
    scores = np.r_[np.full(50, 0.02), np.full(50, 0.06)]
    labels = np.r_[np.r_[np.ones(2), np.zeros(48)], np.r_[np.ones(2), np.zeros(48)]]
    assert metrics.ece(labels, scores, equal_mass=False) == pytest.approx(0.0, abs=1e-12)
    assert metrics.ece(labels, scores, bins=2) == pytest.approx((0.02 + 0.02) / 2)


def test_errors_of_ratings():
    assert metrics.mae([1, 5], [2, 2]) == 2.0
    assert metrics.rmse([1, 5], [2, 2]) == pytest.approx(math.sqrt(5))
    assert metrics.rmse([1, 5], [2, 2], [3, 1]) == pytest.approx(math.sqrt(3))
    assert math.isnan(metrics.rmse([], []))


def test_evaluate_in_total_and_by_group():
    labels, scores = np.array([1, 0, 1, 0, 1]), np.array([0.9, 0.1, 0.2, 0.8, 0.5], np.float32)
    users, groups = ["a", "a", "b", "b", "c"], ["warm", "warm", "warm", "warm", "cold"]
    result = metrics.evaluate(labels, scores[:, None], "click", users, groups)
    assert list(result) == [
        f"{metric}{group}"
        for group in ("", "@cold", "@warm")
        for metric in ("auc", "gauc", "log_loss", "ece")
    ]
    assert result["auc"] == metrics.auc(labels, scores)
    assert result["auc@warm"] == metrics.auc(labels[:4], scores[:4]) == 0.75
    assert result["gauc@warm"] == 0.5
    assert math.isnan(result["auc@cold"]) and math.isnan(result["gauc@cold"])
    assert result["log_loss@cold"] == pytest.approx(-math.log(0.5))

    overlapping = metrics.evaluate(labels, scores, "click", groups={"all": [True] * 5, "none": [0] * 5})
    assert overlapping["auc@all"] == overlapping["auc"] and "gauc" not in overlapping
    assert math.isnan(overlapping["log_loss@none"])

    ratings = metrics.evaluate([1.0, 5.0], [2.0, 2.0], "rating", groups=[0, 1])
    assert ratings == {
        "mae": 2.0,
        "rmse": math.sqrt(5),
        "mae@0": 1.0,
        "rmse@0": 1.0,
        "mae@1": 3.0,
        "rmse@1": 3.0,
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.auc([0, 1, 2], [0.1, 0.2, 0.3]), "0 or 1. Received: 2"),
        (lambda: metrics.auc([0, 1], [0.1, math.nan]), "diverged"),
        (lambda: metrics.auc([0, 1], [0.1]), "one entry a row: 2. Received: 1"),
        (lambda: metrics.auc([0, 1], [0.1, 0.2], [1, -1]), "negative"),
        (lambda: metrics.log_loss([0, 1], [0.1, 1.2]), "probabilities"),
        (lambda: metrics.gauc([0, 1], [0.1, 0.2], ["a"]), "users"),
        (lambda: metrics.evaluate([0, 1], [0.1, 0.2], "clicks"), "'clicks'"),
        (lambda: metrics.better("val_acc"), "val_acc"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_direction():
    assert metrics.better("val_auc@cold") == metrics.better("gauc") == "max"
    assert metrics.better("val_log_loss") == metrics.better("rmse@warm") == "min"
