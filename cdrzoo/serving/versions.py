"""The loaded versions of the models in a folder, kept up to date while requests run. For the development server."""

from __future__ import annotations

import logging
import pathlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, prediction_log_pb2

from cdrzoo.errors import InputError
from cdrzoo.export.graph import graph_session
from cdrzoo.serving.config import Served, read_config, versions_of

log = logging.getLogger(__name__)

PREDICT = "tensorflow/serving/predict"
MAX_VALUES = 2_000_000
"""Values that one tensor of a request may have; a client splits what is larger."""

State = get_model_status_pb2.ModelVersionStatus.State
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Refused(Exception):
    """A request that is not answered: why, as a status code of gRPC and a sentence."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> Refused:
    """The request is at fault."""
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, message)


class Version:
    """A SavedModel in a graph session of its own, as TensorFlow Serving loads it.

    It closes when nobody holds it any more: a request that has found it runs to its end, whatever is loaded meanwhile.
    """

    def __init__(self, name: str, number: int, path: pathlib.Path):
        self.name, self.number = name, number
        self.session, self.signatures = graph_session(path)
        self._warm_up(path / "assets.extra" / "tf_serving_warmup_requests")

    def signature(self, name: str) -> Any:
        """The definition of a signature; `""` is the default one."""
        name = name or "serving_default"
        definition = self.signatures.get(name)
        if definition is None or definition.method_name != PREDICT:
            known = sorted(n for n, d in self.signatures.items() if d.method_name == PREDICT)
            raise invalid(f"Model {self.name!r} has no signature {name!r}. It has: {', '.join(known)}.")
        return definition

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], wanted: Iterable[str] = ()
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature, all or those that are `wanted`."""
        definition = self.signature(signature)
        if inputs.keys() != set(definition.inputs):
            raise invalid(
                f"Signature {signature or 'serving_default'!r} of model {self.name!r} takes the inputs "
                f"{', '.join(sorted(definition.inputs))}. Received: {', '.join(sorted(inputs)) or 'none'}."
            )
        feed = {}
        for name, info in definition.inputs.items():
            dtype, shape = tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape)
            value = inputs[name]
            if value.dtype != dtype.as_numpy_dtype or not shape.is_compatible_with(value.shape):
                raise invalid(
                    f"Input {name!r} must be {dtype.name} of shape {_shape(shape.as_list())}. Received: "
                    f"{'string' if value.dtype == object else value.dtype} of shape {_shape(value.shape)}."
                )
            feed[info.name] = value
        outputs = {name: info.name for name, info in definition.outputs.items()}
        foreign = sorted(set(wanted) - set(outputs))
        if foreign:
            raise invalid(f"There is no output {foreign[0]!r}. Outputs: {', '.join(sorted(outputs))}.")
        if wanted:
            outputs = {name: outputs[name] for name in wanted}
        try:
            return self.session.run(outputs, feed)
        except tf.errors.OpError as error:
            code = _CODES.get(error.error_code, grpc.StatusCode.INTERNAL)
            raise Refused(code, (error.message or str(error)).strip().partition("\n")[0]) from None

    def _warm_up(self, path: pathlib.Path) -> None:
        if not path.exists():
            return
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            self.run(
                request.model_spec.signature_name,
                {name: array(t, name) for name, t in request.inputs.items()},
            )


def array(tensor: Any, name: str) -> np.ndarray:
    """A `TensorProto` as an array; strings as objects. Its shape is looked at before memory is given to it."""
    if tensor.tensor_shape.unknown_rank:
        raise invalid(f"Input {name!r} does not say its shape.")
    count = 1
    for dimension in tensor.tensor_shape.dim:
        if dimension.size < 0:
            raise invalid(f"Input {name!r} has a negative dimension.")
        count *= dimension.size
    if count > MAX_VALUES:
        raise Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"Input {name!r} has {count:,} values, and {MAX_VALUES:,} are the most. Split the request.",
        )
    try:
        return np.asarray(tf.make_ndarray(tensor))
    except Exception as error:  # what TensorFlow and NumPy raise differs with what is wrong
        raise invalid(f"Input {name!r} is not a tensor: {str(error).partition(chr(10))[0]}.") from None


def _shape(shape: Iterable[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


@dataclass(frozen=True)
class Status:
    """What has become of a version."""

    state: int
    message: str = ""


@dataclass(frozen=True)
class Model:
    """The versions of a model that answer, the labels they bear, and what has become of every version."""

    versions: Mapping[int, Version] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    statuses: Mapping[int, Status] = field(default_factory=dict)


class Models:
    """The models of a folder. A request sees the state before a change or after it, never one between.

    A version is loaded and warmed up before it answers, and the ones it replaces answer until then. One that cannot be
    loaded replaces nothing; it is tried again when its files change, as they do while they are being copied.

    Args:
        folder: holds a folder a model and perhaps `models.config`, which is read anew at every look.
    """

    def __init__(self, folder: str | pathlib.Path):
        self.folder = pathlib.Path(folder)
        self._models: dict[str, Model] = {}  # replaced, never changed: requests read it without a lock
        self._failed: dict[pathlib.Path, Any] = {}
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def refresh(self) -> None:
        """One look at the folder: loads what is new, then drops what is no longer wanted."""
        config = read_config(self.folder)
        for name, served in config.items():
            self._refresh(name, served)
        for name in self._models.keys() - config.keys():
            log.info("%s is no longer served", name)
            self._models = {other: model for other, model in self._models.items() if other != name}

    def watch(self, seconds: float) -> None:
        """Goes on looking, in a thread, every so many seconds."""
        self._watcher = threading.Thread(target=self._look, args=(seconds,), name="cdrzoo-watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Looks no more."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Version:
        """The version that a request asks for: by number, by label or the newest."""
        model = self._model(name)
        if label is not None:
            if label not in model.labels:
                raise invalid(
                    f"Model {name!r} has no version label {label!r}. "
                    f"It has: {', '.join(sorted(model.labels)) or 'none'}."
                )
            version = model.labels[label]
        versions = model.versions
        number = max(versions, default=-1) if version is None else version
        if number not in versions:
            here = ", ".join(map(str, sorted(versions))) or "none"
            which = "any version" if version is None else f"version {version}"
            raise Refused(
                grpc.StatusCode.NOT_FOUND, f"Model {name!r} does not serve {which}. Loaded: {here}."
            )
        return versions[number]

    def statuses(self, name: str, version: int | None = None) -> dict[int, Status]:
        """What has become of the versions of a model, newest first, or of one of them."""
        statuses = self._model(name).statuses
        if version is not None and version not in statuses:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"There is no version {version} of model {name!r}.")
        return {n: s for n, s in sorted(statuses.items(), reverse=True) if version in (None, n)}

    def loaded(self) -> dict[str, list[int]]:
        """The versions that answer, by model."""
        return {name: sorted(model.versions) for name, model in self._models.items() if model.versions}

    def _model(self, name: str) -> Model:
        model = self._models.get(name)
        if model is None:
            known = ", ".join(sorted(self._models)) or "none"
            raise Refused(grpc.StatusCode.NOT_FOUND, f"There is no model {name!r}. Models: {known}.")
        return model

    def _look(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            try:
                self.refresh()
            except (InputError, OSError) as error:  # a file that is being edited
                log.error("%s; what is loaded goes on answering", error)
            except Exception:
                log.exception("Looking for new versions failed; what is loaded goes on answering")

    def _refresh(self, name: str, served: Served) -> None:
        present = versions_of(served.path)
        wanted = served.chosen(present)
        before = self._models.get(name, Model())
        versions = dict(before.versions)
        statuses = {n: s for n, s in before.statuses.items() if n in present or n in versions}
        for number in sorted(wanted - versions.keys()):
            path = served.path / str(number)
            stamp = _stamp(path)
            if self._failed.get(path) == stamp:
                continue
            self._put(
                name, Model(before.versions, before.labels, {**statuses, number: Status(State.LOADING)})
            )
            try:
                versions[number] = Version(name, number, path)
                statuses[number] = Status(State.AVAILABLE)
                log.info("%s: version %d is loaded", name, number)
            except Exception as error:  # a SavedModel may fail in any way
                reason = getattr(error, "message", None) or str(error)
                self._failed[path] = stamp
                statuses[number] = Status(
                    State.END, f"cannot be loaded: {reason.strip().partition(chr(10))[0]}"
                )
                log.error("%s: version %d %s", name, number, statuses[number].message)
        if wanted and wanted <= versions.keys():  # the others go once all that is wanted is there
            for number in versions.keys() - wanted:
                del versions[number]
                statuses[number] = Status(State.END)
                log.info("%s: version %d is no longer served", name, number)
        self._put(name, Model(versions, served.labels, statuses))

    def _put(self, name: str, model: Model) -> None:
        if self._models.get(name) != model:
            self._models = {**self._models, name: model}


def _stamp(path: pathlib.Path) -> list[tuple[str, int, int]]:
    """Changes when a file of the version does."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
