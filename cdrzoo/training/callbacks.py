"""Callbacks: exact metrics in the logs, resuming an interrupted `fit`, TensorBoard scalars and histograms."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import summary_pb2

from cdrzoo import files, metrics
from cdrzoo.errors import InputError
from cdrzoo.training.scoring import Outcome, by_label, finite, target_outputs
from cdrzoo.training.variables import Late, as_array, assigned, optimizers_of, trained

__all__ = ["Evaluate", "KeepBest", "Resume", "Scalars", "WeightHistogram", "target_scores"]


def __dir__() -> list[str]:
    return __all__


def target_scores(model: Any, data: Any) -> Outcome:
    """Labels, scores and sample weights (None if there are none) of the target's rows of a dataset, each `[n]`.

    Of several labels those of the first. Of a log that dropped negatives (`Domain.negatives_kept`) scores and weights
    are those of all traffic.

    Args:
        model: a `CrossDomainModel`, compiled.
        data: batches `(x, y)` or `(x, y, sample_weight)` with the target in them; other domains are passed over.
    """
    return target_outputs(model, data)[model.schema.target]


def _news(record: logging.LogRecord) -> bool:
    """Whether a warning says something: many models in one process look to TensorFlow like one that retraces."""
    return not (
        "one_step_on_data" in (said := record.getMessage()) and "triggered tf.function retracing" in said
    )


logging.getLogger("tensorflow").addFilter(_news)


class Evaluate(keras.callbacks.Callback):
    """Exact metrics of the target at the end of every epoch, put into the logs.

    Place it before the callbacks that watch what it logs, and tell those which way is up:

    ```python
    callbacks = [Evaluate(valid), keras.callbacks.EarlyStopping("val_auc", mode=metrics.better("val_auc"), patience=2)]
    model.fit(train, epochs=50, callbacks=callbacks)
    ```

    The metrics of a model that gives scores which are not finite are NaN.

    Args:
        data: batches `(x, y)` or `(x, y, sample_weight)` with the target in them.
        users: `[n]`, the user of each row of `data`, for GAUC; `data` must then keep its order.
        groups: `[n]` names, or `{name: [n] booleans}`, as for `cdrzoo.metrics.evaluate`; the same holds.
        prefix: of the names in the logs.
    """

    def __init__(self, data: Any, users: Any = None, groups: Any = None, prefix: str = "val_"):
        super().__init__()
        self.data, self.users, self.groups, self.prefix = data, users, groups, prefix

    def on_epoch_end(self, epoch, logs=None):
        outcomes = target_outputs(self.model, self.data)
        fine = finite(outcomes.values())
        if not fine:
            outcomes = {key: (y, np.zeros(len(y)), w) for key, (y, _, w) in outcomes.items()}
        how = {"users": self.users, "groups": self.groups}
        (found,) = by_label(self.model.schema, outcomes, metrics.evaluate, **how)
        if logs is not None:
            logs.update(
                {f"{self.prefix}{name}": value if fine else float("nan") for name, value in found.items()}
            )


class KeepBest(keras.callbacks.Callback):
    """Keeps the best epoch in a file, which is there whole or not at all: weights, seeds and optimizers.

    `keras.callbacks.ModelCheckpoint` writes HDF5, which crashes the process on a disk that is full.

    Args:
        path: of the file (`.npz`).
        monitor: what is watched, of the logs.
        mode: `"max"` or `"min"`: which way is up.
    """

    def __init__(self, path: str | pathlib.Path, monitor: str, mode: str):
        super().__init__()
        self.path, self.monitor = pathlib.Path(path), monitor
        self.better = np.greater if mode == "max" else np.less
        self.best = -np.inf if mode == "max" else np.inf

    def on_epoch_end(self, epoch, logs=None):
        value = float((logs or {})[self.monitor])
        if self.better(value, self.best):
            self.best = value
            kept: dict[str, Any] = {str(i): Late(variable) for i, variable in enumerate(trained(self.model))}
            with files.whole(self.path) as part, open(part, "wb") as file:
                np.savez(file, **kept)

    @staticmethod
    def load(model: Any, path: str | pathlib.Path) -> None:
        """Gives a model, compiled and built, what was kept."""
        variables = trained(model)
        with files.reading(
            path, "Remove it and the folder `state` beside it, and resume: the training begins anew."
        ):
            with np.load(path) as kept:
                if not assigned(variables, kept, len(kept.files), ""):
                    raise ValueError("it holds other weights than the model's")


class Resume(keras.callbacks.Callback):
    """Writes the whole state of a `fit` after every epoch, and continues from it.

    An interrupted `fit` that is run again, with a model built alike, ends as it would have ended uninterrupted:
    weights, optimizers (those a model holds besides its own, too), random seeds, what the other callbacks remember
    (the best value, how long they have waited, the best weights) and the history come back.
    `keras.callbacks.BackupAndRestore` leaves the callbacks and the history out.

    What an epoch reads must depend on its number alone: make a shuffled dataset from `next_epoch` on. The state stays
    when `fit` ends; run again it returns at once. `clear` removes it.

    ```python
    callbacks = [Evaluate(valid), keras.callbacks.EarlyStopping("val_auc", mode="max", patience=2)]
    model.fit(train, epochs=50, callbacks=[*callbacks, Resume("state", callbacks)])
    ```

    A state appears under its name once it is complete, and only then goes the one before.

    Args:
        folder: where the state is kept; nothing else may be there.
        callbacks: the other callbacks, which must stand before this one. What is kept of each is what its `get_state`
            gives (and its `set_state` takes), else the attributes in which Keras's own callbacks remember.
    """

    REMEMBERED = ("best", "best_epoch", "best_weights", "wait", "stopped_epoch", "cooldown_counter")

    def __init__(self, folder: str | pathlib.Path, callbacks: Sequence[keras.callbacks.Callback]):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.callbacks = [callback for callback in callbacks if callback is not self]
        self._history: dict[str, list[Any]] = {}
        self._epochs: list[int] = []
        self._pending = False

    @property
    def next_epoch(self) -> int:
        """The epoch (from 0) that comes next: 0 if there is no state."""
        latest = self._latest()
        return 0 if latest is None else self._read(latest)["next_epoch"]

    def clear(self) -> None:
        """Removes the state."""
        for path in (self.folder / ".unfinished", *self._states()):
            shutil.rmtree(path, ignore_errors=True)

    def on_train_begin(self, logs=None):
        self._build_optimizers()
        self._history, self._epochs = {}, []
        latest = self._latest()
        self._pending = latest is not None
        if latest is None:
            return
        state = self._read(latest)
        with self._reading(), np.load(latest / "arrays.npz") as arrays:
            self._assign(arrays, state["variables"])
            if len(state["callbacks"]) != len(self.callbacks):
                raise InputError(
                    f"The state in {self.folder} was written with {len(state['callbacks'])} callbacks. Received: "
                    f"{len(self.callbacks)}. Continue with the callbacks of the interrupted run, or remove the folder."
                )
            for i, (callback, remembered) in enumerate(zip(self.callbacks, state["callbacks"], strict=True)):
                for name, count in remembered["arrays"].items():
                    remembered["values"][name] = [arrays[f"callback_{i}_{name}_{j}"] for j in range(count)]
                _set_state(callback, remembered["values"])
        self._history, self._epochs = state["history"], state["epochs"]
        # Keras reads this after `on_train_begin`; it is how its own BackupAndRestore moves on.
        self.model._initial_epoch = self.params["epochs"] if state["stopped"] else state["next_epoch"]

    def on_epoch_begin(self, epoch, logs=None):
        self._restore_history()

    def on_epoch_end(self, epoch, logs=None):
        self._epochs.append(epoch)
        for name, value in (logs or {}).items():
            self._history.setdefault(name, []).append(float(value))
        try:
            self._write(epoch)
        except OSError as error:
            raise InputError(
                f"The state of the training could not be written to {self.folder}: {error.strerror or error}. What was "
                "written before is complete: free space, and resume."
            ) from error

    def on_train_end(self, logs=None):
        self._restore_history()

    def _restore_history(self) -> None:
        """Keras's History forgets when training begins, after this callback's turn: it is filled later."""
        if self._pending:
            self._pending = False
            self.model._initial_epoch = None  # the next `fit` starts where it is told
            self.model.history.history = {name: list(values) for name, values in self._history.items()}
            self.model.history.epoch = list(self._epochs)

    def _build_optimizers(self) -> None:
        model = self.model
        if not model.optimizer.built:
            model.optimizer.build(getattr(model, "optimized_variables", model.trainable_variables))
        for optimizer in optimizers_of(model):
            if not optimizer.built:
                raise InputError(
                    f"The model holds an optimizer, {optimizer.name!r}, that is not built, so its state cannot be "
                    "kept. Call its `build(variables)` in the model's `compile`."
                )

    def _assign(self, arrays: np.lib.npyio.NpzFile, count: int) -> None:
        variables = trained(self.model)
        if not assigned(variables, arrays, count, "variable_"):
            raise InputError(
                f"The state in {self.folder} is not this model's: it holds {count} variables, the model "
                f"{len(variables)}, or they differ in shape. Resume with the arguments of the interrupted run, or "
                "remove the folder."
            )

    def _write(self, epoch: int) -> None:
        variables = trained(self.model)
        arrays: dict[str, Any] = {f"variable_{i}": Late(variable) for i, variable in enumerate(variables)}
        remembered = []
        for i, callback in enumerate(self.callbacks):
            values, counts = {}, {}
            for name, value in _get_state(callback).items():
                if isinstance(value, list) and value and all(isinstance(v, np.ndarray) for v in value):
                    counts[name] = len(value)
                    arrays |= {f"callback_{i}_{name}_{j}": as_array(v) for j, v in enumerate(value)}
                else:
                    values[name] = _plain(callback, name, value)
            remembered.append({"values": values, "arrays": counts})
        state = {
            "next_epoch": epoch + 1,
            "stopped": bool(self.model.stop_training),
            "variables": len(variables),
            "callbacks": remembered,
            "epochs": self._epochs,
            "history": self._history,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        done = self.folder / f"epoch-{epoch + 1:06d}"
        unfinished = self.folder / ".unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        np.savez(unfinished / "arrays.npz", **arrays)
        (unfinished / "state.json").write_text(json.dumps(state), encoding="utf-8")
        shutil.rmtree(done, ignore_errors=True)
        unfinished.rename(done)
        for old in self._states():
            if old != done:
                shutil.rmtree(old)

    def _states(self) -> list[pathlib.Path]:
        return [file.parent for file in self.folder.glob("epoch-*/state.json")]

    def _latest(self) -> pathlib.Path | None:
        return max(self._states(), default=None)

    def _read(self, path: pathlib.Path) -> dict[str, Any]:
        with self._reading():
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            wanted = {
                "next_epoch": int,
                "stopped": bool,
                "variables": int,
                "callbacks": list,
                "history": dict,
                "epochs": list,
            }
            for name, kind in wanted.items():
                if not isinstance(state[name], kind):
                    raise ValueError(f"{name!r} is wrong")
            if not all(isinstance(values, list) for values in state["history"].values()):
                raise ValueError("'history' is wrong")
            return state

    def _reading(self) -> contextlib.AbstractContextManager[None]:
        return files.reading(self.folder, "Remove that folder, and resume: the training then begins anew.")


def _plain(callback: keras.callbacks.Callback, name: str, value: Any) -> Any:
    """A value as JSON holds it."""
    try:
        value = value.item() if hasattr(value, "item") else value
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"What {type(callback).__name__} remembers as {name!r} cannot be kept for a resumed run: {error}. Give the "
            "callback `get_state` and `set_state` of numbers, texts, lists of them and lists of NumPy arrays."
        ) from error
    return value


def _get_state(callback: keras.callbacks.Callback) -> dict[str, Any]:
    if hasattr(callback, "get_state"):
        return callback.get_state()
    return {name: getattr(callback, name) for name in Resume.REMEMBERED if hasattr(callback, name)}


def _set_state(callback: keras.callbacks.Callback, state: Mapping[str, Any]) -> None:
    if hasattr(callback, "set_state"):
        callback.set_state(state)
    else:
        for name, value in state.items():
            setattr(callback, name, value)


class Scalars(keras.callbacks.Callback):
    """Writes the logs of every epoch as TensorBoard scalars.

    `keras.callbacks.TensorBoard` needs the `tensorboard` package to write; this needs TensorFlow alone.

    Args:
        folder: of the event files.
    """

    def __init__(self, folder: str | pathlib.Path):
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs=None):
        self._writer = tf.summary.create_file_writer(str(self.folder))

    def on_epoch_end(self, epoch, logs=None):
        with self._writer.as_default():
            for name, value in (logs or {}).items():
                _write_summary("scalars", name, tf.constant(float(value), tf.float32), epoch + 1)
        self._writer.flush()

    def on_train_end(self, logs=None):
        self._writer.close()


class WeightHistogram(keras.callbacks.Callback):
    """How a quantity that a model computes for rows is distributed, epoch by epoch.

    With CCTL's `selector_weights` and rows of the source this is the paper's Figure 5. `<quantity>.csv` gets a line an
    epoch, name and bin; TensorBoard gets the histograms, from the folder `<quantity>`.

    Args:
        x: one batch of features, as the model takes them; the same rows in every epoch.
        folder: of the CSV file and the event files.
        quantity: name of a method of the model: `x` to `{name: [n] values}`.
        bins: number of bins of equal width.
        low: lower end of the first bin.
        high: upper end of the last bin; `None`: the largest value of the epoch. What lies outside counts in the nearest
            bin.
        read: makes `{name: values}` of what the method gives.

    Reference: Zhang et al., A Collaborative Transfer Learning Framework for Cross-domain Recommendation (KDD 2023),
    section 3.3, Figure 5.
    """

    def __init__(
        self,
        x: Any,
        folder: str | pathlib.Path,
        quantity: str = "selector_weights",
        bins: int = 20,
        low: float = 0.0,
        high: float | None = 1.0,
        read: Callable[[Any], Mapping[str, Any]] = dict,
    ):
        super().__init__()
        self.x, self.folder, self.quantity, self.read = x, pathlib.Path(folder), quantity, read
        self.bins, self.low, self.high = bins, low, high
        self.rows: list[list[Any]] = []
        """`[epoch, name, low, high, count]`, epochs from 1."""

    def get_state(self) -> dict[str, Any]:
        """What `Resume` keeps."""
        return {"rows": self.rows}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes what `get_state` gave."""
        self.rows = [list(row) for row in state["rows"]]

    def on_train_begin(self, logs=None):
        if not callable(getattr(self.model, self.quantity, None)):
            raise InputError(
                f"{type(self.model).__name__} has no method {self.quantity!r} to draw a histogram of."
            )
        self.rows = []
        # A folder of its own: TensorBoard stops following a file once it finds a second one beside it.
        self._writer = tf.summary.create_file_writer(str(self.folder / self.quantity))

    def on_epoch_end(self, epoch, logs=None):
        for name, values in self.read(getattr(self.model, self.quantity)(self.x)).items():
            values = np.ravel(np.asarray(values, np.float64))
            values = values[np.isfinite(values)]
            high = values.max(initial=self.low + 1e-6) if self.high is None else self.high
            counts, edges = np.histogram(np.clip(values, self.low, high), self.bins, (self.low, high))
            table = np.stack([edges[:-1], edges[1:], counts], axis=1)
            self.rows += [[epoch + 1, name, start, end, int(count)] for start, end, count in table.tolist()]
            with self._writer.as_default():
                _write_summary(
                    "histograms", f"{self.quantity}/{name}", tf.constant(table, tf.float64), epoch + 1
                )
        self._writer.flush()
        path = self.folder / f"{self.quantity}.csv"
        unfinished = path.with_suffix(".unfinished")
        with open(unfinished, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["epoch", "name", "low", "high", "count"], *self.rows])
        unfinished.replace(path)

    def on_train_end(self, logs=None):
        self._writer.close()


def _write_summary(plugin: str, tag: str, value: tf.Tensor, step: int) -> None:
    """What `tf.summary.scalar` and `.histogram` write; those two are not TensorFlow's but the package tensorboard's."""
    kind = summary_pb2.DATA_CLASS_SCALAR if plugin == "scalars" else summary_pb2.DATA_CLASS_TENSOR
    metadata = summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name=plugin), data_class=kind
    )
    tf.summary.write(tag, value, step=step, metadata=metadata)
