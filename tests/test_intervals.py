"""Standard errors of metrics: against DeLong's and the bootstrap's, and their coverage over other users."""

from __future__ import annotations

import numpy as np
import pytest

from cdrzoo import intervals, metrics
from cdrzoo.evaluation.statistics import bootstrap, delong


def log(seed=0, users=60, rows=900, shift=1.0):
    """Users differ in how often they click, and in how they are scored."""
    random = np.random.default_rng(seed)
    user = random.integers(users, size=rows)
    labels = (random.random(rows) < random.beta(1.0, 1.5, users)[user]).astype(float)
    logits = shift * labels + random.normal(size=users)[user] + random.normal(size=rows) - 1
    return labels, 1 / (1 + np.exp(-logits)), user


def test_a_mean_by_hand_and_what_is_not_defined():
    found = intervals.evaluate([1.0, 3.0, 5.0], [1.0, 2.0, 3.0], "rating")["mae"]  # 0, 1, 2: deviation 1
    assert found["error"] == pytest.approx(1 / np.sqrt(3))
    assert (
        found["high"] - 1 == pytest.approx(1 - found["low"]) == pytest.approx(4.30265 / np.sqrt(3), rel=1e-5)
    )
    alone = intervals.evaluate([1, 0, 1], [0.3, 0.2, 0.4], "click", ["a", "a", "a"])
    assert all(np.isnan(value) for each in alone.values() for value in each.values())
    one_class = intervals.evaluate([1, 1], [0.3, 0.2], "click", groups={"none": [False, False]})
    assert np.isnan(one_class["auc"]["error"]) and np.isfinite(one_class["log_loss"]["error"])
    assert np.isnan(one_class["ece@none"]["error"]) and set(one_class) == {
        f"{name}{of}" for name in ("auc", "log_loss", "ece") for of in ("", "@none")
    }


def test_independent_rows_have_delong_s_error():
    labels, scores, _ = log()
    scores = scores.round(2)  # ties
    found = intervals.evaluate(labels, scores, "click")["auc"]["error"]
    # DeLong's is of a difference: of one scorer by a constant
    exact = delong(labels, scores, np.full(len(labels), 0.5)).rows_error
    assert found == pytest.approx(exact, rel=2e-3)


def test_rows_of_one_user_are_taken_together_as_the_bootstrap_takes_them():
    """Against a constant scorer the bootstrap's difference varies as the metric itself does, but for what it sums."""
    labels, scores, user = log(3)
    weights = np.random.default_rng(5).integers(0, 3, len(labels)).astype(float)
    groups = {"some": user % 2 == 0}
    found = intervals.evaluate(labels, scores, "click", user, groups, weights)
    constant = np.full(len(labels), 0.5)
    drawn = bootstrap(labels, scores, constant, "click", user, groups, weights, resamples=3000)
    for name in ("auc", "auc@some", "gauc"):  # those of a constant never vary
        assert found[name]["error"] == pytest.approx(drawn[name].rows_error, rel=0.1), name
    assert intervals.evaluate(labels, scores, "click")["auc"]["error"] < 0.7 * found["auc"]["error"]
    stars, said = labels * 4 + 1, scores * 4 + 1
    errors = intervals.evaluate(stars, said, "rating", user)
    perfect = bootstrap(stars, said, stars, "rating", user, resamples=3000)
    for name in ("mae", "rmse"):
        assert errors[name]["error"] == pytest.approx(perfect[name].rows_error, rel=0.1), name


def test_each_interval_is_around_its_metric():
    labels, scores, user = log(4)
    weights = np.random.default_rng(5).integers(0, 3, len(labels)).astype(float)
    how = (labels, scores, "click", user, {"some": user < 9}, weights)
    values, found = metrics.evaluate(*how), intervals.evaluate(*how)
    assert values.keys() == found.keys()
    for name, each in found.items():
        assert (each["low"] + each["high"]) / 2 == pytest.approx(values[name], abs=1e-12), name


@pytest.mark.parametrize("name", ["auc", "gauc", "log_loss"])
def test_intervals_cover_what_all_users_have(name):
    """Of 300 logs of 60 users some 95 % cover the metric of very many users; rows taken for independent do not."""
    labels, scores, user = log(10_000, users=20_000, rows=300_000)
    truth = metrics.evaluate(labels, scores, "click", user)[name]
    covered = {True: 0, False: 0}
    for seed in range(300):
        labels, scores, user = log(seed)
        for by_user in (True, False) if name != "gauc" else (True,):
            one = intervals.evaluate(labels, scores, "click", user if by_user else None)[name]
            covered[by_user] += one["low"] <= truth <= one["high"]
    assert 270 <= covered[True] <= 298
    assert name == "gauc" or covered[False] < 255
