"""Runs that version 0.1 finished: later versions load them, find their rows, and score them as it did.

Each folder of `finished/` is one that `cdrzoo train` left (without its logs; the model's archive is compressed), and
`scores.npy`, the scores that it gave its test rows then.
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest

from cdrzoo.errors import InputError

RUNS = pathlib.Path(__file__).with_name("finished")
MODELS = sorted(path.name for path in RUNS.iterdir() if path.name != "demo")


@pytest.fixture(scope="module", params=MODELS)
def finished(request, tmp_path_factory):
    """A run."""
    from cdrzoo.training.run import load_run

    folder = tmp_path_factory.mktemp("old") / "runs"
    shutil.copytree(RUNS, folder)
    return load_run(folder / request.param)


def test_a_finished_run_of_an_earlier_version_scores_as_it_did(finished):
    from cdrzoo.training import callbacks, measuring

    assert finished.config.model == finished.folder.name
    _, scores, _ = callbacks.target_scores(finished.model, finished.rows.test(measuring.EVALUATION_ROWS))
    np.testing.assert_allclose(scores, np.load(finished.folder / "scores.npy"), rtol=0, atol=1e-6)


def test_its_optimizer_goes_on_with_the_moments_of_each_variable(finished):
    """Slots are stored by number: a variable must not go on with those of another."""
    model = finished.model
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    variables, moments = model.optimized_variables, optimizer._momentums
    assert int(optimizer.iterations) > 0
    assert [m.shape for m in moments] == [v.shape for v in variables]
    moved = [v.path for v, m in zip(variables, moments) if np.abs(np.asarray(m)).max() > 0]
    assert len(moved) > len(variables) / 2


@pytest.mark.slow
def test_it_is_exported_and_verified(finished, tmp_path):
    finished.verify(finished.export(tmp_path / "served"))


@pytest.mark.slow
def test_a_run_goes_on_with_the_arguments_of_its_file_and_not_with_defaults_of_today(tmp_path):
    from cdrzoo.training import run

    shutil.copytree(RUNS, tmp_path / "runs")
    before = run.load_run(tmp_path / "runs/cctl").config
    later = dataclasses.replace(
        before,
        warm_start_from=str(tmp_path / "runs/cctl"),
        split={"by": "time", "fractions": [0.9, 0.05, 0.05]},
        arguments={"units": [3], "selector_units": [3]},
    )
    with pytest.raises(
        InputError, match=r"`arguments\.reward_norm` is 'none' there and 'window' here"
    ) as told:
        run.train(later, tmp_path / "refused")
    assert "`arguments.share_side_features` is False there and True here" in str(told.value)
    former = {"reward_norm": "none", "share_side_features": False}
    made = run.train(later.with_changes(former), tmp_path / "made")
    assert made.config.arguments["share_side_features"] is False
    assert run.load_run(tmp_path / "made").model.reward_norm == "none"
