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

from cdrzoo.errors import MAX_VERSION, InputError
from cdrzoo.export.graph import graph_session
from cdrzoo.serving.checks import Contract, check_names, check_shapes, words
from cdrzoo.serving.config import Served, numbers_of, read_config, versions_of
from cdrzoo.serving.limits import ROWS_A_RUN, VALUES_A_RUN, Refused, invalid, listed, quoted

log = logging.getLogger(__name__)

PREDICT = "tensorflow/serving/predict"
State = get_model_status_pb2.ModelVersionStatus.State
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Version:
    """A SavedModel in a graph session of its own, as TensorFlow Serving loads it.

    It closes when nobody holds it any more: a request that has found it runs to its end, whatever is loaded meanwhile.
    """

    def __init__(self, name: str, number: int, path: pathlib.Path):
        self.name, self.number = name, number
        self.session, self.signatures = graph_session(path)
        self.contract = Contract.read(path)
        self._warm_up(path / "assets.extra" / "tf_serving_warmup_requests")

    def signature(self, name: str) -> Any:
        """The definition of a signature; `""` is the default one."""
        name = name or "serving_default"
        definition = self.signatures.get(name)
        if definition is None or definition.method_name != PREDICT:
            known = sorted(n for n, d in self.signatures.items() if d.method_name == PREDICT)
            raise invalid(f"Model {self.name!r} has no signature {quoted(name)}. It has: {listed(known)}.")
        return definition

    def check_names(self, signature: str, names: Iterable[str]) -> None:
        """Refuses inputs that are not those of a signature."""
        what = f"signature {quoted(signature or 'serving_default')} of model {self.name!r}"
        check_names(what, self.signature(signature).inputs, names)

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], wanted: Iterable[str] = ()
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature, all or those that are `wanted`."""
        definition = self.signature(signature)
        self.check_names(signature, inputs)
        check_shapes(definition.inputs, inputs)
        if self.contract is not None:
            self.contract.check(signature or "serving_default", inputs)
        outputs = dict(definition.outputs)
        if foreign := set(wanted) - set(outputs):
            raise invalid(f"There is no output {quoted(min(foreign))}. Outputs: {listed(outputs)}.")
        return self._scored(definition, inputs, {n: outputs[n] for n in wanted} if wanted else outputs)

    def _scored(
        self, definition: Any, inputs: Mapping[str, np.ndarray], wanted: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """The graph's outputs; of many rows, which our exports score one by one, some thousand at a time."""
        fetches = {name: info.name for name, info in wanted.items()}
        feed = {info.name: inputs[name] for name, info in definition.inputs.items()}
        values = [value for value in feed.values() if value.ndim]
        count = max(map(len, values), default=0)
        step = min(max(VALUES_A_RUN * count // max(sum(value.size for value in values), 1), 1), ROWS_A_RUN)
        infos = [*definition.inputs.values(), *wanted.values()]
        if self.contract is None or count <= step or not _by_row(infos):
            return self._run(fetches, feed)
        parts = [
            self._run(fetches, {key: value[start : start + step] for key, value in feed.items()})
            for start in range(0, count, step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in fetches}

    def _run(self, fetches: Mapping[str, str], feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return self.session.run(fetches, feed)
        except tf.errors.OpError as error:
            raise Refused(_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), words(error)) from None
        except UnicodeDecodeError:  # TensorFlow's words held bytes of the request
            raise invalid("The graph refused what was sent, and its words are no text.") from None

    def _warm_up(self, path: pathlib.Path) -> None:
        if not path.exists():
            return
        for i, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            inputs = {name: array(tensor, name) for name, tensor in request.inputs.items()}
            try:
                self.check_names(request.model_spec.signature_name, inputs)
                definition = self.signature(request.model_spec.signature_name)
                check_shapes(definition.inputs, inputs)
                self._scored(definition, inputs, definition.outputs)
            except Refused as refused:
                raise Refused(refused.code, f"its warm-up request {i} fails: {refused.message}") from None


def _by_row(infos: Iterable[Any]) -> bool:
    """Whether the first dimension of all these tensors is the rows."""
    shapes = [tf.TensorShape(info.tensor_shape) for info in infos]
    return all(shape.rank and shape[0] is None for shape in shapes)


def array(tensor: Any, name: str) -> np.ndarray:
    """A `TensorProto`, whose size is known to be bearable, as an array; strings as objects."""
    if tensor.tensor_shape.unknown_rank:
        raise invalid(f"Input {name!r} does not say its shape.")
    if any(dimension.size < 0 for dimension in tensor.tensor_shape.dim):
        raise invalid(f"Input {name!r} has a negative dimension.")
    try:
        return np.asarray(tf.make_ndarray(tensor))
    except Exception as error:  # what TensorFlow and NumPy raise differs with what is wrong
        raise invalid(f"Input {name!r} is not a tensor: {words(error)}.") from None


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
                    f"Model {name!r} has no version label {quoted(label)}. It has: {listed(model.labels)}."
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
            raise Refused(
                grpc.StatusCode.NOT_FOUND,
                f"There is no model {quoted(name)}. Models: {listed(self._models)}.",
            )
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
        for number in numbers_of(served.path):
            if number > MAX_VERSION and self._failed.setdefault(served.path / str(number), True) is True:
                self._failed[served.path / str(number)] = "said"
                log.warning("%s: %d is beyond 64 bits, which no server takes: passed over", name, number)
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
                self._failed[path] = stamp
                statuses[number] = Status(State.END, f"cannot be loaded: {words(error)}")
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
