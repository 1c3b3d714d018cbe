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
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from cdrzoo.errors import InputError
from cdrzoo.serving.rest import RestServer
from cdrzoo.serving.versions import Models, Refused, Version, array, invalid, log

HOST = "127.0.0.1"
MAX_BYTES = 16 * 2**20
"""The largest request; a client splits what is larger."""


class Server:
    """Serves the models of a folder over gRPC and REST until it is stopped.

        with Server("saved_models", port=0, rest_port=0) as server:
            client = Client(server.address, "films")

    Args:
        folder: holds one folder a model, with one folder a version, and perhaps `models.config` (policies, labels).
        port: of gRPC; default 8500, TensorFlow Serving's. 0 takes a free one.
        rest_port: of REST; default 8501.
        seconds: between two looks for new versions; default 1.
        threads: requests over gRPC that are answered at a time; default 8.
        max_bytes: the largest request; default 16 MiB.

    Raises:
        InputError: the folder holds no model that can be loaded, or a port is taken.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        *,
        port: int = 8500,
        rest_port: int = 8501,
        seconds: float = 1.0,
        threads: int = 8,
        max_bytes: int = MAX_BYTES,
    ):
        self.models = Models(folder)
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(threads, "cdrzoo-grpc"),
            options=[("grpc.max_receive_message_length", max_bytes), ("grpc.so_reuseport", 0)],
        )
        self._grpc.add_generic_rpc_handlers(_services(self.models))
        try:
            self.port = self._grpc.add_insecure_port(f"{HOST}:{port}")
        except RuntimeError:
            raise InputError(_taken(port)) from None
        try:
            self._rest = RestServer((HOST, rest_port), self.models, max_bytes)
        except OSError:
            raise InputError(_taken(rest_port)) from None
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


def _taken(port: int) -> str:
    return f"Port {port} of {HOST} cannot be used: another server may have it. Choose another, or 0 for a free one."


# The services --------------------------------------------------------------------------------------------------------


def _services(models: Models) -> list[grpc.GenericRpcHandler]:
    """PredictionService and ModelService, as far as they are served; gRPC itself says so of their other methods."""

    def predict(request):
        version = _find(models, request.model_spec)
        inputs = {name: array(tensor, name) for name, tensor in request.inputs.items()}
        signature = request.model_spec.signature_name
        response = predict_pb2.PredictResponse()
        for name, value in version.run(signature, inputs, request.output_filter).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        _describe(response.model_spec, version, signature or "serving_default")
        return response

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

    return [
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.PredictionService",
            {
                "Predict": _method(predict_pb2.PredictRequest, predict),
                "GetModelMetadata": _method(
                    get_model_metadata_pb2.GetModelMetadataRequest, get_model_metadata
                ),
            },
        ),
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.ModelService",
            {"GetModelStatus": _method(get_model_status_pb2.GetModelStatusRequest, get_model_status)},
        ),
    ]


def _method(kind: Any, answer: Callable[[Any], Any]) -> grpc.RpcMethodHandler:
    """A method whose errors become status codes. It parses the request itself, to say so when that fails."""

    def call(body, context):
        try:
            return answer(kind.FromString(body)).SerializeToString()
        except message.DecodeError:
            code, details = grpc.StatusCode.INVALID_ARGUMENT, f"The bytes are not a {kind.__name__}."
        except Refused as refused:
            code, details = refused.code, refused.message
        except Exception as error:
            log.exception("A request failed")
            code, details = grpc.StatusCode.INTERNAL, f"The server failed: {type(error).__name__}."
        context.abort(code, details)

    return grpc.unary_unary_rpc_method_handler(call)


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
