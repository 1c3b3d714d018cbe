"""Callbacks: metrics that later callbacks see, a resumed `fit` that ends as an uninterrupted one, event files."""

import csv
import json
import math
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo import metrics
from cdrzoo.errors import InputError
from cdrzoo.models import CCTL, DNN
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.training import variables
from cdrzoo.training.callbacks import (
    Evaluate,
    KeepBest,
    Resume,
    Scalars,
    WeightHistogram,
    target_scores,
)
from cdrzoo.training.progress import EpochLines

USER = Feature("user", "id", "user", table="user")
SCHEMA = Schema(
    target="films",
    tables=(Table("user", rows=12), Table("film", rows=9), Table("book", rows=9)),
    domains=(
        Domain("books", (USER, Feature("book", "id", "item", table="book"))),
        Domain("films", (USER, Feature("film", "id", "item", table="film"))),
    ),
)
ROWS = 48


def arrays(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    x, y = {}, {}
    for domain, item, size in (("books", "book", 9), ("films", "film", 9)):
        x[domain] = {
            "user": rng.integers(0, 12, rows).astype("int32"),
            item: rng.integers(0, size, rows).astype("int32"),
        }
        y[domain] = rng.integers(0, 2, (rows, 1)).astype("float32")
    return x, y


def batches(*domains, size=16, weights=None):
    x, y = arrays()
    parts = ({d: x[d] for d in domains}, {d: y[d] for d in domains})
    parts += () if weights is None else ({"films": weights},)
    return tf.data.Dataset.from_tensor_slices(parts).batch(size)


def dnn():
    keras.utils.set_random_seed(3)
    model = DNN(SCHEMA.only("films"), units=(8,), dropout=0.3)
    model.compile(keras.optimizers.Adam(0.05), run_eagerly=True)  # three steps an epoch: not worth tracing
    return model


def cctl(**compile):
    """Two optimizers, state of its own (traces, reward moments, step counter) and draws from a seed generator."""
    keras.utils.set_random_seed(3)
    model = CCTL(
        SCHEMA,
        units=(8,),
        dropout=0.3,
        selector_mode="bernoulli",
        sync_every=2,
        reward_norm="ema",
        selector_units=(4,),
    )
    model.compile(keras.optimizers.Adam(0.05), **compile)
    return model


class Interrupt(keras.callbacks.Callback):
    """Stops the process, as it were, at a batch of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt


class Script(keras.callbacks.Callback):
    """A watched value that falls and rises as written, the same whether or not `fit` was interrupted."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["val_auc"] = self.values[epoch]


def state(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def assert_equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a, b)


# Evaluate


@pytest.mark.slow
def test_evaluate_logs_exact_metrics_that_later_callbacks_watch(tmp_path):
    model, valid = dnn(), batches("films")
    users = np.arange(ROWS) % 5
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((dict(logs), target_scores(model, valid)))

    best, log = tmp_path / "best.weights.h5", tmp_path / "log.csv"
    history = model.fit(
        valid,
        epochs=6,
        verbose=0,
        callbacks=[
            Evaluate(valid, users=users, groups=np.where(users == 0, "cold", "warm")),
            Watch(),
            keras.callbacks.EarlyStopping("val_gauc", mode=metrics.better("val_gauc"), patience=2),
            keras.callbacks.ModelCheckpoint(
                str(best), monitor="val_auc@warm", mode="max", save_best_only=True, save_weights_only=True
            ),
            keras.callbacks.CSVLogger(str(log)),
        ],
    )
    for logs, (labels, scores, weights) in seen:
        assert weights is None
        assert logs["val_auc"] == metrics.auc(labels, scores)
        assert logs["val_gauc"] == metrics.gauc(labels, scores, users)
        assert logs["val_auc@cold"] == metrics.auc(labels[users == 0], scores[users == 0])
    assert history.history["val_auc"] == [logs["val_auc"] for logs, _ in seen]
    assert best.exists() and "val_log_loss@warm" in log.read_text().splitlines()[0]


def test_scores_of_batches_keep_their_order_and_their_weights():
    model = dnn()
    weights = np.linspace(0, 1, ROWS).astype("float32")
    labels, scores, found = target_scores(model, batches("books", "films", size=7, weights=weights))
    x, y = arrays()
    np.testing.assert_array_equal(labels, y["films"][:, 0])
    np.testing.assert_allclose(scores, np.ravel(model({"films": x["films"]})["films"]), atol=1e-6)
    np.testing.assert_array_equal(found, weights)
    with pytest.raises(InputError, match="no batch"):
        target_scores(model, [])


def test_a_diverged_model_is_logged_as_not_a_number():
    model = dnn()
    evaluate = Evaluate(batches("films"))
    evaluate.set_model(model)
    model.trainable_variables[-1].assign([math.nan])
    logs = {}
    evaluate.on_epoch_end(0, logs)
    assert set(logs) == {"val_auc", "val_log_loss", "val_ece"} and all(map(math.isnan, logs.values()))


# Resume


@pytest.mark.parametrize(
    ("make", "domains", "interruptions"),
    [
        (dnn, ["films"], [(1, 1), (3, 2)]),
        pytest.param(cctl, ["books", "films"], [(3, 1)], marks=[pytest.mark.exhaustive, pytest.mark.once]),
    ],
)
def test_an_interrupted_fit_ends_as_an_uninterrupted_one(make, domains, interruptions, tmp_path):
    def callbacks(folder):
        steps = [Evaluate(batches("films"))]
        return [*steps, Resume(folder, steps)]

    data = batches(*domains)
    whole = make()
    expected = whole.fit(data, epochs=5, verbose=0, callbacks=callbacks(tmp_path / "whole"))
    for epoch, batch in interruptions:  # in the middle of an epoch
        with pytest.raises(KeyboardInterrupt):
            make().fit(
                data, epochs=5, verbose=0, callbacks=[*callbacks(tmp_path / "part"), Interrupt(epoch, batch)]
            )
        assert callbacks(tmp_path / "part")[-1].next_epoch == epoch
    part = make()
    history = part.fit(data, epochs=5, verbose=0, callbacks=callbacks(tmp_path / "part"))
    assert_equal(state(part), state(whole))
    assert history.history == expected.history and history.epoch == [0, 1, 2, 3, 4]
    if make is cctl:
        assert_equal(
            [v.numpy() for v in part.selector_optimizer.variables],
            [v.numpy() for v in whole.selector_optimizer.variables],
        )
    # Seeds too: the next step draws the same.
    assert_equal(
        [np.asarray(list(part.train_on_batch(*next(iter(data)), return_dict=True).values()))],
        [np.asarray(list(whole.train_on_batch(*next(iter(data)), return_dict=True).values()))],
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("interrupted_at", [3, 4])
def test_what_early_stopping_and_checkpoints_remember_comes_back(interrupted_at, tmp_path):
    # Best at epoch 1, then worse: patience 3 stops after epoch 4. Interrupted while waiting, earlier and later.
    values = [0.5, 0.7, 0.6, 0.65, 0.6, 0.9, 0.9]

    def callbacks(folder):
        steps = [
            Script(values),
            keras.callbacks.EarlyStopping("val_auc", mode="max", patience=3, restore_best_weights=True),
            keras.callbacks.ModelCheckpoint(
                str(tmp_path / "{epoch}.weights.h5"),
                "val_auc",
                mode="max",
                save_best_only=True,
                save_weights_only=True,
            ),
            keras.callbacks.ReduceLROnPlateau("val_auc", mode="max", factor=0.5, patience=1),
        ]
        return [*steps, Resume(folder, steps)]

    data = batches("films")
    whole = dnn()
    expected = whole.fit(data, epochs=7, verbose=0, callbacks=callbacks(tmp_path / "whole"))
    assert expected.epoch == [0, 1, 2, 3, 4]
    for file in tmp_path.glob("*.h5"):
        file.unlink()
    with pytest.raises(KeyboardInterrupt):
        steps = callbacks(tmp_path / "part")
        dnn().fit(data, epochs=7, verbose=0, callbacks=[*steps, Interrupt(interrupted_at, 1)])
    part = dnn()
    history = part.fit(data, epochs=7, verbose=0, callbacks=callbacks(tmp_path / "part"))
    assert_equal(state(part), state(whole))
    assert history.history == expected.history
    assert sorted(file.name for file in tmp_path.glob("*.h5")) == ["1.weights.h5", "2.weights.h5"]


def test_a_finished_fit_is_not_trained_further_and_clear_forgets_it(tmp_path):
    data, values = batches("films"), [0.7, 0.6, 0.5, 0.5]

    def callbacks():
        steps = [
            Script(values),
            keras.callbacks.EarlyStopping("val_auc", mode="max", restore_best_weights=True),
        ]
        return [*steps, Resume(tmp_path / "state", steps)]

    whole = dnn()
    first = whole.fit(data, epochs=4, verbose=0, callbacks=callbacks())
    again = dnn()
    history = again.fit(data, epochs=4, verbose=0, callbacks=callbacks())
    assert first.epoch == history.epoch == [0, 1] and history.history == first.history
    assert_equal(state(again), state(whole))
    more = again.fit(data, epochs=2, verbose=0)  # what Resume told Keras does not outlive it
    assert more.epoch == [0, 1]
    own = tmp_path / "state" / "epoch-best"
    own.mkdir()
    (own / "thesis.tex").write_text("years of work")
    resume = callbacks()[-1]
    resume.clear()
    assert resume.next_epoch == 0 and list((tmp_path / "state").rglob("*")) == [own, own / "thesis.tex"]


@pytest.mark.slow
def test_a_write_that_is_cut_off_leaves_the_state_before(tmp_path, monkeypatch):
    data, folder = batches("films"), tmp_path / "state"
    model = dnn()
    model.fit(data, epochs=2, verbose=0, callbacks=[Resume(folder, [])])

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="No space left"):
        dnn().fit(data, epochs=3, verbose=0, callbacks=[Resume(folder, [])])
    monkeypatch.undo()
    assert Resume(folder, []).next_epoch == 2
    whole, part = dnn(), dnn()
    whole.fit(data, epochs=3, verbose=0)
    part.fit(data, epochs=3, verbose=0, callbacks=[Resume(folder, [])])
    assert_equal(state(part), state(whole))
    assert [path.name for path in folder.iterdir()] == ["epoch-000003"]


def test_the_state_of_another_model_is_refused(tmp_path):
    data = batches("films")
    dnn().fit(data, epochs=1, verbose=0, callbacks=[Resume(tmp_path, [])])
    other = DNN(SCHEMA.only("films"), units=(9,), dropout=0.3)
    other.compile("adam")
    other.build()
    before = other.get_weights()
    with pytest.raises(InputError, match="not this model's"):
        other.fit(data, epochs=2, verbose=0, callbacks=[Resume(tmp_path, [])])
    assert_equal(other.get_weights(), before)  # though its tables would have fitted
    with pytest.raises(InputError, match="with 0 callbacks. Received: 1"):
        dnn().fit(data, epochs=2, verbose=0, callbacks=[Resume(tmp_path, [keras.callbacks.TerminateOnNaN()])])


def test_an_optimizer_that_is_not_built_is_named(tmp_path):
    model = dnn()
    model.second = keras.optimizers.SGD(name="second")
    with pytest.raises(InputError, match="'second'.*not built"):
        model.fit(batches("films"), epochs=1, verbose=0, callbacks=[Resume(tmp_path, [])])


def test_no_more_than_one_variable_is_held_twice(tmp_path, monkeypatch):
    """Those of a large model are gigabytes: what is kept is written and read one by one."""
    held, most, array = [], [], variables.as_array

    class Counted(np.ndarray):
        """An array that can be looked at."""

    def counted(value):
        found = np.asarray(array(value)).view(Counted)
        held.append(found.shape)
        weakref.finalize(found, held.pop)
        most.append(len(held))
        return found

    monkeypatch.setattr(variables, "as_array", counted)
    model, best = dnn(), KeepBest(tmp_path / "best.npz", "loss", "min")
    model.fit(batches("films"), epochs=1, callbacks=[best, Resume(tmp_path / "state", [best])], verbose=0)
    assert len(most) > 20 and max(most) <= 2


def test_the_state_holds_plain_numbers(tmp_path):
    dnn().fit(batches("films"), epochs=2, verbose=0, callbacks=[Resume(tmp_path, [])])
    written = json.loads((tmp_path / "epoch-000002" / "state.json").read_text())
    assert written["next_epoch"] == 2 and len(written["history"]["loss"]) == 2 and not written["stopped"]


def test_a_line_says_best_of_the_epoch_that_is_kept_alone(tmp_path, monkeypatch, capsys):
    keep = KeepBest(tmp_path / "best.npz", "val_auc", "max")
    lines = EpochLines(3, keep)
    monkeypatch.setattr("cdrzoo.training.callbacks.trained", lambda model: [])
    for epoch, auc in enumerate((0.7, 0.7, 0.8)):
        lines.on_epoch_begin(epoch)
        for each in (keep, lines):
            each.on_epoch_end(epoch, {"loss": 0.5, "val_auc": auc})
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said] == [["epoch", f"{i}/3"] for i in (1, 2, 3)]
    assert [line.endswith(" best") for line in said] == [True, False, True]


# Event files


def summaries(folder):
    found = []
    for file in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                plugin = value.metadata.plugin_data.plugin_name
                found.append((event.step, value.tag, plugin, tf.make_ndarray(value.tensor)))
    return found


def test_scalars(tmp_path):
    history = dnn().fit(batches("films"), epochs=2, verbose=0, callbacks=[Scalars(tmp_path)])
    losses = [(step, kind, float(value)) for step, tag, kind, value in summaries(tmp_path) if tag == "loss"]
    assert losses == [
        (i + 1, "scalars", pytest.approx(loss)) for i, loss in enumerate(history.history["loss"])
    ]


@pytest.mark.slow
def test_histogram_of_the_selector(tmp_path):
    x, _ = arrays()
    folder = tmp_path / "logs"
    callback = WeightHistogram({"books": x["books"]}, folder, bins=4)
    model = cctl(run_eagerly=True)
    data = batches("books", "films")
    with pytest.raises(KeyboardInterrupt):
        steps = [callback, Resume(tmp_path / "state", [callback]), Interrupt(1, 0)]
        model.fit(data, epochs=2, verbose=0, callbacks=steps)
    callback = WeightHistogram({"books": x["books"]}, folder, bins=4)
    model = cctl(run_eagerly=True)
    model.fit(data, epochs=2, verbose=0, callbacks=[callback, Resume(tmp_path / "state", [callback])])

    rows = list(csv.DictReader(open(folder / "selector_weights.csv")))
    assert [(int(r["epoch"]), r["name"]) for r in rows] == [(e, "books") for e in (1, 2) for _ in range(4)]
    counts = np.array([int(r["count"]) for r in rows]).reshape(2, 4)
    assert (counts.sum(axis=1) == ROWS).all()
    p = np.asarray(model.selector_weights({"books": x["books"]})["books"])
    np.testing.assert_array_equal(counts[-1], np.histogram(p, np.linspace(0, 1, 5))[0])
    last = [s for s in summaries(folder / "selector_weights") if s[0] == 2][-1]
    assert last[1:3] == ("selector_weights/books", "histograms")
    np.testing.assert_array_equal(
        last[3], np.c_[np.linspace(0, 0.75, 4), np.linspace(0.25, 1, 4), counts[-1]]
    )


def test_values_outside_count_at_the_ends_and_a_model_without_the_quantity_is_told(tmp_path):
    callback = WeightHistogram(None, tmp_path, "numbers", bins=2)
    with pytest.raises(InputError, match="DNN has no method 'numbers'"):
        dnn().fit(batches("films"), verbose=0, callbacks=[callback])

    class Model:
        def numbers(self, x):
            return {"a": [-3.0, 0.1, 0.5, 9.0]}

    callback.set_model(Model())
    callback.on_train_begin()
    callback.on_epoch_end(0)
    assert [row[-1] for row in callback.rows] == [2, 2]


def test_a_histogram_may_reach_to_the_largest_value_and_read_what_is_nested(tmp_path):
    class Model:
        def numbers(self, x):
            return {"films": {"a": [0.5, 3.0, 4.0, np.nan], "b": []}}

        layers = {}

    callback = WeightHistogram(
        None, tmp_path, "numbers", bins=2, high=None, read=lambda found: found["films"]
    )
    callback.set_model(Model())
    callback.on_train_begin()
    callback.on_epoch_end(0)
    assert callback.rows[:2] == [[1, "a", 0.0, 2.0, 1], [1, "a", 2.0, 4.0, 2]]
    assert [row[-1] for row in callback.rows[2:]] == [0, 0]
    with pytest.raises(InputError, match="no method 'layers'"):  # an attribute that cannot be called
        callback = WeightHistogram(None, tmp_path, "layers")
        callback.set_model(Model())
        callback.on_train_begin()
