"""Runs on prepared rows in a folder: to the bit those on the logs, and, read from the folder, resumed to the bit."""

from __future__ import annotations

import shutil

import keras
import numpy as np
import pytest

import cdrzoo
from cdrzoo.data import Encoder, load_rows, synthetic
from cdrzoo.data.rows import stored
from cdrzoo.data.rows.format import Rows
from cdrzoo.data.rows.making import prepare_to
from cdrzoo.data.rows.plan import Settings
from cdrzoo.errors import InputError
from cdrzoo.schema import Schema
from cdrzoo.training.stored import identity, load

TRAINING = {"batch_size": 32, "epochs": 3, "patience": 3}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Logs as `a.csv` would be, and the rows that were prepared of them."""
    home = tmp_path_factory.mktemp("home")
    made = synthetic.synthesize(users=80, source_rows=900, target_rows=500, source_items=30, target_items=20)
    for name, frame in made.frames.items():
        frame.to_parquet(home / f"{name}.parquet")
    data = {name: f"{name}.parquet" for name in made.frames}
    made.schema.save(home / "schema.yaml")
    prepare_to(home / "rows", Settings(made.schema, data, slices=("device",), folder=str(home)), partitions=2)
    return home


def config(home, **changes):
    """Of the rows, unless `changes` say otherwise."""
    given = {
        "data": "rows",
        "model": "dnn",
        "domains": "all",
        "training": TRAINING,
        "slices": ["device"],
        **changes,
    }
    return cdrzoo.RunConfig.from_dict(given, home)


def weights(run) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in run.model.variables]


@pytest.mark.slow
@pytest.mark.parametrize("domains", ["all", "target"])
def test_a_run_on_rows_that_fit_is_the_run_on_their_logs(home, tmp_path, domains):
    logs = {"schema": "schema.yaml", "data": {"books": "books.parquet", "films": "films.parquet"}}
    one, two = (
        cdrzoo.train(config(home, domains=domains, **given), tmp_path / name)
        for name, given in (("logs", logs), ("rows", {}))
    )
    for here, there in zip(weights(one), weights(two), strict=True):
        np.testing.assert_array_equal(here, there)
    for part in ("validation", "test"):
        np.testing.assert_equal(two.metrics[part], one.metrics[part])
    assert two.rows.held
    np.testing.assert_equal(two.evaluate(), one.metrics["test"])
    again = cdrzoo.load_run(tmp_path / "rows")
    assert again.rows.schema == one.rows.schema and again.reading == one.reading
    assert cdrzoo.pack(tmp_path / "rows", tmp_path / "rows.tar.zst") == ["data/rows"]
    elsewhere = cdrzoo.load_run(cdrzoo.unpack(tmp_path / "rows.tar.zst", tmp_path / "elsewhere"))
    assert elsewhere.reading == one.reading
    of_rows = Rows.load(elsewhere.folder / "data" / "rows")
    assert str(home) not in str(of_rows) and of_rows.logs["films"]["path"] == "films.parquet"
    shutil.copytree(home / "rows", elsewhere.folder / "data" / "rows", dirs_exist_ok=True)
    np.testing.assert_equal(elsewhere.evaluate(), one.metrics["test"])


@pytest.mark.exhaustive
def test_a_stopped_run_on_rows_that_are_read_ends_as_if_it_had_not_been_stopped(home, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "HELD_BYTES", 0)

    class Stop(keras.callbacks.Callback):
        """Kills the training in the middle of the second epoch."""

        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations == 1 + len(steps):
                raise KeyboardInterrupt

    whole = cdrzoo.train(config(home), tmp_path / "whole")
    steps = range(int(whole.rows.train(32).cardinality()))
    assert not whole.rows.held and len(steps) > 2
    with pytest.raises(KeyboardInterrupt):
        cdrzoo.train(config(home), tmp_path / "stopped", callbacks=[Stop()])
    resumed = cdrzoo.train(None, tmp_path / "stopped", resume=True, callbacks=[keras.callbacks.Callback()])
    assert resumed.history.equals(whole.history)
    for here, there in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(here, there)
    np.testing.assert_equal(resumed.metrics["test"], whole.metrics["test"])
    assert "gauc" in whole.metrics["test"] and any("device=" in name for name in whole.metrics["test"])


def test_rows_of_other_vocabularies_than_a_trained_model_has_are_refused(home):
    """As those that were prepared without the `finetune` of the run: the same ids stood at other rows of its tables."""
    rows = load_rows(home / "rows")
    for own in (rows, rows.only("films")):
        assert load(home / "rows", rows.schema, (), own.encoder).encoder.same(own.encoder)
    other = Encoder.load(home / "rows" / "encoder")
    other.set_vocabularies({**other.lookups, "user": other.lookups["user"].array()[::-1]})
    with pytest.raises(InputError, match="other vocabularies than the trained model, .* with its `finetune`"):
        load(home / "rows", rows.schema, (), other)


def test_mistakes_are_said(home, tmp_path):
    with pytest.raises(InputError, match="`data` is a folder of prepared rows, rows, .* Leave `split` out"):
        config(home, split="last")
    with pytest.raises(InputError, match="slices by: device. Received: 'hour'"):
        config(home, slices=["hour"]).prepare()
    other = Schema.load(home / "schema.yaml").with_width(3)
    with pytest.raises(InputError, match="The schema is not that of the prepared rows"):
        config(home, schema=other.to_dict()).prepare()
    with pytest.raises(InputError, match="schema.yaml"):
        config(tmp_path)
    (tmp_path / "prepared.json").write_text('{"made_of": {')
    with pytest.raises(InputError, match="prepared.json is damaged .* Prepare the rows again"):
        identity(tmp_path)
