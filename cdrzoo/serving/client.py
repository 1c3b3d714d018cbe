"""A client of TensorFlow Serving, and of the development server, for what `cdrzoo.export` wrote."""

from __future__ import annotations

import base64
import json
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import grpc
import numpy as np
import pandas as pd
import tensorflow as tf
import urllib3
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from cdrzoo.errors import InputError, shown
from cdrzoo.export import raw_rows, serialize_rows
from cdrzoo.export.rows import holds_text
from cdrzoo.schema import Feature, Reading
from cdrzoo.schema.features import WEIGHTS
from cdrzoo.serving.limits import MAX_VALUES

PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds before each further attempt, less up to half of it by chance, so that clients do not return all at once."""

T = TypeVar("T")


class Client:
    """Scores and ranks rows with a served model.

        with Client("localhost:8500", "films", label="stable") as client:
            scores = client.predict(rows)
            best = client.rank({"user": "u17", "device": "phone"}, candidates, k=10)

    What the model takes is asked of the server once. Rows are checked against it before anything is sent. Many rows go
    in several requests. A request that cannot reach the server, or that the server turns away because it is busy, is
    tried again, with growing pauses, as long as there is time; scoring has no effect, so that is safe.

    Args:
        address: `"localhost:8500"` for gRPC, `"http://localhost:8501"` for REST.
        model: the model's name.
        version: the number of a version. Default: the newest that is served.
        label: the label of a version instead, such as `"stable"`.
        timeout: seconds that one request may take, further attempts included; default 10.
        rows: at most so many rows go in one request; default 1024. Of long rows fewer go, so that a request has at
            most a million values.
        examples: send rows as `tf.train.Example`s (`serve_examples`). For a server that puts the requests of several
            clients together, which it cannot do with sequences of different lengths.

    Every method may raise:
        InputError: what was asked is at fault (the model, the version, a feature); trying again does not help.
        TimeoutError: no answer in time.
        ConnectionError: the server cannot be reached, or is too busy.
        RuntimeError: the server failed.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 10.0,
        rows: int = 1024,
        examples: bool = False,
    ):
        if version is not None and label is not None:
            raise InputError("Give a `version` or a `label`, not both.")
        for name, value in (("timeout", timeout), ("rows", rows)):
            if not value > 0:
                raise InputError(f"`{name}` must be above 0. Received: {shown(value)}.")
        port = re.search(r":([0-9]{1,9})/?$", address)
        if port and int(port[1]) > 65535:
            raise InputError(f"`address` must have a port of at most 65535. Received: {shown(address)}.")
        transport = _Rest if address.startswith(("http://", "https://")) else _Grpc
        self._transport: _Rest | _Grpc = transport(address, model, version, label)
        self.model = model
        self.timeout = timeout
        self.rows = rows
        self.examples = examples
        self._signatures: Any = None
        self._told: Reading | None = None

    def features(self, signature: str = "serving_default") -> list[Feature]:
        """What a signature takes: the name, dtype and kind of every input; one that is given once has role user.

        Of the schema the server knows no more than that: a whole number may be called an id.
        """
        return [_feature(name, info) for name, info in sorted(self._signature(signature).inputs.items())]

    @property
    def outputs(self) -> list[str]:
        """What the model gives a row: `click` or `rating`, or its labels, by name."""
        return sorted(self._signature("serving_default").outputs)

    def reading(self) -> Reading:
        """How the text of the training's rows became values; of an export that does not say, the usual way."""
        if self._told is None:
            self._told = Reading()
            if "reading" in self._all_signatures():
                (told,) = self._predict("reading", {"examples": np.array([b""], object)}).values()
                text = np.asarray(told).reshape(-1)[0]
                self._told = Reading.from_dict(json.loads(text))
        return self._told

    def predict(self, rows: pd.DataFrame | Mapping[str, Any]) -> np.ndarray | pd.DataFrame:
        """The scores of rows.

        Args:
            rows: a column for each feature, by the feature's name; None and NaN are missing, sequences are lists, or
                text as the training's logs have it.

        Returns:
            float32 `[rows]`: probabilities of a click, or ratings. Of several labels a DataFrame with a column each.
        """
        features = self.features()
        raw = self._raw(_frame(rows), features)  # all of it is looked at before any of it is sent
        names = self.outputs
        scores = {name: [np.empty(0, np.float32)] for name in names}
        count = min(self.rows, max(MAX_VALUES // sum(v[:1].size or 1 for v in raw.values()), 1))
        for start in range(0, len(next(iter(raw.values()))), count):
            signature, inputs = "serving_default", {n: v[start : start + count] for n, v in raw.items()}
            if self.examples:
                signature, inputs = "serve_examples", {"examples": serialize_rows(inputs, features)}
            parts = self._predict(signature, inputs)
            for name, part in zip(names, parts.values() if len(names) == 1 else map(parts.get, names)):
                scores[name].append(np.asarray(part, np.float32))
        found = {name: np.concatenate(pieces) for name, pieces in scores.items()}
        return found[names[0]] if len(names) == 1 else pd.DataFrame(found)

    def rank(
        self, user: Mapping[str, Any], candidates: pd.DataFrame | Mapping[str, Any], k: int
    ) -> pd.DataFrame:
        """The best candidates for a user.

        Args:
            user: one value for each feature of the user, the context and the histories; a history is a list.
            candidates: a row for each candidate, a column for each feature of role item.
            k: how many are wanted.

        Returns:
            The `k` best rows of `candidates` (all, if they are fewer), best first, with their score in one more column,
            `click` or `rating`; of several labels one more for each, and the schema's first label decides the order.
        """
        features = [feature for feature in self.features("rank") if feature.name != "k"]
        frame = _frame(candidates)
        inputs = {
            **self._raw(_frame({name: [value] for name, value in user.items()}), _of(features, "user")),
            **self._raw(frame, _of(features, "item")),
            "k": np.array(_count(k), np.int32),
        }
        outputs = self._predict("rank", inputs)
        names = sorted(outputs.keys() - {"index", "item"})
        return frame.iloc[outputs["index"]].assign(
            **{name: np.asarray(outputs[name], np.float32) for name in names}
        )

    def status(self) -> dict[int, str]:
        """The state of the model's versions: `AVAILABLE`, `LOADING`, `END` and so on."""
        return self._tried(self._transport.status)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _raw(self, frame: pd.DataFrame, features: list[Feature]) -> dict[str, np.ndarray]:
        return raw_rows(frame, features, self.reading() if holds_text(frame, features) else Reading())

    def _all_signatures(self) -> Any:
        if self._signatures is None:
            self._signatures = self._tried(self._transport.signatures).signature_def
        return self._signatures

    def _signature(self, name: str) -> Any:
        signatures = self._all_signatures()
        if name not in signatures:
            raise InputError(
                f"Model {self.model!r} has no signature {name!r}. It has: {', '.join(sorted(signatures))}."
            )
        return signatures[name]

    def _predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        request = self._transport.request(signature, inputs)
        return self._tried(lambda seconds: self._transport.predict(request, seconds))

    def _tried(self, call: Callable[[float], T]) -> T:
        """The result of `call(seconds that are left)`, if need be of a later attempt."""
        end = time.monotonic() + self.timeout
        for pause in PAUSES:
            try:
                return call(max(end - time.monotonic(), 0.001))
            except ConnectionError:
                pause *= random.uniform(0.5, 1.0)
                if time.monotonic() + pause >= end:
                    raise
                time.sleep(pause)
        return call(max(end - time.monotonic(), 0.001))


# Rows and features ---------------------------------------------------------------------------------------------------


def _frame(rows: pd.DataFrame | Mapping[str, Any]) -> pd.DataFrame:
    if isinstance(rows, pd.DataFrame):
        return rows
    try:
        columns = {name: list(values) for name, values in rows.items()}
    except (AttributeError, TypeError):
        raise InputError(
            "Rows must be a DataFrame, or a mapping from column to a list of values. Received: "
            f"{shown(rows)}."
        ) from None
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
        raise InputError(f"The columns must have one value a row each. Their lengths: {lengths}.")
    return pd.DataFrame(columns, dtype=object)


def _feature(name: str, info: Any) -> Feature:
    shape = [dimension.size for dimension in info.tensor_shape.dim]
    dtype = tf.as_dtype(info.dtype).name
    role = "user" if shape[:1] == [1] else "item"
    if dtype == "float32" and len(shape) == 2 and shape[1] == -1:
        return Feature(name, WEIGHTS, role, length=1)
    if dtype == "float32" and len(shape) == 2:
        return Feature(name, "vector", role, table=name, size=shape[1])
    if dtype not in ("string", "int64"):
        return Feature(name, "number", role, dtype="int64" if dtype == "int32" else "float32")
    if len(shape) == 2:
        return Feature(name, "ids", role, dtype=dtype, table=name, length=1)
    return Feature(name, "id", role, dtype=dtype, table=name)


def _of(features: list[Feature], role: str) -> list[Feature]:
    return [feature for feature in features if feature.role == role]


def _count(k: Any) -> int:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 0 < k < 2**31:
        raise InputError(f"`k` must be a whole number of at least 1. Received: {shown(k)}.")
    return int(k)


# Two ways to a server ------------------------------------------------------------------------------------------------


class _Grpc:
    """One channel; calls may come from several threads."""

    def __init__(self, address: str, model: str, version: int | None, label: str | None):
        self.channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # A channel that failed waits before it connects again, by default longer than an attempt lasts.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.spec = predict_pb2.PredictRequest().model_spec
        self.spec.name = model
        if version is not None:
            self.spec.version.value = version
        if label is not None:
            self.spec.version_label = label

    def request(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Any:
        request = predict_pb2.PredictRequest(model_spec=self.spec)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            dtype = tf.string if value.dtype == object else tf.as_dtype(value.dtype)
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value.tolist(), dtype, value.shape))
        return request

    def predict(self, request: Any, seconds: float) -> dict[str, np.ndarray]:
        response = _answered(self.prediction.Predict, request, seconds)
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    def signatures(self, seconds: float) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self.spec, metadata_field=["signature_def"]
        )
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response = _answered(self.prediction.GetModelMetadata, request, seconds)
        response.metadata["signature_def"].Unpack(signatures)
        return signatures

    def status(self, seconds: float) -> dict[int, str]:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self.spec)
        statuses = _answered(self.models.GetModelStatus, request, seconds).model_version_status
        name_of = get_model_status_pb2.ModelVersionStatus.State.Name
        return {each.version: name_of(each.state) for each in statuses}

    def close(self) -> None:
        self.channel.close()


def _answered(method: Any, request: Any, seconds: float) -> Any:
    try:
        return method(request, timeout=seconds)
    except grpc.RpcError as error:
        code = error.code()
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "Concurrent RPC limit" in (error.details() or ""):
            code = grpc.StatusCode.UNAVAILABLE  # gRPC's own word for a server that has enough to do
        _fail(
            {grpc.StatusCode.UNAVAILABLE: 503, grpc.StatusCode.DEADLINE_EXCEEDED: 504}.get(
                code, 400 if code in _AT_FAULT else 500
            ),
            f"{error.details()} ({code.name})",
        )


_AT_FAULT = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
)


def _plain(error: Exception) -> str:
    return re.sub(r"\[Errno [0-9]+\] ", "", str(error))


class _Rest:
    """A pool of connections; calls may come from several threads."""

    def __init__(self, address: str, model: str, version: int | None, label: str | None):
        self.pool = urllib3.PoolManager(maxsize=16, retries=False)
        chosen = f"/versions/{version}" if version is not None else f"/labels/{quote(label)}" if label else ""
        self.path = f"{address.rstrip('/')}/v1/models/{quote(model)}{chosen}"

    def request(self, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
        columns = {name: value.tolist() for name, value in inputs.items()}
        if signature in ("serve_examples", "reading"):
            columns = {"examples": [{"b64": base64.b64encode(each).decode()} for each in columns["examples"]]}
        return json.dumps({"signature_name": signature, "inputs": columns}).encode()

    def predict(self, request: bytes, seconds: float) -> dict[str, np.ndarray]:
        outputs = self._json("POST", ":predict", seconds, request)["outputs"]
        if not isinstance(outputs, dict):
            outputs = {"": outputs}
        return {name: np.array(value) for name, value in outputs.items()}

    def signatures(self, seconds: float) -> Any:
        found = self._json("GET", "/metadata", seconds)["metadata"]["signature_def"]
        return json_format.ParseDict(
            found, get_model_metadata_pb2.SignatureDefMap(), ignore_unknown_fields=True
        )

    def status(self, seconds: float) -> dict[int, str]:
        statuses = self._json("GET", "", seconds)["model_version_status"]
        return {int(each["version"]): each["state"] for each in statuses}

    def close(self) -> None:
        self.pool.clear()

    def _json(self, method: str, what: str, seconds: float, body: bytes | None = None) -> Any:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            response = self.pool.request(
                method, self.path + what, body=body, headers=headers, timeout=urllib3.Timeout(total=seconds)
            )
        except urllib3.exceptions.NewConnectionError as error:  # which some versions count as a timeout
            raise ConnectionError(f"{self.path} cannot be reached: {_plain(error)}") from None
        except urllib3.exceptions.TimeoutError as error:
            raise TimeoutError(f"No answer within the time given: {error}") from None
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(f"{self.path} cannot be reached: {_plain(error)}") from None
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = {"error": response.data[:200].decode("utf-8", "replace")}
        if response.status != 200:
            _fail(response.status, f"{answer.get('error', answer)} (HTTP {response.status})")
        return answer


def _fail(status: int, message: str) -> NoReturn:
    """Raises what an HTTP status stands for."""
    if status == 503:
        raise ConnectionError(message)
    if status == 504:
        raise TimeoutError(message)
    if 400 <= status < 500 or status == 501:
        raise InputError(message)
    raise RuntimeError(message)
