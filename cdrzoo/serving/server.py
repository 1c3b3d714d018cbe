"""A server for development: TensorFlow Serving's gRPC and REST interfaces on this machine, in Python.

It is for writing and trying clients, not for traffic: one Python process decodes and encodes every request, nothing is
authenticated, and requests are not put together. Production is TensorFlow Serving with the same folder
(`cdrzoo.serving.config`); a client need not know which of the two answers.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf import message
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from cdrzoo.errors import InputError, is_number, is_whole, shown
from cdrzoo.serving.limits import (
    CALLS,
    LARGE_BYTES,
    LARGE_VALUES,
    MAX_BYTES,
    REQUEST_SECONDS,
    Arrivals,
    Lane,
    Refused,
    invalid,
    too_large,
)
from cdrzoo.serving.ports import HOST, taken
from cdrzoo.serving.rest import RestServer
from cdrzoo.serving.versions import Models, Version, array, log
from cdrzoo.serving.wire import Survey


class Server:
    """Serves the models of a folder over gRPC and REST until it is stopped.

        with Server("saved_models", port=0, rest_port=0) as server:
            client = Client(server.address, "films")

    Args:
        folder: holds one folder a model, with one folder a version, and perhaps `models.config` (policies, labels).
        port: of gRPC; default 8500, TensorFlow Serving's. 0 takes a free one.
        rest_port: of REST; default 8501.
        seconds: between two looks for new versions; default 1.
        max_bytes: the largest request; default 16 MiB.

    Raises:
        InputError: the folder holds no model that can be loaded, a port is taken or none, or a setting means nothing.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        *,
        port: int = 8500,
        rest_port: int = 8501,
        seconds: float = 1.0,
        max_bytes: int = MAX_BYTES,
    ):
        for name, value in (("port", port), ("rest_port", rest_port)):
            if not (is_whole(value) and value < 2**16):
                wanted = "a whole number from 0 to 65535 (0: any free one)"
                raise InputError(f"`{name}` must be {wanted}. Received: {shown(value)}.")
        if not (is_number(seconds) and seconds > 0):
            raise InputError(f"`seconds` must be a finite number above 0. Received: {shown(seconds)}.")
        if not is_whole(max_bytes, 1):
            raise InputError(
                f"`max_bytes` must be a whole number of at least 1. Received: {shown(max_bytes)}."
            )
        self.models, lane, arrivals = Models(folder), Lane(), Arrivals()
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(CALLS, "cdrzoo-grpc"),
            options=[
                ("grpc.max_receive_message_length", max_bytes),
                ("grpc.max_concurrent_streams", CALLS // 2),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=CALLS,
        )
        self._grpc.add_generic_rpc_handlers(_services(self.models, lane, arrivals))
        try:
            self.port = self._grpc.add_insecure_port(f"{HOST}:{port}")
        except RuntimeError:
            raise taken(port) from None
        try:
            self._rest = RestServer((HOST, rest_port), self.models, max_bytes, lane, arrivals)
        except OSError:
            raise taken(rest_port) from None
        self.rest_port = self._rest.server_address[1]
        try:
            self.models.refresh()
            if not self.models.loaded():
                raise InputError(
                    f"{folder} holds no model that can be served. Give the folder that holds the models' folders, "
                    "for example saved_models for saved_models/films/1."
                )
        except InputError:
            self._rest.server_close()
            raise
        self._seconds = seconds
        self._thread = futures.ThreadPoolExecutor(1, "cdrzoo-rest")

    @property
    def address(self) -> str:
        """Where gRPC listens."""
        return f"{HOST}:{self.port}"

    @property
    def rest_address(self) -> str:
        """Where REST listens."""
        return f"http://{HOST}:{self.rest_port}"

    def start(self) -> Server:
        """Starts to answer, and to look for new versions."""
        self._grpc.start()
        self._thread.submit(self._rest.serve_forever, 0.1)
        self.models.watch(self._seconds)
        return self

    def stop(self, grace: float = 10.0) -> None:
        """Takes no new request and waits at most `grace` seconds for those that are being answered."""
        stopped = self._grpc.stop(grace)
        self._rest.shutdown()
        self._rest.finish(grace)
        self._rest.server_close()
        stopped.wait()
        self._thread.shutdown()
        self.models.stop()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *error: Any) -> None:
        self.stop()


# The services --------------------------------------------------------------------------------------------------------


def _services(models: Models, lane: Lane, arrivals: Arrivals) -> list[grpc.GenericRpcHandler]:
    """PredictionService and ModelService, as far as they are served; gRPC itself says so of their other methods."""

    def predict(body):
        survey = Survey.of(body)
        version = _asked(models, survey)
        if len(body) <= LARGE_BYTES and survey.count() <= LARGE_VALUES:
            return _predicted(version, body)
        with lane.place(), lane.turn():
            survey.count()
            return _predicted(version, body)

    def get_model_metadata(request):
        if list(request.metadata_field) != ["signature_def"]:
            raise invalid(
                f"`metadata_field` must be ['signature_def']. Received: {list(request.metadata_field)}."
            )
        version = _find(models, request.model_spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=version.signatures)
        response.metadata["signature_def"].Pack(signatures)
        _describe(response.model_spec, version)
        return response

    def get_model_status(request):
        spec = request.model_spec
        number = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
        if spec.WhichOneof("version_choice") == "version_label":
            number = _find(models, spec).number
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, status in models.statuses(spec.name, number).items():
            added = response.model_version_status.add(version=version, state=status.state)
            if status.message:
                added.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                added.status.error_message = status.message
        return response

    def method(answer: Callable[[Any], Any], kind: Any = None) -> grpc.RpcMethodHandler:
        return _method(answer, kind, arrivals)

    prediction = {
        "Predict": method(predict),
        "GetModelMetadata": method(get_model_metadata, get_model_metadata_pb2.GetModelMetadataRequest),
    }
    state = {"GetModelStatus": method(get_model_status, get_model_status_pb2.GetModelStatusRequest)}
    return [
        grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", prediction),
        grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", state),
    ]


def _asked(models: Models, survey: Survey) -> Version:
    """The version that a request asks for, whose inputs have the names they should have."""
    try:
        spec = model_pb2.ModelSpec.FromString(survey.spec)
    except message.DecodeError:
        raise invalid("The bytes are not a PredictRequest.") from None
    version = _find(models, spec)
    version.check_names(spec.signature_name, survey.names)
    return version


def _predicted(version: Version, body: bytes) -> Any:
    """The answer to a request that is known to be small enough to be parsed."""
    try:
        request = predict_pb2.PredictRequest.FromString(body)
    except message.DecodeError:
        raise invalid("The bytes are not a PredictRequest.") from None
    inputs = {name: array(tensor, name) for name, tensor in request.inputs.items()}
    signature = request.model_spec.signature_name
    response = predict_pb2.PredictResponse()
    for name, value in version.run(signature, inputs, request.output_filter).items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    _describe(response.model_spec, version, signature or "serving_default")
    return response


def _method(answer: Callable[[Any], Any], kind: Any, arrivals: Arrivals) -> grpc.RpcMethodHandler:
    """A method whose errors become status codes. It reads and parses the request itself: to cut off one that does not
    arrive, and to say so where bytes are no request. `kind` it is parsed to; `None`: `answer` takes the bytes.
    """

    def call(requests, context):
        arrivals.evict(CALLS * 3 // 4)
        arrivals.begin(context, REQUEST_SECONDS, context.cancel)
        try:
            body = next(requests, None)
        except Exception:  # the client, or `cancel`, has ended it
            return b""
        finally:
            arrivals.end(context)
        if not context.is_active():
            return b""
        code = details = None
        try:
            if body is None:
                raise invalid("The call holds no request.")
            if kind and len(body) > LARGE_BYTES:
                raise too_large(
                    f"A {kind.__name__} has {len(body):,} bytes, and {LARGE_BYTES:,} are the most."
                )
            return answer(kind.FromString(body) if kind else body).SerializeToString()
        except message.DecodeError:
            code, details = grpc.StatusCode.INVALID_ARGUMENT, f"The bytes are not a {kind.__name__}."
        except Refused as refused:
            code, details = refused.code, refused.message
        except Exception as error:
            log.exception("A request failed")
            code, details = grpc.StatusCode.INTERNAL, f"The server failed: {type(error).__name__}."
        context.abort(code, details)

    return grpc.stream_unary_rpc_method_handler(call)


def _find(models: Models, spec: Any) -> Version:
    choice = spec.WhichOneof("version_choice")
    return models.find(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _describe(spec: Any, version: Version, signature: str = "") -> None:
    spec.name, spec.signature_name = version.name, signature
    spec.version.value = version.number
