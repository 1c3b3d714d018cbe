"""The lift: the right verdict on planted transfer, alarms at their level."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from cdrzoo.evaluation.lift import calibration, measure


def log(seed, lift=0.0, rows=800, users=100, trainings=1, training_noise=0.0, clicks=1.0):
    """A test log and two models whose signal differs by `lift`; every training of each is off by a chance of its own.

    Users differ in how often they click (in 0.4 `clicks` of their rows on average) and in how each model scores them.
    """
    rng = np.random.default_rng(seed)
    user = rng.integers(users, size=rows)
    label = (rng.random(rows) < clicks * rng.beta(1.0, 1.5, users)[user]).astype(float)
    counts = rng.integers(0, 40, users)[user]
    frame = pd.DataFrame({"user": user, "label": label, "weight": 1.0, "target_rows": counts})
    scores = []
    for signal in (1.0 + lift, 1.0):
        signals = signal + training_noise * rng.normal(size=(trainings, 1))
        own = rng.normal(size=users)[user] + rng.normal(size=rows)
        scores.append(1 / (1 + np.exp(-(signals * label + own + 0.3 * rng.normal(size=(trainings, rows))))))
    return frame, *scores


@pytest.mark.parametrize(("lift", "expected"), [(1.0, "helps"), (-0.9, "harms")])
def test_planted_transfer_is_found(lift, expected):
    result = measure(*log(0, lift, trainings=3, training_noise=0.05))
    assert result["verdict"] == expected and result["metric"] == "auc"
    assert result["rows"] == 800 and result["users"] == 100
    worse = len(result["groups"]) if lift < 0 else 0
    assert result["lower"] == worse and len(result["groups"]) == 5


def test_planted_transfer_of_ratings():
    rng = np.random.default_rng(0)
    label = rng.normal(3, 1, 400)
    frame = pd.DataFrame({"user": rng.integers(50, size=400), "label": label, "weight": 1.0})
    good, bad = (label + noise * rng.normal(size=400) for noise in (0.5, 1.0))
    assert measure(frame, good, bad, "rating")["verdict"] == "helps"
    assert measure(frame, bad, good, "rating")["verdict"] == "harms"
    assert measure(frame, bad, good, "rating")["metric"] == "rmse"


def verdicts(repeats, **arguments):
    """How many of `repeats` logs without any lift are not called `no difference`."""
    return sum(
        measure(frame.drop(columns="target_rows"), *scores, resamples=150)["verdict"] != "no difference"
        for frame, *scores in (log(2000 + seed, rows=200, users=40, **arguments) for seed in range(repeats))
    )


@pytest.mark.slow
def test_false_alarms_of_one_training_keep_their_level():
    low, high = scipy_stats.binom.ppf([0.001, 0.999], 300, 0.05)
    assert low <= verdicts(300) <= high


@pytest.mark.exhaustive
@pytest.mark.once
def test_false_alarms_keep_their_level_when_training_is_noisy():
    """Two methods that are equal, but whose trainings scatter: three seeds cover it, one cannot."""
    high = scipy_stats.binom.ppf(0.999, 300, 0.05)
    assert verdicts(300, trainings=3, training_noise=0.7) <= high
    assert verdicts(300, trainings=1, training_noise=0.7) > high


@pytest.mark.slow
def test_no_group_is_harmed_beyond_chance_where_one_row_in_a_hundred_is_a_click():
    alarms = 0
    for seed in range(60):
        frame, *scores = log(3000 + seed, rows=1500, users=300, clicks=0.02)
        found = measure(frame, *scores, resamples=100)
        alarms += any(group["p_holm"] < 0.05 for group in found["groups"])
    assert alarms <= scipy_stats.binom.ppf(0.999, 60, 0.05)


def test_the_calibration_curve_by_hand():
    scores = np.array([0.9, 0.1, 0.2, 0.8])
    found = calibration([1, 0, 1, 1], scores, np.ones(4), bins=2)
    assert [(round(p["score"], 9), p["label"], p["rows"]) for p in found] == [(0.15, 0.5, 2), (0.85, 1.0, 2)]
